//! Containers the engine has no trace of although they ran: somebody removed them. What is
//! told of them follows from the API's last word. Pure.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod,
};

use crate::status::Inputs;

/// Reason, exit code (128 + SIGKILL) and messages are upstream's: how such a container ended
/// is not known, but it was no success.
const REASON: &str = "ContainerStatusUnknown";
const EXIT_CODE: i32 = 137;
const DELETED: &str = "The container could not be located when the pod was deleted.  \
                       The container used to be Running";
const TERMINATED: &str = "The container could not be located when the pod was terminated";

fn unknown(message: &str) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: EXIT_CODE,
        reason: Some(REASON.into()),
        message: Some(message.into()),
        ..ContainerStateTerminated::default()
    }
}

/// What the API last said of the container of that name.
#[must_use]
pub(crate) fn old_status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let apps = status.container_statuses.iter().flatten();
    let ephemeral = status.ephemeral_container_statuses.iter().flatten();
    let mut all = init.chain(apps).chain(ephemeral);
    all.find(|status| status.name == name)
}

fn ended(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
    state.and_then(|state| state.terminated.as_ref())
}

/// How often a container has been made that the engine has lost: the restart count of its
/// next one, 0 if there never was one.
#[must_use]
pub(crate) fn attempts(pod: &Pod, name: &str) -> i32 {
    old_status(pod, name).map_or(0, |old| {
        // A status without an id already counts the one that was lost.
        old.restart_count + i32::from(old.container_id.is_some())
    })
}

/// How a container ended that the engine has lost; `None` if it never ran.
#[must_use]
pub(crate) fn exit_code(pod: &Pod, name: &str) -> Option<i32> {
    let old = old_status(pod, name).filter(|_| attempts(pod, name) > 0)?;
    let was_running = old.state.as_ref().is_some_and(|s| s.running.is_some());
    let end = ended(old.state.as_ref()).or_else(|| ended(old.last_state.as_ref()));
    let known = end.filter(|_| !was_running);
    Some(known.map_or(EXIT_CODE, |end| end.exit_code))
}

/// The status of a container the engine does not know: an end once told stands, what was
/// running has ended somehow. `None` if it never ran. `waiting` is what it waits for.
#[must_use]
pub(crate) fn status(
    inputs: &Inputs<'_>,
    container: &Container,
    waiting: ContainerState,
) -> Option<ContainerStatus> {
    let name = &container.name;
    let old = old_status(inputs.pod, name)?;
    let state = old.state.as_ref()?;
    if state.terminated.is_some() && inputs.memory.trouble(name).is_none() {
        return Some(old.clone());
    }
    let before = ended(old.last_state.as_ref());
    let last = match (state.terminated.as_ref(), before) {
        (Some(end), _) | (None, Some(end)) => end.clone(),
        (None, None) if state.running.is_some() => unknown(DELETED),
        (None, None) => return None,
    };
    Some(ContainerStatus {
        name: name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting),
        last_state: Some(ContainerState {
            terminated: Some(last),
            ..ContainerState::default()
        }),
        restart_count: if inputs.terminating {
            old.restart_count
        } else {
            attempts(inputs.pod, name)
        },
        started: Some(false),
        allocated_resources: old.allocated_resources.clone(),
        ..ContainerStatus::default()
    })
}

/// Statuses of a pod that is over: what has begun and is not known to have ended has ended
/// all the same. Containers behind an init container that failed never began.
pub(crate) fn settle(init: &mut [ContainerStatus], apps: &mut [ContainerStatus]) {
    let begun = |status: &ContainerStatus| {
        let waits = status.state.as_ref().is_none_or(|s| s.waiting.is_some());
        !waits || ended(status.last_state.as_ref()).is_some()
    };
    let reached = init.iter().rposition(begun).map_or(0, |at| at + 1);
    let initialized = init.last().is_none_or(|last| last.ready) || apps.iter().any(begun);
    let apps: &mut [ContainerStatus] = if initialized { apps } else { &mut [] };
    for status in init[..reached].iter_mut().chain(apps) {
        if ended(status.state.as_ref()).is_some() {
            continue;
        }
        // One that waited to be started again ended as it did the last time.
        let last = ended(status.last_state.as_ref());
        let known = last.filter(|end| end.reason.as_deref() != Some(REASON));
        let end = known.cloned().unwrap_or_else(|| unknown(TERMINATED));
        status.state = Some(ContainerState {
            terminated: Some(end),
            ..ContainerState::default()
        });
        status.last_state = Some(ContainerState::default());
        status.started = Some(false);
        status.ready = false;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::pod;

    fn told(status: Value) -> Pod {
        let mut pod = pod(json!({"containers": [{"name": "a"}]}));
        let mut whole = json!({"name": "a", "image": "a:1", "imageID": "", "ready": false});
        if let (Some(whole), Some(more)) = (whole.as_object_mut(), status.as_object()) {
            whole.extend(more.clone());
        }
        pod.status = serde_json::from_value(json!({"containerStatuses": [whole]})).unwrap();
        pod
    }

    #[test]
    fn what_was_removed_counts_once_whatever_the_api_has_heard() {
        let running = told(json!({"restartCount": 2, "containerID": "docker://x",
            "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 0}}}));
        let heard = told(json!({"restartCount": 3, "state": {"waiting": {}},
            "lastState": {"terminated": {"exitCode": 137}}}));
        for pod in [running, heard] {
            assert_eq!(attempts(&pod, "a"), 3);
            assert_eq!(exit_code(&pod, "a"), Some(137));
        }
        let ended = told(json!({"restartCount": 0, "containerID": "docker://x",
            "state": {"terminated": {"exitCode": 3}}}));
        assert_eq!(exit_code(&ended, "a"), Some(3));
        let never = told(json!({"restartCount": 0, "state": {"waiting": {}}}));
        assert_eq!((attempts(&never, "a"), exit_code(&never, "a")), (0, None));
        assert_eq!(exit_code(&never, "b"), None);
    }

    #[test]
    fn only_what_has_begun_is_settled() {
        let status = |name: &str, state: Value| -> ContainerStatus {
            serde_json::from_value(json!({"name": name, "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "state": state}))
            .unwrap()
        };
        let waiting = || json!({"waiting": {"reason": "PodInitializing"}});
        let mut init = [
            status("one", waiting()),
            status("two", json!({"terminated": {"exitCode": 1}})),
            status("three", waiting()),
        ];
        let mut apps = [status("a", waiting())];
        settle(&mut init, &mut apps);
        let reason = |status: &ContainerStatus| {
            let end = ended(status.state.as_ref());
            end.map(|end| end.reason.clone().unwrap_or_default())
        };
        assert_eq!(reason(&init[0]).as_deref(), Some(REASON));
        assert_eq!(reason(&init[1]).as_deref(), Some(""), "as it ended");
        assert_eq!((reason(&init[2]), reason(&apps[0])), (None, None));
        settle(&mut [], &mut apps);
        assert_eq!(reason(&apps[0]).as_deref(), Some(REASON));
    }
}
