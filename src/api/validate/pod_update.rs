//! The few fields of a running pod that may change.

use serde_json::{Value, json};

use crate::field::{Error, member};
use crate::json::{int_at, list_at, str_at};

const WORDS: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for (list, path) in [
        ("/spec/containers", "spec.containers"),
        ("/spec/initContainers", "spec.initContainers"),
    ] {
        if list_at(new, list).len() != list_at(old, list).len() {
            // Upstream stops here: a comparison of lists of two lengths says nothing.
            let why = "pod updates may not add or remove containers";
            return vec![Error::forbidden(path, why)];
        }
    }
    deadline(&mut errors, new, old);
    tolerations(&mut errors, new, old);
    gates(&mut errors, new, old);
    let (mut a, mut b) = (new["spec"].clone(), old["spec"].clone());
    for spec in [&mut a, &mut b] {
        allowed(spec);
    }
    // A negative grace period may be mended to 1.
    if int_at(old, "/spec/terminationGracePeriodSeconds").is_some_and(|n| n < 0)
        && int_at(new, "/spec/terminationGracePeriodSeconds") == Some(1)
    {
        b["terminationGracePeriodSeconds"] = json!(1);
    }
    if !list_at(old, "/spec/schedulingGates").is_empty() {
        while_gated(&mut errors, &mut a, &mut b);
    }
    if a != b {
        let change = difference("spec", &b, &a);
        errors.push(Error::forbidden("spec", format!("{WORDS}\n{change}")));
    }
    errors
}

/// Removes what may change, so that the rest can be compared.
fn allowed(spec: &mut Value) {
    if let Some(m) = spec.as_object_mut() {
        m.remove("activeDeadlineSeconds");
        m.remove("tolerations");
        for list in ["containers", "initContainers"] {
            for c in m
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(c) = c.as_object_mut() {
                    c.remove("image");
                }
            }
        }
        m.remove("schedulingGates");
    }
}

/// Gates are only ever lifted (KEP-3521).
fn gates(errors: &mut Vec<Error>, new: &Value, old: &Value) {
    let before = list_at(old, "/spec/schedulingGates");
    for (i, gate) in list_at(new, "/spec/schedulingGates").iter().enumerate() {
        let name = str_at(gate, "/name");
        if !before.iter().any(|b| str_at(b, "/name") == name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            let at = format!("spec.schedulingGates[{i}].name");
            errors.push(Error::forbidden(&at, why));
        }
    }
}

/// While a pod waits at its gates, the nodes it may go to can be narrowed (KEP-3838); what
/// is checked here is taken out of both specs.
fn while_gated(errors: &mut Vec<Error>, new: &mut Value, old: &mut Value) {
    const NARROWED: &str = "only additions are allowed (no mutations or deletions)";
    let take = |spec: &mut Value, path: &[&str]| -> Value {
        let [parents @ .., last] = path else {
            return Value::Null;
        };
        let mut at = Some(spec);
        for parent in parents {
            at = at.and_then(|v| v.get_mut(*parent));
        }
        let members = at.and_then(Value::as_object_mut);
        members.and_then(|m| m.remove(*last)).unwrap_or_default()
    };
    let (now, before) = (take(new, &["nodeSelector"]), take(old, &["nodeSelector"]));
    if !extends(&now, &before) {
        errors.push(Error::invalid("spec.nodeSelector", now, NARROWED));
    }
    let path = ["affinity", "nodeAffinity"];
    let (now, before) = (take(new, &path), take(old, &path));
    for spec in [new, old] {
        if spec.get("affinity") == Some(&json!({}))
            && let Some(members) = spec.as_object_mut()
        {
            members.remove("affinity");
        }
    }
    let required = "/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let (now, before) = (list_at(&now, required), list_at(&before, required));
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    if before.is_empty() {
        return;
    }
    if now.len() != before.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(Error::invalid(at, now.to_vec(), why));
        return;
    }
    for (i, (a, b)) in now.iter().zip(before).enumerate() {
        let kept = ["/matchExpressions", "/matchFields"]
            .iter()
            .all(|list| list_at(a, list).starts_with(list_at(b, list)));
        if !kept {
            errors.push(Error::invalid(&format!("{at}[{i}]"), a.clone(), NARROWED));
        }
    }
}

/// Whether a map has all of another's members.
fn extends(now: &Value, before: &Value) -> bool {
    let members = before.as_object().into_iter().flatten();
    members
        .into_iter()
        .all(|(key, value)| now.get(key) == Some(value))
}

fn deadline(errors: &mut Vec<Error>, new: &Value, old: &Value) {
    let path = "spec.activeDeadlineSeconds";
    let pointer = "/spec/activeDeadlineSeconds";
    match (int_at(new, pointer), int_at(old, pointer)) {
        (Some(n), Some(o)) if n > o => {
            let why = "must be less than or equal to previous value";
            errors.push(Error::invalid(path, n, why));
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(Error::invalid(path, Value::Null, why));
        }
        _ => {}
    }
}

fn tolerations(errors: &mut Vec<Error>, new: &Value, old: &Value) {
    let now = list_at(new, "/spec/tolerations");
    for t in list_at(old, "/spec/tolerations") {
        // The time of an existing toleration may change, the rest must stay.
        let same = |a: &Value| {
            let strip = |v: &Value| {
                let mut v = v.clone();
                if let Some(m) = v.as_object_mut() {
                    m.remove("tolerationSeconds");
                }
                v
            };
            strip(a) == strip(t)
        };
        if !now.iter().any(same) {
            errors.push(Error::forbidden(
                "spec.tolerations",
                "existing toleration can not be modified except its tolerationSeconds",
            ));
            return;
        }
    }
}

/// What differs between two values, for people: lines of `- spec.x: old`, `+ spec.x: new`.
pub(super) fn difference(path: &str, old: &Value, new: &Value) -> String {
    let mut lines = Vec::new();
    differences(path, old, new, &mut lines);
    lines.join("\n")
}

/// One line per differing place: `- spec.x: old` and `+ spec.x: new`.
fn differences(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let (x, y) = (
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                );
                differences(&member(path, key), x, y, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), x, y, out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => {
            for (sign, v) in [('-', a), ('+', b)] {
                if !v.is_null() {
                    out.push(format!("{sign} {path}: {v}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"spec": {"nodeName": "n", "activeDeadlineSeconds": 10,
            "tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 1}],
            "containers": [{"name": "c", "image": "x:1", "env": [{"name": "A", "value": "1"}]}]}})
    }

    #[test]
    fn images_tolerations_and_deadline_may_change() {
        let mut new = pod();
        new["spec"]["containers"][0]["image"] = json!("x:2");
        new["spec"]["activeDeadlineSeconds"] = json!(5);
        new["spec"]["tolerations"][0]["tolerationSeconds"] = json!(9);
        new["spec"]["tolerations"]
            .as_array_mut()
            .unwrap()
            .push(json!({"key": "b"}));
        assert!(update(&new, &pod()).is_empty());
    }

    #[test]
    fn everything_else_may_not() {
        let mut new = pod();
        new["spec"]["containers"][0]["env"][0]["value"] = json!("2");
        let e = update(&new, &pod());
        let w = e[0].to_string();
        assert!(w.starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"));
        assert!(w.contains(
            "\n- spec.containers[0].env[0].value: \"1\"\n+ spec.containers[0].env[0].value: \"2\""
        ));

        let mut new = pod();
        new["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "d"}));
        assert_eq!(
            update(&new, &pod())[0].to_string(),
            "spec.containers: Forbidden: pod updates may not add or remove containers"
        );
        let mut new = pod();
        new["spec"]["tolerations"] = json!([]);
        new["spec"]["activeDeadlineSeconds"] = json!(11);
        assert_eq!(update(&new, &pod()).len(), 2);
    }

    #[test]
    fn gates_are_lifted_and_nodes_narrowed_meanwhile() {
        let mut old = pod();
        old["spec"]["schedulingGates"] = json!([{"name": "a"}, {"name": "b"}]);
        old["spec"]["nodeSelector"] = json!({"disk": "ssd"});
        let mut new = old.clone();
        new["spec"]["schedulingGates"] = json!([{"name": "b"}]);
        new["spec"]["nodeSelector"] = json!({"disk": "ssd", "zone": "a"});
        new["spec"]["affinity"] = json!({"nodeAffinity": {}});
        assert_eq!(update(&new, &old), vec![]);
        new["spec"]["nodeSelector"] = json!({"zone": "a"});
        new["spec"]["schedulingGates"] = json!([{"name": "c"}]);
        let words: Vec<String> = update(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c'",
                "spec.nodeSelector: Invalid value: {\"zone\":\"a\"}: only additions are allowed (no mutations or deletions)",
            ]
        );
        let mut late = pod();
        late["spec"]["nodeSelector"] = json!({"zone": "a"});
        assert!(
            update(&late, &pod())[0]
                .to_string()
                .contains("pod updates may not change fields")
        );
    }
}
