//! Tests of the rules for containers.

use serde_json::{Value, json};

use super::*;

fn words(c: Value) -> String {
    let mut pod = json!({"spec": {"containers": [c]}});
    crate::defaults::pod::apply(&mut pod);
    let mut e = Vec::new();
    let volume = json!({"name": "v", "emptyDir": {}});
    let around = Surroundings {
        volumes: &[&volume],
        grace: Some(30),
        os: "",
        restart: "Always",
        host_users: true,
        claims: &[],
    };
    let container = &pod["spec"]["containers"][0];
    rules(
        &mut e,
        "spec.containers[0]",
        container,
        Kind::Regular,
        &around,
    );
    e.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_full_container_passes() {
    let c = json!({"name": "a", "image": "b", "ports": [{"containerPort": 80, "name": "http"}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "volumeMounts": [{"name": "v", "mountPath": "/x"}],
        "resources": {"limits": {"cpu": 1, "example.com/gpu": 1}, "requests": {"cpu": "500m"}},
        "readinessProbe": {"tcpSocket": {"port": "http"}, "successThreshold": 2}});
    assert_eq!(words(c), "");
}

#[test]
fn each_rule_speaks() {
    let c = json!({"name": "A", "imagePullPolicy": "Often",
        "ports": [{"name": "x"}, {"containerPort": 70000, "name": "x", "protocol": "ICMP"}],
        "env": [{"name": "a=b"}, {"name": "c", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s"}}}],
        "volumeMounts": [{"name": "w", "mountPath": "/x"}, {"name": "v", "mountPath": "/x", "subPath": "../y"}],
        "resources": {"limits": {"cpu": "1", "speed": "1"}, "requests": {"cpu": "2", "memory": "-1"}},
        "livenessProbe": {"successThreshold": 2},
        "startupProbe": {"httpGet": {"port": 0}, "exec": {}, "periodSeconds": -1}});
    let w = words(c);
    let p = "spec.containers[0].";
    for want in [
        "name: Invalid value: \"A\"",
        "image: Required value",
        "imagePullPolicy: Unsupported value: \"Often\"",
        "ports[0].containerPort: Required value",
        "ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        "ports[1].name: Duplicate value: \"x\"",
        "ports[1].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        "env[0].name: Invalid value: \"a=b\"",
        "env[1].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        "env[1].valueFrom.secretKeyRef.key: Required value",
        "volumeMounts[0].name: Not found: \"w\"",
        "volumeMounts[1].mountPath: Invalid value: \"/x\": must be unique",
        "volumeMounts.subPath: Invalid value: \"../y\": must not contain '..'",
        "resources.limits[speed]: Invalid value: \"speed\": must be a standard resource type or fully qualified",
        "resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
        "resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        "livenessProbe: Required value: must specify a handler type",
        "livenessProbe.successThreshold: Invalid value: 2: must be 1",
        "startupProbe.httpGet: Forbidden: may not specify more than 1 handler type",
        "startupProbe.exec.command: Required value",
        "startupProbe.periodSeconds: Invalid value: -1",
    ] {
        assert!(w.contains(&format!("{p}{want}")), "{want}\n--\n{w}");
    }
}
