//! Rules for a container's environment, and for references to fields of its pod, which
//! volumes use too (the downward API).

use serde_json::Value;

use super::{pod_volumes, text, texts};
use crate::field::Error;
use crate::json::{list_at, str_at};
use crate::names;

/// What of its pod a container may be told.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields the pod has but nobody is told.
const OTHER_FIELDS: [&str; 6] = [
    "metadata.annotations",
    "metadata.labels",
    "spec.host",
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const SOURCES: [&str; 5] = [
    "fieldRef",
    "resourceFieldRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fileKeyRef",
];

pub(super) fn rules(e: &mut Vec<Error>, path: &str, c: &Value, volumes: &[&Value]) {
    for (i, v) in list_at(c, "/env").iter().enumerate() {
        let name = str_at(v, "/name");
        if name.is_empty() {
            e.push(Error::required(&format!("{path}.env[{i}].name"), ""));
        } else if let why @ [_, ..] = names::env_name(name).as_slice() {
            texts(e, &format!("{path}.env[{i}].name"), name, why.to_vec());
        }
        if let Some(from) = v.get("valueFrom") {
            let at = format!("{path}.env[{i}].valueFrom");
            value_from(e, &at, from, str_at(v, "/value"), volumes);
        }
    }
    let base = format!("{path}.envFrom");
    for (i, from) in list_at(c, "/envFrom").iter().enumerate() {
        let at = format!("{base}[{i}]");
        let prefix = str_at(from, "/prefix");
        if !prefix.is_empty() {
            text(e, &at, "prefix", prefix, names::env_name(prefix));
        }
        let mut sources = 0;
        for key in ["configMapRef", "secretRef"] {
            let Some(source) = from.get(key) else {
                continue;
            };
            sources += 1;
            let name = str_at(source, "/name");
            let at = format!("{at}.{key}");
            match name {
                "" => e.push(Error::required(&format!("{at}.name"), "")),
                name => text(e, &at, "name", name, names::dns_subdomain(name)),
            }
        }
        // Upstream puts these on the list, not on its item.
        match sources {
            0 => {
                let why = "must specify one of: `configMapRef` or `secretRef`";
                e.push(Error::invalid(&base, "", why));
            }
            1 => {}
            _ => {
                let why = "may not have more than one field specified at a time";
                e.push(Error::invalid(&base, "", why));
            }
        }
    }
}

fn value_from(e: &mut Vec<Error>, path: &str, from: &Value, value: &str, volumes: &[&Value]) {
    let mut given = 0;
    for key in SOURCES {
        let Some(source) = from.get(key) else {
            continue;
        };
        given += 1;
        let at = format!("{path}.{key}");
        match key {
            "fieldRef" => field_ref(e, &at, source, &ENV_FIELDS),
            "resourceFieldRef" => resource_ref(e, &at, source, false),
            "fileKeyRef" => file_key(e, &at, source, volumes),
            _ => key_of_object(e, &at, source),
        }
    }
    let why = if given == 0 {
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
    } else if !value.is_empty() {
        "may not be specified when `value` is not empty"
    } else if given > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    e.push(Error::invalid(path, "", why));
}

fn key_of_object(e: &mut Vec<Error>, path: &str, source: &Value) {
    let (name, key) = (str_at(source, "/name"), str_at(source, "/key"));
    text(e, path, "name", name, names::dns_subdomain(name));
    match key {
        "" => e.push(Error::required(&format!("{path}.key"), "")),
        key => text(e, path, "key", key, names::config_key(key)),
    }
}

fn file_key(e: &mut Vec<Error>, path: &str, source: &Value, volumes: &[&Value]) {
    match str_at(source, "/key") {
        "" => e.push(Error::required(&format!("{path}.key"), "")),
        key => text(e, path, "key", key, names::env_name(key)),
    }
    match str_at(source, "/path") {
        "" => e.push(Error::required(&format!("{path}.path"), "")),
        file => pod_volumes::no_backsteps(e, path, "path", file),
    }
    let name = str_at(source, "/volumeName");
    let at = format!("{path}.volumeName");
    if name.is_empty() {
        e.push(Error::required(&at, ""));
        return;
    }
    texts(e, &at, name, names::dns_label(name));
    match volumes.iter().find(|v| str_at(v, "/name") == name) {
        None => e.push(Error::not_found(&at, name)),
        Some(volume) if volume.get("emptyDir").is_none() => {
            let why = "referenced volume must be of type emptyDir";
            e.push(Error::invalid(&at, name, why));
        }
        Some(_) => {}
    }
}

/// A field of the pod; `known` without the two maps, of which one key is asked for.
pub(super) fn field_ref(e: &mut Vec<Error>, path: &str, source: &Value, known: &[&str]) {
    let (version, field) = (str_at(source, "/apiVersion"), str_at(source, "/fieldPath"));
    for (key, value) in [("apiVersion", version), ("fieldPath", field)] {
        if value.is_empty() {
            e.push(Error::required(&format!("{path}.{key}"), ""));
            return;
        }
    }
    let at = format!("{path}.fieldPath");
    let unconvertible =
        |why: String| Error::invalid(&at, field, format!("error converting fieldPath: {why}"));
    if version != "v1" {
        e.push(unconvertible(format!("unsupported pod version: {version}")));
        return;
    }
    let subscripted = field
        .strip_suffix("']")
        .and_then(|field| field.split_once("['"));
    if let Some((map, key)) = subscripted {
        match map {
            "metadata.annotations" => {
                texts(e, path, key, names::qualified_name(&key.to_lowercase()));
            }
            "metadata.labels" => texts(e, path, key, names::qualified_name(key)),
            _ => e.push(unconvertible(format!(
                "field label does not support subscript: {field}"
            ))),
        }
        return;
    }
    // The name of before 1.0, converted silently.
    let field = if field == "spec.host" {
        "spec.nodeName"
    } else {
        field
    };
    if known.contains(&field) {
        return;
    }
    if ENV_FIELDS.contains(&field) || OTHER_FIELDS.contains(&field) {
        let mut known = known.to_vec();
        known.sort_unstable();
        e.push(Error::not_supported(&at, field, &known));
    } else {
        e.push(unconvertible(format!("field label not supported: {field}")));
    }
}

/// A container's request or limit. A volume has no container of its own and must name one.
pub(super) fn resource_ref(e: &mut Vec<Error>, path: &str, source: &Value, volume: bool) {
    let resource = str_at(source, "/resource");
    let huge = ["limits.hugepages-", "requests.hugepages-"]
        .iter()
        .any(|prefix| resource.starts_with(prefix));
    if volume && str_at(source, "/containerName").is_empty() {
        e.push(Error::required(&format!("{path}.containerName"), ""));
    } else if resource.is_empty() {
        e.push(Error::required(&format!("{path}.resource"), ""));
    } else if !RESOURCES.contains(&resource) && !huge {
        let at = format!("{path}.resource");
        e.push(Error::not_supported(&at, resource, &RESOURCES));
    }
    let divisor = match source.get("divisor") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => return,
    };
    let amounts = [
        "0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let (good, name) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (matches!(divisor.as_str(), "0" | "1m" | "1"), "cpu"),
        Some("memory") => (amounts.contains(&divisor.as_str()), "memory"),
        Some("ephemeral-storage") => (
            amounts.contains(&divisor.as_str()),
            "local ephemeral storage",
        ),
        _ if huge => (amounts.contains(&divisor.as_str()), "hugepages"),
        _ => return,
    };
    if !good {
        let values = match name {
            "cpu" => "1m and 1",
            _ => "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei",
        };
        let why = format!("only divisor's values {values} are supported with the {name} resource");
        e.push(Error::invalid(&format!("{path}.divisor"), resource, why));
    }
}
