//! From a decided change to the store and back into the world.
//!
//! ```text
//!   read old ──▶ propose ──▶ same bytes? ── yes ──▶ nothing to do
//!      ▲                        │ no
//!      │                        ▼
//!      └── somebody was ◀── compare and swap ──▶ wait until the world has it
//!          faster
//! ```

use std::sync::Arc;

use bytes::Bytes;
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_api::{json, meta::Meta};
use cadet_store::{Change, CommitError, Entry, Guard, Revision};
use serde_json::{Map, Value};

use crate::admission::Request;
use crate::app::App;
use crate::journal;
use crate::kept::Parts;
use crate::object::{Object, key_of, to_stored};

/// Why a write did not take place.
#[derive(Debug)]
pub enum Fault {
    Exists,
    Missing,
    /// Somebody was faster; the revision they reached.
    Conflict(Revision),
    /// Another server decided about the same (an address, a quota): decide anew.
    Overtaken,
    Broken(Status),
}

impl Fault {
    pub fn into_status(self, resource: &Resource, name: &str) -> Status {
        match self {
            Fault::Exists => Status::already_exists(resource, name),
            Fault::Missing => Status::not_found(resource, name),
            Fault::Conflict(_) | Fault::Overtaken => Status::conflict(resource, name),
            Fault::Broken(status) => status,
        }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Fault {
        match error {
            CommitError::Exists { .. } => Fault::Exists,
            CommitError::Missing { .. } => Fault::Missing,
            CommitError::Conflict { found, .. } => Fault::Conflict(found),
            CommitError::Overtaken { .. } => Fault::Overtaken,
            // Nothing was written, so a client may just try again.
            CommitError::Unreachable { reason, .. } => Fault::Broken(
                Status::unavailable(format!("etcd cannot be reached: {reason}")).retry_after(1),
            ),
            CommitError::Unanswered { reason, .. } => Fault::Broken(Status::failure(
                500,
                "",
                format!("{reason}; the write may or may not have taken place"),
            )),
            CommitError::Refused { reason, .. } => Fault::Broken(Status::failure(500, "", reason)),
            error @ (CommitError::Disk { .. } | CommitError::Closed { .. }) => {
                Fault::Broken(Status::internal(error))
            }
        }
    }
}

async fn put(
    app: &App,
    resource: &'static Resource,
    value: &Value,
    expect: Option<Revision>,
    guards: &[&Guard],
) -> Result<Arc<Object>, Fault> {
    let place = (
        json::str_at(value, "/metadata/namespace"),
        json::str_at(value, "/metadata/name"),
    );
    let bytes = to_stored(resource, value);
    let parts = || Parts::of(resource.stored_as(), value).ok();
    commit(app, resource, place, bytes, parts, expect, guards).await
}

/// Writes the bytes of the object at `place`, its namespace and name; `parts` is what is kept
/// beside them.
async fn commit(
    app: &App,
    resource: &'static Resource,
    place: (&str, &str),
    bytes: Bytes,
    parts: impl FnOnce() -> Option<Parts>,
    expect: Option<Revision>,
    guards: &[&Guard],
) -> Result<Arc<Object>, Fault> {
    let (namespace, name) = place;
    let key = key_of(resource, namespace, name);
    let change = match expect {
        None => Change::Create(bytes.clone()),
        Some(expect) => Change::Update {
            value: bytes.clone(),
            expect,
        },
    };
    // What comes back from a shared store is not these bytes but a copy.
    let announced = match app.is_shared() {
        true => None,
        false => app.world.announce(&bytes, parts()),
    };
    let store = app.world.store();
    let revision = match guards {
        [] => store.commit(&key, change).await?,
        guards => store.commit_guarded(&key, change, guards).await?,
    };
    journal::wrote(app, revision, name);
    app.world.reach(revision).await;
    drop(announced);
    // Usually the world has read it already; if somebody was faster since, read it here.
    if let Some(object) = app.world.get(resource, namespace, name)
        && object.revision == revision
    {
        return Ok(object);
    }
    let entry = Entry {
        key: key.into(),
        value: bytes,
        created: 0,
        modified: revision,
    };
    let object = Object::from_entry(&entry, app.world.kinds())
        .map_err(|e| Fault::Broken(Status::internal(e)))?;
    Ok(Arc::new(object))
}

/// Stores a new object, as long as what the guards stand for is still true.
pub async fn create(
    app: &App,
    resource: &'static Resource,
    value: &Value,
    guards: &[&Guard],
) -> Result<Arc<Object>, Fault> {
    put(app, resource, value, None, guards).await
}

/// Writes new bytes of an object, unless somebody was faster: for changes that need not read
/// all of it. `parts` is what is kept beside the bytes.
pub async fn rewrite(
    app: &App,
    old: &Object,
    bytes: Bytes,
    parts: Parts,
) -> Result<Arc<Object>, Fault> {
    let place = (old.namespace(), old.name());
    let expect = Some(old.revision);
    commit(app, old.resource, place, bytes, || Some(parts), expect, &[]).await
}

/// Removes an object as it was read.
pub async fn remove(app: &App, object: &Object) -> Result<Revision, Fault> {
    let key = key_of(object.resource, object.namespace(), object.name());
    let change = Change::Delete {
        expect: object.revision,
    };
    let revision = app.world.store().commit(&key, change).await?;
    journal::wrote(app, revision, object.name());
    app.world.reach(revision).await;
    Ok(revision)
}

/// What a writer wants an object to be.
pub struct Proposal {
    pub value: Value,
    /// The client named the version it had read; a newer one is a conflict, not a retry.
    pub conditional: bool,
    pub warnings: Vec<String>,
}

/// What became of a change.
pub struct Changed {
    pub outcome: Outcome,
    pub warnings: Vec<String>,
}

/// See [`Changed`].
pub enum Outcome {
    /// The object as it is now; perhaps nothing had to be written.
    Stored(Arc<Object>),
    /// The change let go of the last thing that kept a deleted object.
    Removed(Arc<Object>),
    /// What would have been stored.
    DryRun(Value),
}

/// Changes one object: reads, proposes, writes if it differs, tries again if overtaken.
/// Somebody wins every round, so this ends; the request's own time limit bounds the wait.
/// For the server's own changes; those of clients pass [`change_admitted`].
pub async fn change(
    app: &App,
    resource: &'static Resource,
    namespace: &str,
    name: &str,
    dry_run: bool,
    mut propose: impl FnMut(&Value) -> Result<Proposal, Status>,
) -> Result<Changed, Status> {
    loop {
        let Some(old) = app.world.get(resource, namespace, name) else {
            return Err(Status::not_found(resource, name));
        };
        let before = old.value();
        let proposal = propose(&before)?;
        if let Some(changed) = settle(app, &old, &before, proposal, dry_run, &[]).await? {
            return Ok(changed);
        }
    }
}

/// As [`change`], with the world's consent: `propose` says what the client wants, `finish`
/// readies for the store what admission made of it.
pub async fn change_admitted(
    request: &Request<'_>,
    name: &str,
    mut propose: impl FnMut(&Value) -> Result<Proposal, Status>,
    mut finish: impl FnMut(&mut Value, &Value) -> Result<Vec<String>, Status>,
) -> Result<Changed, Status> {
    let resource = request.stored();
    loop {
        let reserved = request.reserve().await?;
        let found = request.app.world.get(resource, request.namespace, name);
        let Some(old) = found else {
            return Err(Status::not_found(resource, name));
        };
        let before = old.value();
        let mut proposal = propose(&before)?;
        if request.may_mutate() {
            let more = request.mutate(&mut proposal.value, Some(&before)).await?;
            proposal.warnings.extend(more);
        }
        proposal
            .warnings
            .extend(finish(&mut proposal.value, &before)?);
        let admitted = request.validate(&proposal.value, Some(&before)).await?;
        proposal.warnings.extend(admitted.warnings.iter().cloned());
        let guards = admitted.guards(reserved.as_ref());
        let dry_run = request.dry_run;
        let changed = settle(request.app, &old, &before, proposal, dry_run, &guards).await?;
        drop((admitted, reserved));
        if let Some(changed) = changed {
            return Ok(changed);
        }
    }
}

/// Writes a proposal, if it changes anything; `None` if somebody was faster and the
/// proposal must be made anew.
async fn settle(
    app: &App,
    old: &Arc<Object>,
    before: &Value,
    proposal: Proposal,
    dry_run: bool,
    guards: &[&Guard],
) -> Result<Option<Changed>, Status> {
    let Proposal {
        value,
        conditional,
        warnings,
    } = proposal;
    let resource = old.resource;
    let outcome = if dry_run {
        Ok(Outcome::DryRun(value))
    } else if is_finished(resource, &value) {
        let removed = remove(app, old).await;
        removed.map(|_| Outcome::Removed(Arc::clone(old)))
    } else if is_same(&value, before) {
        Ok(Outcome::Stored(Arc::clone(old)))
    } else {
        let stored = put(app, resource, &value, Some(old.revision), guards).await;
        stored.map(Outcome::Stored)
    };
    match outcome {
        Ok(outcome) => Ok(Some(Changed { outcome, warnings })),
        Err(Fault::Conflict(newer)) if !conditional => {
            app.world.reach(newer).await;
            Ok(None)
        }
        Err(Fault::Overtaken) => Ok(None),
        Err(fault) => Err(fault.into_status(resource, old.name())),
    }
}

/// Whether two states of an object agree in all but the version and the order of members,
/// which clients and conversions are free in.
fn is_same(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else {
        return false;
    };
    let metadata = |o: &Map<String, Value>| o.get("metadata").is_some_and(Value::is_object);
    agree(new, old, "metadata")
        && match (new.get("metadata"), old.get("metadata")) {
            (Some(Value::Object(new)), Some(Value::Object(old))) => {
                agree(new, old, "resourceVersion")
            }
            // Without members there is nothing to differ in.
            _ => metadata(new) == metadata(old),
        }
}

/// Whether two objects have the same members but for one, in whatever order.
fn agree(a: &Map<String, Value>, b: &Map<String, Value>, but: &str) -> bool {
    let rest = |o: &Map<String, Value>| o.len() - usize::from(o.contains_key(but));
    rest(a) == rest(b)
        && a.iter()
            .all(|(key, value)| key == but || b.get(key) == Some(value))
}

/// Whether an object that is being deleted has nothing left to wait for.
pub fn is_finished(resource: &Resource, value: &Value) -> bool {
    // Nearly nothing that is written is on its way out.
    if json::at(value, "/metadata/deletionTimestamp").is_none() {
        return false;
    }
    let Ok(meta) = Meta::of(value) else {
        return false;
    };
    meta.is_deleting()
        && meta.finalizers.is_empty()
        && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
        && (!resource.is("", "Namespace") || json::list_at(value, "/spec/finalizers").is_empty())
}

/// The client's `resourceVersion`, if it gave one, must be that of the object.
pub fn check_version(resource: &Resource, new: &Value, old: &Value) -> Result<bool, Status> {
    let asked = json::str_at(new, "/metadata/resourceVersion");
    // "0" is no version anything has.
    if matches!(asked, "" | "0") {
        return Ok(false);
    }
    if asked == json::str_at(old, "/metadata/resourceVersion") {
        return Ok(true);
    }
    Err(Status::conflict(
        resource,
        json::str_at(old, "/metadata/name"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_api::resource::find;
    use serde_json::json;

    #[test]
    fn order_and_version_make_no_change() {
        let old = json!({"kind": "A", "metadata": {"name": "a", "resourceVersion": "3"}, "spec": {"a": 1, "b": [{"c": 1, "d": 2}]}});
        let same = json!({"spec": {"b": [{"d": 2, "c": 1}], "a": 1}, "metadata": {"name": "a"}, "kind": "A"});
        assert!(is_same(&same, &old));
        for (pointer, value) in [("/spec/b/0/c", json!(2)), ("/metadata/name", json!("b"))] {
            let mut other = same.clone();
            *other.pointer_mut(pointer).expect("member") = value;
            assert!(!is_same(&other, &old), "{pointer}");
        }
        assert!(!is_same(
            &json!({"kind": "A", "metadata": {"name": "a"}}),
            &old
        ));
    }

    #[test]
    fn an_object_goes_only_when_nothing_holds_it() {
        let pods = find("", "v1", "pods").expect("pods");
        let namespaces = find("", "v1", "namespaces").expect("namespaces");
        let deleted = "2026-01-01T00:00:00Z";
        for (resource, object, finished) in [
            (pods, json!({"metadata": {}}), false),
            (
                pods,
                json!({"metadata": {"deletionTimestamp": deleted}}),
                true,
            ),
            (
                pods,
                json!({"metadata": {"deletionTimestamp": deleted, "finalizers": ["a/b"]}}),
                false,
            ),
            (
                pods,
                json!({"metadata": {"deletionTimestamp": deleted, "deletionGracePeriodSeconds": 30}}),
                false,
            ),
            (
                namespaces,
                json!({"metadata": {"deletionTimestamp": deleted}, "spec": {"finalizers": ["kubernetes"]}}),
                false,
            ),
            (
                namespaces,
                json!({"metadata": {"deletionTimestamp": deleted}, "spec": {}}),
                true,
            ),
        ] {
            assert_eq!(is_finished(resource, &object), finished, "{object}");
        }
    }
}
