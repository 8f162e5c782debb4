//! The local provisioner at work: makes volumes for claims and takes them away.

use serde_json::json;
use tracing::{info, warn};

use super::model::{Claim, Class, PROVISIONER, PROVISIONER_BETA, SELECTED_NODE, Volume};
use super::{Context, about_claim, about_volume, local};
use crate::errors::Error;
use crate::shared::{Complete as _, Record as _, Shared, words};
use crate::wire::{self, post, written};

impl Context {
    /// Makes the default class, unless one of its name is there.
    pub(super) async fn make_class(&self, shared: &Shared) {
        tokio::select! {
            () = shared.shutdown().cancelled() => return,
            () = self.classes.complete() => {}
        }
        if self.classes.get("", local::CLASS).is_some() {
            return;
        }
        match post::<Class>(&self.client, &Class::path(), &local::class()).await {
            Ok(class) => self.classes.written(class),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => warn!(%error, "no default storage class"),
        }
    }

    pub(super) async fn provision(
        &self,
        claim: &Claim,
        class: &Class,
        forced: Option<&str>,
    ) -> Result<(), Error> {
        let mut claim = claim.clone();
        if claim.metadata.annotation(PROVISIONER) != class.provisioner {
            let annotations = json!({
                PROVISIONER: class.provisioner,
                PROVISIONER_BETA: class.provisioner,
            });
            let patch = json!({"metadata": {
                "resourceVersion": claim.metadata.resource_version,
                "annotations": annotations,
            }});
            claim = self.change_claim(&claim, "", &patch).await?;
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.",
            class.provisioner
        );
        self.events
            .normal(about_claim(&claim), "ExternalProvisioning", message);
        if class.provisioner != local::PROVISIONER {
            return Ok(());
        }
        let failed = |why: &str| {
            let name = &class.metadata.name;
            let message = format!("failed to provision volume with StorageClass {name:?}: {why}");
            self.maker
                .warning(about_claim(&claim), "ProvisioningFailed", message);
        };
        if let Some(why) = local::objection(&claim) {
            failed(why);
            return Ok(());
        }
        let selected = match claim.metadata.annotation(SELECTED_NODE) {
            "" => forced.map(str::to_owned).or_else(|| self.any_node()),
            node => Some(node.to_owned()),
        };
        let Some(node) = selected.as_ref().and_then(|name| self.nodes.get("", name)) else {
            failed("no node was found for it");
            if claim.metadata.has(SELECTED_NODE) {
                // The scheduler is to choose again.
                let patch = json!({"metadata": {"annotations": {SELECTED_NODE: null}}});
                self.change_claim(&claim, "", &patch).await?;
            }
            return Ok(());
        };
        let message = format!(
            "External provisioner is provisioning volume for claim {:?}",
            claim.full_name()
        );
        self.maker
            .normal(about_claim(&claim), "Provisioning", message);
        let body = local::volume_of(&claim, class, &node);
        match post::<Volume>(&self.client, &Volume::path(), &body).await {
            Ok(volume) => {
                let message = format!("Successfully provisioned volume {}", volume.metadata.name);
                self.maker
                    .normal(about_claim(&claim), "ProvisioningSucceeded", message);
                self.volumes.written(volume);
            }
            // Made before; the watch has not said so yet.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(written(local::name_of(&claim))(error)),
        }
        Ok(())
    }

    /// A node that takes pods, for a claim that does not wait for one to say where.
    fn any_node(&self) -> Option<String> {
        let nodes = self.nodes.all().into_iter();
        let mut open: Vec<String> = nodes
            .filter(|node| node.takes_pods())
            .map(|node| node.name.clone())
            .collect();
        open.sort();
        let count = open.len().max(1);
        let turn = self.volumes.all().len() % count;
        open.into_iter().nth(turn)
    }

    /// Removes a volume of ours: first its folder, by the agent of its node, then itself.
    pub(super) async fn remove(&self, volume: &Volume) -> Result<(), Error> {
        if volume.metadata.is_deleting() {
            return Ok(());
        }
        let fail = |why: String| {
            self.maker
                .warning(about_volume(volume), "VolumeFailedDelete", why);
        };
        let Some((host, folder)) = local::place_of(volume) else {
            fail(
                "its path or its node affinity was changed: the folder must be removed by hand"
                    .to_owned(),
            );
            return Ok(());
        };
        let nodes = self.nodes.all();
        if let Some(node) = nodes.iter().find(|node| node.hostname == host) {
            let path = format!("/api/v1/nodes/{}/proxy/volumes/{folder}", node.name);
            let request = http::Request::delete(&path)
                .body(vec![])
                .map_err(kube::Error::HttpError);
            let sent = match request {
                Ok(request) => self.client.request_text(request).await,
                Err(error) => Err(error),
            };
            if let Err(source) = sent {
                fail(format!("node {}: {}", node.name, words(&source)));
                return Err(Error::Delete {
                    what: format!("folder {folder} on node {}", node.name),
                    source,
                });
            }
        }
        self.forget(volume).await
    }

    /// Removes the object of a volume whose claim is gone.
    pub(super) async fn forget(&self, volume: &Volume) -> Result<(), Error> {
        let name = &volume.metadata.name;
        if volume.metadata.is_deleting() {
            return Ok(());
        }
        let path = format!("{}/{name}", Volume::path());
        wire::delete(&self.client, &path, &volume.metadata.uid, "")
            .await
            .map_err(written(format!("volume {name}")))?;
        self.volumes.deleted("", name, &volume.metadata.uid);
        info!(volume = %name, "removed: its claim is gone");
        Ok(())
    }
}
