//! A small cluster at ten past midnight, built object by object.

use cadet_why::{Answer, Facts, Found, Kind, Target, Want, explain};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Where everything is.
pub const NS: &str = "shop";
/// The only node, unless a test says otherwise.
pub const NODE: &str = "cadet";
/// Pods and events are from five past.
pub const THEN: &str = "2026-01-01T00:05:00Z";

pub struct World {
    pub facts: Facts,
    events: usize,
}

impl World {
    pub fn about(kind: Kind, name: &str) -> World {
        let now = OffsetDateTime::parse("2026-01-01T00:10:00Z", &Rfc3339).expect("a time");
        World {
            facts: Facts::new(Target::new(kind, NS, name), now),
            events: 0,
        }
    }

    pub fn with(mut self, kind: Kind, object: Value) -> World {
        self.facts.put(kind, object);
        self
    }

    /// All objects of a kind that there are.
    pub fn all(mut self, kind: Kind, objects: &[Value]) -> World {
        let want = Want::list(kind, NS);
        self.facts
            .learn(want, Found::Object(json!({"items": objects})));
        self
    }

    /// The only node, healthy.
    pub fn node(self) -> World {
        self.all(Kind::Node, &[node(NODE, json!({}))])
    }

    pub fn event(self, kind: Kind, name: &str, reason: &str, message: &str) -> World {
        self.event_at(kind, name, reason, message, THEN)
    }

    pub fn event_at(
        mut self,
        kind: Kind,
        name: &str,
        reason: &str,
        message: &str,
        at: &str,
    ) -> World {
        self.events += 1;
        let namespace = if kind.is_namespaced() { NS } else { "" };
        let event = json!({
            "metadata": {"name": format!("{name}.{}", self.events), "namespace": NS},
            "involvedObject": {"kind": kind.word(), "name": name, "namespace": namespace, "uid": format!("uid-{name}")},
            "reason": reason, "message": message, "type": "Warning", "count": 3,
            "firstTimestamp": at, "lastTimestamp": at});
        self.facts.put(Kind::Event, event);
        self
    }

    pub fn log(mut self, pod: &str, container: &str, previous: bool, text: &str) -> World {
        let want = Want::Log {
            namespace: NS.into(),
            pod: pod.into(),
            container: container.into(),
            previous,
        };
        self.facts.learn(want, Found::Text(text.into()));
        self
    }

    pub fn learn(mut self, want: Want, found: Found) -> World {
        self.facts.learn(want, found);
        self
    }

    #[track_caller]
    pub fn answer(&self) -> Answer {
        explain(&self.facts).expect("the object is there")
    }

    /// Wants this cause, told with certainty, and these words somewhere in the answer.
    #[track_caller]
    pub fn says(&self, id: &str, words: &[&str]) {
        let answer = self.answer();
        assert!(answer.confident, "{answer:#?}");
        self.may_say(id, words);
    }

    /// The same, certain or not.
    #[track_caller]
    pub fn may_say(&self, id: &str, words: &[&str]) {
        let answer = self.answer();
        assert_eq!(answer.cause.id(), id, "{answer:#?}");
        let text = text(&answer);
        for words in words {
            assert!(text.contains(words), "{words:?} is missing in\n{text}");
        }
        assert!(!answer.next.is_empty(), "nothing to type: {answer:#?}");
        for bad in ["  ", " .", "..", " ;"] {
            assert!(
                !answer.headline.contains(bad),
                "{bad:?} in {}",
                answer.headline
            );
        }
        assert!(
            answer.headline.ends_with(['.', ':']) || answer.headline.ends_with('…'),
            "{}",
            answer.headline
        );
    }
}

/// An answer as it is read.
pub fn text(answer: &Answer) -> String {
    let mut lines = vec![answer.headline.clone()];
    lines.extend(
        answer
            .evidence
            .iter()
            .map(|(label, text)| format!("{label} {text}")),
    );
    lines.extend(answer.since.iter().map(|since| format!("since {since}")));
    lines.extend(answer.next.iter().cloned());
    lines.join("\n")
}

pub fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": NS, "uid": format!("uid-{name}"), "creationTimestamp": THEN,
        "labels": {"app": name}})
}

pub fn owned(mut object: Value, kind: Kind, owner: &str) -> Value {
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": kind.word(),
        "name": owner, "uid": format!("uid-{owner}"), "controller": true}]);
    object
}

pub fn node(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64"}},
        "spec": spec,
        "status": {"allocatable": {"cpu": "2", "memory": "2Gi", "pods": "110"},
            "nodeInfo": {"architecture": "amd64"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": THEN, "lastHeartbeatTime": THEN},
                {"type": "MemoryPressure", "status": "False"}]}})
}

pub fn not_ready(name: &str, status: &str) -> Value {
    let mut one = node(
        name,
        json!({"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]}),
    );
    one["status"]["conditions"][0] = json!({"type": "Ready", "status": status, "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.", "lastTransitionTime": THEN, "lastHeartbeatTime": THEN});
    one
}

/// A container of a manifest.
pub fn app() -> Value {
    json!({"name": "app", "image": "web:1"})
}

/// A pod on the node; its phase is Pending and its container is not there yet.
pub fn pod(name: &str, containers: Value) -> Value {
    json!({"metadata": meta(name),
        "spec": {"nodeName": NODE, "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "containers": containers},
        "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": THEN},
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady",
                "message": "containers with unready status: [app]", "lastTransitionTime": THEN}]}})
}

/// A pod whose container `app` is in this state.
pub fn with_status(name: &str, container: Value, status: Value) -> Value {
    let mut pod = pod(name, json!([container]));
    let mut status = status;
    status["name"] = json!("app");
    if status["restartCount"].is_null() {
        status["restartCount"] = json!(0);
    }
    if status["state"]["running"].is_object() || status["restartCount"] != 0 {
        pod["status"]["phase"] = json!("Running");
    }
    if status["ready"] == true {
        pod["status"]["conditions"][1] =
            json!({"type": "Ready", "status": "True", "lastTransitionTime": THEN});
    }
    pod["status"]["containerStatuses"] = json!([status]);
    pod
}

pub fn waiting(reason: &str, message: &str) -> Value {
    json!({"ready": false, "started": false, "state": {"waiting": {"reason": reason, "message": message}}})
}

pub fn running() -> Value {
    json!({"ready": true, "started": true, "state": {"running": {"startedAt": THEN}}})
}

/// A container between two runs.
pub fn crashed(code: i64, reason: &str) -> Value {
    json!({"ready": false, "started": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1m20s restarting failed container=app pod=web_shop(uid-web)"}},
        "lastState": {"terminated": {"exitCode": code, "reason": reason,
            "startedAt": "2026-01-01T00:08:00Z", "finishedAt": "2026-01-01T00:08:20Z"}}})
}

/// A pod that nobody has found a node for, and what the scheduler says.
pub fn unplaced(name: &str, spec: Value, sentence: &str) -> Value {
    let mut pod = pod(name, json!([app()]));
    for (key, value) in spec.as_object().expect("fields") {
        pod["spec"][key] = value.clone();
    }
    pod["spec"]
        .as_object_mut()
        .expect("spec")
        .remove("nodeName");
    pod["status"]["conditions"] = match sentence {
        "" => json!([]),
        _ => {
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": sentence}])
        }
    };
    pod
}

/// `0/1 nodes are available: 1 …` as the scheduler ends it.
pub fn sentence(reason: &str) -> String {
    format!(
        "0/1 nodes are available: 1 {reason}. no new claims to deallocate, preemption: 0/1 nodes are \
         available: 1 Preemption is not helpful for scheduling."
    )
}
