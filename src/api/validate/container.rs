//! Rules for one container: image, ports, and which of the rest its kind may have.

use serde_json::Value;

use super::{container_env, container_mounts, container_probes, one_of, resources, security, text};
use crate::field::Error;
use crate::json::{int_at, is_empty, list_at, str_at};
use crate::names;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// What a debugging container may have (KEP-277).
const EPHEMERAL_FIELDS: [&str; 18] = [
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "name",
    "restartPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "targetContainerName",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];

/// Which of a pod's three lists a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    Init,
    Ephemeral,
}

/// What of the pod its containers' rules depend on.
pub(super) struct Surroundings<'a> {
    pub volumes: &'a [&'a Value],
    /// Seconds.
    pub grace: Option<i64>,
    /// "" where the pod does not say.
    pub os: &'a str,
    /// The pod's own.
    pub restart: &'a str,
    pub host_users: bool,
    pub claims: &'a [Value],
}

pub(super) fn rules(e: &mut Vec<Error>, path: &str, c: &Value, kind: Kind, around: &Surroundings) {
    let name = str_at(c, "/name");
    if name.is_empty() {
        e.push(Error::required(&format!("{path}.name"), ""));
    } else {
        text(e, path, "name", name, names::dns_label(name));
    }
    if str_at(c, "/image").is_empty() {
        e.push(Error::required(&format!("{path}.image"), ""));
    }
    one_of_its(
        e,
        path,
        c,
        "terminationMessagePolicy",
        &["File", "FallbackToLogsOnError"],
    );
    ports(e, path, c);
    container_env::rules(e, path, c, around.volumes);
    container_mounts::rules(e, path, c, around.volumes);
    one_of_its(
        e,
        path,
        c,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
    );
    resources::of_container(e, path, c, around.claims);
    resources::resize_policy(e, path, c, around.restart);
    security::of_container(e, path, c, around.host_users);
    if kind == Kind::Ephemeral {
        return;
    }
    restart_policy(e, path, c);
    if kind == Kind::Regular || str_at(c, "/restartPolicy") == "Always" {
        container_probes::rules(e, path, c, around);
        return;
    }
    for field in [
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ] {
        if c.get(field).is_some() {
            let why = "may not be set for init containers without restartPolicy=Always";
            e.push(Error::forbidden(&format!("{path}.{field}"), why));
        }
    }
}

/// A container for debugging has no part in the pod's work.
pub(super) fn ephemeral(e: &mut Vec<Error>, path: &str, c: &Value) {
    let why = "cannot be set for an Ephemeral Container";
    for (field, value) in c.as_object().into_iter().flatten() {
        if !EPHEMERAL_FIELDS.contains(&field.as_str()) && !is_empty(value) {
            e.push(Error::forbidden(&format!("{path}.{field}"), why));
        }
    }
    for (i, mount) in list_at(c, "/volumeMounts").iter().enumerate() {
        for field in ["subPath", "subPathExpr"] {
            if mount.get(field).is_some_and(|v| !is_empty(v)) {
                e.push(Error::forbidden(
                    &format!("{path}.volumeMounts[{i}].{field}"),
                    why,
                ));
            }
        }
    }
}

fn one_of_its(e: &mut Vec<Error>, path: &str, c: &Value, field: &str, known: &[&str]) {
    let value = c.get(field).and_then(Value::as_str).unwrap_or_default();
    if !known.contains(&value) {
        one_of(e, &format!("{path}.{field}"), value, known);
    }
}

fn ports(e: &mut Vec<Error>, path: &str, c: &Value) {
    let mut seen = Vec::new();
    for (i, p) in list_at(c, "/ports").iter().enumerate() {
        let path = format!("{path}.ports[{i}]");
        let at = |field: &str| format!("{path}.{field}");
        let name = str_at(p, "/name");
        if !name.is_empty() {
            let why = names::port_name(name);
            if why.is_empty() && seen.contains(&name) {
                e.push(Error::duplicate(&at("name"), name));
            }
            text(e, &path, "name", name, why);
            seen.push(name);
        }
        match int_at(p, "/containerPort").unwrap_or(0) {
            0 => e.push(Error::required(&at("containerPort"), "")),
            n => super::number(e, &path, "containerPort", n, names::port_number(n)),
        }
        match int_at(p, "/hostPort").unwrap_or(0) {
            0 => {}
            n => super::number(e, &path, "hostPort", n, names::port_number(n)),
        }
        one_of_its(e, &path, p, "protocol", &PROTOCOLS);
    }
}

/// A container's own restart policy, and rules for exit codes (KEP-5307).
fn restart_policy(e: &mut Vec<Error>, path: &str, c: &Value) {
    let rules = list_at(c, "/restartPolicyRules");
    match c.get("restartPolicy").and_then(Value::as_str) {
        None if !rules.is_empty() => e.push(Error::required(
            &format!("{path}.restartPolicy"),
            "must specify restartPolicy when restart rules are used",
        )),
        Some(policy) if !matches!(policy, "Always" | "Never" | "OnFailure") => {
            let at = format!("{path}.restartPolicy");
            let known = ["Always", "Never", "OnFailure"];
            e.push(Error::not_supported(&at, policy, &known));
        }
        _ => {}
    }
    let at = format!("{path}.restartPolicyRules");
    if rules.len() > 20 {
        e.push(Error::too_many(&at, rules.len(), 20));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = format!("{at}[{i}]");
        let known = ["Restart"];
        if str_at(rule, "/action") != "Restart" {
            let action = str_at(rule, "/action");
            e.push(Error::not_supported(
                &format!("{at}.action"),
                action,
                &known,
            ));
        }
        let Some(codes) = rule.get("exitCodes") else {
            e.push(Error::required(
                &format!("{at}.exitCodes"),
                "must be specified",
            ));
            continue;
        };
        let operator = str_at(codes, "/operator");
        if !matches!(operator, "In" | "NotIn") {
            let at = format!("{at}.exitCodes.operator");
            e.push(Error::not_supported(&at, operator, &["In", "NotIn"]));
        }
        let values = list_at(codes, "/values").len();
        if values > 255 {
            e.push(Error::too_many(
                &format!("{at}.exitCodes.values"),
                values,
                255,
            ));
        }
    }
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
