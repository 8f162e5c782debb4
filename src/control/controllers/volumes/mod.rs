//! Persistent storage: claims find or get volumes, volumes outlive or follow their claims,
//! and neither goes while it is in use.
//!
//! ```text
//!   claim ─▶ queue ─▶ binder::claim_act ─┬─ bind: volume, its phase, claim, its phase
//!     ▲                                  └─ make: local::volume_of ──▶ volume
//!   pods, classes, volumes                                               │
//!     ▼                                                                  ▼
//!   volume ◀──────────────────────────── queue ─▶ binder::volume_act ─▶ phase, reclaim
//! ```
//! With a class that waits for the first consumer the scheduler chooses the node: it writes
//! the annotation `volume.kubernetes.io/selected-node` on the claim (or, for volumes that
//! are there, `spec.claimRef` on the volume), and binds the pod when the claim is bound. A
//! pod that was put on a node without asking chooses for its claims as well. A bound claim may
//! ask for more later (`resize`).

mod binder;
mod ephemeral;
mod indexes;
mod local;
mod model;
mod protection;
mod provision;
mod recycle;
mod resize;
mod uses;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use serde_json::{Value, json};
use tracing::info;

use binder::{Around, ClaimAct, Reclaim, Told, VolumeAct, claim_act, volume_act};
use indexes::Indexes;
use model::{BIND_COMPLETED, BOUND_BY_CONTROLLER, Claim, Class, Header, Volume};
use uses::Uses;

use crate::errors::Error;
use crate::eviction::now_text;
use crate::node_facts::NodeFacts;
use crate::shared::{Complete, Events, Key, PodInfo, Queue, Record, Shared, Store, work};
use crate::wire::{get, in_namespace, is_gone, merge, reading, written};

const WORKERS: usize = 8;

struct Context {
    client: Client,
    claims: Store<Claim>,
    volumes: Store<Volume>,
    classes: Store<Class>,
    pods: Store<PodInfo>,
    nodes: Store<NodeFacts>,
    uses: Arc<Uses>,
    indexes: Indexes,
    of_claims: Queue,
    of_volumes: Queue,
    events: Events,
    maker: Events,
    growing: Events,
    resizer: Events,
}

/// Looks after claims and volumes until the shutdown.
pub async fn run(shared: Shared) {
    let uses = Arc::new(Uses::default());
    let context = Arc::new(Context {
        client: shared.client().clone(),
        claims: shared.store(),
        volumes: shared.store(),
        classes: shared.store(),
        pods: shared.store(),
        nodes: shared.store(),
        uses: Arc::clone(&uses),
        indexes: Indexes::default(),
        of_claims: Queue::default(),
        of_volumes: Queue::default(),
        events: shared.events("persistentvolume-controller"),
        maker: shared.events(local::PROVISIONER),
        growing: shared.events(resize::WATCHER),
        resizer: shared.events(resize::RESIZER),
    });
    let protected = Queue::default();
    context.listen(&protected);
    let caches: [&dyn Complete; 5] = [
        &context.claims,
        &context.volumes,
        &context.classes,
        &context.pods,
        &context.nodes,
    ];
    let of_claims = |key: Key| {
        let context = &context;
        async move { context.settle_claim(&key).await }
    };
    let of_volumes = |key: Key| {
        let context = &context;
        async move { context.settle_volume(&key).await }
    };
    tokio::join!(
        context.make_class(&shared),
        work(&shared, &context.of_claims, &caches, WORKERS, of_claims),
        work(&shared, &context.of_volumes, &caches, WORKERS, of_volumes),
        protection::run(&shared, protected, uses),
        ephemeral::run(shared.clone()),
    );
}

impl Context {
    fn listen(self: &Arc<Context>, protected: &Queue) {
        let (context, queue) = (Arc::clone(self), protected.clone());
        self.pods.subscribe(move |old, new| {
            for key in context.uses.changed(old, new) {
                context.of_claims.add(key.clone());
                queue.add(key);
            }
            if let Some(volume) = new.or(old).and_then(recycle::volume_of) {
                context.of_volumes.add(Key::new("", volume));
            }
        });
        let context = Arc::clone(self);
        self.claims.subscribe(move |old, new| {
            context.indexes.claim_changed(old, new);
            for claim in [old, new].into_iter().flatten() {
                if !claim.spec.volume_name.is_empty() {
                    context
                        .of_volumes
                        .add(Key::new("", &claim.spec.volume_name));
                }
            }
            if let Some(claim) = new {
                context.of_claims.add(Key::of(claim));
            }
        });
        let context = Arc::clone(self);
        self.volumes.subscribe(move |old, new| {
            let opened = context.indexes.volume_changed(old, new);
            for volume in [old, new].into_iter().flatten() {
                if let Some(to) = &volume.spec.claim_ref {
                    context.of_claims.add(Key::new(&to.namespace, &to.name));
                }
            }
            if let Some(volume) = new {
                context.of_volumes.add(Key::of(volume));
            }
            for key in opened {
                context.of_claims.add(key);
            }
        });
        let context = Arc::clone(self);
        self.classes.subscribe(move |_, new| {
            if let Some(class) = new {
                for key in context.indexes.waiting_for(&class.metadata.name) {
                    context.of_claims.add(key);
                }
            }
        });
        let context = Arc::clone(self);
        self.nodes.subscribe(move |old, new| {
            // Claims that wait for no pod may have found no node so far.
            if new.is_some_and(NodeFacts::takes_pods) && !old.is_some_and(NodeFacts::takes_pods) {
                for class in context.classes.all() {
                    if class.provisioner == local::PROVISIONER {
                        for key in context.indexes.waiting_for(&class.metadata.name) {
                            context.of_claims.add(key);
                        }
                    }
                }
            }
            // A node that is gone takes its folders along.
            if new.is_none() {
                for volume in context.volumes.all() {
                    if volume.status.phase == "Released" {
                        context.of_volumes.add(Key::of(&*volume));
                    }
                }
            }
        });
    }

    async fn settle_claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let class = self.classes.get("", claim.class());
        let named = self.volumes.get("", &claim.spec.volume_name);
        let open = self.indexes.open(claim.class()).into_iter();
        let open: Vec<Arc<Volume>> = open
            .filter_map(|name| self.volumes.get("", &name))
            .collect();
        let open: Vec<&Volume> = open.iter().map(AsRef::as_ref).collect();
        let users = self.uses.of(key);
        let waiting = users.iter().filter(|(_, user)| user.node.is_empty());
        let waiting: Vec<String> = waiting.map(|(name, _)| name.clone()).collect();
        let placed = users
            .iter()
            .find(|(_, user)| !user.node.is_empty() && !user.ended);
        let around = Around {
            class: class.as_deref(),
            named: named.as_deref(),
            volumes: &open,
            waiting_pods: &waiting,
            forced_node: placed.map(|(_, user)| user.node.as_str()),
        };
        let unbound = !claim.metadata.has(BIND_COMPLETED);
        if unbound && claim.metadata.is_deleting() {
            return Ok(());
        }
        match claim_act(&claim, &around) {
            ClaimAct::Bind(volume) => match self.volumes.get("", &volume) {
                Some(volume) => self.bind(&claim, &volume).await,
                None => Ok(()),
            },
            ClaimAct::Provision => match &class {
                Some(class) => self.provision(&claim, class, around.forced_node).await,
                None => Ok(()),
            },
            ClaimAct::Wait(told) => {
                self.tell(&claim, told);
                self.set_claim_status(&claim, json!({"phase": "Pending"}))
                    .await
            }
            ClaimAct::Lose(told) => {
                if claim.status.phase == "Lost" {
                    return Ok(());
                }
                self.set_claim_status(&claim, json!({"phase": "Lost"}))
                    .await?;
                self.tell(&claim, Some(told));
                Ok(())
            }
        }
    }

    /// Each step is taken only if it has not been taken yet, so whoever is interrupted goes
    /// on where it stopped.
    async fn bind(&self, claim: &Claim, volume: &Volume) -> Result<(), Error> {
        let (of, to) = (&claim.metadata, &volume.metadata);
        let mut volume = volume.clone();
        let reference = volume.spec.claim_ref.as_ref();
        if reference.is_none_or(|reference| reference.uid != of.uid) {
            let mut patch = json!({
                "metadata": {"resourceVersion": to.resource_version},
                "spec": {"claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": of.namespace,
                    "name": of.name,
                    "uid": of.uid,
                    "resourceVersion": of.resource_version,
                }},
            });
            if reference.is_none() {
                patch["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
            }
            volume = self.change_volume(&volume, "", &patch).await?;
        }
        if volume.status.phase != "Bound" {
            volume = self.set_phase(&volume, "Bound", None).await?;
        }
        let mut claim = claim.clone();
        if claim.spec.volume_name != volume.metadata.name || !claim.metadata.has(BIND_COMPLETED) {
            let mut annotations = json!({BIND_COMPLETED: "yes"});
            if claim.spec.volume_name.is_empty() {
                annotations[BOUND_BY_CONTROLLER] = json!("yes");
            }
            let patch = json!({
                "metadata": {
                    "resourceVersion": claim.metadata.resource_version,
                    "annotations": annotations,
                },
                "spec": {"volumeName": volume.metadata.name},
            });
            claim = self.change_claim(&claim, "", &patch).await?;
            info!(claim = %claim.full_name(), volume = %volume.metadata.name, "bound");
        }
        let (claim, volume) = self.grow(claim, volume).await?;
        let mut status = json!({
            "phase": "Bound",
            "accessModes": volume.spec.access_modes,
        });
        // Once bound, others say what size their volumes have inside.
        if claim.status.phase != "Bound" || resize::is_ours(&volume) {
            status["capacity"] = json!(volume.spec.capacity);
        }
        let grew = resize::end(&claim, &volume, &mut status);
        self.set_claim_status(&claim, status).await?;
        if grew {
            let message = "Resize volume succeeded".to_owned();
            self.resizer
                .normal(about_claim(&claim), "VolumeResizeSuccessful", message);
        }
        Ok(())
    }

    async fn settle_volume(&self, key: &Key) -> Result<(), Error> {
        let Some(volume) = self.volumes.get("", &key.name) else {
            return Ok(());
        };
        let claim = self.claim_of(&volume).await?;
        match volume_act(&volume, claim.as_deref()) {
            VolumeAct::Phase(phase) => self.set_phase(&volume, phase, None).await.map(drop),
            VolumeAct::AskClaim => {
                if let Some(to) = &volume.spec.claim_ref {
                    self.of_claims.add(Key::new(&to.namespace, &to.name));
                }
                Ok(())
            }
            VolumeAct::Unbind(whole) => self.unbind(&volume, whole).await,
            VolumeAct::Reclaim(how) => self.reclaim(&volume, how).await,
        }
    }

    /// Makes a volume free again; `whole` if the reference to its claim goes as a whole.
    async fn unbind(&self, volume: &Volume, whole: bool) -> Result<(), Error> {
        let mut patch = json!({
            "metadata": {"resourceVersion": volume.metadata.resource_version},
            "spec": {"claimRef": {"uid": null, "resourceVersion": null}},
        });
        if whole {
            patch["spec"]["claimRef"] = Value::Null;
            patch["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: null});
        }
        let volume = self.change_volume(volume, "", &patch).await?;
        self.set_phase(&volume, "Available", None).await.map(drop)
    }

    /// The claim a volume names, as the cache or, if it is not there, the API has it: a claim
    /// that is gone may cost the data.
    async fn claim_of(&self, volume: &Volume) -> Result<Option<Arc<Claim>>, Error> {
        let Some(to) = volume
            .spec
            .claim_ref
            .as_ref()
            .filter(|to| !to.uid.is_empty())
        else {
            return Ok(None);
        };
        if let Some(claim) = self.claims.get(&to.namespace, &to.name)
            && claim.metadata.uid == to.uid
        {
            return Ok(Some(claim));
        }
        let path = format!(
            "{}/{}",
            in_namespace(&Claim::path(), &to.namespace),
            to.name
        );
        match get::<Claim>(&self.client, &path).await {
            Ok(claim) => Ok(Some(Arc::new(claim)).filter(|claim| claim.metadata.uid == to.uid)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(reading(path)(error)),
        }
    }

    async fn reclaim(&self, volume: &Volume, how: Reclaim) -> Result<(), Error> {
        let volume = match volume.status.phase.as_str() {
            "Released" | "Failed" => volume.clone(),
            _ => self.set_phase(volume, "Released", None).await?,
        };
        match how {
            Reclaim::Retain => Ok(()),
            Reclaim::Delete(by) if by == local::PROVISIONER => self.remove(&volume).await,
            // Whoever made it watches it.
            Reclaim::Delete(_) => Ok(()),
            Reclaim::Forget => self.forget(&volume).await,
            Reclaim::Recycle => self.recycle(&volume).await,
            Reclaim::Fail(told) => {
                if volume.status.phase != "Failed" {
                    self.set_phase(&volume, "Failed", Some(&told.message))
                        .await?;
                    self.events
                        .warning(about_volume(&volume), told.reason, told.message);
                }
                Ok(())
            }
        }
    }

    fn tell(&self, claim: &Claim, told: Option<Told>) {
        let Some(told) = told else { return };
        let about = about_claim(claim);
        match told.warning {
            true => self.events.warning(about, told.reason, told.message),
            false => self.events.normal(about, told.reason, told.message),
        }
    }

    /// Writes those members of a claim's status that differ.
    async fn set_claim_status(&self, claim: &Claim, status: Value) -> Result<(), Error> {
        let now = json!({
            "phase": claim.status.phase,
            "accessModes": claim.status.access_modes,
            "capacity": claim.status.capacity,
            "conditions": claim.status.conditions,
            "allocatedResourceStatuses": claim.status.allocated_resource_statuses,
        });
        let members = status.as_object().into_iter().flatten();
        if members
            .clone()
            .all(|(name, value)| now.get(name) == Some(value))
        {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": claim.metadata.resource_version},
            "status": status,
        });
        self.change_claim(claim, "/status", &patch).await.map(drop)
    }

    async fn set_phase(
        &self,
        volume: &Volume,
        phase: &str,
        message: Option<&str>,
    ) -> Result<Volume, Error> {
        if volume.status.phase == phase {
            return Ok(volume.clone());
        }
        let patch = json!({
            "metadata": {"resourceVersion": volume.metadata.resource_version},
            "status": {
                "phase": phase,
                "message": message,
                "lastPhaseTransitionTime": now_text(),
            },
        });
        self.change_volume(volume, "/status", &patch).await
    }

    async fn change_claim(&self, claim: &Claim, part: &str, patch: &Value) -> Result<Claim, Error> {
        let meta = &claim.metadata;
        let all = in_namespace(&Claim::path(), &meta.namespace);
        let path = format!("{all}/{}{part}", meta.name);
        let changed: Claim = merge(&self.client, &path, patch)
            .await
            .map_err(written(format!("claim {}", claim.full_name())))?;
        self.claims.written(changed.clone());
        Ok(changed)
    }

    async fn change_volume(
        &self,
        volume: &Volume,
        part: &str,
        patch: &Value,
    ) -> Result<Volume, Error> {
        let path = format!("{}/{}{part}", Volume::path(), volume.metadata.name);
        let changed: Volume = merge(&self.client, &path, patch)
            .await
            .map_err(written(format!("volume {}", volume.metadata.name)))?;
        self.volumes.written(changed.clone());
        Ok(changed)
    }
}

fn about(header: &Header, kind: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(header.namespace.clone()).filter(|ns| !ns.is_empty()),
        name: Some(header.name.clone()),
        uid: Some(header.uid.clone()),
        resource_version: Some(header.resource_version.clone()),
        ..ObjectReference::default()
    }
}

fn about_claim(claim: &Claim) -> ObjectReference {
    about(&claim.metadata, "PersistentVolumeClaim")
}

fn about_volume(volume: &Volume) -> ObjectReference {
    about(&volume.metadata, "PersistentVolume")
}
