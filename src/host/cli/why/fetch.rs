//! Fetches what an explanation wants: round by round, everything of a round at once.

use std::sync::Arc;

use cadet_why::{Facts, Found, Kind, Target, Want, wants};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Reply};
use crate::error::{CliError, Result};

/// What is found leads to further questions; a chain of more rounds than this is a mistake.
const ROUNDS: usize = 8;

/// All facts about `target` that an explanation can use.
///
/// # Errors
/// CLUSTER_NOT_FOUND when there is no such object, CLUSTER_API when it may not be read,
/// CLUSTER_API_TIMEOUT when nobody answers.
pub async fn facts(cluster: Cluster, target: Target) -> Result<Facts> {
    let cluster = Arc::new(cluster);
    let mut facts = Facts::new(target, OffsetDateTime::now_utc());
    let object = Want::object(
        facts.target.kind,
        &facts.target.namespace,
        &facts.target.name,
    );
    for _ in 0..ROUNDS {
        let wanted = wants(&facts);
        if wanted.is_empty() {
            break;
        }
        let mut asked = JoinSet::new();
        for want in wanted {
            let cluster = Arc::clone(&cluster);
            asked.spawn(async move {
                let reply = cluster.reply(&want.path(), want.body().as_ref()).await;
                (want, reply)
            });
        }
        let mut trouble = None;
        while let Some(done) = asked.join_next().await {
            let (want, reply) = done.map_err(|e| {
                CliError::new("PROGRAM_INTERNAL", "a question to the API server broke off")
                    .why(e.to_string())
            })?;
            let is_object = want == object;
            let found = read(&want, reply);
            match (&found, is_object) {
                (Found::Unread(why), true) => trouble = Some(Err(unread(why))),
                (Found::Absent, true) => trouble = Some(Ok(())),
                _ => {}
            }
            facts.learn(want, found);
        }
        // The others of the round may know a name that was meant.
        match trouble {
            Some(Ok(())) => return Err(absent(&facts)),
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    Ok(facts)
}

fn read(want: &Want, reply: std::result::Result<Reply, String>) -> Found {
    let reply = match reply {
        Ok(reply) => reply,
        // A broken line to the API server says nothing of the pod behind it.
        Err(_) if matches!(want, Want::Dial { .. }) => return Found::Unread("not tried".into()),
        Err(why) => return Found::Unread(why),
    };
    let is_good = (200..300).contains(&reply.code);
    match want {
        // Whoever answers listens, whatever the answer; only the API server's own word that it
        // did not get through is none.
        Want::Dial { .. } => match is_good || !is_status(&reply.text) {
            true => Found::Text(String::new()),
            false => Found::Unread(message(&reply)),
        },
        Want::Log { .. } if is_good => Found::Text(reply.text),
        _ if is_good => match serde_json::from_str(&reply.text) {
            Ok(object) => Found::Object(object),
            Err(e) => Found::Unread(format!("the answer is not JSON: {e}")),
        },
        _ if reply.code == 404 => Found::Absent,
        _ => Found::Unread(message(&reply)),
    }
}

/// Whether an answer is the API server's own.
fn is_status(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|answer| answer["kind"] == "Status")
}

fn message(reply: &Reply) -> String {
    let status: Option<Value> = serde_json::from_str(&reply.text).ok();
    let words = status.and_then(|status| status["message"].as_str().map(str::to_owned));
    words.unwrap_or_else(|| format!("HTTP {}: {}", reply.code, reply.text.trim()))
}

fn unread(why: &str) -> CliError {
    // Words of the API server are about the object; others are about the way to it.
    let refused = why.contains("is forbidden") || why.contains("nauthorized");
    match refused {
        true => CliError::new("CLUSTER_API", "the object may not be read").why(why.to_owned()),
        false => CliError::new("CLUSTER_API_TIMEOUT", "the API server does not answer")
            .why(why.to_owned())
            .fix("cadet status"),
    }
}

fn absent(facts: &Facts) -> CliError {
    let target = &facts.target;
    let place = match target.kind.is_namespaced() {
        true => format!(" in namespace {}", target.namespace),
        false => String::new(),
    };
    let error = CliError::new("CLUSTER_NOT_FOUND", format!("there is no {target}{place}"));
    let flag = match target.namespace.as_str() {
        "" | "default" => String::new(),
        namespace => format!(" -n {namespace}"),
    };
    let list = format!("kubectl get {}{flag}", target.kind.plural());
    match cadet_why::similar(facts) {
        Some(near) => error
            .why(format!("there is {}/{near}", target.kind.name()))
            .fix(format!(
                "cadet why {}/{near}{flag}\n{list}",
                target.kind.name()
            )),
        None if target.kind == Kind::Node => error.fix(list),
        None => error.fix(format!("{list}\nkubectl get {} -A", target.kind.plural())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, text: &str) -> std::result::Result<Reply, String> {
        let text = text.to_owned();
        Ok(Reply { code, text })
    }

    fn dial() -> Want {
        Want::Dial {
            namespace: "d".into(),
            pod: "p".into(),
            port: 80,
        }
    }

    #[test]
    fn answers_become_facts() {
        let list = Want::list(Kind::Pod, "d");
        assert_eq!(read(&list, reply(404, "{}")), Found::Absent);
        assert!(matches!(
            read(&list, reply(200, "{\"items\": []}")),
            Found::Object(_)
        ));
        assert!(matches!(
            read(&list, reply(200, "<html>")),
            Found::Unread(_)
        ));
        let forbidden = r#"{"kind": "Status", "message": "pods is forbidden"}"#;
        assert_eq!(
            read(&list, reply(403, forbidden)),
            Found::Unread("pods is forbidden".into())
        );
        assert_eq!(
            read(&list, Err("no route".into())),
            Found::Unread("no route".into())
        );
    }

    #[test]
    fn a_port_is_open_if_anything_but_the_api_server_answers() {
        let refused = r#"{"kind": "Status", "message": "error trying to reach service: dial tcp 10.244.0.2:80: connect: connection refused"}"#;
        let found = read(&dial(), reply(503, refused));
        assert!(matches!(found, Found::Unread(why) if why.contains("connection refused")));
        for (code, text) in [(200, "<html>"), (404, "no such page"), (500, "oops")] {
            assert_eq!(read(&dial(), reply(code, text)), Found::Text(String::new()));
        }
        // An app may send its visitor to a place where nobody listens.
        let broken = read(&dial(), Err("connection refused".into()));
        assert_eq!(broken, Found::Unread("not tried".into()));
    }

    #[test]
    fn a_missing_object_is_told_with_the_next_command() {
        let target = Target::new(Kind::Pod, "shop", "wbe");
        let mut facts = Facts::new(target, OffsetDateTime::UNIX_EPOCH);
        let error = absent(&facts);
        assert_eq!(error.what, "there is no pod/wbe in namespace shop");
        assert!(error.fix.unwrap().contains("kubectl get pods -n shop"));
        let web = serde_json::json!({"metadata": {"name": "web", "namespace": "shop"}});
        facts.put(Kind::Pod, web);
        let error = absent(&facts);
        assert!(
            error
                .fix
                .unwrap()
                .starts_with("cadet why pod/web -n shop\n")
        );
    }
}
