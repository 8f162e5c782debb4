//! The restricted level: what current practice of hardening asks for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Violation;
use super::look::{
    containers, has_own_users, is_windows, names, plural, quoted_set, setters, these,
};
use crate::json::{int_at, list_at, str_at};

/// Volume types that reach nothing outside the pod's own world.
const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// All checks by name, each from its version on.
pub(super) fn check(pod: &Value, version: u32) -> Vec<Violation> {
    [
        (version >= 8).then(|| escalation(pod, version)).flatten(),
        (version >= 22)
            .then(|| capabilities(pod, version))
            .flatten(),
        volumes(pod),
        non_root(pod, version),
        (version >= 23).then(|| user(pod, version)).flatten(),
        (version >= 19).then(|| seccomp(pod, version)).flatten(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn flag(holder: &Value, pointer: &str) -> Option<bool> {
    holder.pointer(pointer).and_then(Value::as_bool)
}

fn escalation(pod: &Value, version: u32) -> Option<Violation> {
    if is_windows(pod, version) {
        return None;
    }
    let found = names(pod, |c| {
        flag(c, "/securityContext/allowPrivilegeEscalation") != Some(false)
    });
    if found.is_empty() {
        return None;
    }
    Violation::new(
        "allowPrivilegeEscalation != false",
        format!(
            "{} must set securityContext.allowPrivilegeEscalation=false",
            these(&found)
        ),
    )
}

fn capabilities(pod: &Value, version: u32) -> Option<Violation> {
    if is_windows(pod, version) {
        return None;
    }
    let list = |container: &Value, part: &str| -> Vec<String> {
        list_at(container, &format!("/securityContext/capabilities/{part}"))
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    let keeping = names(pod, |c| !list(c, "drop").iter().any(|name| name == "ALL"));
    let mut added = BTreeSet::new();
    let adding = names(pod, |c| {
        let more: Vec<String> = list(c, "add")
            .into_iter()
            .filter(|name| name != "NET_BIND_SERVICE")
            .collect();
        let bad = !more.is_empty();
        added.extend(more);
        bad
    });
    let mut what = Vec::new();
    if !keeping.is_empty() {
        what.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            these(&keeping)
        ));
    }
    if !adding.is_empty() {
        what.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            these(&adding),
            quoted_set(&added)
        ));
    }
    if what.is_empty() {
        return None;
    }
    Violation::new("unrestricted capabilities", what.join("; "))
}

fn volumes(pod: &Value) -> Option<Violation> {
    let (mut found, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for volume in list_at(pod, "/spec/volumes") {
        let mut keys = volume.as_object().into_iter().flatten().map(|(key, _)| key);
        if keys.clone().any(|key| VOLUMES.contains(&key.as_str())) {
            continue;
        }
        let kind = keys.find(|key| *key != "name");
        kinds.insert(kind.map_or("unknown".to_owned(), String::clone));
        found.insert(str_at(volume, "/name").to_owned());
    }
    if found.is_empty() {
        return None;
    }
    Violation::new(
        "restricted volume types",
        format!(
            "{} {} {} {} {}",
            plural(found.len(), "volume", "volumes"),
            quoted_set(&found),
            plural(found.len(), "uses", "use"),
            plural(
                kinds.len(),
                "restricted volume type",
                "restricted volume types"
            ),
            quoted_set(&kinds)
        ),
    )
}

fn non_root(pod: &Value, version: u32) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if has_own_users(pod, version) {
        return None;
    }
    let at_pod = flag(pod, "/spec/securityContext/runAsNonRoot");
    let of = |c: &Value| flag(c, "/securityContext/runAsNonRoot");
    let refusing = names(pod, |c| of(c) == Some(false));
    if let Some(who) = setters(at_pod == Some(false), &refusing) {
        return Violation::new(
            REASON,
            format!("{who} must not set securityContext.runAsNonRoot=false"),
        );
    }
    let silent = names(pod, |c| of(c).is_none() && at_pod != Some(true));
    if silent.is_empty() {
        return None;
    }
    Violation::new(
        REASON,
        format!(
            "pod or {} must set securityContext.runAsNonRoot=true",
            these(&silent)
        ),
    )
}

fn user(pod: &Value, version: u32) -> Option<Violation> {
    if has_own_users(pod, version) {
        return None;
    }
    let by_pod = int_at(pod, "/spec/securityContext/runAsUser") == Some(0);
    let found = names(pod, |c| int_at(c, "/securityContext/runAsUser") == Some(0));
    let who = setters(by_pod, &found)?;
    Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

fn seccomp(pod: &Value, version: u32) -> Option<Violation> {
    const REASON: &str = "seccompProfile";
    if is_windows(pod, version) {
        return None;
    }
    let fine = |kind: &str| matches!(kind, "Localhost" | "RuntimeDefault");
    let of = |holder: &Value, pointer: &str| {
        holder
            .pointer(pointer)
            .map(|profile| str_at(profile, "/type").to_owned())
    };
    let at_pod = of(pod, "/spec/securityContext/seccompProfile");
    let of_container = |c: &Value| of(c, "/securityContext/seccompProfile");
    let kinds: BTreeSet<String> = at_pod
        .clone()
        .into_iter()
        .chain(containers(pod).filter_map(of_container))
        .filter(|kind| !fine(kind))
        .collect();
    let wrong = names(pod, |c| of_container(c).is_some_and(|kind| !fine(&kind)));
    let by_pod = at_pod.as_deref().is_some_and(|kind| !fine(kind));
    if let Some(who) = setters(by_pod, &wrong) {
        return Violation::new(
            REASON,
            format!(
                "{who} must not set securityContext.seccompProfile.type to {}",
                quoted_set(&kinds)
            ),
        );
    }
    let silent = names(pod, |c| of_container(c).is_none() && at_pod.is_none());
    if silent.is_empty() {
        return None;
    }
    Violation::new(
        REASON,
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            these(&silent)
        ),
    )
}
