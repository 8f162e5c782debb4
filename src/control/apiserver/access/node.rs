//! What a node agent may do: its own Node, its own pods and what those need to run.

use cadet_api::json;
use cadet_api::resource::Resource;
use cadet_api::selector::FieldSelector;
use cadet_api::status::Status;
use serde_json::Value;

use super::identity::User;
use super::references;
use super::rules::{Attributes, refuse};
use crate::admission::find;
use crate::target::Reference;
use crate::world::World;

/// Marks the object that shows a static pod of a node.
const MIRROR: &str = "kubernetes.io/config.mirror";
const READ: &[&str] = &["get", "list", "watch"];

/// Says no to what a node agent has no business with.
pub(super) fn authorize(
    world: &World,
    node: &str,
    asked: &Attributes<'_>,
    reference: &Reference,
) -> Result<(), Status> {
    let verb = asked.verb;
    let name = reference.name.as_deref();
    let own = name == Some(node);
    let read = READ.contains(&verb);
    let allowed = match (reference.resource.plural, reference.subresource.as_deref()) {
        ("nodes", None) => match verb {
            "create" => true,
            "get" | "update" | "patch" | "delete" => own,
            // One node may look at others' addresses (routes), never change them.
            "list" | "watch" => true,
            _ => false,
        },
        ("nodes", Some("status")) => own || verb == "get",
        ("leases", None) => {
            reference.namespace.as_deref() == Some("kube-node-lease")
                && match verb {
                    "create" => true,
                    "get" | "update" | "patch" | "delete" => own,
                    _ => false,
                }
        }
        ("pods", None) => match verb {
            "list" | "watch" => selects_own_pods(asked.field_selector, node),
            "get" | "delete" => is_own_pod(world, reference, node),
            // Only the mirrors of its own static pods: see `may_create`.
            "create" => true,
            _ => false,
        },
        ("pods", Some("status")) => {
            matches!(verb, "update" | "patch") && is_own_pod(world, reference, node)
        }
        ("events", None) => matches!(verb, "create" | "patch" | "update"),
        (plural @ ("configmaps" | "secrets"), None) => {
            // A watch of one object names it in its selector, as upstream reads it.
            let selected = asked
                .field_selector
                .and_then(|text| FieldSelector::parse(text).ok())
                .and_then(|selector| selector.exact("metadata.name").map(str::to_owned));
            let name = name.map(str::to_owned).or(selected);
            read && name.is_some_and(|name| {
                let namespace = reference.namespace.as_deref().unwrap_or("");
                references::needed_on(world, node, plural, namespace, &name)
            })
        }
        ("persistentvolumeclaims", None) => {
            verb == "get"
                && name.is_some_and(|name| {
                    let namespace = reference.namespace.as_deref().unwrap_or("");
                    references::claimed_on(world, node, namespace, name)
                })
        }
        ("persistentvolumes", None) => {
            verb == "get"
                && name.is_some_and(|name| match world.get(reference.resource, "", name) {
                    Some(volume) => {
                        let volume = volume.value();
                        let claim =
                            |field: &str| json::str_at(&volume, &format!("/spec/claimRef/{field}"));
                        references::claimed_on(world, node, claim("namespace"), claim("name"))
                    }
                    // Gone already: let the handler say 404.
                    None => true,
                })
        }
        ("serviceaccounts", Some("token")) => {
            verb == "create"
                && name.is_some_and(|name| {
                    let namespace = reference.namespace.as_deref().unwrap_or("");
                    references::needed_on(world, node, "serviceaccounts", namespace, name)
                })
        }
        ("services" | "serviceaccounts" | "namespaces" | "endpoints" | "endpointslices", None) => {
            read
        }
        ("runtimeclasses", None) => read,
        _ => false,
    };
    if allowed {
        Ok(())
    } else {
        Err(refuse(asked, reference))
    }
}

/// What a node agent brings into the world under a name must be its own: its Node, its
/// heartbeat. The name is only known once the body is read.
pub fn may_create(user: &User, resource: &Resource, object: &Value) -> Result<(), Status> {
    let Some(node) = user.node() else {
        return Ok(());
    };
    let name = json::str_at(object, "/metadata/name");
    if resource.plural == "pods" {
        let mirror = object
            .pointer("/metadata/annotations")
            .is_some_and(|all| all.get(MIRROR).is_some());
        let why = if !mirror {
            format!(
                "pod does not have \"{MIRROR}\" annotation, node {node:?} can only create mirror pods"
            )
        } else if json::str_at(object, "/spec/nodeName") != node {
            format!("node {node:?} can only create pods with spec.nodeName set to itself")
        } else {
            return Ok(());
        };
        return Err(Status::forbidden(resource, name, &why));
    }
    if matches!(resource.plural, "nodes" | "leases") && name != node {
        let what = resource.singular;
        let why = format!("node {node:?} is not allowed to modify {what} {name:?}");
        return Err(Status::forbidden(resource, name, &why));
    }
    Ok(())
}

/// A node agent gets tokens only for pods that it runs, bound to them.
///
/// # Errors
/// 403 in the words of upstream's NodeRestriction.
pub fn may_request_token(
    world: &World,
    user: &User,
    account: (&Resource, &str, &str),
    request: &Value,
) -> Result<(), Status> {
    let Some(node) = user.node() else {
        return Ok(());
    };
    let (resource, namespace, name) = account;
    let bound = |field: &str| json::str_at(request, &format!("/spec/boundObjectRef/{field}"));
    let no = |why: &str| Err(Status::forbidden(resource, name, why));
    if bound("kind") != "Pod" || bound("name").is_empty() {
        return no("node requested token not bound to a pod");
    }
    if bound("uid").is_empty() {
        return no("node requested token with a pod binding without a uid");
    }
    let pod = find("pods")
        .ok()
        .and_then(|pods| world.get(pods, namespace, bound("name")));
    let Some(pod) = pod else {
        return no("node requested token bound to a pod that does not exist");
    };
    if pod.uid() != bound("uid") {
        return no("the UID in the bound object reference does not match the UID in record");
    }
    if pod.node() != Some(node) {
        return no("node requested token bound to a pod scheduled on a different node");
    }
    if references::account_of(&pod.value()) != name {
        return no("node requested token for a service account that the pod does not use");
    }
    Ok(())
}

/// A node may list and watch pods only with a selector that pins them to it.
fn selects_own_pods(selector: Option<&str>, node: &str) -> bool {
    selector
        .and_then(|text| FieldSelector::parse(text).ok())
        .is_some_and(|selector| selector.exact("spec.nodeName") == Some(node))
}

fn is_own_pod(world: &World, reference: &Reference, node: &str) -> bool {
    let namespace = reference.namespace.as_deref().unwrap_or("");
    let name = reference.name.as_deref().unwrap_or("");
    match world.get(reference.resource, namespace, name) {
        Some(pod) => pod.node() == Some(node),
        // Gone already: let the handler say 404, as upstream's node authorizer lets it.
        None => true,
    }
}
