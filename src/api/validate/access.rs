//! Rules for roles and bindings.

use serde_json::Value;

use super::all;
use crate::field::{Error, index};
use crate::json::{list_at, str_at};
use crate::names;

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn role(o: &Value, namespaced: bool) -> Vec<Error> {
    let mut errors = Vec::new();
    for (i, rule) in list_at(o, "/rules").iter().enumerate() {
        let path = index("rules", i);
        let e = &mut errors;
        let empty = |key: &str| list_at(rule, &format!("/{key}")).is_empty();
        if empty("verbs") {
            e.push(Error::required(
                &format!("{path}.verbs"),
                "verbs must contain at least one value",
            ));
        }
        if !empty("nonResourceURLs") {
            if namespaced {
                e.push(Error::invalid(
                    &format!("{path}.nonResourceURLs"),
                    rule["nonResourceURLs"].clone(),
                    "namespaced rules cannot apply to non-resource URLs",
                ));
            }
            if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
                e.push(Error::invalid(
                    &format!("{path}.nonResourceURLs"),
                    rule["nonResourceURLs"].clone(),
                    "rules cannot apply to both regular resources and non-resource URLs",
                ));
            }
            continue;
        }
        if empty("apiGroups") {
            e.push(Error::required(
                &format!("{path}.apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if empty("resources") {
            e.push(Error::required(
                &format!("{path}.resources"),
                "resource rules must supply at least one resource",
            ));
        }
    }
    errors
}

pub(super) fn binding(o: &Value, namespaced: bool) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let group = str_at(o, "/roleRef/apiGroup");
    if group != RBAC {
        e.push(Error::not_supported("roleRef.apiGroup", group, &[RBAC]));
    }
    let kinds: &[&str] = if namespaced {
        &["ClusterRole", "Role"]
    } else {
        &["ClusterRole"]
    };
    let kind = str_at(o, "/roleRef/kind");
    if !kinds.contains(&kind) {
        e.push(Error::not_supported("roleRef.kind", kind, kinds));
    }
    let name = str_at(o, "/roleRef/name");
    if name.is_empty() {
        e.push(Error::required("roleRef.name", ""));
    } else {
        all(e, "roleRef.name", &name.into(), names::path_segment(name));
    }
    for (i, subject) in list_at(o, "/subjects").iter().enumerate() {
        let path = index("subjects", i);
        let name = str_at(subject, "/name");
        if name.is_empty() {
            e.push(Error::required(&format!("{path}.name"), ""));
        }
        let group = str_at(subject, "/apiGroup");
        match str_at(subject, "/kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    let why = names::dns_subdomain(name);
                    all(e, &format!("{path}.name"), &name.into(), why);
                }
                if !group.is_empty() {
                    e.push(Error::not_supported(
                        &format!("{path}.apiGroup"),
                        group,
                        &[""],
                    ));
                }
                if str_at(subject, "/namespace").is_empty() {
                    e.push(Error::required(&format!("{path}.namespace"), ""));
                }
            }
            "User" | "Group" => {
                if group != RBAC {
                    let at = format!("{path}.apiGroup");
                    e.push(Error::not_supported(&at, group, &[RBAC]));
                }
            }
            other => {
                let at = format!("{path}.kind");
                e.push(Error::not_supported(
                    &at,
                    other,
                    &["Group", "ServiceAccount", "User"],
                ));
            }
        }
    }
    errors
}

pub(super) fn binding_update(new: &Value, old: &Value) -> Vec<Error> {
    if new.get("roleRef") == old.get("roleRef") {
        return Vec::new();
    }
    let value = new.get("roleRef").cloned().unwrap_or_default();
    vec![Error::invalid("roleRef", value, "cannot change roleRef")]
}
