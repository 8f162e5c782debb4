//! Tests of the rules for pods.

use serde_json::{Value, json};

use super::*;

fn words(mut pod: Value) -> String {
    crate::defaults::pod::apply(&mut pod);
    spec(&pod)
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_plain_pod_passes() {
    let p = json!({"spec": {"containers": [{"name": "a", "image": "b"}],
        "volumes": [{"name": "v", "hostPath": {"path": "/x"}}], "nodeSelector": {"disk": "ssd"}}});
    assert_eq!(words(p), "");
}

#[test]
fn each_rule_speaks() {
    let p = json!({"spec": {"restartPolicy": "Sometimes", "dnsPolicy": "None", "hostname": "a.b",
        "activeDeadlineSeconds": 0, "nodeSelector": {"a": "b c"},
        "containers": [{"name": "a", "image": "b"}, {"name": "a", "image": "b"}],
        "volumes": [{"name": "v", "configMap": {}, "secret": {"secretName": "x"}}, {"name": "v"}],
        "tolerations": [{"operator": "Equal", "value": "x"}, {"key": "k", "operator": "Is"}]}});
    let w = words(p);
    for want in [
        "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        "spec.dnsConfig.nameservers: Required value",
        "spec.hostname: Invalid value: \"a.b\": must not contain dots",
        "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        "spec.nodeSelector: Invalid value: \"b c\"",
        "spec.containers[1].name: Duplicate value: \"a\"",
        "spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type",
        "spec.volumes[1].name: Duplicate value: \"v\"",
        "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists",
        "spec.tolerations[1].operator: Unsupported value: \"Is\"",
    ] {
        assert!(w.contains(want), "{want}\n--\n{w}");
    }
    assert_eq!(
        words(json!({"spec": {}})),
        "spec.containers: Required value"
    );
}

#[test]
fn one_host_port_for_one_container() {
    let p = json!({"spec": {"containers": [
        {"name": "a", "image": "b", "ports": [{"containerPort": 1, "hostPort": 80}]},
        {"name": "c", "image": "b", "ports": [{"containerPort": 2, "hostPort": 80}]}]}});
    assert_eq!(
        words(p),
        "spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//80\""
    );
}
