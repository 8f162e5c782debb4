//! Rules for the two security contexts: a pod's, and a container's.

use std::collections::HashSet;

use serde_json::Value;

use super::pod_volumes::descending;
use crate::field::Error;
use crate::json::{bool_at, list_at, str_at};

/// Longest name of a kernel parameter.
const SYSCTL_MAX: usize = 253;
const SYSCTL: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
/// Longest name of an AppArmor profile.
const APP_ARMOR_MAX: usize = 4095;
const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const NOT_WINDOWS: &str = "cannot be set for a windows pod";
const NOT_LINUX: &str = "windows options cannot be set for a linux pod";

pub(super) fn of_pod(e: &mut Vec<Error>, object: &Value) {
    let path = "spec.securityContext";
    let nothing = Value::Null;
    let context = object.pointer("/spec/securityContext").unwrap_or(&nothing);
    ids(e, path, context, &["fsGroup", "runAsUser", "runAsGroup"]);
    for (i, group) in list_at(context, "/supplementalGroups").iter().enumerate() {
        id(e, &format!("{path}.supplementalGroups[{i}]"), group);
    }
    if bool_at(object, "/spec/shareProcessNamespace") && bool_at(object, "/spec/hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        e.push(Error::invalid("spec.shareProcessNamespace", true, why));
    }
    sysctls(e, path, context, object);
    for (field, known) in [
        ("fsGroupChangePolicy", ["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", ["Merge", "Strict"]),
        ("seLinuxChangePolicy", ["MountOption", "Recursive"]),
    ] {
        if let Some(value) = context.get(field).and_then(Value::as_str)
            && !known.contains(&value)
        {
            e.push(Error::not_supported(
                &format!("{path}.{field}"),
                value,
                &known,
            ));
        }
    }
    profiles(e, path, context);
    host_users(e, object);
    system(e, object, context);
}

pub(super) fn of_container(e: &mut Vec<Error>, path: &str, c: &Value, host_users: bool) {
    let Some(context) = c.get("securityContext") else {
        return;
    };
    let path = format!("{path}.securityContext");
    ids(e, &path, context, &["runAsUser", "runAsGroup"]);
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        if bool_at(context, "/privileged") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            e.push(Error::invalid(&path, context.clone(), why));
        }
        let added = list_at(context, "/capabilities/add");
        if added.iter().any(|c| c == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            e.push(Error::invalid(&path, context.clone(), why));
        }
    }
    if let Some(mount) = context.get("procMount").and_then(Value::as_str) {
        let at = format!("{path}.procMount");
        if !matches!(mount, "Default" | "Unmasked") {
            e.push(Error::not_supported(&at, mount, &["Default", "Unmasked"]));
        }
        if mount == "Unmasked" && host_users {
            let why = "`hostUsers` must be false to use `Unmasked`";
            e.push(Error::invalid(&at, mount, why));
        }
    }
    profiles(e, &path, context);
}

fn ids(e: &mut Vec<Error>, path: &str, context: &Value, fields: &[&str]) {
    for field in fields {
        if let Some(value) = context.get(*field) {
            id(e, &format!("{path}.{field}"), value);
        }
    }
}

fn id(e: &mut Vec<Error>, at: &str, value: &Value) {
    if value
        .as_i64()
        .is_some_and(|n| !(0..=i64::from(i32::MAX)).contains(&n))
    {
        let why = format!("must be between 0 and {}, inclusive", i32::MAX);
        e.push(Error::invalid(at, value.clone(), why));
    }
}

fn sysctls(e: &mut Vec<Error>, path: &str, context: &Value, object: &Value) {
    let mut seen = HashSet::new();
    for (i, sysctl) in list_at(context, "/sysctls").iter().enumerate() {
        let name = str_at(sysctl, "/name");
        let at = format!("{path}.sysctls[{i}].name");
        if name.is_empty() {
            e.push(Error::required(&at, ""));
        } else if !is_sysctl(name) {
            e.push(Error::invalid(&at, name, SYSCTL));
        } else if !seen.insert(name) {
            e.push(Error::duplicate(&at, name));
        }
        // Of the node's own namespaces a pod may change nothing.
        let name = name.replace('/', ".");
        let of_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if bool_at(object, "/spec/hostNetwork") && name.starts_with("net.") {
            let why = "may not be specified when 'hostNetwork' is true";
            e.push(Error::invalid(&at, name.as_str(), why));
        }
        if bool_at(object, "/spec/hostIPC") && of_ipc {
            let why = "may not be specified when 'hostIPC' is true";
            e.push(Error::invalid(&at, name.as_str(), why));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        let b = part.as_bytes();
        b.first().is_some_and(|c| plain(*c))
            && b.last().is_some_and(|c| plain(*c))
            && b.iter().all(|c| plain(*c) || matches!(c, b'-' | b'_'))
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(part)
}

/// What confines system calls and files (KEP-135, KEP-24).
fn profiles(e: &mut Vec<Error>, path: &str, context: &Value) {
    for (field, name) in [
        ("seccompProfile", "seccomp"),
        ("appArmorProfile", "AppArmor"),
    ] {
        let Some(profile) = context.get(field) else {
            continue;
        };
        let path = format!("{path}.{field}");
        let at = format!("{path}.localhostProfile");
        let file = profile.get("localhostProfile").and_then(Value::as_str);
        match (str_at(profile, "/type"), file) {
            ("Localhost", None | Some("")) => {
                let why = format!("must be set when {name} type is Localhost");
                e.push(Error::required(&at, &why));
            }
            ("Localhost", Some(file)) if name == "seccomp" => {
                descending(e, &path, "localhostProfile", file);
            }
            ("Localhost", Some(file)) => {
                if file.trim() != file {
                    e.push(Error::invalid(
                        &at,
                        file,
                        "must not be padded with whitespace",
                    ));
                }
                if file.len() > APP_ARMOR_MAX {
                    e.push(Error::too_long(&at, APP_ARMOR_MAX));
                }
            }
            ("RuntimeDefault" | "Unconfined", Some(file)) => {
                let why = format!("can only be set when {name} type is Localhost");
                e.push(Error::invalid(&at, file, why));
            }
            ("RuntimeDefault" | "Unconfined", None) => {}
            ("", _) => {
                let why = format!("type is required when {field} is set");
                e.push(Error::required(&format!("{path}.type"), &why));
            }
            (other, _) => {
                e.push(Error::not_supported(
                    &format!("{path}.type"),
                    other,
                    &PROFILES,
                ));
            }
        }
    }
}

/// Users of the pod's own are no users of the node (KEP-127).
fn host_users(e: &mut Vec<Error>, object: &Value) {
    if object.pointer("/spec/hostUsers") != Some(&Value::Bool(false)) {
        return;
    }
    let why = "when `hostUsers` is false";
    // The last two are upstream's spelling.
    for (field, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if bool_at(object, &format!("/spec/{field}")) {
            e.push(Error::forbidden(&format!("spec.{shown}"), why));
        }
    }
    each_container(object, |path, c| {
        if !list_at(c, "/volumeDevices").is_empty() {
            e.push(Error::forbidden(&format!("{path}.volumeDevices"), why));
        }
    });
}

/// What one operating system has and the other has not (KEP-2802).
fn system(e: &mut Vec<Error>, object: &Value, context: &Value) {
    let (own, others, why): (&[&str], &[&str], &str) = match str_at(object, "/spec/os/name") {
        "linux" => (&["windowsOptions"], &["windowsOptions"], NOT_LINUX),
        "windows" => (
            &[
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "fsGroup",
                "fsGroupChangePolicy",
                "sysctls",
                "runAsUser",
                "runAsGroup",
                "supplementalGroups",
                "supplementalGroupsPolicy",
                "seLinuxChangePolicy",
            ],
            &[
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "capabilities",
                "readOnlyRootFilesystem",
                "privileged",
                "allowPrivilegeEscalation",
                "procMount",
                "runAsUser",
                "runAsGroup",
            ],
            NOT_WINDOWS,
        ),
        _ => return,
    };
    for field in own.iter().filter(|field| context.get(**field).is_some()) {
        e.push(Error::forbidden(
            &format!("spec.securityContext.{field}"),
            why,
        ));
    }
    if why == NOT_WINDOWS {
        for field in ["hostUsers", "shareProcessNamespace"] {
            if object.pointer(&format!("/spec/{field}")).is_some() {
                e.push(Error::forbidden(&format!("spec.{field}"), why));
            }
        }
        for field in ["hostPID", "hostIPC"] {
            if bool_at(object, &format!("/spec/{field}")) {
                e.push(Error::forbidden(&format!("spec.{field}"), why));
            }
        }
    }
    each_container(object, |path, c| {
        for field in others {
            if c.pointer(&format!("/securityContext/{field}")).is_some() {
                e.push(Error::forbidden(
                    &format!("{path}.securityContext.{field}"),
                    why,
                ));
            }
        }
    });
}

fn each_container(object: &Value, mut see: impl FnMut(&str, &Value)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, c) in list_at(object, &format!("/spec/{list}")).iter().enumerate() {
            see(&format!("spec.{list}[{i}]"), c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(spec: Value) -> String {
        let mut e = Vec::new();
        let pod = json!({"spec": spec});
        of_pod(&mut e, &pod);
        for (i, c) in list_at(&pod, "/spec/containers").iter().enumerate() {
            of_container(&mut e, &format!("spec.containers[{i}]"), c, true);
        }
        e.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_confined_pod_passes() {
        assert_eq!(
            words(
                json!({"securityContext": {"runAsUser": 0, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"},
                "sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]},
                "containers": [{"securityContext": {"privileged": true, "capabilities": {"add": ["NET_ADMIN"]}}}]})
            ),
            ""
        );
    }

    #[test]
    fn each_rule_speaks() {
        let w = words(
            json!({"hostNetwork": true, "hostPID": true, "shareProcessNamespace": true,
            "securityContext": {"runAsUser": -1, "fsGroupChangePolicy": "Never", "supplementalGroups": [-3],
                "seccompProfile": {"type": "Localhost"}, "sysctls": [{"name": "net.a"}, {"name": "A"}]},
            "containers": [{"securityContext": {"privileged": true, "allowPrivilegeEscalation": false, "procMount": "Unmasked",
                "runAsGroup": 1_i64 << 40, "appArmorProfile": {"type": "Unconfined", "localhostProfile": "x"}}}]}),
        );
        for want in [
            "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "spec.securityContext.supplementalGroups[0]: Invalid value: -3",
            "spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
            "spec.securityContext.sysctls[0].name: Invalid value: \"net.a\": may not be specified when 'hostNetwork' is true",
            "spec.securityContext.sysctls[1].name: Invalid value: \"A\": must have at most 253 characters",
            "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"Never\": supported values: \"Always\", \"OnRootMismatch\"",
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            "spec.containers[0].securityContext.runAsGroup: Invalid value: 1099511627776",
            "spec.containers[0].securityContext.appArmorProfile.localhostProfile: Invalid value: \"x\": can only be set when AppArmor type is Localhost",
        ] {
            assert!(w.contains(want), "{want}\n--\n{w}");
        }
        let w = words(
            json!({"os": {"name": "windows"}, "securityContext": {"runAsUser": 1}, "containers": [{"securityContext": {"privileged": false}}]}),
        );
        assert_eq!(
            w,
            "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod\nspec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod"
        );
    }
}
