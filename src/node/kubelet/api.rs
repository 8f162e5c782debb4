//! The seams' real side: statuses, deletions and configuration through the API server.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccountTokenProjection};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::Value;

use crate::env::{ConfigError, ConfigSource};
use crate::shared::{ApiFailure, PodApi};
use crate::tokens::Tokens;

/// The API server as workers use it.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    tokens: Arc<Tokens>,
}

impl ApiServer {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            tokens: Arc::default(),
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
    async fn publish(&self, pod: &Pod, patch: Value) -> Result<(), ApiFailure> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.pods(pod)
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
            .map_err(failure)
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
        namespace: &str,
        name: &str,
    ) -> Result<Option<ConfigMap>, ConfigError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        api.get_opt(name)
            .await
            .map_err(|error| unreadable("configmap", name, &error))
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ConfigError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        api.get_opt(name)
            .await
            .map_err(|error| unreadable("secret", name, &error))
    }

    async fn token(
        &self,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, ConfigError> {
        self.tokens.get(&self.client, pod, wanted).await
    }
}

fn unreadable(kind: &'static str, name: &str, error: &kube::Error) -> ConfigError {
    ConfigError::Unreadable {
        kind,
        name: name.into(),
        reason: error.to_string(),
    }
}
