//! The files of a volume made from API objects: ConfigMaps, Secrets, the pod's own fields.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};

use crate::env::{ConfigError, ConfigSource, Facts, field_value, resource_value};
use crate::manifest::find_container;
use crate::payload::{self, Files};
use crate::volumes::VolumeError;

/// Mode of projected files unless the manifest says otherwise.
const DEFAULT_MODE: u32 = 0o644;

/// The files of a volume made from API objects.
pub(crate) async fn files_of(
    pod: &Pod,
    volume: &Volume,
    facts: &Facts,
    source: &dyn ConfigSource,
) -> Result<Files, VolumeError> {
    let reader = Reader { pod, facts, source };
    let mut files = Files::new();
    if let Some(map) = &volume.config_map {
        let mode = mode(map.default_mode);
        let optional = map.optional == Some(true);
        reader
            .config_map(&mut files, &map.name, map.items.as_ref(), mode, optional)
            .await?;
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let mode = mode(secret.default_mode);
        let optional = secret.optional == Some(true);
        reader
            .secret(&mut files, name, secret.items.as_ref(), mode, optional)
            .await?;
    } else if let Some(downward) = &volume.downward_api {
        reader.downward(
            &mut files,
            downward.items.as_ref(),
            mode(downward.default_mode),
        )?;
    } else if let Some(projected) = &volume.projected {
        let mode = mode(projected.default_mode);
        for part in projected.sources.iter().flatten() {
            if let Some(map) = &part.config_map {
                let optional = map.optional == Some(true);
                reader
                    .config_map(&mut files, &map.name, map.items.as_ref(), mode, optional)
                    .await?;
            } else if let Some(secret) = &part.secret {
                let optional = secret.optional == Some(true);
                let items = secret.items.as_ref();
                reader
                    .secret(&mut files, &secret.name, items, mode, optional)
                    .await?;
            } else if let Some(downward) = &part.downward_api {
                reader.downward(&mut files, downward.items.as_ref(), mode)?;
            } else if let Some(token) = &part.service_account_token {
                let text = source.token(pod, token).await?;
                files.insert(file_path(&token.path)?, (text.into_bytes(), mode));
            } else if let Some(bundle) = &part.cluster_trust_bundle
                && bundle.optional == Some(true)
            {
                // As if no bundle fitted: upstream then leaves an empty file.
                files.insert(file_path(&bundle.path)?, (Vec::new(), mode));
            } else {
                let kind = if part.cluster_trust_bundle.is_some() {
                    "projected clusterTrustBundle"
                } else {
                    "projected podCertificate"
                };
                return Err(VolumeError::NotServed(volume.name.clone(), kind));
            }
        }
    } else {
        return Err(VolumeError::NotServed(
            volume.name.clone(),
            type_name(volume),
        ));
    }
    Ok(files)
}

fn type_name(volume: &Volume) -> &'static str {
    if volume.nfs.is_some() {
        "nfs"
    } else if volume.csi.is_some() {
        "csi"
    } else if volume.image.is_some() {
        "image"
    } else {
        "a cloud or network volume"
    }
}

fn mode(given: Option<i32>) -> u32 {
    given
        .and_then(|mode| u32::try_from(mode).ok())
        .map_or(DEFAULT_MODE, |mode| mode & 0o777)
}

struct Reader<'a> {
    pod: &'a Pod,
    facts: &'a Facts,
    source: &'a dyn ConfigSource,
}

impl Reader<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }

    async fn config_map(
        &self,
        files: &mut Files,
        name: &str,
        items: Option<&Vec<KeyToPath>>,
        mode: u32,
        optional: bool,
    ) -> Result<(), VolumeError> {
        let Some(map) = self.source.config_map(self.pod, name).await? else {
            return self.absent("configmap", name, optional);
        };
        let text = map.data.iter().flatten();
        let text = text.map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        let binary = map.binary_data.iter().flatten();
        let binary = binary.map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        self.select(
            files,
            text.chain(binary).collect(),
            items,
            mode,
            optional,
            "ConfigMap",
            name,
        )
    }

    async fn secret(
        &self,
        files: &mut Files,
        name: &str,
        items: Option<&Vec<KeyToPath>>,
        mode: u32,
        optional: bool,
    ) -> Result<(), VolumeError> {
        let Some(secret) = self.source.secret(self.pod, name).await? else {
            return self.absent("secret", name, optional);
        };
        let data = secret.data.iter().flatten();
        let data = data
            .map(|(key, bytes)| (key.clone(), bytes.0.clone()))
            .collect();
        self.select(files, data, items, mode, optional, "Secret", name)
    }

    fn absent(&self, kind: &'static str, name: &str, optional: bool) -> Result<(), VolumeError> {
        if optional {
            return Ok(());
        }
        Err(ConfigError::Missing {
            kind,
            name: name.into(),
        }
        .into())
    }

    #[allow(clippy::too_many_arguments)]
    fn select(
        &self,
        files: &mut Files,
        mut data: BTreeMap<String, Vec<u8>>,
        items: Option<&Vec<KeyToPath>>,
        mode: u32,
        optional: bool,
        kind: &'static str,
        name: &str,
    ) -> Result<(), VolumeError> {
        let Some(items) = items else {
            for (key, bytes) in data {
                files.insert(file_path(&key)?, (bytes, mode));
            }
            return Ok(());
        };
        for item in items {
            let Some(bytes) = data.remove(&item.key) else {
                if optional {
                    continue;
                }
                return Err(ConfigError::MissingKey {
                    kind,
                    namespace: self.namespace().into(),
                    name: name.into(),
                    key: item.key.clone(),
                }
                .into());
            };
            let mode = item.mode.map_or(mode, |given| self::mode(Some(given)));
            files.insert(file_path(&item.path)?, (bytes, mode));
        }
        Ok(())
    }

    fn downward(
        &self,
        files: &mut Files,
        items: Option<&Vec<DownwardAPIVolumeFile>>,
        mode: u32,
    ) -> Result<(), VolumeError> {
        for item in items.into_iter().flatten() {
            let text = if let Some(field) = &item.field_ref {
                field_value(self.pod, self.facts, field)?
            } else if let Some(resource) = &item.resource_field_ref {
                let name = resource.container_name.as_deref().unwrap_or_default();
                let container = find_container(self.pod, name)
                    .ok_or_else(|| ConfigError::Resource(resource.resource.clone()))?;
                resource_value(&container, self.facts, resource)?
            } else {
                String::new()
            };
            let mode = item.mode.map_or(mode, |given| self::mode(Some(given)));
            files.insert(file_path(&item.path)?, (text.into_bytes(), mode));
        }
        Ok(())
    }
}

fn file_path(text: &str) -> Result<PathBuf, VolumeError> {
    payload::relative(text).ok_or_else(|| VolumeError::Escapes(text.to_owned()))
}
