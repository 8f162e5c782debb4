//! Every change of the objects in one list of the API: a list, then a watch, over and over.
//!
//! ```text
//!   list ──▶ All ──▶ watch ──▶ Set, Gone …
//!    ▲                 │
//!    ├── at once ──────┤ a new session: the machine may be another one
//!    └── after a pause ┴ ended, too old, or broken (then Away is told first)
//! ```

use std::time::{Duration, Instant};

use cadet_tunnel::Tunnel;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::cluster::{self, Cluster, Failure};
use crate::error::Result;

/// First pause before the next list.
const FIRST: Duration = Duration::from_millis(200);
/// Longest pause. A machine that starts ends it, because it brings a new session.
const LONGEST: Duration = Duration::from_secs(30);
/// A watch that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// What is known of the objects now.
#[derive(Debug)]
pub enum Change {
    /// All there are.
    All(Vec<Value>),
    /// One that is new or was changed.
    Set(Value),
    /// One that is gone.
    Gone(Value),
    /// The API server is away, and why.
    Away(String),
}

/// Tells `tell` of the objects at `path`, until nobody listens there.
pub async fn follow(
    find: impl Fn() -> Result<Cluster>,
    tunnel: &Tunnel,
    path: &str,
    tell: mpsc::Sender<Change>,
) {
    let mut pause = FIRST;
    while !tell.is_closed() {
        let began = Instant::now();
        let round = async {
            let cluster = find().map_err(|e| e.what)?;
            let ended = round(&cluster, path, &tell).await;
            ended.map_err(|failure| failure.told(path).what)
        };
        let ended = tokio::select! {
            ended = round => ended,
            // A guest that was reset never ends the watches it had: its new self does
            // not know of them, and nothing is sent that it could refuse.
            () = tunnel.next_session() => {
                pause = FIRST;
                continue;
            }
        };
        if let Err(why) = ended {
            // Nobody listening is seen at the top.
            let _ = tell.send(Change::Away(why)).await;
        }
        if began.elapsed() > GOOD {
            pause = FIRST;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST),
            () = tunnel.next_session() => pause = FIRST,
        }
    }
}

/// One list and the watch after it.
async fn round(cluster: &Cluster, path: &str, tell: &mpsc::Sender<Change>) -> Result<(), Failure> {
    let mut list = cluster.try_get(path).await?;
    let watch = cluster::watch_of(path, &list);
    let items = match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    if tell.send(Change::All(items)).await.is_err() {
        return Ok(());
    }
    let mut lines = cluster.lines(&watch).await?;
    while let Some(mut event) = lines.next().await? {
        let object = event["object"].take();
        let change = match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => Change::Set(object),
            Some("DELETED") => Change::Gone(object),
            // 410: the place we watched from is forgotten.
            Some("ERROR") => return Ok(()),
            _ => continue,
        };
        if tell.send(change).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
