//! Nobody grants what they do not hold: roles and bindings are checked against their
//! writer's own rules.

use cadet_api::json::{list_at, str_at};
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use serde_json::Value;

use super::identity::User;
use super::rbac::{Ask, Rbac, Rule, rules_of};
use super::rules::is_almighty;
use crate::world::World;

/// Checks a role or binding about to be written; other kinds pass.
///
/// # Errors
/// 403 naming the rules that are missing.
pub fn check_rules(
    world: &World,
    rbac: &Rbac,
    user: &User,
    resource: &Resource,
    object: &Value,
) -> Result<(), Status> {
    if is_almighty(user) {
        return Ok(());
    }
    let namespace = str_at(object, "/metadata/namespace");
    let (rules, verb, kind, name) = match resource.id() {
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            let rules = list_at(object, "/rules").iter().map(Rule::read).collect();
            let name = str_at(object, "/metadata/name");
            (rules, "escalate", resource.plural, name)
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            let kind = str_at(object, "/roleRef/kind");
            let name = str_at(object, "/roleRef/name");
            let plural = if kind == "ClusterRole" {
                "clusterroles"
            } else {
                "roles"
            };
            (rules_of(world, kind, namespace, name), "bind", plural, name)
        }
        _ => return Ok(()),
    };
    let index = rbac.index(world);
    let ask = Ask {
        verb,
        group: "rbac.authorization.k8s.io",
        resource: kind,
        subresource: "",
        namespace,
        name,
    };
    if index.allows(user, &ask) {
        return Ok(());
    }
    let missing: Vec<String> = rules
        .iter()
        .filter(|rule| !index.covers(user, namespace, rule))
        .map(words)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = user.groups.iter().map(|g| format!("{g:?}")).collect();
    let why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        missing.join("\n")
    );
    Err(Status::forbidden(
        resource,
        str_at(object, "/metadata/name"),
        &why,
    ))
}

/// A rule as upstream prints it.
fn words(rule: &Rule) -> String {
    let list = |items: &[String]| {
        let items: Vec<String> = items.iter().map(|i| format!("{i:?}")).collect();
        items.join(", ")
    };
    let mut parts = vec![];
    for (name, items) in [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.names),
        ("NonResourceURLs", &rule.urls),
        ("Verbs", &rule.verbs),
    ] {
        if !items.is_empty() {
            parts.push(format!("{name}:[{}]", list(items)));
        }
    }
    format!("{{{}}}", parts.join(", "))
}
