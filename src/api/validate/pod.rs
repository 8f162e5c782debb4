//! Rules for a pod's spec as a whole; containers, volumes, scheduling and security have
//! their own files.

use std::collections::HashSet;

use serde_json::Value;

use super::container::{self, Kind, Surroundings};
use super::{is_ip, labels, one_of, pod_scheduling, pod_volumes, resources, security, text};
use crate::field::{Error, index};
use crate::json::{bool_at, int_at, list_at, str_at};
use crate::names;

/// Limits of the C library's resolver, of which upstream allows more (KEP-2595).
const NAMESERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_CHARACTERS: usize = 2048;

/// A pod, as against a template of pods: stricter where templates of the past were not.
pub(super) fn pod(object: &Value) -> Vec<Error> {
    let mut errors = spec(object);
    let e = &mut errors;
    if str_at(object, "/spec/serviceAccountName").is_empty() {
        for (i, volume) in list_at(object, "/spec/volumes").iter().enumerate() {
            for (j, source) in list_at(volume, "/projected/sources").iter().enumerate() {
                if source.get("serviceAccountToken").is_some() {
                    let at =
                        format!("spec.volumes[{i}].projected.sources[{j}].serviceAccountToken");
                    let why = "must not be specified when serviceAccountName is not set";
                    e.push(Error::forbidden(&at, why));
                }
            }
        }
    }
    super::selector::not_negative(e, object, &["spec.terminationGracePeriodSeconds"]);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for (i, c) in list_at(object, &format!("/spec/{list}")).iter().enumerate() {
            let image = str_at(c, "/image");
            if image.trim() != image {
                let why = "must not have leading or trailing whitespace";
                e.push(Error::invalid(
                    &format!("spec.{list}[{i}].image"),
                    image,
                    why,
                ));
            }
        }
    }
    if bool_at(object, "/spec/hostNetwork") {
        host_ports(e, object, true);
    }
    errors
}

/// A new pod.
pub(super) fn create(object: &Value) -> Vec<Error> {
    let mut errors = pod(object);
    if !list_at(object, "/spec/ephemeralContainers").is_empty() {
        let at = "spec.ephemeralContainers";
        errors.push(Error::forbidden(at, "cannot be set on create"));
    }
    errors
}

/// What holds for pods and templates.
pub(super) fn spec(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let volumes = pod_volumes::rules(e, object);
    containers(e, object, &volumes);
    resources::of_pod(e, object);
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let at = |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default();
    one_of(
        e,
        "spec.restartPolicy",
        at("restartPolicy"),
        &["Always", "OnFailure", "Never"],
    );
    one_of(
        e,
        "spec.dnsPolicy",
        at("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    labels(e, "spec.nodeSelector", object, "/spec/nodeSelector");
    security::of_pod(e, object);
    dns(e, object);
    gates(e, object);
    pod_scheduling::rules(e, object);
    for key in [
        "serviceAccountName",
        "nodeName",
        "priorityClassName",
        "runtimeClassName",
    ] {
        let name = at(key);
        if !name.is_empty() {
            text(e, "spec", key, name, names::dns_subdomain(name));
        }
    }
    for key in ["hostname", "subdomain"] {
        let name = at(key);
        if !name.is_empty() {
            text(e, "spec", key, name, names::dns_label(name));
        }
    }
    let (account, old_name) = (at("serviceAccountName"), at("serviceAccount"));
    if old_name != account {
        let why = format!("must be the same as serviceAccountName: {account:?}");
        e.push(Error::invalid(
            "spec.deprecatedServiceAccount",
            old_name,
            why,
        ));
    }
    if let Some(n) = int_at(object, "/spec/activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&n)
    {
        let why = format!("must be between 1 and {}, inclusive", i32::MAX);
        e.push(Error::invalid("spec.activeDeadlineSeconds", n, why));
    }
    aliases(e, object);
    if spec.get("preemptionPolicy").is_some() {
        let known = ["Never", "PreemptLowerPriority"];
        one_of(e, "spec.preemptionPolicy", at("preemptionPolicy"), &known);
    }
    if spec.get("os").is_some() {
        match str_at(spec, "/os/name") {
            "" => e.push(Error::required("spec.os.name", "cannot be empty")),
            name => one_of(e, "spec.os.name", name, &["linux", "windows"]),
        }
    }
    errors
}

fn containers(e: &mut Vec<Error>, object: &Value, volumes: &[&Value]) {
    if list_at(object, "/spec/containers").is_empty() {
        e.push(Error::required("spec.containers", ""));
    }
    let around = Surroundings {
        volumes,
        grace: int_at(object, "/spec/terminationGracePeriodSeconds"),
        os: str_at(object, "/spec/os/name"),
        restart: str_at(object, "/spec/restartPolicy"),
        host_users: object.pointer("/spec/hostUsers") != Some(&Value::Bool(false)),
        claims: list_at(object, "/spec/resourceClaims"),
    };
    let mut seen = HashSet::new();
    for (list, kind) in [
        ("containers", Kind::Regular),
        ("initContainers", Kind::Init),
        ("ephemeralContainers", Kind::Ephemeral),
    ] {
        for (i, c) in list_at(object, &format!("/spec/{list}")).iter().enumerate() {
            let path = index(&format!("spec.{list}"), i);
            container::rules(e, &path, c, kind, &around);
            let name = str_at(c, "/name");
            if !name.is_empty() && !seen.insert(name) {
                e.push(Error::duplicate(&format!("{path}.name"), name));
            }
            if kind == Kind::Ephemeral {
                container::ephemeral(e, &path, c);
                let target = str_at(c, "/targetContainerName");
                let lasting = ["containers", "initContainers"].iter().any(|list| {
                    let list = list_at(object, &format!("/spec/{list}"));
                    list.iter().any(|c| str_at(c, "/name") == target)
                });
                if !target.is_empty() && !lasting {
                    let at = format!("{path}.targetContainerName");
                    e.push(Error::not_found(&at, target));
                }
            }
        }
    }
    unique_host_ports(e, object);
    if bool_at(object, "/spec/hostNetwork") {
        host_ports(e, object, false);
    }
}

/// One port of the node for one container; init containers take turns.
fn unique_host_ports(e: &mut Vec<Error>, object: &Value) {
    let mut seen = HashSet::new();
    for list in ["containers", "initContainers"] {
        for (i, c) in list_at(object, &format!("/spec/{list}")).iter().enumerate() {
            if list == "initContainers" {
                seen.clear();
            }
            for (j, p) in list_at(c, "/ports").iter().enumerate() {
                let port = int_at(p, "/hostPort").unwrap_or(0);
                if port == 0 {
                    continue;
                }
                let key = format!("{}/{}/{port}", str_at(p, "/protocol"), str_at(p, "/hostIP"));
                if seen.contains(&key) {
                    let at = format!("spec.{list}[{i}].ports[{j}].hostPort");
                    e.push(Error::duplicate(&at, key.as_str()));
                }
                seen.insert(key);
            }
        }
    }
}

/// On the node's network a container's port is the node's; a template may leave it open,
/// which is `settled` once there is a pod.
fn host_ports(e: &mut Vec<Error>, object: &Value, settled: bool) {
    for (i, c) in list_at(object, "/spec/containers").iter().enumerate() {
        for (j, p) in list_at(c, "/ports").iter().enumerate() {
            let number = |key: &str| int_at(p, key).unwrap_or(0);
            let (host, own) = (number("/hostPort"), number("/containerPort"));
            if host != own && ((host == 0) == settled) {
                let at = format!("spec.containers[{i}].ports[{j}].hostPort");
                let why = "must match `containerPort` when `hostNetwork` is true";
                e.push(Error::invalid(&at, host, why));
            }
        }
    }
}

fn dns(e: &mut Vec<Error>, object: &Value) {
    let servers = list_at(object, "/spec/dnsConfig/nameservers");
    if str_at(object, "/spec/dnsPolicy") == "None" && servers.is_empty() {
        e.push(Error::required(
            "spec.dnsConfig.nameservers",
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        ));
    }
    if servers.len() > NAMESERVERS {
        let why = format!("must not have more than {NAMESERVERS} nameservers");
        e.push(Error::invalid(
            "spec.dnsConfig.nameservers",
            servers.to_vec(),
            why,
        ));
    }
    for (i, server) in servers.iter().enumerate() {
        is_ip(e, &format!("spec.dnsConfig.nameservers[{i}]"), server);
    }
    let searches = list_at(object, "/spec/dnsConfig/searches");
    let path = "spec.dnsConfig.searches";
    if searches.len() > SEARCHES {
        let why = format!("must not have more than {SEARCHES} search paths");
        e.push(Error::invalid(path, searches.to_vec(), why));
    }
    let names = || searches.iter().map(|s| s.as_str().unwrap_or_default());
    if names().map(|s| s.len() + 1).sum::<usize>() > SEARCH_CHARACTERS + 1 {
        let why = format!(
            "must not have more than {SEARCH_CHARACTERS} characters (including spaces) in the search list"
        );
        e.push(Error::invalid(path, searches.to_vec(), why));
    }
    for (i, search) in names().enumerate() {
        // "." alone asks for names as they are.
        if search != "." {
            let plain = search.strip_suffix('.').unwrap_or(search).replace('_', "-");
            super::texts(
                e,
                &index(path, i),
                search,
                names::dns_subdomain(plain.trim_matches('-')),
            );
        }
    }
    for (i, option) in list_at(object, "/spec/dnsConfig/options")
        .iter()
        .enumerate()
    {
        if str_at(option, "/name").is_empty() {
            let at = index("spec.dnsConfig.options", i);
            e.push(Error::required(&at, "must not be empty"));
        }
    }
}

fn gates(e: &mut Vec<Error>, object: &Value) {
    for (i, gate) in list_at(object, "/spec/readinessGates").iter().enumerate() {
        let name = str_at(gate, "/conditionType");
        let path = index("spec.readinessGates", i);
        text(e, &path, "conditionType", name, names::qualified_name(name));
    }
    let mut seen = HashSet::new();
    for (i, gate) in list_at(object, "/spec/schedulingGates").iter().enumerate() {
        let name = str_at(gate, "/name");
        let path = index("spec.schedulingGates", i);
        super::texts(e, &path, name, names::qualified_name(name));
        if !seen.insert(name) {
            e.push(Error::duplicate(&path, name));
        }
    }
    if !seen.is_empty() && !str_at(object, "/spec/nodeName").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        e.push(Error::forbidden("spec.nodeName", why));
    }
}

fn aliases(e: &mut Vec<Error>, object: &Value) {
    for (i, alias) in list_at(object, "/spec/hostAliases").iter().enumerate() {
        let path = index("spec.hostAliases", i);
        is_ip(
            e,
            &format!("{path}.ip"),
            alias.get("ip").unwrap_or(&Value::Null),
        );
        for (j, name) in list_at(alias, "/hostnames").iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let why = names::dns_subdomain(name);
            super::texts(e, &format!("{path}.hostnames[{j}]"), name, why);
        }
    }
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
