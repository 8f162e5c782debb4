//! Images through Docker: look up, pull, build.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::ImageSummary;
use bollard::query_parameters::{
    BuildImageOptions, CreateImageOptions, ListImagesOptions, RemoveImageOptions, TagImageOptions,
};
use bytes::Bytes;
use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;

use super::docker::DockerRuntime;
use super::{Credentials, ImageInfo, Result, RuntimeError};

/// A pull that reports no progress for this long is given up.
const STALL: Duration = Duration::from_secs(120);
/// The same for a step of a build: unpacking a root file system is one, and an emulated
/// processor takes minutes for a large one.
const BUILD_STALL: Duration = Duration::from_secs(600);

impl DockerRuntime {
    pub(super) async fn find_image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        match self.client().await?.inspect_image(reference).await {
            Ok(image) => {
                let config = image.config.unwrap_or_default();
                let mut names = image.repo_tags.unwrap_or_default();
                names.extend(image.repo_digests.unwrap_or_default());
                Ok(Some(ImageInfo {
                    id: image.id.unwrap_or_default(),
                    size: image.size.unwrap_or_default(),
                    labels: config.labels.unwrap_or_default(),
                    user: config.user.unwrap_or_default(),
                    names,
                    created_at: None,
                }))
            }
            Err(error) => match self.failed("inspect an image")(error) {
                error if error.is_not_found() => Ok(None),
                error => Err(error),
            },
        }
    }

    pub(super) async fn list_images(&self) -> Result<Vec<ImageInfo>> {
        let listed = self.client().await?.list_images(None::<ListImagesOptions>);
        let listed = listed.await.map_err(self.failed("list the images"))?;
        let info = |image: ImageSummary| ImageInfo {
            id: image.id,
            size: image.size,
            labels: image.labels,
            names: image
                .repo_tags
                .into_iter()
                .chain(image.repo_digests)
                .collect(),
            created_at: Timestamp::from_second(image.created).ok(),
            ..ImageInfo::default()
        };
        Ok(listed.into_iter().map(info).collect())
    }

    pub(super) async fn remove_every_name(&self, id: &str) -> Result<()> {
        // Forced: an image with several names goes as well. One in use stays.
        let options = RemoveImageOptions {
            force: true,
            ..RemoveImageOptions::default()
        };
        let removed = self.client().await?.remove_image(id, Some(options), None);
        match removed.await {
            Ok(_) => Ok(()),
            Err(error) => match self.failed("remove an image")(error) {
                error if error.is_not_found() => Ok(()),
                error => Err(error),
            },
        }
    }

    pub(super) async fn pull_image(
        &self,
        reference: &str,
        patience: Duration,
        credentials: Option<&Credentials>,
        tell: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<()> {
        let options = CreateImageOptions {
            from_image: Some(reference.to_owned()),
            ..CreateImageOptions::default()
        };
        let credentials = credentials.map(|known| DockerCredentials {
            username: Some(known.username.clone()),
            password: Some(known.password.clone()),
            serveraddress: Some(known.server.clone()),
            identitytoken: Some(known.identity_token.clone()).filter(|token| !token.is_empty()),
            ..DockerCredentials::default()
        });
        let client = self.client().await?;
        let mut progress = client.create_image(Some(options), None, credentials);
        let mut patience = patience;
        // By layer: bytes there, bytes in all.
        let mut layers: HashMap<String, (u64, u64)> = HashMap::new();
        loop {
            let item = tokio::time::timeout(patience, progress.next())
                .await
                .map_err(|_| RuntimeError::RegistrySilent {
                    reference: reference.to_owned(),
                    seconds: patience.as_secs(),
                })?;
            let Some(item) = item else { return Ok(()) };
            let line = item.map_err(self.failed("pull an image"))?;
            if let Some(message) = line.error_detail.and_then(|detail| detail.message) {
                return Err(RuntimeError::Refused {
                    status: 500,
                    message,
                });
            }
            patience = STALL;
            let detail = line.progress_detail.as_ref();
            let bytes = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
            let there = detail.and_then(|detail| bytes(detail.current));
            let all = detail.and_then(|detail| bytes(detail.total));
            if line.status.as_deref() == Some("Downloading")
                && let (Some(layer), Some(there), Some(all)) = (line.id, there, all)
            {
                layers.insert(layer, (there, all));
                let sum = layers
                    .values()
                    .fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
                tell(sum.0, sum.1);
            }
        }
    }

    pub(super) async fn tag_image(&self, image: &str, repository: &str, tag: &str) -> Result<()> {
        let options = TagImageOptions {
            repo: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
        };
        let tagged = self.client().await?.tag_image(image, Some(options)).await;
        tagged.map_err(self.failed("give an image a name"))
    }

    pub(super) async fn build_image(
        &self,
        tag: &str,
        context: Bytes,
        labels: HashMap<String, String>,
        arguments: &BTreeMap<String, String>,
    ) -> Result<()> {
        let arguments: HashMap<_, _> = arguments.clone().into_iter().collect();
        let options = BuildImageOptions {
            dockerfile: "Dockerfile".into(),
            t: Some(tag.to_owned()),
            rm: true,
            forcerm: true,
            labels: Some(labels),
            buildargs: Some(arguments).filter(|arguments| !arguments.is_empty()),
            ..BuildImageOptions::default()
        };
        let mut progress =
            self.client()
                .await?
                .build_image(options, None, Some(bollard::body_full(context)));
        loop {
            let item = tokio::time::timeout(BUILD_STALL, progress.next())
                .await
                .map_err(|_| RuntimeError::Failed {
                    act: "build an image",
                    reason: format!("no progress for {} s", BUILD_STALL.as_secs()),
                })?;
            let Some(item) = item else { return Ok(()) };
            let line = item.map_err(self.failed("build an image"))?;
            if let Some(message) = line.error_detail.and_then(|detail| detail.message) {
                return Err(RuntimeError::Failed {
                    act: "build an image",
                    reason: message,
                });
            }
        }
    }
}
