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
mod storage_in_use;
mod tolerations;

use std::sync::Arc;

use cadet_api::resource::{self, Resource};
use cadet_api::status::Status;
use cadet_api::{json, meta, strategy};
use cadet_store::{Guard, Unfresh};
use serde_json::Value;

pub use given::{give_address, give_token};
pub use namespace::ETERNAL_NAMESPACES;
pub use quota::{Ledger, quota_used};

use crate::access::User;
use crate::app::App;
use crate::call::ObjectCall;
use crate::handlers::DeleteOptions;
use crate::object::Object;
use crate::query::Parameters;
use crate::webhooks;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// A stream or a proxied request is opened.
    Connect,
}

impl Operation {
    /// As webhooks name it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// What the client says besides the object, for webhooks.
#[derive(Clone, Copy)]
pub enum Asked<'a> {
    Nothing,
    Write(&'a Parameters),
    Delete(&'a DeleteOptions),
}

/// One request as admission sees it.
#[derive(Clone)]
pub struct Request<'a> {
    pub app: &'a App,
    /// `None` for the server itself, which no webhook can hold up.
    pub user: Option<&'a User>,
    /// The kind as the client names it; may be an old version.
    pub named: &'static Resource,
    /// "" for the object itself.
    pub subresource: &'a str,
    pub operation: Operation,
    /// "" at cluster scope.
    pub namespace: &'a str,
    /// "" for a new object, which has it inside.
    pub name: &'a str,
    pub dry_run: bool,
    pub asked: Asked<'a>,
}

/// The world's consent, with what was counted for it; keep it until the object is stored.
pub struct Admitted {
    pub warnings: Vec<String>,
    counted: Option<quota::Hold>,
}

impl Admitted {
    /// What must still be true when the object is stored, where other servers decide too.
    pub fn guards<'a>(&'a self, reserved: Option<&'a Guard>) -> Vec<&'a Guard> {
        let counted = self.counted.as_ref().and_then(quota::Hold::guard);
        reserved.into_iter().chain(counted).collect()
    }
}

impl<'a> Request<'a> {
    /// A client's request for an object.
    pub fn of(call: &'a ObjectCall, operation: Operation, dry_run: bool) -> Request<'a> {
        Request {
            app: &call.app,
            user: Some(&call.user),
            named: call.resource(),
            subresource: "",
            operation,
            namespace: call.namespace(),
            name: call.name(),
            dry_run,
            asked: Asked::Write(&call.parameters),
        }
    }

    /// A new object that the server itself makes at its start.
    pub fn server(app: &'a App, resource: &'static Resource, namespace: &'a str) -> Request<'a> {
        Request {
            app,
            user: None,
            named: resource,
            subresource: "",
            operation: Operation::Create,
            namespace,
            name: "",
            dry_run: false,
            asked: Asked::Nothing,
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
        self.plugins_may_mutate() || webhooks::may_mutate(self)
    }

    fn plugins_may_mutate(&self) -> bool {
        self.subresource.is_empty()
            && matches!(
                self.named.id(),
                (
                    "",
                    "Node" | "PersistentVolume" | "PersistentVolumeClaim" | "Pod"
                ) | ("networking.k8s.io", "Ingress")
            )
    }

    /// Fills in what the world decides. `new` has its defaults. Returns warnings.
    pub async fn mutate(
        &self,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        self.fill(new, old).await?;
        let Some(mut rounds) = webhooks::Rounds::of(self) else {
            return Ok(vec![]);
        };
        strategy::complete(self.stored(), new);
        rounds.run(Some(new), old).await?;
        if rounds.changed {
            self.fill(new, old).await?;
            rounds.run(Some(new), old).await?;
        }
        Ok(rounds.warnings)
    }

    /// What the plugins fill in; done again, it changes nothing more.
    async fn fill(&self, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        if !self.plugins_may_mutate() {
            return Ok(());
        }
        limit_ranger::fill(self, new)?;
        service_account::admit(self, new).await?;
        node_taint::add(self, new);
        priority::resolve(self, new, old)?;
        tolerations::add(self, new);
        default_class::of_ingress(self, new);
        runtime_class::apply(self, new)?;
        default_class::of_claim(self, new);
        storage_in_use::protect(self, new);
        Ok(())
    }

    /// Asks the webhooks, and them alone, about what is not kept as it is: a deletion, the
    /// body of a subresource with a kind of its own. They may change `new`. Returns warnings.
    pub async fn consult(
        &self,
        mut new: Option<&mut Value>,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        let mut warnings = vec![];
        if let Some(mut rounds) = webhooks::Rounds::of(self) {
            rounds.run(new.as_deref_mut(), old).await?;
            if rounds.changed {
                rounds.run(new.as_deref_mut(), old).await?;
            }
            warnings = rounds.warnings;
        }
        warnings.extend(webhooks::validate(self, new.as_deref(), old).await?);
        Ok(warnings)
    }

    /// Refuses what the world does not allow.
    pub async fn validate(&self, new: &Value, old: Option<&Value>) -> Result<Admitted, Status> {
        limit_ranger::check(self, new)?;
        service_account::check(self, new)?;
        let mut warnings = pod_security::check(self, new, old)?;
        priority::check(self, new)?;
        claim_resize::check(self, new, old)?;
        runtime_class::check(self, new)?;
        warnings.extend(webhooks::validate(self, Some(new), old).await?);
        let counted = quota::check(self, new, old).await?;
        Ok(Admitted { warnings, counted })
    }

    /// Before a Service is given addresses or ports: no other server gives the same. On a
    /// store of one server the books of this server see to that. No lock: webhooks are
    /// asked in between.
    pub async fn reserve(&self) -> Result<Option<Guard>, Status> {
        let world = &self.app.world;
        if !world.is_shared() || !self.subresource.is_empty() || !self.named.is("", "Service") {
            return Ok(None);
        }
        world.guard("services").await.map(Some).map_err(undecided)
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

    /// All objects of a kind of this request's namespace.
    fn list(&self, kind: &'static Resource) -> Vec<Arc<Object>> {
        self.app.world.list(kind, Some(self.namespace)).objects
    }
}

/// What other servers decide cannot be known, so nothing can be decided here.
fn undecided(error: Unfresh) -> Status {
    Status::unavailable(format!("etcd cannot be reached: {error}")).retry_after(1)
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
