//! What the learner's programs asked the API server for, from the server's own journal.

use std::time::Duration;

use cadet_tutorial::world::{Asked, Journal, WorldError};
use serde_json::Value;
use tokio::sync::mpsc;

use super::api::Api;
use super::program::LOOKS;
use super::told;
use crate::cluster::{self, Cluster, Failure};

const PLACE: &str = "/debug/journal";

/// The requests since `mark`, or from now on; goes on when the server comes back.
///
/// # Errors
/// The server does not answer or keeps no journal.
pub async fn since(api: &Api, mark: Option<&str>) -> Result<Journal, WorldError> {
    let mark = match mark {
        Some(mark) => mark.to_owned(),
        None => {
            let now = api.cluster().await.map_err(told)?;
            let now = now.try_get(PLACE).await.map_err(refused)?;
            let now = now["now"].as_str().map(str::to_owned);
            now.ok_or_else(|| WorldError::new("the server's journal does not tell the time"))?
        }
    };
    let (tell, asked) = mpsc::channel(256);
    let (api, from) = (api.clone(), mark.clone());
    tokio::spawn(async move {
        let mut since = from;
        let mut pause = Duration::from_millis(250);
        loop {
            tokio::select! {
                () = tell.closed() => return,
                told_something = follow(&api, &mut since, &tell) => {
                    if told_something {
                        pause = Duration::from_millis(250);
                    }
                }
            }
            // The server is away: only asking again tells when it is back.
            tokio::select! {
                () = tell.closed() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(4)),
            }
        }
    });
    Ok(Journal { mark, asked })
}

/// Reads on from `since` until the line breaks; true if anything came.
async fn follow(api: &Api, since: &mut String, tell: &mpsc::Sender<Asked>) -> bool {
    let Ok(cluster) = api.cluster().await else {
        return false;
    };
    let mut came = false;
    // Why it broke matters to nobody: the watches of objects tell it as well.
    let Ok(mut lines) = open(&cluster, since).await else {
        return false;
    };
    while let Ok(Some(entry)) = lines.next().await {
        came = true;
        if let Some(time) = entry["time"].as_str() {
            time.clone_into(since);
        }
        if let Some(asked) = learners(&entry)
            && tell.send(asked).await.is_err()
        {
            break;
        }
    }
    came
}

async fn open(cluster: &Cluster, since: &str) -> Result<cluster::Lines, Failure> {
    let path = format!("{PLACE}?watch=1&since={since}");
    cluster.lines(&path).await
}

fn refused(failure: Failure) -> WorldError {
    if failure.is_not_found() {
        return WorldError::new("the cluster's server keeps no journal of requests: it is older")
            .fix("cadet stop && cadet start");
    }
    told(failure.told(PLACE))
}

/// The entry as a question of the learner; None for what we asked ourselves, and for what pods
/// ask by their service accounts with other programs than kubectl.
fn learners(entry: &Value) -> Option<Asked> {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let agent = text("agent");
    let ours = agent == cluster::AGENT || agent.starts_with(LOOKS);
    let by_pod = text("user").starts_with("system:serviceaccount:");
    if ours || (by_pod && !agent.starts_with("kubectl")) {
        return None;
    }
    Some(Asked {
        verb: text("verb"),
        group: text("group"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        code: entry["code"]
            .as_u64()
            .and_then(|code| u16::try_from(code).ok())
            .unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(user: &str, agent: &str) -> Value {
        json!({
            "time": "2026-01-02T03:04:05.000123Z", "user": user, "agent": agent, "verb": "list",
            "group": "", "version": "v1", "resource": "pods", "subresource": "",
            "namespace": "default", "name": "", "code": 200, "revision": 0,
        })
    }

    #[test]
    fn only_the_learners_own_questions_count() {
        let kubectl = "kubectl/v1.33.0 (linux/amd64) kubernetes/60a317e";
        let asked = learners(&entry("cadet-admin", kubectl)).unwrap();
        assert_eq!(
            (asked.verb.as_str(), asked.resource.as_str()),
            ("list", "pods")
        );
        assert_eq!(asked.code, 200);
        let looks = kubectl.replace("kubectl/", "cadet-looks/");
        assert_eq!(learners(&entry("cadet-admin", &looks)), None);
        assert_eq!(learners(&entry("cadet-admin", cluster::AGENT)), None);
        let pod = "system:serviceaccount:kube-system:dashboard";
        assert_eq!(learners(&entry(pod, "dashboard/1")), None);
        assert!(learners(&entry(pod, kubectl)).is_some(), "kubectl --token");
        assert!(learners(&entry("cadet-admin", "curl/8.14.1")).is_some());
    }
}
