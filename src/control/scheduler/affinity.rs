//! Node selectors and node affinity: which labels a pod wants its node to have.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Labels of a node.
pub type Labels = BTreeMap<String, String>;

/// Whether the node has every label the pod requires.
pub fn allows(spec: &PodSpec, labels: &Labels, node: &str) -> bool {
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|n| {
            n.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    selected && required.is_none_or(|r| r.node_selector_terms.iter().any(|t| term(t, labels, node)))
}

/// Sum of the weights of the wishes the node fulfils.
pub fn wishes(spec: &PodSpec, labels: &Labels, node: &str) -> i64 {
    spec.affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|n| {
            n.preferred_during_scheduling_ignored_during_execution
                .as_ref()
        })
        .into_iter()
        .flatten()
        .filter(|p| term(&p.preference, labels, node))
        .map(|p| i64::from(p.weight))
        .sum()
}

/// A term holds if all its requirements do; an empty one never does.
fn term(t: &NodeSelectorTerm, labels: &Labels, node: &str) -> bool {
    let expressions = t.match_expressions.as_deref().unwrap_or_default();
    let fields = t.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|r| requirement(r, labels.get(&r.key).map(String::as_str)))
        && fields
            .iter()
            .all(|r| r.key == "metadata.name" && requirement(r, Some(node)))
}

fn requirement(r: &NodeSelectorRequirement, have: Option<&str>) -> bool {
    let values = r.values.as_deref().unwrap_or_default();
    let listed = |v: &str| values.iter().any(|x| x == v);
    let number = |v: &str| v.parse::<i64>().ok();
    match r.operator.as_str() {
        "In" => have.is_some_and(listed),
        "NotIn" => !have.is_some_and(listed),
        "Exists" => have.is_some(),
        "DoesNotExist" => have.is_none(),
        op @ ("Gt" | "Lt") => {
            match (
                have.and_then(number),
                values.first().and_then(|v| number(v)),
            ) {
                (Some(have), Some(want)) if op == "Gt" => have > want,
                (Some(have), Some(want)) => have < want,
                _ => false,
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(v: Value) -> PodSpec {
        serde_json::from_value(v).unwrap()
    }

    fn need(terms: Value) -> PodSpec {
        spec(json!({"containers": [], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}))
    }

    #[test]
    fn operators_and_terms() {
        let l = Labels::from([("disk".into(), "ssd".into()), ("n".into(), "5".into())]);
        let ok = |terms: Value| allows(&need(terms), &l, "node-1");
        let e = |key: &str, op: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": op, "values": values}]});
        assert!(ok(json!([e("disk", "In", json!(["ssd", "nvme"]))])));
        assert!(!ok(json!([e("disk", "NotIn", json!(["ssd"]))])));
        assert!(ok(json!([e("zone", "NotIn", json!(["a"]))])));
        assert!(ok(json!([e("zone", "DoesNotExist", json!([]))])));
        assert!(ok(json!([e("n", "Gt", json!(["4"]))])));
        assert!(!ok(json!([e("disk", "Lt", json!(["4"]))])));
        assert!(
            ok(json!([
                e("zone", "Exists", json!([])),
                e("disk", "Exists", json!([]))
            ])),
            "terms are ORed"
        );
        assert!(!ok(json!([{}])));
        assert!(ok(
            json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}])
        ));
    }

    #[test]
    fn the_plain_selector_and_wishes() {
        let l = Labels::from([("disk".into(), "ssd".into())]);
        assert!(!allows(
            &spec(json!({"containers": [], "nodeSelector": {"disk": "hdd"}})),
            &l,
            "n"
        ));
        let s = spec(json!({"containers": [], "affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 7, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}},
                {"weight": 9, "preference": {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}}]}}}));
        assert_eq!(wishes(&s, &l, "n"), 7);
    }
}
