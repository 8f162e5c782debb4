//! Watched objects: a list, then every change, over and over until nobody listens.
//!
//! ```text
//!   find the kind ──▶ list ──▶ All ──▶ watch ──▶ Set, Gone …
//!     │    ▲           ▲                 │
//!     │    │           └── too old ──────┤ ended: list again
//!     │    └────────── Lost ◀────────────┘ broken: pause, then again
//!     └─ unknown: empty All, wait until a definition changes
//! ```

use std::time::Duration;

use cadet_tutorial::condition::{KindName, Need};
use cadet_tutorial::world::Change;
use serde_json::Value;
use tokio::sync::mpsc;

use super::api::Api;
use crate::cluster::{self, Cluster, Failure};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Nobody listens any more.
struct Deaf;

/// What ends one round.
enum Round {
    /// The server ended the watch, or forgot where we were.
    Again,
    /// The line broke.
    Broken(Failure),
}

/// Starts the watch.
pub fn begin(api: Api, need: Need) -> mpsc::Receiver<Change> {
    let (tell, changes) = mpsc::channel(64);
    tokio::spawn(async move {
        tokio::select! {
            () = tell.closed() => {}
            _ = go_on(&api, &need, &tell) => {}
        }
    });
    changes
}

async fn go_on(api: &Api, need: &Need, tell: &mpsc::Sender<Change>) -> Result<(), Deaf> {
    let mut pause = Duration::from_millis(200);
    let mut said = None;
    loop {
        let broken = match api.cluster().await {
            Err(e) => lost(&e),
            Ok(cluster) => match round(&cluster, need, tell, &mut said).await? {
                Round::Again => {
                    // A server that ends every watch at once must not keep us spinning.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    pause = Duration::from_millis(200);
                    continue;
                }
                Round::Broken(failure) => match failure {
                    Failure::Connection(_) => lost(&api.trouble().await),
                    refused @ Failure::Status { .. } => lost(&refused.told("a watch")),
                },
            },
        };
        // Each outage is told once.
        if said.as_ref() != Some(&broken) {
            send(tell, Change::Lost(broken.clone())).await?;
            said = Some(broken);
        }
        // Nothing tells when a server that is away comes back; growing pauses are gentle.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(3));
    }
}

/// One line of why and what to type.
fn lost(e: &crate::error::CliError) -> String {
    let fix = e.fix.as_deref().and_then(|fix| fix.lines().next());
    match fix {
        Some(fix) => format!("{}; {fix}", e.what),
        None => e.what.clone(),
    }
}

async fn round(
    cluster: &Cluster,
    need: &Need,
    tell: &mpsc::Sender<Change>,
    said: &mut Option<String>,
) -> Result<Round, Deaf> {
    let path = match find(cluster, need).await {
        Ok(Some(path)) => path,
        Ok(None) => {
            *said = None;
            send(tell, Change::All(Vec::new())).await?;
            return Ok(match definition_changed(cluster, need).await {
                Ok(()) => Round::Again,
                Err(failure) => Round::Broken(failure),
            });
        }
        Err(failure) => return Ok(Round::Broken(failure)),
    };
    match follow(cluster, &path, tell, said).await {
        Ok(told) => told.map(|()| Round::Again),
        // The definition of a custom kind was taken away.
        Err(failure) if failure.is_not_found() && need.kind.known().is_none() => Ok(Round::Again),
        Err(failure) => Ok(Round::Broken(failure)),
    }
}

async fn follow(
    cluster: &Cluster,
    path: &str,
    tell: &mpsc::Sender<Change>,
    said: &mut Option<String>,
) -> Result<Result<(), Deaf>, Failure> {
    let mut list = cluster.try_get(path).await?;
    let watch = cluster::watch_of(path, &list);
    let items = match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    *said = None;
    if send(tell, Change::All(items)).await.is_err() {
        return Ok(Err(Deaf));
    }
    let mut lines = cluster.lines(&watch).await?;
    while let Some(mut event) = lines.next().await? {
        let object = event["object"].take();
        let change = match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => Change::Set(object),
            Some("DELETED") => Change::Gone(object),
            // 410: the place we watched from is forgotten.
            Some("ERROR") => return Ok(Ok(())),
            _ => continue,
        };
        if send(tell, change).await.is_err() {
            return Ok(Err(Deaf));
        }
    }
    Ok(Ok(()))
}

async fn send(tell: &mpsc::Sender<Change>, change: Change) -> Result<(), Deaf> {
    tell.send(change).await.map_err(|_| Deaf)
}

/// The path of the list that is needed; None while the cluster does not know the kind.
async fn find(cluster: &Cluster, need: &Need) -> Result<Option<String>, Failure> {
    if let Some(row) = need.kind.known() {
        return Ok(Some(format!(
            "/{}",
            row.path(need.namespace.as_deref(), None)
        )));
    }
    let groups = cluster.try_get("/apis").await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let name = group["name"].as_str().unwrap_or_default();
        if need
            .kind
            .group
            .as_deref()
            .is_some_and(|wanted| wanted != name)
        {
            continue;
        }
        let Some(version) = group["preferredVersion"]["groupVersion"].as_str() else {
            continue;
        };
        let served = match cluster.try_get(&format!("/apis/{version}")).await {
            Ok(served) => served,
            Err(gone) if gone.is_not_found() => continue,
            Err(failure) => return Err(failure),
        };
        let rows = served["resources"].as_array().into_iter().flatten();
        for row in rows {
            if let Some(path) = path_of(row, version, need) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// The list's path if `row` of discovery is the kind that is needed.
fn path_of(row: &Value, version: &str, need: &Need) -> Option<String> {
    let plural = row["name"].as_str()?;
    if plural.contains('/') || !is_called(row, &need.kind) {
        return None;
    }
    Some(match &need.namespace {
        Some(namespace) if row["namespaced"] == true => {
            format!("/apis/{version}/namespaces/{namespace}/{plural}")
        }
        _ => format!("/apis/{version}/{plural}"),
    })
}

fn is_called(row: &Value, kind: &KindName) -> bool {
    let wanted = kind.name.as_str();
    let is = |field: &str| {
        row[field]
            .as_str()
            .is_some_and(|name| name.eq_ignore_ascii_case(wanted))
    };
    let mut short = row["shortNames"].as_array().into_iter().flatten();
    is("name") || is("singularName") || is("kind") || short.any(|name| name == wanted)
}

/// Returns when the kind may be known: a definition was made or changed.
async fn definition_changed(cluster: &Cluster, need: &Need) -> Result<(), Failure> {
    let list = cluster.try_get(DEFINITIONS).await?;
    // It may have been made just before the list.
    if find(cluster, need).await?.is_some() {
        return Ok(());
    }
    let watch = cluster::watch_of(DEFINITIONS, &list);
    let mut lines = cluster.lines(&watch).await?;
    lines.next().await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn need(name: &str, group: Option<&str>) -> Need {
        Need {
            kind: KindName {
                name: name.into(),
                group: group.map(str::to_owned),
            },
            namespace: Some("shop".into()),
        }
    }

    #[test]
    fn custom_kinds_are_found_by_every_name_they_have() {
        let row = json!({"name": "rockets", "singularName": "rocket", "kind": "Rocket",
            "namespaced": true, "shortNames": ["rk"]});
        for name in ["rockets", "rocket", "rk"] {
            assert_eq!(
                path_of(&row, "example.com/v1", &need(name, None)).as_deref(),
                Some("/apis/example.com/v1/namespaces/shop/rockets"),
                "{name}"
            );
        }
        assert_eq!(path_of(&row, "example.com/v1", &need("moon", None)), None);
        let status = json!({"name": "rockets/status", "kind": "Rocket", "namespaced": true});
        assert_eq!(
            path_of(&status, "example.com/v1", &need("rocket", None)),
            None
        );
        let wide = json!({"name": "moons", "kind": "Moon", "namespaced": false});
        assert_eq!(
            path_of(&wide, "example.com/v1", &need("moon", None)).as_deref(),
            Some("/apis/example.com/v1/moons")
        );
    }

    /// A server that answers with what `answer` says of path and query.
    async fn served(answer: fn(&str) -> (u16, String)) -> Cluster {
        let app = axum::Router::new().fallback(move |uri: axum::http::Uri| async move {
            let (code, body) = answer(&uri.to_string());
            (axum::http::StatusCode::from_u16(code).unwrap(), body)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Cluster::plain(format!("http://{address}"))
    }

    fn pod(version: u32) -> Value {
        json!({"metadata": {"name": "web", "resourceVersion": version.to_string()}})
    }

    fn event(kind: &str, version: u32) -> String {
        format!("{}\n", json!({"type": kind, "object": pod(version)}))
    }

    async fn all_of(mut changes: mpsc::Receiver<Change>) -> Vec<Change> {
        let mut out = Vec::new();
        while let Some(change) = changes.recv().await {
            out.push(change);
        }
        out
    }

    #[tokio::test]
    async fn a_round_is_the_list_and_every_change_after_it() {
        let cluster = served(|asked| {
            let body = match asked {
                "/api/v1/namespaces/shop/pods" => {
                    json!({"metadata": {"resourceVersion": "7"}, "items": [pod(5)]}).to_string()
                }
                "/api/v1/namespaces/shop/pods?watch=true&resourceVersion=7" => {
                    event("MODIFIED", 8) + &event("BOOKMARK", 9) + &event("DELETED", 10)
                }
                other => return (500, other.to_owned()),
            };
            (200, body)
        })
        .await;
        let (tell, changes) = mpsc::channel(16);
        let mut said = Some("away".to_owned());
        let ended = round(&cluster, &need("pod", None), &tell, &mut said).await;
        assert!(matches!(ended, Ok(Round::Again)));
        assert_eq!(said, None, "an outage after this is another one");
        drop(tell);
        assert_eq!(
            all_of(changes).await,
            [
                Change::All(vec![pod(5)]),
                Change::Set(pod(8)),
                Change::Gone(pod(10))
            ]
        );
    }

    #[tokio::test]
    async fn a_kind_that_is_not_known_yet_is_waited_for() {
        let cluster = served(|asked| {
            let body = match asked {
                "/apis" => json!({"groups": []}),
                DEFINITIONS => json!({"metadata": {"resourceVersion": "3"}, "items": []}),
                _ if asked.starts_with(DEFINITIONS) => return (200, event("ADDED", 4)),
                other => return (500, other.to_owned()),
            };
            (200, body.to_string())
        })
        .await;
        let (tell, changes) = mpsc::channel(16);
        let ended = round(&cluster, &need("rocket", None), &tell, &mut None).await;
        assert!(matches!(ended, Ok(Round::Again)));
        drop(tell);
        assert_eq!(all_of(changes).await, [Change::All(Vec::new())]);
    }

    #[tokio::test]
    async fn a_refusal_breaks_the_round_and_nobody_listening_ends_it() {
        let cluster = served(|_| (403, r#"{"message": "no"}"#.to_owned())).await;
        let (tell, changes) = mpsc::channel(16);
        let ended = round(&cluster, &need("pod", None), &tell, &mut None).await;
        assert!(matches!(
            ended,
            Ok(Round::Broken(Failure::Status { code: 403, .. }))
        ));
        drop(changes);
        let cluster = served(|_| (200, r#"{"items": []}"#.to_owned())).await;
        let ended = round(&cluster, &need("pod", None), &tell, &mut None).await;
        assert!(ended.is_err());
    }

    #[test]
    fn what_was_lost_names_the_command_that_helps() {
        let e = crate::error::CliError::new("GUEST_NOT_RUNNING", "the machine is off")
            .fix("cadet start      boots it\ncadet list");
        assert_eq!(lost(&e), "the machine is off; cadet start      boots it");
    }
}
