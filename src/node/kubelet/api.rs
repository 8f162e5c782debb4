//! The seams' real side: statuses, deletions and configuration through the API server.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{
    ConfigMap, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret,
    ServiceAccountTokenProjection,
};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::Value;

use crate::configs::Configs;
use crate::env::{ConfigError, ConfigSource};
use crate::pods::PodTable;
use crate::services::{ServiceLink, Services};
use crate::shared::{ApiFailure, PodApi, version};
use crate::static_pods::mirror_of;
use crate::tokens::Tokens;

/// The API server as workers use it.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    tokens: Arc<Tokens>,
    config_maps: Arc<Configs<ConfigMap>>,
    secrets: Arc<Configs<Secret>>,
    services: Arc<Services>,
}

impl ApiServer {
    /// `pods` are woken when something they refer to changes.
    #[must_use]
    pub fn new(client: Client, pods: PodTable) -> Self {
        Self {
            tokens: Arc::default(),
            config_maps: Arc::new(Configs::new(client.clone(), pods.clone())),
            secrets: Arc::new(Configs::new(client.clone(), pods)),
            services: Arc::new(Services::new(client.clone())),
            client,
        }
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn failure(error: kube::Error) -> ApiFailure {
    match error {
        // 409 on a uid: another pod has taken the name.
        kube::Error::Api(status) if status.code == 404 => ApiFailure::Gone,
        kube::Error::Api(status) => ApiFailure::Other(status.message.clone()),
        error => ApiFailure::Other(error.to_string()),
    }
}

#[async_trait]
impl PodApi for ApiServer {
    async fn publish(&self, pod: &Pod, patch: Value) -> Result<Option<u64>, ApiFailure> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.pods(pod)
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(|pod| version(&pod))
            .map_err(failure)
    }

    async fn mirror(&self, pod: &Pod) -> Result<(), ApiFailure> {
        let mut mirror = mirror_of(pod);
        let nodes: Api<Node> = Api::all(self.client.clone());
        let name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let name = name.unwrap_or_default();
        let node = nodes.get(&name).await.map_err(failure)?;
        // It goes with its node.
        mirror.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name,
            uid: node.metadata.uid.unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]);
        let made = self.pods(pod).create(&PostParams::default(), &mirror).await;
        made.map(drop).map_err(failure)
    }

    async fn confirm_deleted(&self, pod: &Pod) -> Result<(), ApiFailure> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.pods(pod).delete(name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(ApiFailure::Gone),
            Err(error) => Err(failure(error)),
        }
    }
}

#[async_trait]
impl ConfigSource for ApiServer {
    async fn config_map(
        &self,
        pod: &Pod,
        name: &str,
    ) -> Result<Option<Arc<ConfigMap>>, ConfigError> {
        let found = self.config_maps.get(pod, name).await;
        found.map_err(|why| unreadable("configmap", name, why))
    }

    async fn secret(&self, pod: &Pod, name: &str) -> Result<Option<Arc<Secret>>, ConfigError> {
        let found = self.secrets.get(pod, name).await;
        found.map_err(|why| unreadable("secret", name, why))
    }

    async fn token(
        &self,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, ConfigError> {
        self.tokens.get(&self.client, pod, wanted).await
    }

    fn renewal(&self, uid: &str) -> Option<Timestamp> {
        self.tokens.renewal(uid)
    }

    async fn services(&self, pod: &Pod, links: bool) -> Result<Vec<ServiceLink>, ConfigError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let told = self.services.of(namespace, links).await;
        told.map_err(ConfigError::Services)
    }

    async fn claim(
        &self,
        pod: &Pod,
        name: &str,
    ) -> Result<Option<PersistentVolumeClaim>, ConfigError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let found = claims.get_opt(name).await;
        found.map_err(|error| unreadable("persistentvolumeclaim", name, error.to_string()))
    }

    async fn persistent_volume(&self, name: &str) -> Result<Option<PersistentVolume>, ConfigError> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let found = volumes.get_opt(name).await;
        found.map_err(|error| unreadable("persistentvolume", name, error.to_string()))
    }

    async fn runtime_handler(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let classes: Api<RuntimeClass> = Api::all(self.client.clone());
        match classes.get_opt(name).await {
            Ok(found) => Ok(found.map(|class| class.handler)),
            Err(error) => Err(unreadable("RuntimeClass", name, error.to_string())),
        }
    }

    fn forget(&self, uid: &str) {
        self.config_maps.forget(uid);
        self.secrets.forget(uid);
        self.tokens.forget(uid);
    }
}

fn unreadable(kind: &'static str, name: &str, reason: String) -> ConfigError {
    ConfigError::Unreadable {
        kind,
        name: name.into(),
        reason,
    }
}
