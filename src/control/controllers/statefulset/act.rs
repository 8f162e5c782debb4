//! Carrying out the steps of a plan.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::json;

use super::plan::{Pod, Step};
use super::storage::{claims, is_stale, owners};
use super::wishes::{POD_INDEX, POD_NAME, Wishes};
use super::{Context, template};
use crate::batches::{all_at_once, slow_start};
use crate::errors::Error;
use crate::history::{name, template_of};
use crate::shared::{
    Key, Merge, Phase, create, create_pod, delete_pod, is_namespace_ending, patch, patch_pod,
    regarding, words,
};

/// One look at one set.
pub(super) struct Round<'a> {
    pub context: &'a Context,
    pub set: &'a StatefulSet,
    pub current: &'a ControllerRevision,
    pub update: &'a ControllerRevision,
}

impl Round<'_> {
    /// Does the steps: one after the other, or those that make pods first and then the rest
    /// together.
    ///
    /// # Errors
    /// The first failure, after which nothing more is begun.
    pub async fn act(&self, steps: Vec<Step>, ordered: bool) -> Result<(), Error> {
        if ordered {
            for step in steps {
                self.step(step).await?;
            }
            return Ok(());
        }
        let (making, rest): (Vec<_>, Vec<_>) = steps
            .into_iter()
            .partition(|step| matches!(step, Step::Create { .. }));
        slow_start(making, |step| self.step(step)).await?;
        all_at_once(rest, |step| self.step(step)).await
    }

    async fn step(&self, step: Step) -> Result<(), Error> {
        match step {
            Step::Create { ordinal, old } => self.create(ordinal, old).await,
            Step::Check { ordinal, pod } => self.check(ordinal, &pod).await,
            Step::Delete(pod) => self.delete(&pod).await,
        }
    }

    fn namespace(&self) -> &str {
        self.set.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn set_name(&self) -> &str {
        self.set.metadata.name.as_deref().unwrap_or_default()
    }

    async fn create(&self, ordinal: i32, old: bool) -> Result<(), Error> {
        let pod_name = Wishes::of(self.set).pod_name(ordinal);
        let mut there = self.claims_there(ordinal);
        if there.any(|claim| is_stale(&claim, &pod_name, None)) {
            // Its end will wake us.
            return Ok(());
        }
        let revision = if old { self.current } else { self.update };
        let made = match self.make_claims(ordinal, &pod_name).await {
            Ok(()) => self.make_pod(ordinal, revision).await,
            Err(error) => Err(error),
        };
        match made {
            Ok(()) => {
                self.tell("SuccessfulCreate", "create", &pod_name, None);
                Ok(())
            }
            Err(error) if error.is_conflict() => Err(error),
            Err(Error::Write { source, .. }) if is_namespace_ending(&source) => Ok(()),
            Err(error) => {
                let why = match &error {
                    Error::Write { source, .. } => words(source),
                    other => other.to_string(),
                };
                self.tell("FailedCreate", "create", &pod_name, Some(why));
                Err(error)
            }
        }
    }

    async fn make_pod(&self, ordinal: i32, revision: &ControllerRevision) -> Result<(), Error> {
        let what = || format!("pod {}-{ordinal}", Key::of(self.set));
        let template = template_of(revision).unwrap_or_default();
        let body = template::pod(self.set, &template, name(revision), ordinal);
        let body = body.map_err(|error| Error::Write {
            what: what(),
            source: kube::Error::SerdeError(error),
        })?;
        let (client, pods) = (&self.context.client, &self.context.pods);
        let body = body.to_string();
        match create_pod(client, pods, self.namespace(), body.as_bytes()).await {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Write {
                what: what(),
                source,
            }),
        }
    }

    /// Claims of an ordinal that exist.
    fn claims_there(&self, ordinal: i32) -> impl Iterator<Item = PersistentVolumeClaim> {
        let wanted = claims(self.set, ordinal).into_iter();
        wanted.filter_map(|claim| {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let found = self.context.claims.get(self.namespace(), name)?;
            Some((*found).clone())
        })
    }

    /// Makes the claims that are missing.
    async fn make_claims(&self, ordinal: i32, pod_name: &str) -> Result<(), Error> {
        for claim in claims(self.set, ordinal) {
            let name = claim.metadata.name.clone().unwrap_or_default();
            if let Some(found) = self.context.claims.get(self.namespace(), &name) {
                if found.metadata.deletion_timestamp.is_some() {
                    let what = format!("pvc {name}");
                    return Err(Error::Going { what });
                }
                continue;
            }
            let made = create(&self.context.client, &self.context.claims, &claim).await;
            let about = regarding(self.set);
            let set = self.set_name();
            match made {
                Ok(_) => {
                    let message =
                        format!("create Claim {name} Pod {pod_name} in StatefulSet {set} success");
                    self.context
                        .events
                        .normal(about, "SuccessfulCreate", message);
                }
                Err(source) => {
                    let message = format!(
                        "create Claim {name} for Pod {pod_name} in StatefulSet {set} failed error: {}",
                        words(&source)
                    );
                    if !matches!(&source, kube::Error::Api(s) if s.reason == "AlreadyExists") {
                        self.context.events.warning(about, "FailedCreate", message);
                    }
                    let what = format!("claim {}/{name}", self.namespace());
                    return Err(Error::Write { what, source });
                }
            }
        }
        Ok(())
    }

    async fn check(&self, ordinal: i32, pod: &Pod) -> Result<(), Error> {
        let wishes = Wishes::of(self.set);
        if pod.phase == Phase::Pending && pod.deletion.is_none() && wishes.has(ordinal) {
            self.make_claims(ordinal, &pod.name).await?;
        }
        let labelled = wishes.is_labelled(pod, ordinal) || !wishes.has(ordinal);
        let mut changed = false;
        for claim in self.claims_there(ordinal) {
            let now = claim.metadata.owner_references.clone().unwrap_or_default();
            let owners = owners(self.set, ordinal, Some(pod), &now);
            if owners == now {
                continue;
            }
            changed = true;
            let change = json!({"metadata": {"ownerReferences": owners,
                "resourceVersion": claim.metadata.resource_version}});
            let store = &self.context.claims;
            let client = &self.context.client;
            let written = patch(client, store, &claim, "", Merge::Plain, &change).await;
            written.map_err(|source| Error::Write {
                what: format!("claim {}", Key::of(&claim)),
                source,
            })?;
        }
        if !labelled {
            changed = true;
            let labels = json!({POD_NAME: pod.name, POD_INDEX: ordinal.to_string()});
            let change = json!({"metadata": {"uid": pod.uid, "labels": labels}});
            let pods = &self.context.pods;
            let written = patch_pod(&self.context.client, pods, pod, &change).await;
            if let Err(source) = written {
                self.tell("FailedUpdate", "update", &pod.name, Some(words(&source)));
                let what = format!("pod {}/{}", pod.namespace, pod.name);
                return Err(Error::Write { what, source });
            }
        }
        if changed {
            self.tell("SuccessfulUpdate", "update", &pod.name, None);
        }
        Ok(())
    }

    async fn delete(&self, pod: &Pod) -> Result<(), Error> {
        match delete_pod(&self.context.client, &self.context.pods, pod).await {
            Ok(()) => {
                self.tell("SuccessfulDelete", "delete", &pod.name, None);
                Ok(())
            }
            Err(source) => {
                self.tell("FailedDelete", "delete", &pod.name, Some(words(&source)));
                let what = format!("pod {}/{}", pod.namespace, pod.name);
                Err(Error::Delete { what, source })
            }
        }
    }

    fn tell(&self, reason: &'static str, verb: &str, pod: &str, failure: Option<String>) {
        let about = regarding(self.set);
        let set = self.set_name();
        match failure {
            None => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} successful");
                self.context.events.normal(about, reason, message);
            }
            Some(why) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {why}");
                self.context.events.warning(about, reason, message);
            }
        }
    }
}
