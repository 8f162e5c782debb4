//! The plan against hand-made observations; whole lives are played in worker_tests.rs.

use std::collections::HashMap;

use serde_json::json;

use super::*;
use crate::testing::pod;

fn now() -> Timestamp {
    "2026-11-20T20:00:00Z".parse().unwrap()
}

fn info(role: &str, name: &str, sandbox: &str, attempt: i32, state: State) -> ContainerInfo {
    let labels = [
        (labels::ROLE, role.to_owned()),
        (labels::CONTAINER_NAME, name.to_owned()),
        (labels::SANDBOX, sandbox.to_owned()),
        (labels::ATTEMPT, attempt.to_string()),
    ];
    ContainerInfo {
        id: if role == "sandbox" {
            sandbox.to_owned()
        } else {
            format!("{name}{attempt}")
        },
        labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        state,
        pid: 1,
        exit_code: 0,
        oom_killed: false,
        error: String::new(),
        created_at: Some(now()),
        started_at: Some(now()),
        finished_at: (state == State::Exited).then(now),
        image: "a:1".into(),
        image_id: String::new(),
    }
}

fn always() -> Pod {
    pod(json!({"containers": [{"name": "a", "image": "a:1"}]}))
}

fn wired(sandbox: &str) -> Memory {
    let mut memory = Memory::default();
    memory.wired = Some(sandbox.into());
    memory.mounted(HashMap::new());
    memory
}

fn plan(pod: &Pod, all: Vec<ContainerInfo>, memory: &Memory) -> Next {
    next(pod, &Observed::new(all), memory, now())
}

#[test]
fn a_new_pod_gets_a_sandbox_then_a_network_then_its_container() {
    let mut memory = Memory::default();
    assert_eq!(plan(&always(), vec![], &memory), Next::Do(Act::Mount));
    memory.mount_failed(now(), "no".into());
    let soon = now() + k8s_openapi::jiff::SignedDuration::from_millis(500);
    assert_eq!(plan(&always(), vec![], &memory), Next::Wait(Some(soon)));
    memory.mounted(HashMap::new());
    assert_eq!(
        plan(&always(), vec![], &memory),
        Next::Do(Act::CreateSandbox { attempt: 0 })
    );
    let sandbox = || info("sandbox", "", "s", 0, State::Running);
    assert_eq!(
        plan(&always(), vec![sandbox()], &memory),
        Next::Do(Act::Wire {
            sandbox: "s".into()
        })
    );
    assert_eq!(
        plan(&always(), vec![sandbox()], &wired("s")),
        Next::Do(Act::Start {
            name: "a".into(),
            role: Role::App,
            attempt: 0
        })
    );
    let running = info("app", "a", "s", 0, State::Running);
    assert_eq!(
        plan(&always(), vec![sandbox(), running], &wired("s")),
        Next::Wait(None)
    );
}

#[test]
fn a_dead_sandbox_is_cleared_before_a_new_one_is_made() {
    let dead = info("sandbox", "", "s", 0, State::Exited);
    let still_running = info("app", "a", "s", 0, State::Running);
    let memory = wired("s");
    assert_eq!(
        plan(&always(), vec![dead, still_running.clone()], &memory),
        Next::Do(Act::ClearSandbox)
    );
    // The sandbox was removed by hand: the container in its namespaces must go as well.
    assert_eq!(
        plan(&always(), vec![still_running], &memory),
        Next::Do(Act::ClearSandbox)
    );
    let ended = info("app", "a", "s", 0, State::Exited);
    assert_eq!(
        plan(&always(), vec![ended], &memory),
        Next::Do(Act::CreateSandbox { attempt: 1 })
    );
}

#[test]
fn a_finished_pod_never_gets_a_sandbox_again() {
    let never = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    let mut ended = info("app", "a", "s", 0, State::Exited);
    ended.exit_code = 255;
    assert_eq!(
        plan(&never, vec![ended.clone()], &Memory::default()),
        Next::Done
    );
    let mut failed = always();
    failed.status = serde_json::from_value(json!({"phase": "Failed"})).unwrap();
    assert_eq!(plan(&failed, vec![], &Memory::default()), Next::Done);
    let on_failure = pod(json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}]}));
    assert!(matches!(
        plan(&on_failure, vec![ended], &wired("gone")),
        Next::Do(Act::CreateSandbox { .. })
    ));
}

#[test]
fn a_pruned_container_keeps_its_count() {
    let mut pod = always();
    pod.status = serde_json::from_value(json!({"phase": "Running", "containerStatuses": [{
        "name": "a", "image": "a:1", "imageID": "", "ready": false, "restartCount": 4,
        "containerID": "docker://x"}]}))
    .unwrap();
    let sandbox = info("sandbox", "", "s", 0, State::Running);
    assert_eq!(
        plan(&pod, vec![sandbox], &wired("s")),
        Next::Do(Act::Start {
            name: "a".into(),
            role: Role::App,
            attempt: 5
        })
    );
}

#[test]
fn a_failed_init_container_of_a_never_pod_ends_it_and_of_others_is_tried_again() {
    let spec = |policy| {
        pod(
            json!({"restartPolicy": policy, "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}]}),
        )
    };
    let all = || {
        let mut failed = info("init", "i", "s", 0, State::Exited);
        failed.exit_code = 1;
        vec![info("sandbox", "", "s", 0, State::Running), failed]
    };
    assert_eq!(plan(&spec("Never"), all(), &wired("s")), Next::Done);
    assert_eq!(
        plan(&spec("Always"), all(), &wired("s")),
        Next::Do(Act::Start {
            name: "i".into(),
            role: Role::Init,
            attempt: 1
        })
    );
}

#[test]
fn a_sidecar_starts_first_and_does_not_hold_the_others_up() {
    let pod = pod(json!({
        "initContainers": [{"name": "side", "restartPolicy": "Always"}, {"name": "once"}],
        "containers": [{"name": "a"}]}));
    let sandbox = || info("sandbox", "", "s", 0, State::Running);
    let side = || info("init", "side", "s", 0, State::Running);
    let once = |state| info("init", "once", "s", 0, state);
    let start = |name: &str, role| {
        Next::Do(Act::Start {
            name: name.into(),
            role,
            attempt: 0,
        })
    };
    let memory = wired("s");
    assert_eq!(
        plan(&pod, vec![sandbox()], &memory),
        start("side", Role::Init)
    );
    assert_eq!(
        plan(&pod, vec![sandbox(), side()], &memory),
        start("once", Role::Init)
    );
    assert_eq!(
        plan(&pod, vec![sandbox(), side(), once(State::Running)], &memory),
        Next::Wait(None)
    );
    assert_eq!(
        plan(&pod, vec![sandbox(), side(), once(State::Exited)], &memory),
        start("a", Role::App)
    );
    let app = info("app", "a", "s", 0, State::Running);
    let dead_side = info("init", "side", "s", 0, State::Exited);
    assert_eq!(
        plan(
            &pod,
            vec![sandbox(), dead_side, once(State::Exited), app],
            &memory
        ),
        Next::Do(Act::Start {
            name: "side".into(),
            role: Role::Init,
            attempt: 1
        })
    );
}

#[test]
fn one_containers_wait_does_not_delay_anothers_start() {
    let pod = pod(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let mut memory = wired("s");
    memory.failed("a", now(), "ErrImagePull", "no".into(), None);
    let sandbox = info("sandbox", "", "s", 0, State::Running);
    assert_eq!(
        plan(&pod, vec![sandbox.clone()], &memory),
        Next::Do(Act::Start {
            name: "b".into(),
            role: Role::App,
            attempt: 0
        })
    );
    let b = info("app", "b", "s", 0, State::Running);
    let Next::Wait(Some(until)) = plan(&pod, vec![sandbox, b], &memory) else {
        panic!()
    };
    assert_eq!(until.duration_since(now()).as_secs(), 10);
}

#[test]
fn a_hopeless_container_is_killed() {
    let mut memory = wired("s");
    memory.unhealthy = HashMap::from([("a0".to_owned(), "liveness".to_owned())]);
    let sandbox = info("sandbox", "", "s", 0, State::Running);
    let running = info("app", "a", "s", 0, State::Running);
    assert_eq!(
        plan(&always(), vec![sandbox, running], &memory),
        Next::Do(Act::Kill {
            id: "a0".into(),
            name: "a".into(),
            why: KillReason::Unhealthy("liveness".into())
        })
    );
}

#[test]
fn a_sidecar_that_has_not_started_holds_the_others_up() {
    let pod = pod(json!({
        "initContainers": [{"name": "side", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}]}));
    let sandbox = info("sandbox", "", "s", 0, State::Running);
    let side = info("init", "side", "s", 0, State::Running);
    let mut memory = wired("s");
    memory.starting.insert("side0".into());
    let all = vec![sandbox, side];
    assert_eq!(plan(&pod, all.clone(), &memory), Next::Wait(None));
    memory.starting.clear();
    assert!(matches!(plan(&pod, all, &memory), Next::Do(Act::Start { name, .. }) if name == "a"));
}

#[test]
fn a_debugger_is_started_once() {
    let pod = pod(json!({"containers": [{"name": "a", "image": "a:1"}],
        "ephemeralContainers": [{"name": "debug", "image": "a:1"}]}));
    let sandbox = info("sandbox", "", "s", 0, State::Running);
    let app = info("app", "a", "s", 0, State::Running);
    assert_eq!(
        plan(&pod, vec![sandbox.clone(), app.clone()], &wired("s")),
        Next::Do(Act::Start {
            name: "debug".into(),
            role: Role::Ephemeral,
            attempt: 0
        })
    );
    let mut debug = info("ephemeral", "debug", "s", 0, State::Exited);
    debug.exit_code = 1;
    assert_eq!(
        plan(&pod, vec![sandbox, app, debug], &wired("s")),
        Next::Wait(None)
    );
}

#[test]
fn other_limits_are_given_to_a_running_container_or_restart_it() {
    let sandbox = info("sandbox", "", "s", 0, State::Running);
    let mut app = info("app", "a", "s", 0, State::Running);
    app.labels.insert(labels::LIMITS.into(), "2,0,0".into());
    let limited = |policy: &str| {
        pod(json!({"containers": [{"name": "a", "image": "a:1",
            "resources": {"limits": {"memory": "64Mi"}},
            "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]}]}))
    };
    let all = vec![sandbox, app];
    let resize = Next::Do(Act::Resize {
        id: "a0".into(),
        name: "a".into(),
    });
    assert_eq!(
        plan(&limited("NotRequired"), all.clone(), &wired("s")),
        resize
    );
    assert_eq!(plan(&always(), all.clone(), &wired("s")), Next::Wait(None));
    let mut memory = wired("s");
    let now = format!("2,0,{}", 64 << 20);
    memory.resized.insert("a0".into(), now);
    assert_eq!(
        plan(&limited("NotRequired"), all.clone(), &memory),
        Next::Wait(None)
    );
    let Next::Do(Act::Kill { why, .. }) = plan(&limited("RestartContainer"), all, &wired("s"))
    else {
        panic!()
    };
    assert_eq!(why, KillReason::Resized);
}

#[test]
fn a_condemned_pod_is_done() {
    let mut memory = wired("s");
    memory.over = Some(crate::verdict::Over::deadline());
    let sandbox = info("sandbox", "", "s", 0, State::Running);
    let app = info("app", "a", "s", 0, State::Running);
    assert_eq!(plan(&always(), vec![sandbox, app], &memory), Next::Done);
}
