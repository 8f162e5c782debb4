//! Rules for what a container mounts: files of volumes, and volumes as devices.

use serde_json::Value;

use super::pod_volumes::{descending, no_backsteps};
use crate::field::Error;
use crate::json::{bool_at, list_at, str_at};

const PROPAGATION: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];

pub(super) fn rules(e: &mut Vec<Error>, path: &str, c: &Value, volumes: &[&Value]) {
    let (files, devices) = (list_at(c, "/volumeMounts"), list_at(c, "/volumeDevices"));
    let privileged = bool_at(c, "/securityContext/privileged");
    let mut paths = Vec::new();
    let base = format!("{path}.volumeMounts");
    for (i, m) in files.iter().enumerate() {
        let path = format!("{base}[{i}]");
        let at = |field: &str| format!("{path}.{field}");
        let (name, mount) = (str_at(m, "/name"), str_at(m, "/mountPath"));
        of_volume(e, &at("name"), name, volumes);
        if mount.is_empty() {
            e.push(Error::required(&at("mountPath"), ""));
        }
        if paths.contains(&mount) {
            e.push(Error::invalid(&at("mountPath"), mount, "must be unique"));
        }
        paths.push(mount);
        if devices.iter().any(|d| str_at(d, "/name") == name) {
            let why = "must not already exist in volumeDevices";
            e.push(Error::invalid(&at("name"), name, why));
        }
        if devices.iter().any(|d| str_at(d, "/devicePath") == mount) {
            let why = "must not already exist as a path in volumeDevices";
            e.push(Error::invalid(&at("mountPath"), mount, why));
        }
        let (sub, expression) = (str_at(m, "/subPath"), str_at(m, "/subPathExpr"));
        // Upstream puts these on the list, not on its item.
        descending(e, &base, "subPath", sub);
        if !expression.is_empty() && !sub.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            e.push(Error::invalid(&at("subPathExpr"), expression, why));
        }
        descending(e, &base, "subPathExpr", expression);
        propagation(e, &path, m, privileged);
    }
    let mut seen: Vec<&Value> = Vec::new();
    for (i, d) in devices.iter().enumerate() {
        let path = format!("{path}.volumeDevices[{i}]");
        device(e, &path, d, files, volumes);
        for field in ["name", "devicePath"] {
            if seen.iter().any(|other| other.get(field) == d.get(field)) {
                let value = d.get(field).cloned().unwrap_or_default();
                e.push(Error::invalid(
                    &format!("{path}.{field}"),
                    value,
                    "must be unique",
                ));
            }
        }
        seen.push(d);
    }
}

fn of_volume<'a>(
    e: &mut Vec<Error>,
    at: &str,
    name: &str,
    volumes: &[&'a Value],
) -> Option<&'a Value> {
    if name.is_empty() {
        e.push(Error::required(at, ""));
    }
    let found = volumes.iter().find(|v| str_at(v, "/name") == name);
    if found.is_none() {
        e.push(Error::not_found(at, name));
    }
    found.copied()
}

/// Who sees what is mounted later (KEP-432, KEP-3857).
fn propagation(e: &mut Vec<Error>, path: &str, mount: &Value, privileged: bool) {
    let mode = mount.get("mountPropagation").and_then(Value::as_str);
    if let Some(mode) = mode {
        let at = format!("{path}.mountPropagation");
        if !PROPAGATION.contains(&mode) {
            e.push(Error::not_supported(&at, mode, &PROPAGATION));
        }
        if mode == "Bidirectional" && !privileged {
            let why = "Bidirectional mount propagation is available only to privileged containers";
            e.push(Error::forbidden(&at, why));
        }
    }
    let Some(recursive) = mount.get("recursiveReadOnly").and_then(Value::as_str) else {
        return;
    };
    let at = format!("{path}.recursiveReadOnly");
    if !RECURSIVE.contains(&recursive) {
        e.push(Error::not_supported(&at, recursive, &RECURSIVE));
    } else if recursive != "Disabled" {
        if !bool_at(mount, "/readOnly") {
            let why = "may only be specified when readOnly is true";
            e.push(Error::forbidden(&at, why));
        }
        if mode.is_some_and(|mode| mode != "None") {
            let why = "may only be specified when mountPropagation is None or not specified";
            e.push(Error::forbidden(&at, why));
        }
    }
}

fn device(e: &mut Vec<Error>, path: &str, d: &Value, files: &[Value], volumes: &[&Value]) {
    let at = |field: &str| format!("{path}.{field}");
    let (name, device) = (str_at(d, "/name"), str_at(d, "/devicePath"));
    if let Some(volume) = of_volume(e, &at("name"), name, volumes)
        && volume.get("persistentVolumeClaim").is_none()
        && volume.get("ephemeral").is_none()
    {
        let why =
            "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
        e.push(Error::invalid(&at("name"), name, why));
    }
    match device {
        "" => e.push(Error::required(&at("devicePath"), "")),
        device => no_backsteps(e, path, "devicePath", device),
    }
    if files.iter().any(|m| str_at(m, "/name") == name) {
        let why = "must not already exist in volumeMounts";
        e.push(Error::invalid(&at("name"), name, why));
    }
    if files.iter().any(|m| str_at(m, "/mountPath") == device) {
        let why = "must not already exist as a path in volumeMounts";
        e.push(Error::invalid(&at("devicePath"), device, why));
    }
}
