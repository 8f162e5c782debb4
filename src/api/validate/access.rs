//! Rules for roles and bindings, certificate requests and webhooks.

use serde_json::Value;

use super::{all, one_of};
use crate::field::{Error, index};
use crate::json::{int_at, list_at, str_at};
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

pub(super) fn webhooks(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (i, hook) in list_at(o, "/webhooks").iter().enumerate() {
        let path = index("webhooks", i);
        let e = &mut errors;
        let name = str_at(hook, "/name");
        let at = format!("{path}.name");
        if name.split('.').count() < 3 {
            let why = "should be a domain with at least three segments separated by dots";
            e.push(Error::invalid(&at, name, why));
        }
        if seen.contains(&name) {
            e.push(Error::duplicate(&at, name));
        }
        seen.push(name);
        let (url, service) = (
            hook.pointer("/clientConfig/url"),
            hook.pointer("/clientConfig/service"),
        );
        if url.is_some() == service.is_some() {
            e.push(Error::required(
                &format!("{path}.clientConfig"),
                "exactly one of url or service is required",
            ));
        }
        if let Some(url) = url.and_then(Value::as_str)
            && !url.starts_with("https://")
        {
            e.push(Error::invalid(
                &format!("{path}.clientConfig.url"),
                url.split("://").next().unwrap_or_default(),
                "'https' is the only allowed URL scheme",
            ));
        }
        if let Some(service) = service {
            for key in ["name", "namespace"] {
                if str_at(service, &format!("/{key}")).is_empty() {
                    let at = format!("{path}.clientConfig.service.{key}");
                    e.push(Error::required(&at, &format!("service {key} is required")));
                }
            }
        }
        let effects = str_at(hook, "/sideEffects");
        let at = format!("{path}.sideEffects");
        if effects.is_empty() {
            e.push(Error::required(
                &at,
                "must specify one of None, NoneOnDryRun",
            ));
        } else if !matches!(effects, "None" | "NoneOnDryRun") {
            e.push(Error::not_supported(
                &at,
                effects,
                &["None", "NoneOnDryRun"],
            ));
        }
        let versions = list_at(hook, "/admissionReviewVersions");
        let at = format!("{path}.admissionReviewVersions");
        if versions.is_empty() {
            e.push(Error::required(&at, "must specify one of v1, v1beta1"));
        } else if !versions.iter().any(|v| v == "v1" || v == "v1beta1") {
            e.push(Error::invalid(
                &at,
                versions.to_vec(),
                "must include at least one of v1, v1beta1",
            ));
        }
        one_of(
            e,
            &format!("{path}.failurePolicy"),
            str_at(hook, "/failurePolicy"),
            &["Fail", "Ignore"],
        );
        if let Some(n) = int_at(hook, "/timeoutSeconds")
            && !(1..=30).contains(&n)
        {
            e.push(Error::invalid(
                &format!("{path}.timeoutSeconds"),
                n,
                "the timeout value must be between 1 and 30 seconds",
            ));
        }
        for (j, rule) in list_at(hook, "/rules").iter().enumerate() {
            for key in ["operations", "apiGroups", "apiVersions", "resources"] {
                if list_at(rule, &format!("/{key}")).is_empty() {
                    e.push(Error::required(&format!("{path}.rules[{j}].{key}"), ""));
                }
            }
        }
    }
    errors
}
