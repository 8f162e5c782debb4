//! How many pods the controllers of a budget's pods want.

use std::collections::HashMap;
use std::sync::Arc;

use http::Request;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Client;
use serde::Deserialize;

use super::figures::{Expected, share};
use crate::shared::{Owner, PodInfo, Record, Shared, Store};

/// Something with `spec.replicas`.
pub trait Scaled: Record {
    fn replicas(&self) -> i32;
}

macro_rules! scaled {
    ($($kind:ty),*) => {$(
        impl Scaled for $kind {
            fn replicas(&self) -> i32 {
                self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
            }
        }
    )*};
}
scaled!(ReplicaSet, ReplicationController, Deployment, StatefulSet);

/// Why nobody knows how many pods there should be.
#[derive(Debug)]
pub enum Unscaled {
    /// In upstream's words.
    Unknown(String),
    /// The controller of a pod is not there; in upstream's words.
    Lost(String),
    /// Asking failed; another try may not.
    Failed(kube::Error),
}

/// The caches of what scales, and who is asked about other kinds.
pub struct Scales {
    pub sets: Store<ReplicaSet>,
    pub controllers: Store<ReplicationController>,
    pub deployments: Store<Deployment>,
    pub stateful: Store<StatefulSet>,
    client: Client,
}

impl Scales {
    pub fn new(shared: &Shared) -> Scales {
        Scales {
            sets: shared.store(),
            controllers: shared.store(),
            deployments: shared.store(),
            stateful: shared.store(),
            client: shared.client().clone(),
        }
    }

    /// Pods there should be, and how many of them in good health; and whether there are pods
    /// that could not be counted, because nothing controls them.
    ///
    /// # Errors
    /// If the controller of a pod has no scale.
    pub async fn expected(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<PodInfo>],
    ) -> Result<(Expected, bool), Unscaled> {
        let spec = budget.spec.clone().unwrap_or_default();
        if let Some(most) = spec.max_unavailable {
            let (total, unmanaged) = self.total(pods).await?;
            let healthy = (total - share(&most, total)).max(0);
            return Ok((Expected { total, healthy }, unmanaged));
        }
        match spec.min_available {
            Some(IntOrString::Int(healthy)) => {
                let total = i32::try_from(pods.len()).unwrap_or(i32::MAX);
                Ok((Expected { total, healthy }, false))
            }
            Some(percent) => {
                let (total, unmanaged) = self.total(pods).await?;
                let healthy = share(&percent, total);
                Ok((Expected { total, healthy }, unmanaged))
            }
            None => {
                let (total, healthy) = (0, 0);
                Ok((Expected { total, healthy }, false))
            }
        }
    }

    /// The sum of the scales of all their controllers, each counted once. Pods without one
    /// are not expected; true if there are some.
    async fn total(&self, pods: &[Arc<PodInfo>]) -> Result<(i32, bool), Unscaled> {
        let mut scales: HashMap<String, i32> = HashMap::new();
        let mut last: Option<&Arc<Owner>> = None;
        let mut unmanaged = false;
        for pod in pods {
            let Some(owner) = &pod.controller else {
                unmanaged = true;
                continue;
            };
            if last.is_some_and(|last| Arc::ptr_eq(last, owner)) {
                continue;
            }
            last = Some(owner);
            if let Some((uid, scale)) = self.scale_of(&pod.namespace, owner).await? {
                scales.insert(uid, scale);
            } else {
                let why = format!("found no controllers for pod {:?}", pod.name);
                return Err(Unscaled::Lost(why));
            }
        }
        Ok((scales.values().sum(), unmanaged))
    }

    /// Uid and scale of what controls a pod in the end.
    async fn scale_of(
        &self,
        namespace: &str,
        owner: &Owner,
    ) -> Result<Option<(String, i32)>, Unscaled> {
        let found = |uid: &str, replicas: i32| Some((uid.to_owned(), replicas));
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => {
                let Some(set) = cached(&self.sets, namespace, &owner.name, &owner.uid) else {
                    return Ok(None);
                };
                let above = set.metadata.owner_references.iter().flatten();
                let above = above
                    .into_iter()
                    .find(|owner| owner.controller == Some(true));
                let Some(above) = above.filter(|owner| owner.kind == "Deployment") else {
                    return Ok(found(&owner.uid, set.replicas()));
                };
                let deployment = cached(&self.deployments, namespace, &above.name, &above.uid);
                Ok(deployment.and_then(|d| found(&above.uid, d.replicas())))
            }
            ("v1", "ReplicationController") => {
                let owner = cached(&self.controllers, namespace, &owner.name, &owner.uid);
                Ok(owner.and_then(|rc| found(rc.meta().uid, rc.replicas())))
            }
            ("apps/v1", "StatefulSet") => {
                let owner = cached(&self.stateful, namespace, &owner.name, &owner.uid);
                Ok(owner.and_then(|set| found(set.meta().uid, set.replicas())))
            }
            _ => self.asked(namespace, owner).await,
        }
    }

    /// The scale of any other kind, through its subresource.
    async fn asked(
        &self,
        namespace: &str,
        owner: &Owner,
    ) -> Result<Option<(String, i32)>, Unscaled> {
        let root = match owner.api_version.contains('/') {
            true => format!("/apis/{}", owner.api_version),
            false => format!("/api/{}", owner.api_version),
        };
        let Some(kinds) = self.get::<APIResourceList>(&root).await? else {
            return Ok(None);
        };
        let row = kinds
            .resources
            .iter()
            .find(|r| r.kind == owner.kind && !r.name.contains('/'));
        let plural = row.map(|row| row.name.clone()).unwrap_or_default();
        let scalable = format!("{plural}/scale");
        if !kinds.resources.iter().any(|row| row.name == scalable) {
            return Err(Unscaled::Unknown(format!(
                "{plural}.{} does not implement the scale subresource",
                owner
                    .api_version
                    .split_once('/')
                    .map_or("", |(group, _)| group)
            )));
        }
        let path = format!(
            "{root}/namespaces/{namespace}/{plural}/{}/scale",
            owner.name
        );
        let scale = self.get::<Scale>(&path).await?;
        let scale = scale.filter(|scale| scale.metadata.uid == owner.uid);
        Ok(scale.map(|scale| (owner.uid.clone(), scale.spec.replicas)))
    }

    /// `None` if it is not there.
    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Unscaled> {
        let request = Request::get(path).body(vec![]);
        let request = request.map_err(|e| Unscaled::Failed(kube::Error::HttpError(e)))?;
        match self.client.request(request).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(Unscaled::Failed(error)),
        }
    }
}

#[derive(Deserialize)]
struct Scale {
    metadata: ScaleMeta,
    #[serde(default)]
    spec: ScaleSpec,
}

#[derive(Deserialize)]
struct ScaleMeta {
    #[serde(default)]
    uid: String,
}

#[derive(Default, Deserialize)]
struct ScaleSpec {
    #[serde(default)]
    replicas: i32,
}

fn cached<R: Record>(store: &Store<R>, namespace: &str, name: &str, uid: &str) -> Option<Arc<R>> {
    store
        .get(namespace, name)
        .filter(|object| object.meta().uid == uid)
}
