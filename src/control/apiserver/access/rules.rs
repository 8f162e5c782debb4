//! Whether a user may do what they ask: masters and the server's own loops may do all,
//! node agents what the node authorizer lets them, everybody what RBAC grants.

use cadet_api::status::Status;

use super::identity::{MASTERS, User};
use super::node;
use super::rbac::{Ask, Rbac};
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

/// Loops of the control plane inside this process; no request from outside can bear these
/// names without a certificate of the cluster's authority.
const LOOPS: &[&str] = &[
    "system:kube-scheduler",
    "system:kube-controller-manager",
    "system:apiserver",
];

/// Says no with a 403, or nothing.
pub fn authorize(world: &World, rbac: &Rbac, asked: &Attributes<'_>) -> Result<(), Status> {
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
    if is_almighty(user) {
        return Ok(());
    }
    match asked.target {
        Target::Object(reference) => {
            if let Some(node) = user.node()
                && node::authorize(world, node, asked, reference).is_ok()
            {
                return Ok(());
            }
            match rbac
                .index(world)
                .allows(user, &ask_of(asked.verb, reference))
            {
                true => Ok(()),
                false => Err(refuse(asked, reference)),
            }
        }
        _ if rbac.index(world).allows_path(user, asked.verb, asked.path) => Ok(()),
        _ => Err(Status::not_allowed_path(&user.name, asked.verb, asked.path)),
    }
}

/// Whether a user needs no rules.
pub fn is_almighty(user: &User) -> bool {
    user.is_in(MASTERS) || is_loop(&user.name)
}

/// Whether a name is one of the server's own loops'.
pub(super) fn is_loop(name: &str) -> bool {
    LOOPS.contains(&name)
}

fn ask_of<'a>(verb: &'a str, reference: &'a Reference) -> Ask<'a> {
    Ask {
        verb,
        group: reference.resource.gv.group,
        resource: reference.resource.plural,
        subresource: reference.subresource.as_deref().unwrap_or(""),
        namespace: reference.namespace.as_deref().unwrap_or(""),
        name: reference.name.as_deref().unwrap_or(""),
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
