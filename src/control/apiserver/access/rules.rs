//! Whether a user may do what they ask: a short table instead of RBAC, which comes later.

use cadet_api::status::Status;

use super::identity::{MASTERS, User};
use super::node;
use crate::target::{Reference, Target};
use crate::world::World;

/// One request as authorization sees it.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    pub user: &'a User,
    /// `get`, `list`, `watch`, `create`, …; for paths that are no resources the HTTP
    /// method in lower case.
    pub verb: &'a str,
    pub target: &'a Target,
    pub path: &'a str,
    /// The `fieldSelector` parameter, which is how a node says that it wants its own pods.
    pub field_selector: Option<&'a str>,
}

/// Paths open to anyone, as with upstream's `system:public-info-viewer`.
const PUBLIC: &[&str] = &["/version", "/healthz", "/livez", "/readyz"];

/// Loops of the control plane with a name of their own. They may use every resource; a
/// tighter table per loop comes with RBAC.
const LOOPS: &[&str] = &[
    "system:kube-scheduler",
    "system:kube-controller-manager",
    "system:apiserver",
];

/// Says no with a 401 or 403, or nothing.
pub fn authorize(world: &World, asked: &Attributes<'_>) -> Result<(), Status> {
    let user = asked.user;
    let public = PUBLIC.iter().any(|path| {
        asked
            .path
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if public && asked.verb == "get" {
        return Ok(());
    }
    if user.is_anonymous() {
        return Err(Status::unauthorized());
    }
    if user.is_in(MASTERS) || LOOPS.contains(&user.name.as_str()) {
        return Ok(());
    }
    match asked.target {
        Target::Object(reference) => {
            if let Some(node) = user.node() {
                return node::authorize(world, node, asked, reference);
            }
            Err(refuse(asked, reference))
        }
        // Discovery is open to everyone who is known at all, metrics are not.
        _ if asked.verb == "get" && asked.path != "/metrics" => Ok(()),
        _ => Err(Status::not_allowed_path(&user.name, asked.verb, asked.path)),
    }
}

/// The 403 in upstream's words.
pub(super) fn refuse(asked: &Attributes<'_>, reference: &Reference) -> Status {
    Status::not_allowed(
        reference.resource,
        reference.subresource.as_deref().unwrap_or(""),
        reference.name.as_deref().unwrap_or(""),
        &asked.user.name,
        asked.verb,
        reference.namespace.as_deref(),
    )
}
