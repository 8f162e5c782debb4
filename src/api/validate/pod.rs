//! Rules for a pod's spec; containers have their own file.

use serde_json::{Value, json};

use super::{all, container, labels, one_of};
use crate::field::{Error, index};
use crate::json::{int_at, list_at, str_at};
use crate::names;

/// The volume source whose name is too long to repeat.
const CLAIM: &str = "persistentVolumeClaim";

pub(super) fn spec(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let volumes = volumes(e, object);
    containers(e, object, &volumes);
    let text = |key: &str| str_at(object, &format!("/spec/{key}"));
    one_of(
        e,
        "spec.restartPolicy",
        text("restartPolicy"),
        &["Always", "OnFailure", "Never"],
    );
    one_of(
        e,
        "spec.dnsPolicy",
        text("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    if text("dnsPolicy") == "None" && list_at(object, "/spec/dnsConfig/nameservers").is_empty() {
        e.push(Error::required(
            "spec.dnsConfig.nameservers",
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        ));
    }
    for key in ["serviceAccountName", "nodeName"] {
        let name = text(key);
        if !name.is_empty() {
            all(
                e,
                &format!("spec.{key}"),
                &json!(name),
                names::dns_subdomain(name),
            );
        }
    }
    for key in ["hostname", "subdomain"] {
        let name = text(key);
        if !name.is_empty() {
            all(
                e,
                &format!("spec.{key}"),
                &json!(name),
                names::dns_label(name),
            );
        }
    }
    if let Some(n) = int_at(object, "/spec/activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&n)
    {
        let why = format!("must be between 1 and {}, inclusive", i32::MAX);
        e.push(Error::invalid("spec.activeDeadlineSeconds", n, why));
    }
    labels(e, "spec.nodeSelector", object, "/spec/nodeSelector");
    tolerations(e, object);
    for (i, alias) in list_at(object, "/spec/hostAliases").iter().enumerate() {
        let ip = str_at(alias, "/ip");
        if ip.parse::<std::net::IpAddr>().is_err() {
            let path = format!("spec.hostAliases[{i}].ip");
            e.push(Error::invalid(
                &path,
                ip,
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ));
        }
    }
    errors
}

fn containers(e: &mut Vec<Error>, object: &Value, volumes: &[String]) {
    let list = list_at(object, "/spec/containers");
    if list.is_empty() {
        e.push(Error::required("spec.containers", ""));
    }
    let mut names = Vec::new();
    let mut host_ports = Vec::new();
    for (part, init) in [("initContainers", true), ("containers", false)] {
        for (i, c) in list_at(object, &format!("/spec/{part}")).iter().enumerate() {
            let path = index(&format!("spec.{part}"), i);
            let name = str_at(c, "/name").to_owned();
            if !name.is_empty() && names.contains(&name) {
                e.push(Error::duplicate(&format!("{path}.name"), name.as_str()));
            }
            names.push(name);
            container::rules(e, &path, c, volumes, init);
            for (j, p) in list_at(c, "/ports").iter().enumerate() {
                let port = int_at(p, "/hostPort").unwrap_or(0);
                if port == 0 || init {
                    continue;
                }
                let key = format!("{}/{}/{port}", str_at(p, "/protocol"), str_at(p, "/hostIP"));
                if host_ports.contains(&key) {
                    let at = format!("{path}.ports[{j}].hostPort");
                    e.push(Error::duplicate(&at, key.as_str()));
                }
                host_ports.push(key);
            }
        }
    }
}

fn volumes(e: &mut Vec<Error>, object: &Value) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for (i, v) in list_at(object, "/spec/volumes").iter().enumerate() {
        let path = index("spec.volumes", i);
        let name = str_at(v, "/name");
        let at = format!("{path}.name");
        if name.is_empty() {
            e.push(Error::required(&at, ""));
        } else if seen.iter().any(|s| s == name) {
            e.push(Error::duplicate(&at, name));
        } else {
            all(e, &at, &json!(name), names::dns_label(name));
        }
        seen.push(name.to_owned());
        let sources: Vec<&String> = v
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, _)| k)
            .filter(|k| *k != "name")
            .collect();
        for extra in sources.iter().skip(1) {
            e.push(Error::forbidden(
                &format!("{path}.{extra}"),
                "may not specify more than 1 volume type",
            ));
        }
        if let Some(kind) = sources.first() {
            let need = match kind.as_str() {
                "hostPath" => "path",
                "secret" => "secretName",
                "configMap" => "name",
                CLAIM => "claimName",
                _ => continue,
            };
            if str_at(v, &format!("/{kind}/{need}")).is_empty() {
                e.push(Error::required(&format!("{path}.{kind}.{need}"), ""));
            }
            if kind.as_str() == "hostPath"
                && str_at(v, "/hostPath/path").split('/').any(|p| p == "..")
            {
                let at = format!("{path}.hostPath.path");
                let value = str_at(v, "/hostPath/path");
                e.push(Error::invalid(&at, value, "must not contain '..'"));
            }
        }
    }
    seen
}

fn tolerations(e: &mut Vec<Error>, object: &Value) {
    for (i, t) in list_at(object, "/spec/tolerations").iter().enumerate() {
        let path = index("spec.tolerations", i);
        let (key, operator) = (str_at(t, "/key"), str_at(t, "/operator"));
        let (value, effect) = (str_at(t, "/value"), str_at(t, "/effect"));
        if !key.is_empty() {
            all(
                e,
                &format!("{path}.key"),
                &json!(key),
                names::qualified_name(key),
            );
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            e.push(Error::invalid(&format!("{path}.operator"), operator, why));
        }
        if int_at(t, "/tolerationSeconds").is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            e.push(Error::invalid(&format!("{path}.effect"), effect, why));
        }
        match operator {
            "" | "Equal" => {
                all(
                    e,
                    &format!("{path}.value"),
                    &json!(value),
                    names::label_value(value),
                );
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                e.push(Error::invalid(&format!("{path}.operator"), value, why));
            }
            "Exists" => {}
            other => {
                e.push(Error::not_supported(
                    &format!("{path}.operator"),
                    other,
                    &["Equal", "Exists"],
                ));
            }
        }
        if !effect.is_empty() {
            let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            one_of(e, &format!("{path}.effect"), effect, &known);
        }
    }
}

#[cfg(test)]
mod tests {
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
            "spec.volumes[0].configMap.name: Required value",
            "spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type",
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
}
