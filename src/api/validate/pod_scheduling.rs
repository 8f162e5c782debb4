//! Rules for where a pod may run: affinity, spreading, tolerations. Volumes ask for nodes
//! in the same terms.

use std::collections::HashSet;

use serde_json::Value;

use super::selector::label_selector;
use super::{one_of, text, texts};
use crate::field::{Error, index};
use crate::json::{int_at, list_at, str_at};
use crate::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const OPERATOR: &str = "not a valid selector operator";

pub(super) fn rules(e: &mut Vec<Error>, object: &Value) {
    if let Some(affinity) = object.pointer("/spec/affinity") {
        node_affinity(e, affinity);
        for kind in ["podAffinity", "podAntiAffinity"] {
            pod_affinity(e, &format!("spec.affinity.{kind}"), affinity.get(kind));
        }
    }
    spreading(e, object);
    tolerations(e, "spec.tolerations", list_at(object, "/spec/tolerations"));
}

fn node_affinity(e: &mut Vec<Error>, affinity: &Value) {
    let Some(found) = affinity.get("nodeAffinity") else {
        return;
    };
    let path = "spec.affinity.nodeAffinity";
    if let Some(required) = found.get(REQUIRED) {
        node_selector(e, &format!("{path}.{REQUIRED}"), required);
    }
    for (i, term) in list_at(found, &format!("/{PREFERRED}")).iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{i}]");
        weight(e, &path, term);
        if let Some(preference) = term.get("preference") {
            // Wrong values are let through: nobody is kept from a node by a preference.
            node_term(e, &format!("{path}.preference"), preference, true);
        }
    }
}

/// A node selector: terms, one of which must hold.
pub(super) fn node_selector(e: &mut Vec<Error>, path: &str, selector: &Value) {
    let terms = list_at(selector, "/nodeSelectorTerms");
    let path = format!("{path}.nodeSelectorTerms");
    if terms.is_empty() {
        let why = "must have at least one node selector term";
        e.push(Error::required(&path, why));
    }
    for (i, term) in terms.iter().enumerate() {
        node_term(e, &index(&path, i), term, false);
    }
}

fn node_term(e: &mut Vec<Error>, path: &str, term: &Value, any_value: bool) {
    for (i, rule) in list_at(term, "/matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let values = list_at(rule, "/values");
        let at = || format!("{path}.values");
        match str_at(rule, "/operator") {
            "In" | "NotIn" if values.is_empty() => e.push(Error::required(
                &at(),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => e.push(Error::forbidden(
                &at(),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Gt" | "Lt" if values.len() != 1 => e.push(Error::required(
                &at(),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => e.push(Error::invalid(&format!("{path}.operator"), other, OPERATOR)),
        }
        let key = str_at(rule, "/key");
        text(e, &path, "key", key, names::qualified_name(key));
        for (j, value) in values.iter().enumerate().filter(|_| !any_value) {
            let value = value.as_str().unwrap_or_default();
            texts(e, &index(&at(), j), value, names::label_value(value));
        }
    }
    for (i, rule) in list_at(term, "/matchFields").iter().enumerate() {
        let path = format!("{path}.matchFields[{i}]");
        let values = list_at(rule, "/values");
        match str_at(rule, "/operator") {
            "In" | "NotIn" if values.len() != 1 => e.push(Error::required(
                &format!("{path}.values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            )),
            "In" | "NotIn" => {}
            other => e.push(Error::invalid(&format!("{path}.operator"), other, OPERATOR)),
        }
        let key = str_at(rule, "/key");
        if key != "metadata.name" {
            let why = "not a valid field selector key";
            e.push(Error::invalid(&format!("{path}.key"), key, why));
            continue;
        }
        for (j, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            let at = format!("{path}.values[{j}]");
            texts(e, &at, value, names::dns_subdomain(value));
        }
    }
}

fn weight(e: &mut Vec<Error>, path: &str, term: &Value) {
    let n = int_at(term, "/weight").unwrap_or(0);
    if !(1..=100).contains(&n) {
        e.push(Error::invalid(
            &format!("{path}.weight"),
            n,
            "must be in the range 1-100",
        ));
    }
}

fn pod_affinity(e: &mut Vec<Error>, path: &str, found: Option<&Value>) {
    let Some(found) = found else {
        return;
    };
    for (i, term) in list_at(found, &format!("/{REQUIRED}")).iter().enumerate() {
        pod_term(e, &format!("{path}.{REQUIRED}[{i}]"), term);
    }
    for (i, term) in list_at(found, &format!("/{PREFERRED}")).iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{i}]");
        weight(e, &path, term);
        let inner = term.get("podAffinityTerm").unwrap_or(&Value::Null);
        pod_term(e, &format!("{path}.podAffinityTerm"), inner);
    }
}

fn pod_term(e: &mut Vec<Error>, path: &str, term: &Value) {
    for key in ["labelSelector", "namespaceSelector"] {
        label_selector(e, &format!("{path}.{key}"), term, &format!("/{key}"));
    }
    for name in list_at(term, "/namespaces") {
        let name = name.as_str().unwrap_or_default();
        text(e, path, "namespace", name, names::dns_label(name));
    }
    for key in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(e, path, term, key);
    }
    topology_key(e, path, term);
}

fn topology_key(e: &mut Vec<Error>, path: &str, term: &Value) {
    let key = str_at(term, "/topologyKey");
    if key.is_empty() {
        e.push(Error::required(
            &format!("{path}.topologyKey"),
            "can not be empty",
        ));
    }
    text(e, path, "topologyKey", key, names::qualified_name(key));
}

/// Labels whose values the pod itself brings (KEP-3243, KEP-3633).
fn label_keys(e: &mut Vec<Error>, path: &str, term: &Value, field: &str) {
    let keys = list_at(term, &format!("/{field}"));
    if keys.is_empty() {
        return;
    }
    if term.get("labelSelector").is_none() {
        let why = "must not be specified when labelSelector is not set";
        e.push(Error::forbidden(&format!("{path}.{field}"), why));
    }
    for (i, key) in keys.iter().enumerate() {
        let key = key.as_str().unwrap_or_default();
        let at = format!("{path}.{field}[{i}]");
        texts(e, &at, key, names::qualified_name(key));
        let other = list_at(term, "/matchLabelKeys").iter().any(|k| k == key);
        if field == "mismatchLabelKeys" && other {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            e.push(Error::invalid(&at, key, why));
        }
    }
}

fn spreading(e: &mut Vec<Error>, object: &Value) {
    let mut seen = HashSet::new();
    let list = list_at(object, "/spec/topologySpreadConstraints");
    for (i, c) in list.iter().enumerate() {
        let path = index("spec.topologySpreadConstraints", i);
        let at = |field: &str| format!("{path}.{field}");
        let skew = int_at(c, "/maxSkew").unwrap_or(0);
        if skew <= 0 {
            e.push(Error::invalid(
                &at("maxSkew"),
                skew,
                "must be greater than zero",
            ));
        }
        let key = str_at(c, "/topologyKey");
        match key {
            "" => e.push(Error::required(&at("topologyKey"), "can not be empty")),
            key => text(e, &path, "topologyKey", key, names::qualified_name(key)),
        }
        let unmet = str_at(c, "/whenUnsatisfiable");
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        if !known.contains(&unmet) {
            e.push(Error::not_supported(
                &at("whenUnsatisfiable"),
                unmet,
                &known,
            ));
        }
        if !seen.insert((key, unmet)) {
            let at = at("{topologyKey, whenUnsatisfiable}");
            e.push(Error::duplicate(&at, format!("{{{key}, {unmet}}}")));
        }
        if let Some(n) = int_at(c, "/minDomains") {
            if n <= 0 {
                e.push(Error::invalid(
                    &at("minDomains"),
                    n,
                    "must be greater than zero",
                ));
            } else if unmet != "DoNotSchedule" {
                let why = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {unmet}"
                );
                e.push(Error::invalid(&at("minDomains"), n, why));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(policy) = c.get(field).and_then(Value::as_str)
                && !matches!(policy, "Honor" | "Ignore")
            {
                e.push(Error::not_supported(
                    &at(field),
                    policy,
                    &["Honor", "Ignore"],
                ));
            }
        }
        label_selector(e, &at("labelSelector"), c, "/labelSelector");
        label_keys(e, &path, c, "matchLabelKeys");
    }
}

/// Tolerations of a pod, or of what gives them to pods.
pub(super) fn tolerations(e: &mut Vec<Error>, path: &str, list: &[Value]) {
    for (i, t) in list.iter().enumerate() {
        let path = index(path, i);
        let at = |field: &str| format!("{path}.{field}");
        let (key, operator) = (str_at(t, "/key"), str_at(t, "/operator"));
        let (value, effect) = (str_at(t, "/value"), str_at(t, "/effect"));
        if !key.is_empty() {
            text(e, &path, "key", key, names::qualified_name(key));
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            e.push(Error::invalid(&at("operator"), operator, why));
        }
        if int_at(t, "/tolerationSeconds").is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            e.push(Error::invalid(&at("effect"), effect, why));
        }
        match operator {
            "" | "Equal" => {
                let why = names::label_value(value);
                if !why.is_empty() {
                    e.push(Error::invalid(&at("operator"), value, why.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                e.push(Error::invalid(&at("operator"), value, why));
            }
            "Exists" => {}
            other => {
                let known = ["Equal", "Exists"];
                e.push(Error::not_supported(&at("operator"), other, &known));
            }
        }
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !effect.is_empty() && !known.contains(&effect) {
            one_of(e, &at("effect"), effect, &known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(spec: Value) -> Vec<String> {
        let mut e = Vec::new();
        rules(&mut e, &json!({"spec": spec}));
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_wishes_pass() {
        assert_eq!(
            words(
                json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}},
                "podAntiAffinity": {PREFERRED: [{"weight": 5, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}}]}},
                "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}],
                "tolerations": [{"operator": "Exists"}, {"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": 3}]})
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_rule_speaks() {
        let w = words(
            json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []},
                PREFERRED: [{"weight": 0, "preference": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": []}], "matchFields": [{"key": "spec.x", "operator": "In", "values": ["n"]}]}}]},
            "podAffinity": {REQUIRED: [{"matchLabelKeys": ["a"]}]}},
            "topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 1},
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}, {"maxSkew": 1}],
            "tolerations": [{"key": "k", "effect": "Never", "tolerationSeconds": 1}]}),
        );
        let w = w.join("\n");
        for want in [
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
            "preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
            "preference.matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
            "preference.matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key",
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
            "[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].minDomains: Invalid value: 1: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            "spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{z, ScheduleAnyway}\"",
            "spec.topologySpreadConstraints[2].whenUnsatisfiable: Unsupported value: \"\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            "spec.tolerations[0].effect: Unsupported value: \"Never\"",
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ] {
            assert!(w.contains(want), "{want}\n--\n{w}");
        }
    }
}
