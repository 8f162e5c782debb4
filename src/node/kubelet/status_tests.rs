//! Statuses of situations the worker's tests do not reach.

use serde_json::json;

use super::*;
use crate::labels;
use crate::testing::{condition, pod, state};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn ended(name: &str, code: i32) -> ContainerInfo {
    let labels = [
        (labels::ROLE, "app"),
        (labels::CONTAINER_NAME, name),
        (labels::SANDBOX, "s"),
    ];
    ContainerInfo {
        id: format!("{name}-id"),
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        state: State::Exited,
        pid: 0,
        exit_code: code,
        oom_killed: false,
        error: String::new(),
        created_at: Some(at(0)),
        started_at: Some(at(1)),
        finished_at: Some(at(2)),
        image: "cadet.local/lessons/mongo:latest".into(),
        image_id: "docker://sha256:1".into(),
    }
}

fn sandbox() -> ContainerInfo {
    let mut sandbox = ended("", 0);
    sandbox.id = "s".into();
    sandbox.state = State::Running;
    sandbox.labels.insert(labels::ROLE.into(), "sandbox".into());
    sandbox
        .labels
        .insert(labels::POD_IP.into(), "10.244.0.9".into());
    sandbox
}

fn status_of(pod: &Pod, all: Vec<ContainerInfo>, words: &[(&str, &str)]) -> PodStatus {
    status_with(pod, all, words, Memory::default(), false)
}

fn status_with(
    pod: &Pod,
    all: Vec<ContainerInfo>,
    words: &[(&str, &str)],
    mut memory: Memory,
    terminating: bool,
) -> PodStatus {
    let last_words = words
        .iter()
        .map(|(id, text)| ((*id).to_owned(), (*text).to_owned()))
        .collect();
    memory.wired = Some("s".into());
    status_remembering(pod, all, &last_words, &memory, terminating)
}

fn status_remembering(
    pod: &Pod,
    all: Vec<ContainerInfo>,
    last_words: &HashMap<String, String>,
    memory: &Memory,
    terminating: bool,
) -> PodStatus {
    compute(&Inputs {
        pod,
        seen: &Observed::new(all),
        memory,
        health: &Health::default(),
        now: at(10),
        host_ip: "10.0.2.15",
        last_words,
        terminating,
    })
}

#[test]
fn an_agent_that_begins_again_takes_no_address_back() {
    let mut pod = pod(json!({"containers": [{"name": "db"}]}));
    let mut running = ended("db", 0);
    running.state = State::Running;
    let all = || vec![sandbox(), running.clone()];
    let now = |pod: &Pod, memory: &Memory| {
        let status = status_remembering(pod, all(), &HashMap::new(), memory, false);
        let standing = condition(&status, "PodReadyToStartContainers").to_owned();
        (status.pod_ip, standing)
    };
    let fresh = Memory::default();
    // Nothing was said before, or of another address: it is said once it is seen to stand.
    assert_eq!(now(&pod, &fresh), (None, "False".into()));
    pod.status = serde_json::from_value(json!({"podIP": "10.244.0.8"})).unwrap();
    assert_eq!(now(&pod, &fresh), (None, "False".into()));
    pod.status = serde_json::from_value(json!({"podIP": "10.244.0.9"})).unwrap();
    let stands = (Some("10.244.0.9".into()), "True".into());
    assert_eq!(now(&pod, &fresh), stands);
    // It has looked, and what stands is another one's.
    let mut other = Memory::default();
    other.wired = Some("gone".into());
    assert_eq!(now(&pod, &other), (None, "False".into()));
}

#[test]
fn the_status_names_the_image_that_really_runs_and_how_it_ended() {
    let pod = pod(json!({"containers": [{"name": "db", "image": "mongo"}]}));
    let mut info = ended("db", 137);
    info.oom_killed = true;
    let status = status_of(&pod, vec![sandbox(), info], &[("db-id", "disk full")]);
    assert_eq!(state(&status, "db"), "OOMKilled");
    let db = status.container_statuses.unwrap().remove(0);
    assert_eq!(db.image, "cadet.local/lessons/mongo:latest");
    assert_eq!(db.container_id.as_deref(), Some("docker://db-id"));
    let end = db.state.unwrap().terminated.unwrap();
    assert_eq!(
        (end.exit_code, end.message.as_deref()),
        (137, Some("disk full"))
    );
    assert_eq!(end.finished_at, Some(Time(at(2))));
}

#[test]
fn what_cannot_be_given_is_said_and_what_is_had_stays() {
    let mut pod = pod(json!({"containers": [{"name": "db",
        "volumeMounts": [{"name": "a", "mountPath": "/a"},
            {"name": "b", "mountPath": "/b", "readOnly": true}],
        "resources": {"requests": {"cpu": "1000"}, "limits": {"cpu": "1000"}}}]}));
    let had = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}});
    pod.status = serde_json::from_value(json!({
        "conditions": [{"type": "PodResizePending", "status": "True",
            "lastTransitionTime": at(1).to_string()}],
        "containerStatuses": [{"name": "db", "ready": true, "restartCount": 0, "image": "",
            "imageID": "", "allocatedResources": {"cpu": "1"}, "resources": had}]}))
    .unwrap();
    let mut running = ended("db", 0);
    running.state = State::Running;
    let all = || vec![sandbox(), running.clone()];
    let mut memory = Memory::default();
    memory.pending = Some(crate::memory::Pending {
        reason: "Infeasible",
        message: "too much".into(),
    });
    let pending = |status: &PodStatus| {
        let mut all = status.conditions.clone().unwrap().into_iter();
        all.find(|condition| condition.type_ == "PodResizePending")
    };
    let status = status_with(&pod, all(), &[], memory, false);
    let told = pending(&status).unwrap();
    assert_eq!(
        (told.reason.as_deref(), told.message.as_deref()),
        (Some("Infeasible"), Some("too much"))
    );
    assert_eq!(told.last_transition_time, Some(Time(at(1))));
    let db = status.container_statuses.unwrap().remove(0);
    assert_eq!(serde_json::to_value(&db.resources).unwrap(), had);
    assert_eq!(db.allocated_resources.unwrap()["cpu"].0, "1");
    let mounts = serde_json::to_value(&db.volume_mounts).unwrap();
    let wanted = json!([{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/b",
        "readOnly": true, "recursiveReadOnly": "Disabled"}]);
    assert_eq!(mounts, wanted);

    let status = status_of(&pod, all(), &[]);
    assert_eq!(pending(&status), None);
    let db = status.container_statuses.unwrap().remove(0);
    assert_eq!(db.allocated_resources.unwrap()["cpu"].0, "1000");
}

#[test]
fn conditions_of_others_survive_and_times_change_only_with_the_value() {
    let mut pod = pod(json!({"containers": [{"name": "db"}],
        "readinessGates": [{"conditionType": "shop.example/open"}]}));
    pod.status = serde_json::from_value(json!({"startTime": at(0).to_string(), "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(0).to_string()},
        {"type": "Ready", "status": "False", "lastTransitionTime": at(1).to_string()},
        {"type": "shop.example/note", "status": "True"},
    ]}))
    .unwrap();
    let mut running = ended("db", 0);
    running.state = State::Running;
    let status = status_of(&pod, vec![sandbox(), running.clone()], &[]);
    let get = |status: &PodStatus, type_: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == type_)
            .cloned()
            .unwrap()
    };
    assert_eq!(
        get(&status, "PodScheduled").last_transition_time,
        Some(Time(at(0)))
    );
    assert_eq!(get(&status, "shop.example/note").status, "True");
    assert_eq!(condition(&status, "ContainersReady"), "True");
    let ready = get(&status, "Ready");
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_deref()),
        ("False", Some("ReadinessGatesNotReady"))
    );
    assert_eq!(
        ready.last_transition_time,
        Some(Time(at(1))),
        "False before, False now"
    );

    assert_eq!(
        ready.message.as_deref(),
        Some("corresponding condition of pod readiness gate \"shop.example/open\" does not exist.")
    );

    pod.status = Some(status);
    let gate = |pod: &mut Pod, value: &str| {
        let open = json!({"type": "shop.example/open", "status": value});
        let conditions = pod.status.as_mut().unwrap().conditions.as_mut().unwrap();
        conditions.retain(|condition| condition.type_ != "shop.example/open");
        conditions.push(serde_json::from_value(open).unwrap());
    };
    gate(&mut pod, "Unknown");
    let status = status_of(&pod, vec![sandbox(), running.clone()], &[]);
    assert_eq!(
        get(&status, "Ready").message.as_deref(),
        Some("the status of pod readiness gate \"shop.example/open\" is not \"True\", but Unknown")
    );
    gate(&mut pod, "True");
    let status = status_of(&pod, vec![sandbox(), running], &[]);
    let ready = get(&status, "Ready");
    assert_eq!(
        (ready.status.as_str(), ready.last_transition_time),
        ("True", Some(Time(at(10))))
    );
    assert_eq!(status.start_time, Some(Time(at(0))));
}

#[test]
fn a_container_with_a_readiness_probe_waits_for_its_verdict() {
    let pod = pod(json!({"containers": [
        {"name": "db", "readinessProbe": {"tcpSocket": {"port": 1}}}]}));
    let mut running = ended("db", 0);
    running.state = State::Running;
    let status = status_of(&pod, vec![sandbox(), running], &[]);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(condition(&status, "Ready"), "False");
    let message = status
        .conditions
        .unwrap()
        .into_iter()
        .find(|c| c.type_ == "Ready")
        .unwrap();
    assert_eq!(
        message.message.as_deref(),
        Some("containers with unready status: [db]")
    );
}

#[test]
fn a_pod_on_the_hosts_network_has_the_hosts_address() {
    let pod = pod(json!({"hostNetwork": true, "containers": [{"name": "db"}]}));
    let mut sandbox = sandbox();
    sandbox.labels.remove(labels::POD_IP);
    let status = status_of(&pod, vec![sandbox], &[]);
    assert_eq!(status.pod_ip.as_deref(), Some("10.0.2.15"));
}

#[test]
fn a_pod_is_over_only_when_nothing_of_it_runs() {
    let evicted = || {
        let mut memory = Memory::default();
        let words = "The node was low on resource: memory. ";
        memory.over = Some(crate::verdict::Over::for_the_node(words.into()));
        memory
    };
    let mut pod = pod(json!({"containers": [{"name": "db"}]}));
    pod.status = serde_json::from_value(json!({"phase": "Running"})).unwrap();
    let mut running = ended("db", 0);
    running.state = State::Running;
    let status = status_with(&pod, vec![sandbox(), running], &[], evicted(), false);
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Running"), None)
    );
    assert_eq!(condition(&status, "DisruptionTarget"), "", "not yet");
    let gone = vec![sandbox(), ended("db", 137)];
    let status = status_with(&pod, gone, &[], evicted(), false);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    assert_eq!(condition(&status, "DisruptionTarget"), "True");
    let ready = status.conditions.iter().flatten();
    let ready: Vec<_> = ready.filter(|c| c.type_ == "Ready").collect();
    assert_eq!(ready[0].reason.as_deref(), Some("PodFailed"));
}

#[test]
fn a_pod_that_ends_before_it_ran_has_failed() {
    let pod = pod(json!({"containers": [{"name": "db", "image": "mongo"}]}));
    let status = status_with(&pod, vec![sandbox()], &[], Memory::default(), true);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    let end = status.container_statuses.unwrap().remove(0);
    let end = end.state.unwrap().terminated.unwrap();
    assert_eq!(
        (end.exit_code, end.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
    assert_eq!(
        end.message.as_deref(),
        Some("The container could not be located when the pod was terminated")
    );
}

#[test]
fn a_debugger_waits_for_the_pod_like_everybody_else() {
    let pod = pod(
        json!({"initContainers": [{"name": "setup"}], "containers": [{"name": "db"}],
        "ephemeralContainers": [{"name": "debug"}]}),
    );
    let status = status_of(&pod, vec![sandbox()], &[]);
    assert_eq!(state(&status, "debug"), "PodInitializing");
}

#[test]
fn statuses_stand_by_name_and_messages_follow_the_manifest() {
    let pod = pod(json!({"containers": [{"name": "web"}, {"name": "db"}]}));
    let status = status_of(&pod, vec![sandbox()], &[]);
    let statuses = status.container_statuses.iter().flatten();
    let names: Vec<&str> = statuses.map(|status| status.name.as_str()).collect();
    assert_eq!(names, ["db", "web"]);
    let conditions = status.conditions.iter().flatten();
    let words: Vec<_> = conditions
        .filter(|condition| condition.type_ == "Ready")
        .map(|condition| condition.message.as_deref())
        .collect();
    assert_eq!(words, [Some("containers with unready status: [web db]")]);
}
