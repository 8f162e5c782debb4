//! `cadet events`: what happened in the cluster, oldest first, and what happens next.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use cadet_api::clock;
use cadet_api::json::{int_at, list_at, str_at};
use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::Context;
use crate::cluster::{Cluster, Failure, watch_of};
use crate::error::Result;
use crate::reach::Reach;

/// Flags of `cadet events`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet events\n  cadet events -n shop --warnings\n  cadet events -A --watch      goes on until Ctrl-C"
)]
pub struct EventsArgs {
    #[command(flatten)]
    reach: Reach,
    /// Those of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only what somebody should look at
    #[arg(long)]
    warnings: bool,
    /// Go on as it happens, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

/// Between two tries to watch a server that is away.
const AGAIN: Duration = Duration::from_millis(500);

/// Prints them.
pub async fn run(cx: &Context, args: EventsArgs) -> Result<u8> {
    let reached = args.reach.open(cx)?;
    let path = match args.all_namespaces {
        true => "/api/v1/events".to_string(),
        false => reached.path_of("events"),
    };
    let mut teller = Teller {
        cx,
        with_namespace: args.all_namespaces,
        warnings: args.warnings,
        told: HashMap::new(),
    };
    let list = reached.cluster.get(&path).await?;
    let told = teller.all(&list);
    if !args.watch {
        if told == 0 && !cx.ui.json() {
            let place = match args.all_namespaces {
                true => String::new(),
                false => format!(" in namespace {}", reached.namespace),
            };
            let kind = if args.warnings { "warnings" } else { "events" };
            cx.ui.line(format!("There are no {kind}{place}."));
        }
        return Ok(0);
    }
    let mut list = list;
    loop {
        match follow(&reached.cluster, &path, &list, &mut teller).await {
            // The server ends every watch after a while, and may be restarted.
            Ok(()) => tokio::time::sleep(AGAIN).await,
            Err(failure) if passes(&failure) => tokio::time::sleep(AGAIN).await,
            // Too old to go on from there: the next list has all of it.
            Err(Failure::Status { code: 410, .. }) => {}
            Err(failure) => return Err(failure.told(&path)),
        }
        match reached.cluster.try_get(&path).await {
            Ok(next) => {
                teller.all(&next);
                list = next;
            }
            Err(failure) if passes(&failure) => {}
            Err(failure) => return Err(failure.told(&path)),
        }
    }
}

/// True for what a server that is away, or comes up, says for a while. After it the loop begins
/// with the watch, which waits.
fn passes(failure: &Failure) -> bool {
    match failure {
        Failure::Connection(_) => true,
        Failure::Status { code, .. } => matches!(code, 429 | 500..),
    }
}

async fn follow(
    cluster: &Cluster,
    path: &str,
    list: &Value,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    let mut lines = cluster.lines(&watch_of(path, list)).await?;
    while let Some(event) = lines.next().await? {
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => teller.one(&event["object"]),
            // A watch that cannot go on says so and ends.
            Some("ERROR") => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

/// Prints each event once, and again when it has happened again.
struct Teller<'a> {
    cx: &'a Context,
    with_namespace: bool,
    warnings: bool,
    /// By the event's id: the version that was printed.
    told: HashMap<String, String>,
}

impl Teller<'_> {
    /// Prints what is new in a list; says how much that was.
    fn all(&mut self, list: &Value) -> usize {
        let mut items: Vec<&Value> = list_at(list, "/items").iter().collect();
        items.sort_by_key(|event| clock::parse(last(event)));
        let before = self.told.len();
        let there: HashSet<&str> = list_at(list, "/items")
            .iter()
            .map(|event| str_at(event, "/metadata/uid"))
            .collect();
        for item in items {
            self.one(item);
        }
        let told = self.told.len() - before;
        // The server forgets events after a while, and so may who watches for days.
        self.told.retain(|uid, _| there.contains(uid.as_str()));
        told
    }

    fn one(&mut self, event: &Value) {
        if self.warnings && str_at(event, "/type") != "Warning" {
            return;
        }
        let version = str_at(event, "/metadata/resourceVersion");
        let uid = str_at(event, "/metadata/uid").to_string();
        if self.told.get(&uid).is_some_and(|told| told == version) {
            return;
        }
        self.told.insert(uid, version.to_string());
        if self.cx.ui.json() {
            self.cx.ui.object(&object(event));
        } else {
            let now = OffsetDateTime::now_utc();
            self.cx.ui.line(row(event, now, self.with_namespace));
        }
    }
}

/// When it happened last; the generations of the API put it in different places.
fn last(event: &Value) -> &str {
    let places = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ];
    let mut times = places.into_iter().map(|place| str_at(event, place));
    times.find(|t| !t.is_empty()).unwrap_or("")
}

fn count(event: &Value) -> i64 {
    let series = int_at(event, "/series/count");
    series.or(int_at(event, "/count")).unwrap_or(1)
}

/// What it is about, as kubectl takes it.
fn about(event: &Value) -> String {
    format!(
        "{}/{}",
        str_at(event, "/involvedObject/kind").to_lowercase(),
        str_at(event, "/involvedObject/name")
    )
}

fn object(event: &Value) -> Value {
    json!({
        "type": "event", "time": last(event), "severity": str_at(event, "/type"),
        "reason": str_at(event, "/reason"), "object": about(event),
        "namespace": str_at(event, "/metadata/namespace"),
        "message": str_at(event, "/message"), "count": count(event),
    })
}

fn row(event: &Value, now: OffsetDateTime, with_namespace: bool) -> String {
    let severity = match str_at(event, "/type") {
        "Warning" => "!",
        _ => "·",
    };
    let namespace = match with_namespace {
        true => format!("{:<12} ", str_at(event, "/metadata/namespace")),
        false => String::new(),
    };
    let times = match count(event) {
        0 | 1 => String::new(),
        n => format!(" ({n} times)"),
    };
    let row = format!(
        "{severity} {:<6} {namespace}{:<20} {:<32} {}{times}",
        clock::age(last(event), now),
        str_at(event, "/reason"),
        about(event),
        str_at(event, "/message").trim_end(),
    );
    // Messages carry what programs said: nothing in them may steer the terminal.
    row.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn event() -> Value {
        json!({
            "metadata": {"namespace": "shop", "uid": "1", "resourceVersion": "5"},
            "involvedObject": {"kind": "Pod", "name": "web"}, "type": "Warning",
            "reason": "BackOff", "message": "back-off\u{1b}[31m\nrestarting", "count": 3,
            "firstTimestamp": "2026-11-20T19:00:00Z", "lastTimestamp": "2026-11-20T19:59:30Z",
        })
    }

    #[test]
    fn a_row_tells_when_what_and_how_often() {
        let now = datetime!(2026-11-20 20:00 UTC);
        let row = row(&event(), now, false);
        assert!(row.starts_with("! 30s "), "{row}");
        assert!(row.contains("BackOff") && row.contains("pod/web"), "{row}");
        assert!(row.ends_with("restarting (3 times)"), "{row}");
        assert!(!row.contains(char::is_control), "{row:?}");
        let all = super::row(&event(), now, true);
        assert!(all.contains("shop"), "{all}");
    }

    #[test]
    fn a_server_that_restarts_ends_no_watch() {
        let status = |code| Failure::Status {
            code,
            message: String::new(),
        };
        for code in [429, 500, 503, 504] {
            assert!(passes(&status(code)), "{code}");
        }
        assert!(passes(&Failure::Connection(String::new())));
        for code in [401, 403, 404, 410] {
            assert!(!passes(&status(code)), "{code}");
        }
    }

    #[test]
    fn the_newer_generation_counts_in_its_series() {
        let mut event = event();
        event["series"] = json!({"count": 9, "lastObservedTime": "2026-11-20T19:59:59.5Z"});
        assert_eq!(last(&event), "2026-11-20T19:59:59.5Z");
        let told = object(&event);
        assert_eq!(
            (&told["count"], &told["object"]),
            (&json!(9), &json!("pod/web"))
        );
        let bare = json!({"eventTime": null, "metadata": {"creationTimestamp": "x"}});
        assert_eq!((last(&bare), count(&bare)), ("x", 1));
    }
}
