//! Container logs on their way out: which container, which part, how much.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::labels;
use crate::lost;
use crate::pods::PodTable;
use crate::runtime::{ContainerInfo, LogQuery, LogSource, Role, Runtime, RuntimeError, State};

/// Why there is no log to show; the texts are upstream's.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("pod \"{pod}\" not found in namespace \"{namespace}\"")]
    NoPod { namespace: String, pod: String },
    #[error("container {container} is not valid for pod {pod}")]
    NoContainer { pod: String, container: String },
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    Waiting {
        pod: String,
        container: String,
        reason: String,
    },
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious { pod: String, container: String },
    #[error("{name}: {value:?} is not valid")]
    BadOption { name: &'static str, value: String },
    #[error(transparent)]
    Engine(#[from] RuntimeError),
}

/// One request for a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRequest {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub previous: bool,
    /// Bytes after which the log is cut.
    pub limit: Option<usize>,
    pub query: LogQuery,
}

impl LogRequest {
    /// Reads the query's options; unknown ones are ignored, as upstream does.
    ///
    /// # Errors
    /// On a value that is no number, no time, or negative.
    pub fn parse(
        namespace: &str,
        pod: &str,
        container: &str,
        options: &[(String, String)],
    ) -> Result<Self, LogError> {
        let mut request = Self {
            namespace: namespace.into(),
            pod: pod.into(),
            container: container.into(),
            ..Self::default()
        };
        for (name, value) in options {
            if value.is_empty() {
                continue;
            }
            let bad = |name| LogError::BadOption {
                name,
                value: value.clone(),
            };
            let flag = |name| match value.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(bad(name)),
            };
            match name.as_str() {
                "follow" => request.query.follow = flag("follow")?,
                "timestamps" => request.query.timestamps = flag("timestamps")?,
                "previous" => request.previous = flag("previous")?,
                "tailLines" => {
                    let lines: i64 = value.parse().map_err(|_| bad("tailLines"))?;
                    if lines < 0 {
                        return Err(bad("tailLines"));
                    }
                    request.query.tail = Some(lines);
                }
                "limitBytes" => {
                    let limit: usize = value.parse().map_err(|_| bad("limitBytes"))?;
                    if limit == 0 {
                        return Err(bad("limitBytes"));
                    }
                    request.limit = Some(limit);
                }
                "stream" => {
                    request.query.only = match value.as_str() {
                        "All" => None,
                        "Stdout" => Some(LogSource::Stdout),
                        "Stderr" => Some(LogSource::Stderr),
                        _ => return Err(bad("stream")),
                    };
                }
                "sinceSeconds" => {
                    let seconds: u32 = value.parse().map_err(|_| bad("sinceSeconds"))?;
                    let age = SignedDuration::from_secs(seconds.into());
                    request.query.since = Some(Timestamp::now() - age);
                }
                "sinceTime" => {
                    request.query.since = Some(value.parse().map_err(|_| bad("sinceTime"))?);
                }
                _ => {}
            }
        }
        Ok(request)
    }
}

/// Finds the container and opens its log.
///
/// # Errors
/// If there is no such container, or none that ever ran.
pub async fn open(
    runtime: &dyn Runtime,
    table: &PodTable,
    request: &LogRequest,
) -> Result<BoxStream<'static, Result<Bytes, RuntimeError>>, LogError> {
    let found = find(runtime, table, request).await?;
    let stream = runtime.logs(&found.id, &request.query).await?;
    Ok(match request.limit {
        Some(limit) => cut(stream, limit),
        None => stream,
    })
}

async fn find(
    runtime: &dyn Runtime,
    table: &PodTable,
    request: &LogRequest,
) -> Result<ContainerInfo, LogError> {
    let Some(pod) = table.find(&request.namespace, &request.pod) else {
        return Err(LogError::NoPod {
            namespace: request.namespace.clone(),
            pod: request.pod.clone(),
        });
    };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let names = pod.spec.iter().flat_map(|spec| {
        let ephemeral = spec.ephemeral_containers.iter().flatten();
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
            .map(|c| c.name.as_str())
            .chain(ephemeral.map(|c| c.name.as_str()))
    });
    if !names.into_iter().any(|name| name == request.container) {
        return Err(LogError::NoContainer {
            pod: request.pod.clone(),
            container: request.container.clone(),
        });
    }
    let mut runs: Vec<ContainerInfo> = runtime
        .pod_containers(uid)
        .await?
        .into_iter()
        .filter(|info| info.role() != Some(Role::Sandbox))
        .filter(|info| info.label(labels::CONTAINER_NAME) == Some(&request.container))
        .filter(|info| info.state != State::Created)
        .collect();
    runs.sort_by_key(ContainerInfo::attempt);
    if request.previous {
        let status = lost::old_status(&pod, &request.container);
        let ended = status
            .and_then(|status| status.last_state.as_ref()?.terminated.as_ref())
            .and_then(|ended| ended.container_id.as_deref());
        return previous(runs, ended).ok_or_else(|| LogError::NoPrevious {
            pod: request.pod.clone(),
            container: request.container.clone(),
        });
    }
    runs.pop().ok_or_else(|| {
        let statuses = pod.status.iter().flat_map(|status| {
            let init = status.init_container_statuses.iter().flatten();
            let ephemeral = status.ephemeral_container_statuses.iter().flatten();
            init.chain(status.container_statuses.iter().flatten())
                .chain(ephemeral)
        });
        let reason = statuses
            .into_iter()
            .find(|status| status.name == request.container)
            .and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone())
            .unwrap_or_else(|| "ContainerCreating".into());
        LogError::Waiting {
            pod: request.pod.clone(),
            container: request.container.clone(),
            reason,
        }
    })
}

/// The run before this one. While a container waits to be started again, that is the newest: the
/// one its status calls the last. `runs` are in their order.
fn previous(mut runs: Vec<ContainerInfo>, ended: Option<&str>) -> Option<ContainerInfo> {
    let last = ended.and_then(|id| runs.iter().position(|info| id.ends_with(&info.id)));
    match last {
        Some(at) => Some(runs.swap_remove(at)),
        // Removed, or not told yet.
        None => {
            runs.pop();
            runs.pop()
        }
    }
}

fn cut(
    stream: BoxStream<'static, Result<Bytes, RuntimeError>>,
    limit: usize,
) -> BoxStream<'static, Result<Bytes, RuntimeError>> {
    // Ends with the limit itself, not with the next thing printed: a follower would wait.
    futures::stream::unfold((stream, limit), async |(mut stream, left)| {
        if left == 0 {
            return None;
        }
        match stream.next().await? {
            Ok(bytes) => {
                let kept = bytes.slice(..bytes.len().min(left));
                let left = left - kept.len();
                Some((Ok(kept), (stream, left)))
            }
            error => Some((error, (stream, left))),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<LogRequest, LogError> {
        let options: Vec<(String, String)> = options
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        LogRequest::parse("shop", "web", "app", &options)
    }

    #[test]
    fn options_are_read_and_bad_ones_named() {
        let request = parse(&[
            ("follow", "true"),
            ("tailLines", "5"),
            ("limitBytes", "10"),
            ("sinceTime", "2026-11-20T20:00:00Z"),
            ("previous", "false"),
            ("stream", "Stderr"),
            ("pretty", "x"),
        ])
        .unwrap();
        assert!(request.query.follow && !request.previous);
        assert_eq!((request.query.tail, request.limit), (Some(5), Some(10)));
        assert!(request.query.since.is_some());
        assert_eq!(request.query.only, Some(LogSource::Stderr));
        for bad in [
            ("tailLines", "-1"),
            ("limitBytes", "0"),
            ("sinceTime", "noon"),
            ("follow", "si"),
            ("stream", "Both"),
        ] {
            assert!(parse(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_last_run_is_the_one_the_status_tells_of() {
        let runs = || ["a", "b"].map(crate::testing::exited).to_vec();
        let id = |ended| previous(runs(), ended).map(|info| info.id);
        assert_eq!(id(Some("docker://b")).as_deref(), Some("b"), "it waits");
        assert_eq!(id(Some("docker://a")).as_deref(), Some("a"), "it runs");
        assert_eq!(id(None).as_deref(), Some("a"));
        assert_eq!(id(Some("docker://c")).as_deref(), Some("a"));
        assert!(previous(runs().split_off(1), None).is_none());
    }

    #[tokio::test]
    async fn the_limit_cuts_in_the_middle_of_a_part() {
        let parts = ["hello ", "world", "!"].map(|text| Ok(Bytes::from(text)));
        let stream = futures::stream::iter(parts).boxed();
        let kept: Vec<Bytes> = cut(stream, 8).try_collect().await.unwrap();
        assert_eq!(kept.concat(), b"hello wo");
        let endless = futures::stream::iter([Ok(Bytes::from("12345"))]);
        let endless = endless.chain(futures::stream::pending()).boxed();
        let kept: Vec<Bytes> = cut(endless, 5).try_collect().await.unwrap();
        assert_eq!(kept.concat(), b"12345", "a follower is not left waiting");
    }
}
