//! Admission: what must hold in the world for an object to be written, and what the
//! world adds to it. What can be told from the object alone stands in `cadet_api`.
//!
//! ```text
//!   as sent ─▶ defaults ─▶ mutate: plugins, webhooks ─▶ strategy, validation
//!                                                            │
//!                  store ◀─ quota ◀─ webhooks ◀─ validate: plugins
//! ```
//! One plugin per file, in upstream's fixed order. Quota comes last, and what it admitted
//! stays counted until the object can be read in the world. No plugin asks the network
//! but the webhooks, and those run before any lock is taken.

mod claim_resize;
mod default_class;
mod given;
mod limit_ranger;
mod namespace;
mod node_taint;
mod pod_security;
mod priority;
mod quota;
mod runtime_class;
mod service_account;
mod tolerations;

use cadet_api::resource::{self, Resource};
use cadet_api::status::Status;
use cadet_api::{json, meta};
use serde_json::Value;

pub use given::{give_address, give_token};
pub use namespace::ETERNAL_NAMESPACES;
pub use quota::{Ledger, quota_used};

use crate::app::App;
use crate::call::ObjectCall;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
}

/// One request as admission sees it.
#[derive(Clone)]
pub struct Request<'a> {
    pub app: &'a App,
    /// The kind as the client names it; may be an old version.
    pub named: &'static Resource,
    /// "" for the object itself.
    pub subresource: &'a str,
    pub operation: Operation,
    /// "" at cluster scope.
    pub namespace: &'a str,
    pub dry_run: bool,
}

/// The world's consent, with what was counted for it; keep it until the object is stored.
#[derive(Default)]
pub struct Admitted {
    pub warnings: Vec<String>,
    _counted: Option<quota::Hold>,
}

impl<'a> Request<'a> {
    /// A client's request for an object.
    pub fn of(call: &'a ObjectCall, operation: Operation, dry_run: bool) -> Request<'a> {
        Request {
            app: &call.app,
            named: call.resource(),
            subresource: "",
            operation,
            namespace: call.namespace(),
            dry_run,
        }
    }

    /// A new object that the server itself makes at its start.
    pub fn server(app: &'a App, resource: &'static Resource, namespace: &'a str) -> Request<'a> {
        Request {
            app,
            named: resource,
            subresource: "",
            operation: Operation::Create,
            namespace,
            dry_run: false,
        }
    }

    /// The same request about a part of the object.
    pub fn part(self, subresource: &'a str) -> Request<'a> {
        Request {
            subresource,
            ..self
        }
    }

    /// The kind as it is stored.
    pub fn stored(&self) -> &'static Resource {
        self.named.stored_as()
    }

    fn is(&self, operation: Operation, group: &str, kind: &str) -> bool {
        self.operation == operation && self.subresource.is_empty() && self.named.is(group, kind)
    }

    /// Whether `mutate` may do anything, which needs the object's defaults first.
    pub fn may_mutate(&self) -> bool {
        self.subresource.is_empty()
            && matches!(
                self.named.id(),
                ("", "Node" | "PersistentVolumeClaim" | "Pod") | ("networking.k8s.io", "Ingress")
            )
    }

    /// Fills in what the world decides. `new` has its defaults. Returns warnings.
    pub async fn mutate(
        &self,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        limit_ranger::fill(self, new)?;
        service_account::admit(self, new).await?;
        node_taint::add(self, new);
        priority::resolve(self, new, old)?;
        tolerations::add(self, new);
        default_class::of_ingress(self, new);
        runtime_class::apply(self, new)?;
        default_class::of_claim(self, new);
        Ok(vec![])
    }

    /// Refuses what the world does not allow. `new` is `None` for a deletion.
    pub async fn validate(
        &self,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Admitted, Status> {
        let Some(new) = new else {
            return Ok(Admitted::default());
        };
        limit_ranger::check(self, new)?;
        service_account::check(self, new)?;
        let warnings = pod_security::check(self, new, old)?;
        priority::check(self, new)?;
        claim_resize::check(self, new, old)?;
        runtime_class::check(self, new)?;
        let counted = quota::check(self, new, old).await?;
        Ok(Admitted {
            warnings,
            _counted: counted,
        })
    }

    /// New objects need a namespace that exists and is not being deleted.
    pub fn check_namespace(&self, new: &Value) -> Result<(), Status> {
        namespace::takes(self, new)
    }

    /// 403 about the object; `why` is the clause after "is forbidden: ".
    fn forbidden(&self, object: &Value, why: &str) -> Status {
        let name = match json::str_at(object, "/metadata/name") {
            "" => json::str_at(object, "/metadata/generateName"),
            name => name,
        };
        let name = if name.is_empty() { "Unknown" } else { name };
        Status::forbidden(self.named, name, why)
    }

    /// All objects of a kind of this request's namespace, decoded.
    fn list(&self, kind: &'static Resource) -> Vec<Value> {
        let listing = self.app.world.list(kind, Some(self.namespace));
        listing.objects.iter().map(|o| o.value()).collect()
    }
}

/// Whether an annotation of an object reads "true".
fn is_marked(object: &Value, annotation: &str) -> bool {
    meta::string_map(object.pointer("/metadata/annotations"))
        .get(annotation)
        .is_some_and(|value| value == "true")
}

/// The first namespaces cannot be deleted: too much leans on them.
pub fn may_delete(resource: &Resource, name: &str) -> Result<(), Status> {
    namespace::may_delete(resource, name)?;
    priority::may_delete(resource, name)
}

/// A row of the core group that this crate relies on.
pub fn find(plural: &str) -> Result<&'static Resource, Status> {
    find_in("", plural)
}

/// A row of the table that this crate relies on.
pub fn find_in(group: &str, plural: &str) -> Result<&'static Resource, Status> {
    resource::find(group, "v1", plural)
        .ok_or_else(|| Status::internal(format!("{plural} are not in the table of kinds")))
}
