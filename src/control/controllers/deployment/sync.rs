//! One look at a Deployment: reads the caches, asks the pure parts, writes what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::amounts::replicas;
use super::revision::{self, REVISION};
use super::rollout;
use super::scaling::{self, Scale};
use super::sets::{HASH_LABEL, Set, Sets, wanted};
use super::{hash, status};
use crate::errors::Error;
use crate::shared::{
    Claim, Key, Merge, Record, adoption, controller_ref, create, decide, delete, difference,
    is_alive, is_namespace_ending, patch, regarding, release_of, selector, words,
};

/// Longest name of an object.
const LONGEST_NAME: usize = 253;

/// One Deployment in work: as the cache had it, and as it shall be.
struct Work<'a> {
    context: &'a Context,
    kept: Arc<Deployment>,
    deployment: Deployment,
    sets: Sets,
    now: Timestamp,
}

pub async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    let Some(kept) = context.deployments.get(&key.namespace, &key.name) else {
        return Ok(());
    };
    let mut deployment = (*kept).clone();
    if selects_all(&deployment) {
        let words = "This deployment is selecting all pods. A non-empty selector is required.";
        let about = regarding(&deployment);
        context
            .events
            .warning(about, "SelectingAll", words.to_owned());
        let status = deployment.status.get_or_insert_default();
        status.observed_generation = deployment.metadata.generation;
    }
    let mut work = Work {
        context,
        sets: Sets::default(),
        now: Timestamp::now(),
        kept,
        deployment,
    };
    if selects_all(&work.deployment) {
        return work.write().await;
    }
    let all = work.claim().await.map_err(|source| Error::Write {
        what: format!("replica sets of deployment {key}"),
        source,
    })?;
    work.sets = Sets::of(&work.deployment, all);
    let done = work.proceed().await;
    // What was learnt is written also if something failed: it says what.
    let written = work.write().await;
    done.map_err(|source| Error::Write {
        what: format!("deployment {key}"),
        source,
    })?;
    written
}

fn selects_all(deployment: &Deployment) -> bool {
    let spec = deployment.spec.as_ref();
    spec.is_none_or(|spec| spec.selector == LabelSelector::default())
}

impl Work<'_> {
    /// The sets of the Deployment, after adopting and releasing.
    async fn claim(&self) -> kube::Result<Vec<Set>> {
        let (context, deployment) = (self.context, &self.deployment);
        let client = context.shared.client();
        let spec = deployment.spec.as_ref();
        let Some(selector) = selector(spec.map(|spec| &spec.selector)) else {
            return Ok(Vec::new());
        };
        let meta = deployment.meta();
        let going = deployment.is_deleting();
        let fits = |set: &ReplicaSet| match &set.metadata.labels {
            Some(labels) => selector.matches(labels),
            None => selector.matches(&BTreeMap::new()),
        };
        let mut mine = Vec::new();
        for set in context.sets.owned(meta.uid) {
            match decide(true, fits(&set), going, set.is_deleting()) {
                Claim::Keep => mine.push(set),
                Claim::Release => {
                    let change = release_of(meta.uid, set.meta().uid);
                    self.change_owner(&set, &change).await?;
                }
                Claim::Adopt | Claim::Leave => {}
            }
        }
        let orphans = context.sets.orphans(meta.namespace).into_iter();
        let wanted = orphans
            .filter(|set| decide(false, fits(set), going, set.is_deleting()) == Claim::Adopt);
        let wanted: Vec<Set> = wanted.collect();
        if !wanted.is_empty() && is_alive(client, deployment).await? {
            for set in wanted {
                let change = adoption(deployment, set.meta().uid);
                mine.extend(self.change_owner(&set, &change).await?);
            }
        }
        Ok(mine)
    }

    /// `None` if it is gone, or another one by now.
    async fn change_owner(&self, set: &Set, change: &Value) -> kube::Result<Option<Set>> {
        let client = self.context.shared.client();
        match patch(
            client,
            &self.context.sets,
            &**set,
            "",
            Merge::Strategic,
            change,
        )
        .await
        {
            Ok(set) => Ok(Some(Arc::new(set))),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next step, and the status after it.
    async fn proceed(&mut self) -> kube::Result<()> {
        if self.deployment.is_deleting() {
            self.sync_revision(false).await?;
            self.note_figures();
            return Ok(());
        }
        status::note_pause(&mut self.deployment, self.now);
        let paused = status::is_paused(&self.deployment);
        if paused || scaling::is_due(&self.deployment, &self.sets) {
            self.sync_revision(false).await?;
            let scales = scaling::scale(&self.deployment, &self.sets);
            self.scale(scales).await?;
            if paused {
                self.clean_up().await?;
            }
            self.note_figures();
            return Ok(());
        }
        match rollout::recreates(&self.deployment) {
            true => self.recreate().await?,
            false => self.roll().await?,
        }
        let new = status::rollout(&self.deployment, &self.sets, self.now);
        if let Some(pause) = status::look_again(&self.deployment, &new, self.now) {
            let key = Key::of(&self.deployment);
            self.context.queue.add_after(key, pause);
        }
        self.deployment.status = Some(new);
        Ok(())
    }

    async fn roll(&mut self) -> kube::Result<()> {
        self.sync_revision(true).await?;
        let scales = rollout::roll(&self.deployment, &self.sets);
        match scales.is_empty() {
            false => self.scale(scales).await,
            true => self.clean_up_if_complete().await,
        }
    }

    async fn recreate(&mut self) -> kube::Result<()> {
        self.sync_revision(false).await?;
        let scales = rollout::stop_old(&self.sets);
        if !scales.is_empty() {
            return self.scale(scales).await;
        }
        if self.old_pods_run() {
            return Ok(());
        }
        self.sync_revision(true).await?;
        if let Some(set) = self.sets.new.clone() {
            let to = replicas(&self.deployment);
            if wanted(&set) != to {
                self.scale(vec![Scale { set, to }]).await?;
            }
        }
        self.clean_up_if_complete().await
    }

    /// Whether a pod of an old set has not ended yet.
    fn old_pods_run(&self) -> bool {
        let counted = |set: &Set| {
            set.status
                .as_ref()
                .is_some_and(|status| status.replicas > 0)
        };
        self.sets.old.iter().any(|set| {
            let pods = self.context.pods.owned(set.meta().uid);
            counted(set) || pods.iter().any(|pod| !pod.has_ended())
        })
    }

    /// Numbers the set with today's template; makes it if there is none and `make` says so.
    async fn sync_revision(&mut self, make: bool) -> kube::Result<()> {
        let revision = revision::next(&self.sets.old);
        match self.sets.new.clone() {
            Some(set) => self.number(set, revision).await,
            None if make => self.make(revision).await,
            None => Ok(()),
        }
    }

    async fn number(&mut self, set: Set, next: i64) -> kube::Result<()> {
        let old = set.metadata.annotations.as_ref();
        let new = revision::annotations(old, &self.deployment, next);
        let min_ready = |spec: Option<i32>| spec.unwrap_or(0);
        let wanted = min_ready(
            self.deployment
                .spec
                .as_ref()
                .and_then(|s| s.min_ready_seconds),
        );
        let has = min_ready(set.spec.as_ref().and_then(|s| s.min_ready_seconds));
        if old.is_some_and(|old| *old == new) && has == wanted {
            let number = new.get(REVISION).cloned().unwrap_or_default();
            self.note_revision(number);
            if !status::says_progress(&self.deployment) {
                let message = format!("Found new replica set {:?}", set.meta().name);
                let (deployment, now) = (&mut self.deployment, self.now);
                status::note_progress(deployment, "True", "FoundNewReplicaSet", message, now);
            }
            return Ok(());
        }
        let mut change = json!({"metadata": {"annotations": new}});
        if has != wanted {
            change["spec"] = json!({"minReadySeconds": wanted});
        }
        let changed = self.patch_set(&set, &change).await?;
        self.sets.new = Some(Arc::new(changed));
        self.note_revision(next.to_string());
        Ok(())
    }

    fn note_revision(&mut self, number: String) {
        let annotations = self.deployment.metadata.annotations.get_or_insert_default();
        annotations.insert(REVISION.to_owned(), number);
    }

    async fn make(&mut self, revision: i64) -> kube::Result<()> {
        let set = self.new_set(revision)?;
        let (name, size) = (set.meta().name.to_owned(), wanted(&set));
        let (client, sets) = (self.context.shared.client(), &self.context.sets);
        let born = match create(client, sets, &set).await {
            Ok(born) => Arc::new(born),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                // Made before, and the cache does not know it yet: then it will soon. Else
                // another template has this hash: the next try gets another one.
                if sets.get(set.meta().namespace, &name).is_some() {
                    let status = self.deployment.status.get_or_insert_default();
                    *status.collision_count.get_or_insert(0) += 1;
                }
                return Err(kube::Error::Api(status));
            }
            Err(error) if is_namespace_ending(&error) => return Err(error),
            Err(error) => {
                let message = format!(
                    "Failed to create new replica set {name:?}: {}",
                    words(&error)
                );
                let about = regarding(&self.deployment);
                let reason = "ReplicaSetCreateError";
                self.context.events.warning(about, reason, message.clone());
                let (deployment, now) = (&mut self.deployment, self.now);
                status::note_progress(deployment, "False", reason, message, now);
                return Err(error);
            }
        };
        self.sets.new = Some(born);
        if size > 0 {
            self.tell_scaled("up", &name, 0, size);
        }
        self.note_revision(revision.to_string());
        let message = format!("Created new replica set {name:?}");
        let (deployment, now) = (&mut self.deployment, self.now);
        status::note_progress(deployment, "True", "NewReplicaSetCreated", message, now);
        Ok(())
    }

    fn new_set(&self, revision: i64) -> kube::Result<ReplicaSet> {
        let deployment = &self.deployment;
        let spec = deployment.spec.clone().unwrap_or_default();
        let collisions = deployment.status.as_ref().and_then(|s| s.collision_count);
        let hash = hash::of(&spec.template, collisions).map_err(kube::Error::SerdeError)?;
        let label = |labels: &mut Option<BTreeMap<String, String>>| {
            let labels = labels.get_or_insert_default();
            labels.insert(HASH_LABEL.to_owned(), hash.clone());
        };
        let (mut template, mut selector) = (spec.template, spec.selector);
        label(&mut template.metadata.get_or_insert_default().labels);
        label(&mut selector.match_labels);
        let mut annotations = revision::annotations(None, deployment, revision);
        revision::note_wanted(&mut annotations, deployment);
        let mut name = deployment.meta().name.to_owned();
        name.truncate(LONGEST_NAME - hash.len() - 1);
        Ok(ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{name}-{hash}")),
                namespace: deployment.metadata.namespace.clone(),
                labels: template
                    .metadata
                    .as_ref()
                    .and_then(|meta| meta.labels.clone()),
                annotations: Some(annotations),
                owner_references: Some(vec![controller_ref(deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(rollout::new_size(deployment, &self.sets, 0)),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        })
    }

    /// Gives sets their sizes and notes on them what they were sized for.
    async fn scale(&mut self, scales: Vec<Scale>) -> kube::Result<()> {
        for Scale { set, to } in scales {
            let from = wanted(&set);
            let old = set.metadata.annotations.clone().unwrap_or_default();
            let mut new = old.clone();
            revision::note_wanted(&mut new, &self.deployment);
            if from == to && old == new {
                continue;
            }
            let change = json!({"metadata": {"annotations": new}, "spec": {"replicas": to}});
            let changed = Arc::new(self.patch_set(&set, &change).await?);
            for kept in self.sets.old.iter_mut().chain(&mut self.sets.new) {
                if kept.meta().uid == changed.meta().uid {
                    *kept = Arc::clone(&changed);
                }
            }
            if from != to {
                let way = if from < to { "up" } else { "down" };
                self.tell_scaled(way, changed.meta().name, from, to);
            }
        }
        Ok(())
    }

    fn tell_scaled(&self, way: &str, set: &str, from: i32, to: i32) {
        let message = format!("Scaled {way} replica set {set} from {from} to {to}");
        let about = regarding(&self.deployment);
        self.context
            .events
            .normal(about, "ScalingReplicaSet", message);
    }

    async fn patch_set(&self, set: &ReplicaSet, change: &Value) -> kube::Result<ReplicaSet> {
        let (client, sets) = (self.context.shared.client(), &self.context.sets);
        patch(client, sets, set, "", Merge::Plain, change).await
    }

    async fn clean_up_if_complete(&self) -> kube::Result<()> {
        match status::is_complete(&self.deployment, self.kept.status.as_ref()) {
            true => self.clean_up().await,
            false => Ok(()),
        }
    }

    /// Deletes the sets of the lowest revisions beyond the limit, if they are at rest.
    async fn clean_up(&self) -> kube::Result<()> {
        let spec = self.deployment.spec.as_ref();
        let limit = spec.and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else {
            return Ok(());
        };
        let mut old: Vec<&Set> = self
            .sets
            .old
            .iter()
            .filter(|set| !set.is_deleting())
            .collect();
        let surplus = old
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|set| revision::revision(set));
        let (client, sets) = (self.context.shared.client(), &self.context.sets);
        for set in old.into_iter().take(surplus) {
            let status = set.status.clone().unwrap_or_default();
            let seen = status.observed_generation >= set.metadata.generation;
            if status.replicas == 0 && wanted(set) == 0 && seen {
                delete(client, sets, &**set, json!({})).await?;
            }
        }
        Ok(())
    }

    fn note_figures(&mut self) {
        let figures = status::figures(&self.deployment, &self.sets, self.now);
        self.deployment.status = Some(figures);
    }

    /// Writes status and revision if they differ from what the cache had.
    async fn write(&self) -> Result<(), Error> {
        let what = || format!("status of deployment {}", Key::of(&*self.kept));
        let failed = |source| Error::Write {
            what: what(),
            source,
        };
        let json = |deployment: &Deployment| {
            let status = serde_json::to_value(deployment.status.clone().unwrap_or_default());
            status.map_err(|error| failed(kube::Error::SerdeError(error)))
        };
        let mut change = json!({});
        if let Some(status) = difference(&json(&self.kept)?, &json(&self.deployment)?) {
            change["status"] = status;
        }
        let number = |deployment: &Deployment| {
            let annotations = deployment.metadata.annotations.as_ref();
            annotations
                .and_then(|annotations| annotations.get(REVISION))
                .cloned()
        };
        let (old, new) = (number(&self.kept), number(&self.deployment));
        if old != new {
            change["metadata"] = json!({"annotations": {REVISION: new}});
        }
        if change == json!({}) {
            return Ok(());
        }
        let (client, store) = (self.context.shared.client(), &self.context.deployments);
        match patch(client, store, &*self.kept, "/status", Merge::Plain, &change).await {
            Ok(_) => Ok(()),
            // It is gone: there is nothing to say of it.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }
}
