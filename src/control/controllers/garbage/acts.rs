//! Asking after owners, and changing or deleting what is owned.

use cadet_api::meta::OwnerReference;
use http::Request;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};
use tracing::debug;

use super::graph::{Place, Uid};
use super::verdict::Standing;
use super::wire::{FOREGROUND, Seen};
use super::{ABSENT, Collector, lock};
use crate::errors::Error;
use crate::wire::{get, is_gone, merge, reading, written};

impl Collector {
    /// How an owner that an object names stands.
    pub(super) async fn standing(
        &self,
        place: &Place,
        object: &Seen,
        owner: &OwnerReference,
    ) -> Result<Standing, Error> {
        let uid = Uid::of(&owner.uid);
        let namespace = &object.metadata.namespace;
        let known = {
            let graph = lock(&self.graph);
            graph
                .get(uid)
                .map(|node| (node.place.clone(), node.foreground))
        };
        if let Some((at, foreground)) = known {
            if !at.namespace.is_empty() && *at.namespace != **namespace {
                self.complain(place, object, owner);
                // Nothing at cluster scope belongs to a namespace; it stays, as upstream's.
                return Ok(match namespace.is_empty() {
                    true => Standing::Solid,
                    false => Standing::Dangling,
                });
            }
            return Ok(match foreground {
                true => Standing::Waiting,
                false => Standing::Solid,
            });
        }
        if lock(&self.absent).contains(&uid) {
            return Ok(Standing::Dangling);
        }
        let kind = {
            let kinds = lock(&self.kinds);
            let kind = kinds
                .iter()
                .find(|kind| kind.is(&owner.api_version, &owner.kind));
            kind.cloned()
        };
        // Of a kind nobody serves nothing can be told, so nothing is done.
        let Some(kind) = kind.filter(|kind| !(kind.namespaced && namespace.is_empty())) else {
            return Ok(Standing::Solid);
        };
        let path = kind.path_of(namespace, &owner.name);
        match get::<Seen>(&self.client, &path).await {
            Ok(found) if Uid::of(&found.metadata.uid) == uid => {
                let waits = found.is_deleting() && found.is_held_by(FOREGROUND);
                return Ok(match waits {
                    true => Standing::Waiting,
                    false => Standing::Solid,
                });
            }
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(reading(path)(error)),
        }
        let mut absent = lock(&self.absent);
        if absent.len() >= ABSENT {
            absent.clear();
        }
        absent.insert(uid);
        Ok(Standing::Dangling)
    }

    fn complain(&self, place: &Place, object: &Seen, owner: &OwnerReference) {
        let (kind, meta) = (self.kind(place.kind), &object.metadata);
        let about = ObjectReference {
            api_version: Some(kind.api_version()),
            kind: Some(kind.kind.clone()),
            namespace: Some(meta.namespace.clone()).filter(|ns| !ns.is_empty()),
            name: Some(meta.name.clone()),
            uid: Some(meta.uid.clone()),
            ..ObjectReference::default()
        };
        let message = format!(
            "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
            owner.api_version, owner.kind, meta.namespace, owner.name, owner.uid, meta.namespace
        );
        self.events
            .warning(about, "OwnerRefInvalidNamespace", message);
    }

    /// Takes a finalizer of the collector away.
    pub(super) async fn release(
        &self,
        place: &Place,
        uid: Uid,
        finalizer: &str,
    ) -> Result<(), Error> {
        let Some(object) = self.read(place, uid).await? else {
            return Ok(());
        };
        if !object.is_held_by(finalizer) {
            return Ok(());
        }
        let mut left = object.metadata.finalizers.clone();
        left.retain(|f| f != finalizer);
        self.change(place, &object, json!({"finalizers": left}))
            .await
    }

    /// Takes owners away.
    pub(super) async fn disown(
        &self,
        place: &Place,
        object: &Seen,
        owners: &[String],
    ) -> Result<(), Error> {
        let mut left = object.metadata.owner_references.clone();
        left.retain(|owner| !owners.contains(&owner.uid));
        self.own(place, object, &left).await
    }

    /// Lets all owners go before it.
    pub(super) async fn unblock(&self, place: &Place, object: &Seen) -> Result<(), Error> {
        let mut owners = object.metadata.owner_references.clone();
        for owner in &mut owners {
            owner.block_owner_deletion = false;
        }
        self.own(place, object, &owners).await
    }

    async fn own(
        &self,
        place: &Place,
        object: &Seen,
        owners: &[OwnerReference],
    ) -> Result<(), Error> {
        if owners == object.metadata.owner_references {
            return Ok(());
        }
        let owners: Vec<Value> = owners.iter().map(reference).collect();
        self.change(place, object, json!({"ownerReferences": owners}))
            .await
    }

    /// Changes metadata of an object that is still as it was read.
    async fn change(&self, place: &Place, object: &Seen, mut meta: Value) -> Result<(), Error> {
        meta["resourceVersion"] = json!(object.metadata.resource_version);
        meta["uid"] = json!(object.metadata.uid);
        let path = self.path(place);
        match merge::<Value>(&self.client, &path, &json!({"metadata": meta})).await {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(written(path)(error)),
        }
    }

    /// Deletes an object that is still as it was read.
    pub(super) async fn delete(
        &self,
        place: &Place,
        object: &Seen,
        policy: &str,
    ) -> Result<(), Error> {
        let path = self.path(place);
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": policy,
            "preconditions": {
                "uid": object.metadata.uid,
                "resourceVersion": object.metadata.resource_version,
            },
        });
        let failed = |source| Error::Delete {
            what: path.clone(),
            source,
        };
        let request = Request::delete(&path)
            .header("content-type", "application/json")
            .body(options.to_string().into_bytes())
            .map_err(kube::Error::HttpError)
            .map_err(failed)?;
        match self.client.request_text(request).await {
            Ok(_) => {
                debug!(%path, policy, "collected");
                Ok(())
            }
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// An owner reference as it is written: flags that are false are left out.
fn reference(owner: &OwnerReference) -> Value {
    let mut value = json!({
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    });
    if owner.controller {
        value["controller"] = json!(true);
    }
    if owner.block_owner_deletion {
        value["blockOwnerDeletion"] = json!(true);
    }
    value
}
