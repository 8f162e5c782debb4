//! Rules for a pod's status: what has ended stays ended.

use serde_json::Value;

use crate::field::{Error, index};
use crate::json::{int_at, list_at, str_at};

/// What is wrong with a status that somebody wants to write.
pub(super) fn update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for (statuses, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
    ] {
        transitions(&mut errors, new, old, statuses, containers);
    }
    let class = "/status/qosClass";
    let (now, before) = (str_at(new, class), str_at(old, class));
    if !now.is_empty() && !before.is_empty() && now != before {
        errors.push(Error::invalid("status.qosClass", now, "field is immutable"));
    }
    errors
}

/// A container that ended and is not restarted stays ended.
fn transitions(e: &mut Vec<Error>, new: &Value, old: &Value, statuses: &str, containers: &str) {
    let policy = str_at(new, "/spec/restartPolicy");
    if matches!(policy, "" | "Always") {
        return;
    }
    let path = format!("status.{statuses}");
    let pointer = format!("/status/{statuses}");
    let now = list_at(new, &pointer);
    for (i, was) in list_at(old, &pointer).iter().enumerate() {
        let Some(ended) = was.pointer("/state/terminated") else {
            continue;
        };
        let failed = int_at(ended, "/exitCode").unwrap_or(0) != 0;
        if failed && policy == "OnFailure" {
            continue;
        }
        let name = str_at(was, "/name");
        let container = list_at(new, &format!("/spec/{containers}"))
            .iter()
            .find(|c| str_at(c, "/name") == name);
        // Its own policy counts before the pod's.
        let own = container.is_some_and(|c| {
            c.get("restartPolicy").is_some() || c.get("restartPolicyRules").is_some()
        });
        let is = now.iter().find(|s| str_at(s, "/name") == name);
        if !own && is.is_some_and(|is| is.pointer("/state/terminated").is_none()) {
            let why = "may not be transitioned to non-terminated state";
            e.push(Error::forbidden(&format!("{}.state", index(&path, i)), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_ended_stays_ended_unless_it_is_restarted() {
        let pod = |policy: &str, state: Value| {
            json!({"spec": {"restartPolicy": policy, "containers": [{"name": "c"}]},
                "status": {"containerStatuses": [{"name": "c", "state": state}]}})
        };
        let ended = |code: i64| json!({"terminated": {"exitCode": code}});
        let runs = json!({"running": {}});
        let words = |policy: &str, code: i64| -> Vec<String> {
            let (new, old) = (pod(policy, runs.clone()), pod(policy, ended(code)));
            update(&new, &old).iter().map(ToString::to_string).collect()
        };
        let refused = [
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
        ];
        assert_eq!(words("Never", 0), refused);
        assert_eq!(words("Never", 1), refused);
        assert_eq!(words("OnFailure", 0), refused);
        assert!(words("OnFailure", 1).is_empty() && words("Always", 0).is_empty());
        let same = pod("Never", ended(0));
        assert!(update(&same, &same).is_empty());
    }
}
