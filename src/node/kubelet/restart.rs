//! Whether a container that ended is started again.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::manifest::is_sidecar;
use crate::runtime::Role;

/// How a container is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

fn parse(text: Option<&str>) -> Option<RestartPolicy> {
    match text? {
        "Always" => Some(RestartPolicy::Always),
        "OnFailure" => Some(RestartPolicy::OnFailure),
        "Never" => Some(RestartPolicy::Never),
        _ => None,
    }
}

/// The pod's restart policy.
#[must_use]
pub fn restart_policy(spec: &PodSpec) -> RestartPolicy {
    parse(spec.restart_policy.as_deref()).unwrap_or(RestartPolicy::Always)
}

/// The policy of one container: its own (KEP-5307) or the pod's. Init containers of a pod
/// with `Always` are retried until they succeed, not for ever.
#[must_use]
pub fn policy_of(spec: &PodSpec, container: &Container, role: Role) -> RestartPolicy {
    if role == Role::Ephemeral {
        return RestartPolicy::Never;
    }
    if role == Role::Init && is_sidecar(container) {
        return RestartPolicy::Always;
    }
    if let Some(own) = parse(container.restart_policy.as_deref()) {
        return own;
    }
    match (role, restart_policy(spec)) {
        (Role::Init, RestartPolicy::Always) => RestartPolicy::OnFailure,
        (_, policy) => policy,
    }
}

/// Whether a container that ended so may be started again: rules on exit codes come first.
#[must_use]
pub fn restarts(spec: &PodSpec, container: &Container, role: Role, exit_code: i32) -> bool {
    let ruled = container.restart_policy_rules.iter().flatten().any(|rule| {
        let Some(codes) = &rule.exit_codes else {
            return false;
        };
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        let applies = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        applies && rule.action == "Restart"
    });
    ruled
        || match policy_of(spec, container, role) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asks(pod: &str, container: serde_json::Value, role: Role, code: i32) -> bool {
        let mut container = container;
        container["name"] = json!("c");
        let spec = json!({"restartPolicy": pod, "containers": [container.clone()]});
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        restarts(&spec, &spec.containers[0], role, code)
    }

    #[test]
    fn the_pods_policy_its_init_form_and_the_containers_own() {
        assert!(asks("Always", json!({}), Role::App, 0));
        assert!(!asks("Always", json!({}), Role::Init, 0));
        assert!(asks("Always", json!({}), Role::Init, 1));
        assert!(!asks("OnFailure", json!({}), Role::App, 0));
        assert!(!asks("Never", json!({}), Role::App, 1));
        let sidecar = json!({"restartPolicy": "Always"});
        assert!(asks("Never", sidecar, Role::Init, 0));
        let own = json!({"restartPolicy": "Never"});
        assert!(!asks("Always", own, Role::App, 1));
    }

    #[test]
    fn rules_on_exit_codes_win() {
        let rule = |operator: &str| {
            json!({"restartPolicy": "Never", "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]})
        };
        assert!(asks("Never", rule("In"), Role::App, 42));
        assert!(!asks("Never", rule("In"), Role::App, 1));
        assert!(asks("Never", rule("NotIn"), Role::App, 1));
    }
}
