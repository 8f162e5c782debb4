//! The baseline level: known ways out of a container are closed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Violation;
use super::look::{containers, has_own_users, names, plural, quoted, quoted_set, setters, these};
use crate::json::{bool_at, int_at, list_at, map_at, str_at};

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Harmless sysctls with the minor version since which they are.
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// All checks by name; `within_restricted` leaves out those that the restricted level has
/// stricter ones for.
pub(super) fn check(pod: &Value, version: u32, within_restricted: bool) -> Vec<Violation> {
    let looser = !within_restricted;
    [
        app_armor(pod),
        looser.then(|| capabilities(pod)).flatten(),
        host_namespaces(pod),
        looser.then(|| host_paths(pod)).flatten(),
        host_ports(pod),
        (version >= 34).then(|| hosts(pod)).flatten(),
        privileged(pod),
        proc_mount(pod, version),
        se_linux(pod, version),
        // The stricter check exists since 1.19 only.
        (looser || version < 19)
            .then(|| seccomp(pod, version))
            .flatten(),
        sysctls(pod, version),
        host_process(pod),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn annotations(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    map_at(pod, "/metadata/annotations")
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

fn app_armor(pod: &Value) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut bad = |holder: &Value, at: &str| {
        let kind = str_at(holder, at);
        let bad = !matches!(kind, "" | "RuntimeDefault" | "Localhost");
        if bad {
            values.insert(kind.to_owned());
        }
        bad
    };
    let by_pod = bad(pod, "/spec/securityContext/appArmorProfile/type");
    let found = names(pod, |c| bad(c, "/securityContext/appArmorProfile/type"));
    let mut noted: Vec<String> = annotations(pod)
        .filter(|(key, _)| key.starts_with(APP_ARMOR))
        .filter(|(_, value)| {
            !matches!(*value, "" | "runtime/default") && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    noted.sort_unstable();
    let mut who: Vec<String> = setters(by_pod, &found).into_iter().collect();
    if !noted.is_empty() {
        who.push(plural(noted.len(), "annotation", "annotations").to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let all: Vec<&str> = values.iter().chain(&noted).map(String::as_str).collect();
    Violation::new(
        plural(
            all.len(),
            "forbidden AppArmor profile",
            "forbidden AppArmor profiles",
        ),
        format!(
            "{} must not set AppArmor profile type to {}",
            who.join(" and "),
            quoted(all)
        ),
    )
}

fn capabilities(pod: &Value) -> Option<Violation> {
    let mut added = BTreeSet::new();
    let found = names(pod, |container| {
        let mut bad = false;
        for name in list_at(container, "/securityContext/capabilities/add") {
            let name = name.as_str().unwrap_or_default();
            if !CAPABILITIES.contains(&name) {
                bad = true;
                added.insert(name.to_owned());
            }
        }
        bad
    });
    if found.is_empty() {
        return None;
    }
    Violation::new(
        "non-default capabilities",
        format!(
            "{} must not include {} in securityContext.capabilities.add",
            these(&found),
            quoted_set(&added)
        ),
    )
}

fn host_namespaces(pod: &Value) -> Option<Violation> {
    let found: Vec<String> = ["hostIPC", "hostNetwork", "hostPID"]
        .iter()
        .filter(|name| bool_at(pod, &format!("/spec/{name}")))
        .map(|name| format!("{name}=true"))
        .collect();
    if found.is_empty() {
        return None;
    }
    Violation::new("host namespaces", found.join(", "))
}

fn host_paths(pod: &Value) -> Option<Violation> {
    let found: Vec<&str> = list_at(pod, "/spec/volumes")
        .iter()
        .filter(|volume| volume.get("hostPath").is_some())
        .map(|volume| str_at(volume, "/name"))
        .collect();
    if found.is_empty() {
        return None;
    }
    let volumes = plural(found.len(), "volume", "volumes");
    Violation::new("hostPath volumes", format!("{volumes} {}", quoted(found)))
}

fn host_ports(pod: &Value) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let found = names(pod, |container| {
        let used: Vec<i64> = list_at(container, "/ports")
            .iter()
            .filter_map(|port| int_at(port, "/hostPort"))
            .filter(|port| *port != 0)
            .collect();
        ports.extend(used.iter().map(i64::to_string));
        !used.is_empty()
    });
    if found.is_empty() {
        return None;
    }
    let list: Vec<&str> = ports.iter().map(String::as_str).collect();
    Violation::new(
        "hostPort",
        format!(
            "{} {} {} {}",
            these(&found),
            plural(found.len(), "uses", "use"),
            plural(list.len(), "hostPort", "hostPorts"),
            list.join(", ")
        ),
    )
}

/// Probes and hooks must not be sent to other hosts.
fn hosts(pod: &Value) -> Option<Violation> {
    const HANDLERS: [&str; 5] = [
        "/livenessProbe",
        "/readinessProbe",
        "/startupProbe",
        "/lifecycle/postStart",
        "/lifecycle/preStop",
    ];
    let mut hosts = BTreeSet::new();
    let mut found = names(pod, |container| {
        let mut bad = false;
        for handler in HANDLERS {
            for kind in ["httpGet", "tcpSocket"] {
                let host = str_at(container, &format!("{handler}/{kind}/host"));
                if !host.is_empty() {
                    bad = true;
                    hosts.insert(host.to_owned());
                }
            }
        }
        bad
    });
    if found.is_empty() {
        return None;
    }
    found.sort_unstable();
    let words = plural(
        hosts.len(),
        "probe or lifecycle host",
        "probe or lifecycle hosts",
    );
    Violation::new(
        "probe or lifecycle host",
        format!(
            "{} {} {words} {}",
            these(&found),
            plural(found.len(), "uses", "use"),
            quoted_set(&hosts)
        ),
    )
}

fn privileged(pod: &Value) -> Option<Violation> {
    let found = names(pod, |c| bool_at(c, "/securityContext/privileged"));
    if found.is_empty() {
        return None;
    }
    Violation::new(
        "privileged",
        format!(
            "{} must not set securityContext.privileged=true",
            these(&found)
        ),
    )
}

fn proc_mount(pod: &Value, version: u32) -> Option<Violation> {
    if has_own_users(pod, version) {
        return None;
    }
    let mut kinds = BTreeSet::new();
    let found = names(pod, |container| {
        let kind = str_at(container, "/securityContext/procMount");
        let bad = !matches!(kind, "" | "Default");
        if bad {
            kinds.insert(kind.to_owned());
        }
        bad
    });
    if found.is_empty() {
        return None;
    }
    Violation::new(
        "procMount",
        format!(
            "{} must not set securityContext.procMount to {}",
            these(&found),
            quoted_set(&kinds)
        ),
    )
}

fn se_linux(pod: &Value, version: u32) -> Option<Violation> {
    let (mut kinds, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |options: Option<&Value>| {
        let Some(options) = options else {
            return false;
        };
        let kind = str_at(options, "/type");
        let known = matches!(
            kind,
            "" | "container_t" | "container_init_t" | "container_kvm_t"
        ) || (version >= 31 && kind == "container_engine_t");
        if !known {
            kinds.insert(kind.to_owned());
        }
        let has = |key: &str| !str_at(options, key).is_empty();
        user |= has("/user");
        role |= has("/role");
        !known || has("/user") || has("/role")
    };
    let by_pod = bad(pod.pointer("/spec/securityContext/seLinuxOptions"));
    let found = names(pod, |c| bad(c.pointer("/securityContext/seLinuxOptions")));
    let who = setters(by_pod, &found)?;
    let mut what = Vec::new();
    if !kinds.is_empty() {
        let types = plural(kinds.len(), "type", "types");
        what.push(format!("{types} {}", quoted_set(&kinds)));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    Violation::new(
        "seLinuxOptions",
        format!(
            "{who} set forbidden securityContext.seLinuxOptions: {}",
            what.join("; ")
        ),
    )
}

fn seccomp(pod: &Value, version: u32) -> Option<Violation> {
    if version < 19 {
        return seccomp_annotations(pod);
    }
    let mut kinds = BTreeSet::new();
    let mut bad = |profile: Option<&Value>| {
        let kind = profile.map_or("Localhost", |profile| str_at(profile, "/type"));
        let bad = !matches!(kind, "Localhost" | "RuntimeDefault");
        if bad {
            kinds.insert(kind.to_owned());
        }
        bad
    };
    let by_pod = bad(pod.pointer("/spec/securityContext/seccompProfile"));
    let found = names(pod, |c| bad(c.pointer("/securityContext/seccompProfile")));
    let who = setters(by_pod, &found)?;
    Violation::new(
        "seccompProfile",
        format!(
            "{who} must not set securityContext.seccompProfile.type to {}",
            quoted_set(&kinds)
        ),
    )
}

/// Before 1.19 the profile was an annotation.
fn seccomp_annotations(pod: &Value) -> Option<Violation> {
    let of_container = |key: &str| {
        let name = key.strip_prefix(SECCOMP_CONTAINER);
        name.is_some_and(|name| containers(pod).any(|c| str_at(c, "/name") == name))
    };
    let found: BTreeSet<String> = annotations(pod)
        .filter(|(key, _)| *key == SECCOMP_POD || of_container(key))
        .filter(|(_, value)| {
            !matches!(*value, "runtime/default" | "docker/default")
                && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if found.is_empty() {
        return None;
    }
    let words = plural(found.len(), "annotation", "annotations");
    let list: Vec<&str> = found.iter().map(String::as_str).collect();
    Violation::new(
        "seccompProfile",
        format!("forbidden {words} {}", list.join(", ")),
    )
}

fn sysctls(pod: &Value, version: u32) -> Option<Violation> {
    let found: Vec<&str> = list_at(pod, "/spec/securityContext/sysctls")
        .iter()
        .map(|sysctl| str_at(sysctl, "/name"))
        .filter(|name| {
            !SYSCTLS
                .iter()
                .any(|(known, since)| known == name && version >= *since)
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    Violation::new("forbidden sysctls", found.join(", "))
}

fn host_process(pod: &Value) -> Option<Violation> {
    let by_pod = bool_at(pod, "/spec/securityContext/windowsOptions/hostProcess");
    let found = names(pod, |c| {
        bool_at(c, "/securityContext/windowsOptions/hostProcess")
    });
    let who = setters(by_pod, &found)?;
    Violation::new(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
