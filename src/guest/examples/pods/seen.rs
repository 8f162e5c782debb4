//! Pods as a client sees them: one watch for all, open before the first is made.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Result;
use crate::areas::{BUSYBOX, WAIT};

/// When each pod was seen running; `None` for one that has gone.
type Times = HashMap<String, Option<Instant>>;

pub struct Seen {
    api: Api<Pod>,
    times: watch::Receiver<Times>,
    task: JoinHandle<()>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    /// Watches with the kubeconfig that `up` wrote.
    pub async fn new(home: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(home.join(".kube").join("config"))?;
        let options = KubeConfigOptions::default();
        let mut settings = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        settings.read_timeout = None;
        let api: Api<Pod> = Api::default_namespaced(Client::try_from(settings)?);
        let listed = api.list(&Default::default()).await?;
        let version = listed.metadata.resource_version.unwrap_or_default();
        let stream = api.watch(&WatchParams::default(), &version).await?;
        let (sender, times) = watch::channel(Times::new());
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(Ok(event)) = stream.next().await {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) if runs(&pod) => {
                        sender.send_modify(|times| {
                            let at = times.entry(pod.name_any()).or_insert(None);
                            at.get_or_insert_with(Instant::now);
                        });
                    }
                    WatchEvent::Deleted(pod) => {
                        sender.send_modify(|times| {
                            times.insert(pod.name_any(), None);
                        });
                    }
                    _ => {}
                }
            }
        });
        Ok(Self { api, times, task })
    }

    pub async fn create(&self, name: &str) -> Result<()> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "app", "image": BUSYBOX, "command": ["sh", "-c", WAIT]}]}}))?;
        loop {
            match self.api.create(&PostParams::default(), &pod).await {
                Ok(_) => return Ok(()),
                // The namespace's account is made by a controller of a cluster a moment old.
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    tokio::task::yield_now().await
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// When each was seen running, once all are.
    pub async fn running(&mut self, names: &[String]) -> Result<Vec<Instant>> {
        let at = |times: &Times| -> Option<Vec<Instant>> {
            names
                .iter()
                .map(|name| times.get(name).copied().flatten())
                .collect()
        };
        let times = self.times.wait_for(|times| at(times).is_some()).await?;
        Ok(at(&times).unwrap_or_default())
    }

    /// Deletes and returns when all are gone.
    pub async fn delete(&mut self, names: &[String]) -> Result<()> {
        for name in names {
            self.api.delete(name, &DeleteParams::default()).await?;
        }
        let gone = |times: &Times| names.iter().all(|name| times.get(name) == Some(&None));
        self.times.wait_for(gone).await?;
        Ok(())
    }
}

fn runs(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status.and_then(|status| status.phase.as_deref()) == Some("Running")
}
