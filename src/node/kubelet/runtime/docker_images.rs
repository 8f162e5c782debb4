//! Images through Docker: look up, pull, build.

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters::{BuildImageOptions, CreateImageOptions};
use bytes::Bytes;
use futures::StreamExt as _;

use super::docker::DockerRuntime;
use super::{ImageInfo, Result, RuntimeError};

/// A pull or build that reports no progress for this long is given up.
const STALL: Duration = Duration::from_secs(120);

impl DockerRuntime {
    pub(super) async fn find_image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        match self.client().await?.inspect_image(reference).await {
            Ok(image) => Ok(Some(ImageInfo {
                id: image.id.unwrap_or_default(),
                size: image.size.unwrap_or_default(),
                labels: image.config.and_then(|c| c.labels).unwrap_or_default(),
            })),
            Err(error) => match self.failed("inspect an image")(error) {
                error if error.is_not_found() => Ok(None),
                error => Err(error),
            },
        }
    }

    pub(super) async fn pull_image(&self, reference: &str, patience: Duration) -> Result<()> {
        let options = CreateImageOptions {
            from_image: Some(reference.to_owned()),
            ..CreateImageOptions::default()
        };
        let mut progress = self.client().await?.create_image(Some(options), None, None);
        let mut patience = patience;
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
        }
    }

    pub(super) async fn build_image(
        &self,
        tag: &str,
        context: Bytes,
        labels: HashMap<String, String>,
    ) -> Result<()> {
        let options = BuildImageOptions {
            dockerfile: "Dockerfile".into(),
            t: Some(tag.to_owned()),
            rm: true,
            forcerm: true,
            labels: Some(labels),
            ..BuildImageOptions::default()
        };
        let mut progress =
            self.client()
                .await?
                .build_image(options, None, Some(bollard::body_full(context)));
        loop {
            let item = tokio::time::timeout(STALL, progress.next())
                .await
                .map_err(|_| RuntimeError::Failed {
                    act: "build an image",
                    reason: format!("no progress for {} s", STALL.as_secs()),
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
