use std::sync::Arc;

use cadet_api::resource::find;
use cadet_store::{Entry, Revision};
use serde_json::{Value, json};

use super::Teller;
use crate::journal::Writer;
use crate::kinds::Kinds;
use crate::object::{Object, key_of, to_stored};
use crate::story::line::Line;
use crate::world::Change;

fn object(group: &str, plural: &str, revision: Revision, value: &Value) -> Arc<Object> {
    let row = find(group, "v1", plural).expect("a kind");
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or("");
    let entry = Entry {
        key: key_of(row, text("/metadata/namespace"), text("/metadata/name")).into(),
        value: to_stored(row, value),
        created: 1,
        modified: revision,
    };
    Arc::new(Object::from_entry(&entry, &Kinds::default()).expect("readable"))
}

fn named(name: &str, owner: Option<(&str, &str)>) -> Value {
    let owners = owner.map(|(kind, name)| {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": name,
            "uid": format!("uid-{name}"), "controller": true}])
    });
    json!({"name": name, "namespace": "d", "uid": format!("uid-{name}"), "ownerReferences": owners,
        "creationTimestamp": "2026-01-01T00:00:00Z"})
}

/// Plays changes to a teller and keeps what it says.
struct Stage {
    teller: Teller,
    revision: Revision,
    told: Vec<Line>,
}

impl Stage {
    fn about(name: &str) -> Stage {
        Stage {
            teller: Teller::new("lee", &format!("uid-{name}")),
            revision: 0,
            told: Vec::new(),
        }
    }

    fn change(&mut self, user: &str, kind: (&str, &str), old: Option<&Value>, new: Option<&Value>) {
        let (group, plural) = kind;
        self.revision += 1;
        let revision = self.revision;
        let side = |value: Option<&Value>| value.map(|v| object(group, plural, revision, v));
        let change = Change::new(revision, side(new), side(old));
        let writer = Writer {
            user: user.to_owned(),
            agent: "kubectl/v1.33.0".to_owned(),
            verb: if new.is_none() { "delete" } else { "patch" },
            ..Writer::default()
        };
        self.told.extend(self.teller.take(&change, Some(&writer)));
    }

    fn event(&mut self, about: &str, reason: &str, message: &str, annotations: Value) {
        let event = json!({"metadata": {"name": format!("{about}.{reason}"), "namespace": "d",
                "uid": format!("event-{reason}"), "annotations": annotations},
            "involvedObject": {"kind": "Pod", "namespace": "d", "name": about,
                "uid": format!("uid-{about}"), "fieldPath": "spec.containers{app}"},
            "source": {"component": if reason == "Scheduled" { "default-scheduler" } else { "kubelet" }},
            "type": "Normal", "reason": reason, "message": message});
        self.change("system:node:n1", ("", "events"), None, Some(&event));
    }

    /// `who part: text`, and whose if not the hero's.
    fn lines(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.told);
        let brief = |line: Line| {
            let who = format!("{} {}", line.who, line.part);
            format!("{}: {}", who.trim(), line.text)
        };
        told.into_iter().map(brief).collect()
    }
}

const LOOPS: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";
const DEPLOYMENTS: (&str, &str) = ("apps", "deployments");
const SETS: (&str, &str) = ("apps", "replicasets");
const PODS: (&str, &str) = ("", "pods");
const SLICES: (&str, &str) = ("discovery.k8s.io", "endpointslices");

#[test]
fn from_a_request_to_endpoints() {
    let mut stage = Stage::about("web");
    let deployment = json!({"metadata": named("web", None), "spec": {"replicas": 1}});
    let set =
        json!({"metadata": named("web-1", Some(("Deployment", "web"))), "spec": {"replicas": 1}});
    let owner = Some(("ReplicaSet", "web-1"));
    let open = json!({"metadata": named("web-1-x", owner), "status": {"phase": "Pending"}});
    let mut bound = open.clone();
    bound["spec"] = json!({"nodeName": "n1"});
    let mut running = bound.clone();
    running["status"] = json!({"phase": "Running", "podIP": "10.244.0.7",
        "conditions": [{"type": "Ready", "status": "True"}]});
    let slice = json!({"metadata": {"name": "web-s", "namespace": "d", "uid": "s",
            "labels": {"kubernetes.io/service-name": "front"}},
        "endpoints": [{"addresses": ["10.244.0.7"], "targetRef": {"uid": "uid-web-1-x"}}]});
    let stranger = json!({"metadata": named("other", None)});

    stage.change("lee", DEPLOYMENTS, None, Some(&deployment));
    stage.change("lee", PODS, None, Some(&stranger));
    stage.change(LOOPS, SETS, None, Some(&set));
    stage.change(LOOPS, PODS, None, Some(&open));
    stage.change(SCHEDULER, PODS, Some(&open), Some(&bound));
    let why = json!({"cadet.dev/why": "it fits, the only node"});
    stage.event("web-1-x", "Scheduled", "Successfully assigned", why);
    stage.event(
        "other",
        "Pulled",
        "Container image \"o\" already present",
        json!(null),
    );
    stage.event(
        "web-1-x",
        "Pulled",
        "Container image \"a:1\" already present",
        json!(null),
    );
    stage.event("web-1-x", "Created", "Container created", json!(null));
    stage.event("web-1-x", "Started", "Container started", json!(null));
    stage.change("system:node:n1", PODS, Some(&bound), Some(&running));
    stage.change(LOOPS, SLICES, None, Some(&slice));

    let started = stage.told.iter().find(|line| line.act == "started");
    assert!(started.is_some_and(|line| line.seconds.is_some()));
    let lines = stage.lines();
    let start = lines.iter().position(|line| line.contains("started"));
    assert!(lines[start.expect("a start")].starts_with("agent docker: container app started (0."));
    let others: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| !line.contains("started"))
        .collect();
    assert_eq!(
        others,
        [
            "you kubectl apply: created deployment web, 1 wanted",
            "controller deployment: made replica set web-1, 1 wanted",
            "controller replicaset: made pod web-1-x",
            "scheduler: → node n1 (it fits, the only node)",
            "agent: pulled nothing: image a:1 is present",
            "agent: Running, ip 10.244.0.7",
            "agent: ready",
            "service front: 1 endpoint",
        ]
    );
}

#[test]
fn and_back_again() {
    let mut stage = Stage::about("web-1");
    let set = json!({"metadata": named("web-1", None)});
    let pod =
        json!({"metadata": named("x", Some(("ReplicaSet", "web-1"))), "spec": {"nodeName": "n1"}});
    stage.change("lee", SETS, None, Some(&set));
    stage.change(LOOPS, PODS, None, Some(&pod));
    stage.lines();
    assert!(!stage.teller.is_over());
    stage.change("lee", SETS, Some(&set), None);
    let mut ending = pod.clone();
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    ending["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    stage.change(LOOPS, PODS, Some(&pod), Some(&ending));
    stage.event("x", "Killing", "Stopping container app", json!(null));
    assert!(!stage.teller.is_over());
    stage.change("system:node:n1", PODS, Some(&ending), None);
    assert_eq!(
        stage.lines(),
        [
            "you kubectl delete: deleted replica set web-1",
            "controller garbage: asked to end, 30 s at most",
            "agent: stopping container app",
            "agent: gone",
        ]
    );
    assert!(stage.teller.is_over());
}

#[test]
fn a_node_given_without_a_word_is_told_with_what_comes_next() {
    let mut stage = Stage::about("x");
    let open = json!({"metadata": named("x", None)});
    let mut bound = open.clone();
    bound["spec"] = json!({"nodeName": "n1"});
    stage.change("lee", PODS, None, Some(&open));
    stage.change(SCHEDULER, PODS, Some(&open), Some(&bound));
    stage.lines();
    stage.event("x", "Pulling", "Pulling image \"a:1\"", json!(null));
    stage.event(
        "x",
        "Pulling",
        "Pulling image \"a:1\": 3 of 9 MiB",
        json!(null),
    );
    assert_eq!(
        stage.lines(),
        ["scheduler: → node n1", "agent: pulling a:1"]
    );
    stage.change("lee", PODS, None, Some(&open));
    stage.change(SCHEDULER, PODS, Some(&open), Some(&bound));
    let rest = stage.teller.rest();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].text, "→ node n1");
}

#[test]
fn what_began_before_the_servers_memory_tells_its_own() {
    let mut stage = Stage::about("x");
    let mut pod = json!({"metadata": named("x", None), "spec": {"nodeName": "n1"}, "status": {
        "phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:01Z"}]}});
    pod["metadata"]["managedFields"] =
        json!([{"manager": "kubectl-create", "time": "2026-01-01T00:00:00Z"}]);
    let mut running = pod.clone();
    running["status"]["phase"] = json!("Running");
    stage.change("system:node:n1", PODS, Some(&pod), Some(&running));
    let exact: Vec<bool> = stage.told.iter().map(|line| line.exact).collect();
    assert_eq!(exact, [false, false, true]);
    assert_eq!(
        stage.lines(),
        [
            "you kubectl create: created pod x",
            "scheduler: → node n1",
            "agent: Running"
        ]
    );
    // Once.
    stage.change("system:node:n1", PODS, Some(&running), Some(&pod));
    assert_eq!(stage.lines(), ["agent: Pending"; 0]);
}
