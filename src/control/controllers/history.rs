//! Earlier states of StatefulSets and DaemonSets, kept as ControllerRevisions: what
//! `kubectl rollout history` shows and `undo` goes back to.

use std::sync::Arc;

use cadet_api::selector::LabelSelector;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};

use crate::deployment::hash;
use crate::errors::{Error, overtaken};
use crate::shared::{
    Claim, Key, Merge, Record, Store, adoption, controller_ref, create, decide, delete, is_alive,
    patch,
};

/// Longest part of an owner's name in the name of a revision.
const PREFIX_MAX: usize = 223;
/// How many names are tried when they are taken by others.
const TRIES: usize = 10;

/// Revisions of one owner.
pub struct History<'a> {
    pub client: &'a Client,
    pub store: &'a Store<ControllerRevision>,
    /// Label that holds the hash.
    pub label: &'static str,
}

/// The state that a template is: a patch that puts it back.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn state_of(template: &PodTemplateSpec) -> Result<Value, Error> {
    let mut template = serde_json::to_value(template).map_err(unwritable)?;
    template["$patch"] = json!("replace");
    Ok(json!({"spec": {"template": template}}))
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::Write {
        what: "a template as a revision".to_owned(),
        source: kube::Error::SerdeError(error),
    }
}

/// The template that a revision holds, if it holds one.
pub fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.as_ref()?.0.pointer("/spec/template")?;
    serde_json::from_value(template.clone()).ok()
}

/// Whether a revision holds this state.
pub fn holds(revision: &ControllerRevision, state: &Value) -> bool {
    revision.data.as_ref().is_some_and(|data| data.0 == *state)
}

pub fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

/// Oldest first.
pub fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by_key(|r| {
        let born = r.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (r.revision, born, r.metadata.name.clone())
    });
}

/// Which of the revisions, oldest first, are beyond the limit: those that are not `live`,
/// the oldest of them.
pub fn beyond(
    revisions: &[Arc<ControllerRevision>],
    limit: Option<i32>,
    live: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Arc<ControllerRevision>> {
    let limit = limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(10);
    let dead: Vec<_> = revisions.iter().filter(|r| !live(r)).cloned().collect();
    let surplus = dead.len().saturating_sub(limit);
    dead.into_iter().take(surplus).collect()
}

impl History<'_> {
    /// All revisions of `owner`, oldest first, after adopting what fits its selector.
    ///
    /// # Errors
    /// If one cannot be adopted, or the owner not be read.
    pub async fn of<K>(
        &self,
        owner: &K,
        selector: &LabelSelector,
    ) -> Result<Vec<Arc<ControllerRevision>>, Error>
    where
        K: k8s_openapi::Metadata<Ty = ObjectMeta> + Record,
    {
        let meta = owner.meta();
        let adoptable: Vec<_> = self
            .store
            .orphans(meta.namespace)
            .into_iter()
            .filter(|orphan| {
                let labels = orphan.metadata.labels.clone().unwrap_or_default();
                let fits = selector.matches(&labels);
                let going = orphan.metadata.deletion_timestamp.is_some();
                decide(false, fits, owner.is_deleting(), going) == Claim::Adopt
            })
            .collect();
        if !adoptable.is_empty() {
            let alive = is_alive(self.client, owner).await;
            let alive = alive.map_err(|source| Error::Read {
                what: Key::of(owner).to_string(),
                source,
            })?;
            for orphan in adoptable.iter().filter(|_| alive) {
                let uid = orphan.metadata.uid.as_deref().unwrap_or_default();
                self.change(orphan, &adoption(owner, uid)).await?;
            }
        }
        let mut all = self.store.owned(meta.uid);
        sort(&mut all);
        Ok(all)
    }

    /// Changes a revision; one that is gone or another by now is left alone.
    async fn change(&self, revision: &ControllerRevision, change: &Value) -> Result<(), Error> {
        match patch(self.client, self.store, revision, "", Merge::Plain, change).await {
            Ok(_) => Ok(()),
            Err(error) if overtaken(&error) => Ok(()),
            Err(source) => Err(Error::Write {
                what: format!("revision {}", name(revision)),
                source,
            }),
        }
    }

    /// Makes an old revision the newest.
    ///
    /// # Errors
    /// Whatever the API says.
    pub async fn renumber(
        &self,
        revision: &ControllerRevision,
        number: i64,
    ) -> Result<Arc<ControllerRevision>, Error> {
        let change = json!({"revision": number});
        let changed = patch(self.client, self.store, revision, "", Merge::Plain, &change).await;
        changed.map(Arc::new).map_err(|source| Error::Write {
            what: format!("revision {}", name(revision)),
            source,
        })
    }

    /// Keeps a state under a name that is free, counting the names that were not.
    ///
    /// # Errors
    /// Whatever the API says, or that all names are taken.
    pub async fn keep<K>(
        &self,
        owner: &K,
        template: &PodTemplateSpec,
        number: i64,
        collisions: &mut i32,
    ) -> Result<Arc<ControllerRevision>, Error>
    where
        K: k8s_openapi::Metadata<Ty = ObjectMeta> + Record,
    {
        let meta = owner.meta();
        let prefix = meta.name.get(..PREFIX_MAX).unwrap_or(meta.name);
        let state = state_of(template)?;
        let mut tries = 0;
        loop {
            let hash = hash::of(template, Some(*collisions)).map_err(unwritable)?;
            let labels = template
                .metadata
                .as_ref()
                .and_then(|meta| meta.labels.clone());
            let mut labels = labels.unwrap_or_default();
            labels.insert(self.label.to_owned(), hash.clone());
            let revision = ControllerRevision {
                metadata: ObjectMeta {
                    name: Some(format!("{prefix}-{hash}")),
                    namespace: Some(meta.namespace.to_owned()),
                    labels: Some(labels),
                    annotations: owner.metadata().annotations.clone(),
                    owner_references: Some(vec![controller_ref(owner)]),
                    ..ObjectMeta::default()
                },
                data: Some(RawExtension(state.clone())),
                revision: number,
            };
            let source = match create(self.client, self.store, &revision).await {
                Ok(made) => return Ok(Arc::new(made)),
                Err(source) => source,
            };
            let taken = matches!(&source, kube::Error::Api(s) if s.reason == "AlreadyExists");
            tries += 1;
            if !taken || tries > TRIES {
                return Err(Error::Write {
                    what: format!("revision {}", name(&revision)),
                    source,
                });
            }
            if let Some(made) = self.made_before(&revision, meta.uid, &state).await? {
                return Ok(made);
            }
            *collisions += 1;
        }
    }

    /// The revision of that name, if it is the owner's and holds the state: we made it and
    /// have not heard of it yet.
    async fn made_before(
        &self,
        like: &ControllerRevision,
        owner: &str,
        state: &Value,
    ) -> Result<Option<Arc<ControllerRevision>>, Error> {
        let namespace = like.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name(like)).await;
        let found = found.map_err(|source| Error::Read {
            what: format!("revision {}", name(like)),
            source,
        })?;
        let mine = |r: &ControllerRevision| r.meta().controller == Some(owner) && holds(r, state);
        Ok(found.filter(mine).map(Arc::new))
    }

    /// Deletes revisions.
    ///
    /// # Errors
    /// Whatever the API says.
    pub async fn prune(&self, revisions: Vec<Arc<ControllerRevision>>) -> Result<(), Error> {
        for revision in revisions {
            let deleted = delete(self.client, self.store, &*revision, json!({})).await;
            deleted.map_err(|source| Error::Delete {
                what: format!("revision {}", name(&revision)),
                source,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str, number: i64) -> Arc<ControllerRevision> {
        let revision = json!({"metadata": {"name": name}, "revision": number,
            "data": {"spec": {"template": {"metadata": {"labels": {"v": name}}, "spec": {"containers": []}, "$patch": "replace"}}}});
        Arc::new(serde_json::from_value(revision).unwrap())
    }

    #[test]
    fn a_template_is_kept_and_found_again() {
        let template = template_of(&revision("a", 1)).unwrap();
        let state = state_of(&template).unwrap();
        assert_eq!(state["spec"]["template"]["$patch"], "replace");
        assert!(holds(&revision("a", 7), &state));
        assert!(!holds(&revision("b", 7), &state));
    }

    #[test]
    fn the_oldest_dead_revisions_are_too_many() {
        let mut all = [
            revision("c", 3),
            revision("a", 1),
            revision("b", 2),
            revision("d", 4),
        ];
        sort(&mut all);
        let gone = beyond(&all, Some(1), |r| name(r) == "a");
        assert_eq!(gone.iter().map(|r| name(r)).collect::<Vec<_>>(), ["b", "c"]);
        assert!(beyond(&all, None, |_| false).is_empty());
    }
}
