//! What a fault is, and the objects that faults are made of.

use serde_json::{Value, json};

use super::super::{WAIT, shell};
use super::NS;
use super::registry::script;

/// One planted fault.
pub struct Fault {
    pub objects: Vec<Value>,
    pub namespace: &'static str,
    /// What is asked about.
    pub object: String,
    pub cause: &'static str,
    pub words: &'static [&'static str],
    pub confident: bool,
    /// Other causes that are true before this one shows.
    pub before: &'static [&'static str],
}

impl Fault {
    /// Of an object that is there already.
    pub fn of(object: &str, cause: &'static str, words: &'static [&'static str]) -> Fault {
        Fault {
            objects: Vec::new(),
            namespace: NS,
            object: object.to_owned(),
            cause,
            words,
            confident: true,
            before: &[],
        }
    }

    pub fn with(mut self, objects: impl IntoIterator<Item = Value>) -> Fault {
        self.objects.extend(objects);
        self
    }

    pub fn after(mut self, causes: &'static [&'static str]) -> Fault {
        self.before = causes;
        self
    }
}

pub fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": NS, "labels": {"app": name}})
}

pub fn object(version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": meta(name), "spec": spec})
}

fn pod(name: &str, mut spec: Value) -> Value {
    spec["terminationGracePeriodSeconds"] = json!(1);
    object("v1", "Pod", name, spec)
}

/// A pod of one container that waits for ever.
pub fn shy(name: &str) -> Value {
    pod(name, json!({"containers": [shell("app", WAIT)]}))
}

/// A pod of one container with more fields, and more fields of the pod.
pub fn odd(name: &str, container: &Value, spec: &Value) -> Value {
    let mut app = shell("app", WAIT);
    let mut whole = spec.clone();
    for (key, value) in container.as_object().into_iter().flatten() {
        app[key] = value.clone();
    }
    whole["containers"] = json!([app]);
    pod(name, whole)
}

pub fn running(name: &str, line: &str) -> Value {
    odd(name, &json!({"command": ["sh", "-c", line]}), &json!({}))
}

pub fn image(name: &str, image: &str, policy: &str) -> Value {
    let fields = json!({"image": image, "imagePullPolicy": policy, "command": null});
    odd(name, &fields, &json!({}))
}

pub fn deployment(name: &str, more: &Value, template: &Value) -> Value {
    let mut spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": template}});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object("apps/v1", "Deployment", name, spec)
}

pub fn waiting_template() -> Value {
    json!({"terminationGracePeriodSeconds": 1, "containers": [shell("app", WAIT)]})
}

pub fn service(name: &str, app: &str, port: Value) -> Value {
    object(
        "v1",
        "Service",
        name,
        json!({"selector": {"app": app}, "ports": [port]}),
    )
}

pub fn claim(name: &str, class: &str) -> Value {
    let spec = json!({"storageClassName": class, "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}}});
    object("v1", "PersistentVolumeClaim", name, spec)
}

pub fn mounting(name: &str, volume: Value) -> Value {
    let mut volume = volume;
    volume["name"] = json!("data");
    let mounts = json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    odd(name, &mounts, &json!({"volumes": [volume]}))
}

/// Serves a page at port 8080 and nothing else.
const SERVE: &str = "mkdir /www; echo ok > /www/index.html; trap 'exit 0' TERM; \
                     httpd -f -p 8080 -h /www & wait";

/// What registries say, said on the node itself.
pub fn registry() -> Value {
    let command = json!({"command": ["sh", "-c", script()]});
    odd("registry", &command, &json!({"hostNetwork": true}))
}

pub fn serving(name: &str, probe: &Value) -> Value {
    let mut fields = json!({"command": ["sh", "-c", SERVE],
        "ports": [{"name": "page", "containerPort": 8080}]});
    if !probe.is_null() {
        fields["readinessProbe"] = probe.clone();
    }
    odd(name, &fields, &json!({}))
}

pub fn probe(check: Value) -> Value {
    let mut check = check;
    check["periodSeconds"] = json!(1);
    check["timeoutSeconds"] = json!(20);
    check["failureThreshold"] = json!(1);
    check
}
