//! Pods as a client sees them: one watch for all, open before the first is made.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Result;
use crate::areas::{BUSYBOX, WAIT};

/// When each pod was seen running; `None` for one that has gone.
type Times = HashMap<String, Option<Instant>>;

pub struct Seen {
    api: Api<Pod>,
    sets: Api<ReplicaSet>,
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
        let client = Client::try_from(settings)?;
        let sets = Api::default_namespaced(client.clone());
        let api: Api<Pod> = Api::default_namespaced(client);
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
        Ok(Self {
            api,
            sets,
            times,
            task,
        })
    }

    pub async fn create(&self, name: &str) -> Result<()> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec()}))?;
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
            self.ask_to_go(name).await?;
        }
        self.gone(names).await
    }

    /// Deletes and does not wait.
    pub async fn ask_to_go(&self, name: &str) -> Result<()> {
        self.api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Returns when all are gone.
    pub async fn gone(&mut self, names: &[String]) -> Result<()> {
        let gone = |times: &Times| names.iter().all(|name| times.get(name) == Some(&None));
        self.times.wait_for(gone).await?;
        Ok(())
    }

    /// A ReplicaSet of one pod.
    pub async fn create_set(&self, name: &str) -> Result<()> {
        let labels = json!({"set": name});
        let set: ReplicaSet = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec()}}}))?;
        self.sets.create(&PostParams::default(), &set).await?;
        Ok(())
    }

    pub async fn delete_set(&self, name: &str) -> Result<()> {
        self.sets.delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// The pod of a ReplicaSet that is not `but` and when it was seen running, once it is.
    pub async fn running_of(&mut self, set: &str, but: &str) -> Result<(String, Instant)> {
        let start = format!("{set}-");
        let at = |times: &Times| -> Option<(String, Instant)> {
            let ours = times
                .iter()
                .filter(|(name, _)| name.starts_with(&start) && *name != but);
            let mut running = ours.filter_map(|(name, at)| Some((name.clone(), (*at)?)));
            running.next()
        };
        let times = self.times.wait_for(|times| at(times).is_some()).await?;
        at(&times).ok_or_else(|| format!("no pod of {set} is running").into())
    }
}

/// A container that does nothing and ends when told.
fn spec() -> Value {
    json!({"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
           "containers": [{"name": "app", "image": BUSYBOX, "command": ["sh", "-c", WAIT]}]})
}

fn runs(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status.and_then(|status| status.phase.as_deref()) == Some("Running")
}
