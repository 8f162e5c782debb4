//! Rules for one container: image, ports, environment, mounts, resources, probes.

use serde_json::{Value, json};

use super::{all, one_of};
use crate::field::{Error, key};
use crate::json::{int_at, list_at, map_at, str_at};
use crate::names;
use crate::quantity::Quantity;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

pub(super) fn rules(e: &mut Vec<Error>, path: &str, c: &Value, volumes: &[String], init: bool) {
    let name = str_at(c, "/name");
    let at = |field: &str| format!("{path}.{field}");
    if name.is_empty() {
        e.push(Error::required(&at("name"), ""));
    } else {
        all(e, &at("name"), &json!(name), names::dns_label(name));
    }
    let image = str_at(c, "/image");
    if image.is_empty() {
        e.push(Error::required(&at("image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        e.push(Error::invalid(&at("image"), image, why));
    }
    let policy = str_at(c, "/imagePullPolicy");
    one_of(
        e,
        &at("imagePullPolicy"),
        policy,
        &["Always", "IfNotPresent", "Never"],
    );
    let policy = str_at(c, "/terminationMessagePolicy");
    one_of(
        e,
        &at("terminationMessagePolicy"),
        policy,
        &["FallbackToLogsOnError", "File"],
    );
    ports(e, path, c);
    environment(e, path, c);
    mounts(e, path, c, volumes);
    resources(e, path, c);
    let restartable = init && str_at(c, "/restartPolicy") == "Always";
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(p) = c.get(probe) else { continue };
        if init && !restartable {
            e.push(Error::forbidden(
                &at(probe),
                "may not be set for init containers without restartPolicy=Always",
            ));
            continue;
        }
        one_handler(e, &at(probe), p, &HANDLERS);
        probe_numbers(e, &at(probe), p, probe);
    }
    for hook in ["postStart", "preStop"] {
        if let Some(h) = c.pointer(&format!("/lifecycle/{hook}")) {
            one_handler(e, &at(&format!("lifecycle.{hook}")), h, &HOOKS);
        }
    }
}

fn ports(e: &mut Vec<Error>, path: &str, c: &Value) {
    let mut seen = Vec::new();
    for (i, p) in list_at(c, "/ports").iter().enumerate() {
        let at = |field: &str| format!("{path}.ports[{i}].{field}");
        let name = str_at(p, "/name");
        if !name.is_empty() {
            let why = names::port_name(name);
            if why.is_empty() && seen.contains(&name) {
                e.push(Error::duplicate(&at("name"), name));
            }
            all(e, &at("name"), &json!(name), why);
            seen.push(name);
        }
        match int_at(p, "/containerPort").unwrap_or(0) {
            0 => e.push(Error::required(&at("containerPort"), "")),
            n => all(e, &at("containerPort"), &json!(n), names::port_number(n)),
        }
        match int_at(p, "/hostPort").unwrap_or(0) {
            0 => {}
            n => all(e, &at("hostPort"), &json!(n), names::port_number(n)),
        }
        one_of(e, &at("protocol"), str_at(p, "/protocol"), &PROTOCOLS);
    }
}

fn environment(e: &mut Vec<Error>, path: &str, c: &Value) {
    for (i, v) in list_at(c, "/env").iter().enumerate() {
        let at = |field: &str| format!("{path}.env[{i}].{field}");
        let name = str_at(v, "/name");
        if name.is_empty() {
            e.push(Error::required(&at("name"), ""));
        } else {
            all(e, &at("name"), &json!(name), names::env_name(name));
        }
        let Some(from) = v.get("valueFrom").and_then(Value::as_object) else {
            continue;
        };
        let sources = [
            "configMapKeyRef",
            "fieldRef",
            "fileKeyRef",
            "resourceFieldRef",
            "secretKeyRef",
        ];
        let given: Vec<&&str> = sources.iter().filter(|s| from.contains_key(**s)).collect();
        let value = json!("");
        match given.as_slice() {
            [] => {
                let why = "must specify one of: `configMapKeyRef`, `fieldRef`, `fileKeyRef`, `resourceFieldRef` or `secretKeyRef`";
                e.push(Error::invalid(&at("valueFrom"), value, why));
            }
            [one] => {
                if !str_at(v, "/value").is_empty() {
                    let why = "may not be specified when `value` is not empty";
                    e.push(Error::invalid(&at("valueFrom"), value, why));
                }
                let need: &[&str] = match **one {
                    "configMapKeyRef" | "secretKeyRef" => &["name", "key"],
                    "fieldRef" => &["fieldPath"],
                    "resourceFieldRef" => &["resource"],
                    _ => &[],
                };
                for field in need {
                    if str_at(v, &format!("/valueFrom/{one}/{field}")).is_empty() {
                        e.push(Error::required(
                            &at(&format!("valueFrom.{one}.{field}")),
                            "",
                        ));
                    }
                }
            }
            _ => {
                let why = "may not have more than one field specified at a time";
                e.push(Error::invalid(&at("valueFrom"), value, why));
            }
        }
    }
}

fn mounts(e: &mut Vec<Error>, path: &str, c: &Value, volumes: &[String]) {
    let mut paths = Vec::new();
    for (i, m) in list_at(c, "/volumeMounts").iter().enumerate() {
        let at = |field: &str| format!("{path}.volumeMounts[{i}].{field}");
        let name = str_at(m, "/name");
        if name.is_empty() {
            e.push(Error::required(&at("name"), ""));
        } else if !volumes.iter().any(|v| v == name) {
            e.push(Error::not_found(&at("name"), name));
        }
        let mount = str_at(m, "/mountPath");
        if mount.is_empty() {
            e.push(Error::required(&at("mountPath"), ""));
        } else if paths.contains(&mount) {
            e.push(Error::invalid(&at("mountPath"), mount, "must be unique"));
        }
        paths.push(mount);
        let sub = str_at(m, "/subPath");
        if sub.starts_with('/') {
            e.push(Error::invalid(
                &at("subPath"),
                sub,
                "must be a relative path",
            ));
        } else if sub.split('/').any(|p| p == "..") {
            e.push(Error::invalid(&at("subPath"), sub, "must not contain '..'"));
        }
    }
}

fn resources(e: &mut Vec<Error>, path: &str, c: &Value) {
    let amount = |part: &str, name: &str| {
        map_at(c, &format!("/resources/{part}"))
            .and_then(|m| m.get(name))
            .and_then(Value::as_str)
            .and_then(|s| s.parse::<Quantity>().ok())
    };
    for part in ["limits", "requests"] {
        let base = format!("{path}.resources.{part}");
        for (name, value) in map_at(c, &format!("/resources/{part}"))
            .into_iter()
            .flatten()
        {
            let at = key(&base, name);
            resource_name(e, &at, name);
            match value.as_str().unwrap_or_default().parse::<Quantity>() {
                Err(why) => e.push(Error::invalid(&at, value.clone(), why.to_string())),
                Ok(q) if q.is_negative() => {
                    e.push(Error::invalid(
                        &at,
                        value.clone(),
                        "must be greater than or equal to 0",
                    ));
                }
                Ok(_) => {}
            }
        }
    }
    for (name, value) in map_at(c, "/resources/requests").into_iter().flatten() {
        if let (Some(request), Some(limit)) = (amount("requests", name), amount("limits", name))
            && request > limit
        {
            let limit = map_at(c, "/resources/limits")
                .and_then(|m| m[name].as_str())
                .unwrap_or("");
            let why = format!("must be less than or equal to {name} limit of {limit}");
            e.push(Error::invalid(
                &format!("{path}.resources.requests"),
                value.clone(),
                why,
            ));
        }
    }
}

fn resource_name(e: &mut Vec<Error>, at: &str, name: &str) {
    all(e, at, &json!(name), names::qualified_name(name));
    let standard =
        matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !name.contains('/') && !standard {
        e.push(Error::invalid(
            at,
            name,
            "must be a standard resource for containers",
        ));
    }
}

fn one_handler(e: &mut Vec<Error>, path: &str, handler: &Value, known: &[&str]) {
    let given: Vec<&&str> = known
        .iter()
        .filter(|k| handler.get(**k).is_some())
        .collect();
    if given.is_empty() {
        e.push(Error::required(path, "must specify a handler type"));
    }
    for extra in given.iter().skip(1) {
        e.push(Error::forbidden(
            &format!("{path}.{extra}"),
            "may not specify more than 1 handler type",
        ));
    }
    match given.first().map(|g| **g) {
        Some("exec") if list_at(handler, "/exec/command").is_empty() => {
            e.push(Error::required(&format!("{path}.exec.command"), ""));
        }
        Some(kind @ ("httpGet" | "tcpSocket")) => {
            let at = format!("{path}.{kind}.port");
            match handler.pointer(&format!("/{kind}/port")) {
                Some(Value::String(s)) => all(e, &at, &json!(s), names::port_name(s)),
                other => {
                    let n = other.and_then(Value::as_i64).unwrap_or(0);
                    all(e, &at, &json!(n), names::port_number(n));
                }
            }
            if kind == "httpGet"
                && !matches!(str_at(handler, "/httpGet/scheme"), "HTTP" | "HTTPS" | "")
            {
                let value = str_at(handler, "/httpGet/scheme");
                let at = format!("{path}.httpGet.scheme");
                e.push(Error::not_supported(&at, value, &["HTTP", "HTTPS"]));
            }
        }
        _ => {}
    }
}

fn probe_numbers(e: &mut Vec<Error>, path: &str, p: &Value, probe: &str) {
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if let Some(n) = int_at(p, &format!("/{name}"))
            && n < 0
        {
            let why = "must be greater than or equal to 0";
            e.push(Error::invalid(&format!("{path}.{name}"), n, why));
        }
    }
    let successes = int_at(p, "/successThreshold").unwrap_or(1);
    if probe != "readinessProbe" && successes != 1 {
        e.push(Error::invalid(
            &format!("{path}.successThreshold"),
            successes,
            "must be 1",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(c: Value) -> String {
        let mut pod = json!({"spec": {"containers": [c]}});
        crate::defaults::pod::apply(&mut pod);
        let mut e = Vec::new();
        rules(
            &mut e,
            "spec.containers[0]",
            &pod["spec"]["containers"][0],
            &["v".into()],
            false,
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
        let c = json!({"name": "A", "image": " b", "imagePullPolicy": "Often",
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
            "image: Invalid value: \" b\": must not have leading",
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
            "volumeMounts[1].subPath: Invalid value: \"../y\": must not contain '..'",
            "resources.limits[speed]: Invalid value: \"speed\": must be a standard resource for containers",
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
}
