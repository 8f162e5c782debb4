//! The environment of a container: values, references, `$(NAME)`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cadet_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVarSource, ObjectFieldSelector, PersistentVolume,
    PersistentVolumeClaim, Pod, ResourceFieldSelector, Secret, ServiceAccountTokenProjection,
};
use k8s_openapi::jiff::Timestamp;

use crate::env_file;
use crate::manifest::find_container;
use crate::services::{self, ServiceLink};
use crate::volumes::Places;

/// Why a container's configuration cannot be put together. The text is shown to users
/// as the message of `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey {
        kind: &'static str,
        namespace: String,
        name: String,
        key: String,
    },
    #[error("unsupported field path \"{0}\"")]
    FieldPath(String),
    #[error("unsupported resource \"{0}\"")]
    Resource(String),
    #[error("container {0} not found")]
    NoContainer(String),
    /// A file of the pod's own that is missing or of another form.
    #[error("{0}")]
    EnvFile(String),
    #[error("value of key {key} in {kind} {name} is no text")]
    NotText {
        kind: &'static str,
        name: String,
        key: String,
    },
    /// The API server did not answer.
    #[error("could not read {kind} \"{name}\": {reason}")]
    Unreadable {
        kind: &'static str,
        name: String,
        reason: String,
    },
    /// The pod's name is not possible; upstream's words.
    #[error("{0}")]
    Hostname(String),
    /// The pod must not be root on the node, which Docker decides for all its containers at
    /// once; upstream's words for such an engine.
    #[error("RuntimeClass handler {0:?} does not support user namespaces")]
    UserNamespaces(String),
    /// The Services are not known yet.
    #[error("{0}")]
    Services(String),
    /// The manifest forbids root and root is what it would be; upstream's words.
    #[error("{0}")]
    Root(String),
    #[error("this version of Cadet does not serve {0}")]
    NotServed(String),
}

/// Where everything a pod refers to comes from.
#[async_trait]
pub trait ConfigSource: Send + Sync + 'static {
    /// The ConfigMap, or `None` if there is none of that name.
    async fn config_map(
        &self,
        pod: &Pod,
        name: &str,
    ) -> Result<Option<Arc<ConfigMap>>, ConfigError>;
    /// The Secret, or `None` if there is none of that name.
    async fn secret(&self, pod: &Pod, name: &str) -> Result<Option<Arc<Secret>>, ConfigError>;
    /// A token of the pod's account, as a projected volume asks for it.
    async fn token(
        &self,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, ConfigError>;
    /// When the first of the pod's tokens is to be renewed.
    fn renewal(&self, _uid: &str) -> Option<Timestamp> {
        None
    }
    /// The Services a pod is told of; only the API server's without `links`.
    async fn services(&self, _pod: &Pod, _links: bool) -> Result<Vec<ServiceLink>, ConfigError> {
        Ok(Vec::new())
    }
    /// A claim in the pod's namespace, or `None` if there is none of that name.
    async fn claim(
        &self,
        _pod: &Pod,
        _name: &str,
    ) -> Result<Option<PersistentVolumeClaim>, ConfigError> {
        Ok(None)
    }
    /// The volume a claim is bound to, or `None` if it is gone.
    async fn persistent_volume(
        &self,
        _name: &str,
    ) -> Result<Option<PersistentVolume>, ConfigError> {
        Ok(None)
    }
    /// The handler of a RuntimeClass, or `None` if there is none of that name.
    async fn runtime_handler(&self, _name: &str) -> Result<Option<String>, ConfigError> {
        Ok(None)
    }
    /// The pod is gone from this node.
    fn forget(&self, _uid: &str) {}
}

/// What the node adds to a manifest, known once the pod has its sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub pod_ip: String,
    pub host_ip: String,
    /// What the node has to give: the limits of containers without any. Thousandths of a
    /// CPU, and bytes.
    pub cpu_millis: i64,
    pub memory: i64,
}

/// The container's variables, in order of first definition; later ones win. Files of its pod are
/// read at their `places`.
///
/// # Errors
/// If something referred to is missing and not optional.
pub async fn resolve(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    places: &Places,
    source: &dyn ConfigSource,
) -> Result<Variables, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut variables = Variables::default();
    let links = pod.spec.as_ref().and_then(|s| s.enable_service_links) != Some(false);
    for (name, value) in services::variables(&source.services(pod, links).await?) {
        variables.set(name, value);
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match source.config_map(pod, &reference.name).await? {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        variables.offer(format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(missing("configmap", &reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match source.secret(pod, &reference.name).await? {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        let text = text_of("secret", &reference.name, key, &value.0)?;
                        variables.offer(format!("{prefix}{key}"), text);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(missing("secret", &reference.name)),
            }
        }
    }
    for entry in container.env.iter().flatten() {
        let value = match (&entry.value, &entry.value_from) {
            (Some(text), _) if !text.is_empty() => Some(variables.expand(text)),
            (_, Some(from)) => match &from.file_key_ref {
                Some(file) => env_file::read(places, file)?,
                None => value_from(pod, container, facts, source, namespace, from).await?,
            },
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            variables.set(entry.name.clone(), value);
        }
    }
    Ok(variables)
}

async fn value_from(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    source: &dyn ConfigSource,
    namespace: &str,
    from: &EnvVarSource,
) -> Result<Option<String>, ConfigError> {
    if let Some(field) = &from.field_ref {
        return field_value(pod, facts, field).map(Some);
    }
    if let Some(resource) = &from.resource_field_ref {
        let name = resource.container_name.as_deref().unwrap_or_default();
        if name.is_empty() || name == container.name {
            return resource_value(container, facts, resource).map(Some);
        }
        let other =
            find_container(pod, name).ok_or_else(|| ConfigError::NoContainer(name.to_owned()))?;
        return resource_value(&other, facts, resource).map(Some);
    }
    if let Some(reference) = &from.config_map_key_ref {
        let found = source.config_map(pod, &reference.name).await?;
        let known = found.is_some();
        let value = found
            .as_ref()
            .and_then(|map| map.data.as_ref()?.get(&reference.key).cloned());
        let optional = reference.optional == Some(true);
        return absent_or(
            value,
            known,
            optional,
            "ConfigMap",
            namespace,
            &reference.name,
            &reference.key,
        );
    }
    if let Some(reference) = &from.secret_key_ref {
        let found = source.secret(pod, &reference.name).await?;
        let known = found.is_some();
        let value = found
            .as_ref()
            .and_then(|secret| secret.data.as_ref()?.get(&reference.key))
            .map(|bytes| text_of("secret", &reference.name, &reference.key, &bytes.0))
            .transpose()?;
        let optional = reference.optional == Some(true);
        return absent_or(
            value,
            known,
            optional,
            "Secret",
            namespace,
            &reference.name,
            &reference.key,
        );
    }
    Err(ConfigError::NotServed("this kind of valueFrom".into()))
}

fn absent_or(
    value: Option<String>,
    known: bool,
    optional: bool,
    kind: &'static str,
    namespace: &str,
    name: &str,
    key: &str,
) -> Result<Option<String>, ConfigError> {
    match value {
        Some(value) => Ok(Some(value)),
        None if optional => Ok(None),
        None if known => Err(ConfigError::MissingKey {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            key: key.into(),
        }),
        None if kind == "Secret" => Err(missing("secret", name)),
        None => Err(missing("configmap", name)),
    }
}

fn missing(kind: &'static str, name: &str) -> ConfigError {
    ConfigError::Missing {
        kind,
        name: name.into(),
    }
}

fn text_of(kind: &'static str, name: &str, key: &str, bytes: &[u8]) -> Result<String, ConfigError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ConfigError::NotText {
        kind,
        name: name.into(),
        key: key.into(),
    })
}

/// A field of the pod, as the downward API offers it.
///
/// # Errors
/// On paths the downward API does not know.
pub fn field_value(
    pod: &Pod,
    facts: &Facts,
    field: &ObjectFieldSelector,
) -> Result<String, ConfigError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let path = field.field_path.as_str();
    if let Some((map, key)) = subscript(path) {
        let entries: Option<&BTreeMap<String, String>> = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(ConfigError::FieldPath(path.into())),
        };
        return Ok(entries
            .and_then(|map| map.get(key))
            .cloned()
            .unwrap_or_default());
    }
    let value = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => return Ok(map_lines(meta.labels.as_ref())),
        "metadata.annotations" => return Ok(map_lines(meta.annotations.as_ref())),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" | "status.podIPs" => Some(facts.pod_ip.clone()),
        "status.hostIP" | "status.hostIPs" => Some(facts.host_ip.clone()),
        _ => return Err(ConfigError::FieldPath(path.into())),
    };
    Ok(value.unwrap_or_default())
}

/// `key="value"` lines, quoted as Go's `%q`, which downward files use.
fn map_lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    lines.join("\n")
}

/// `metadata.labels['app']` → (`metadata.labels`, `app`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once('[')?;
    let key = rest
        .strip_suffix(']')?
        .trim_matches(|c| c == '\'' || c == '"');
    Some((map, key))
}

/// A container's own request or limit, divided as asked and rounded up. Without a limit it
/// may use what the node has.
///
/// # Errors
/// On names other than `limits.…` and `requests.…` of CPU, memory and storage.
pub fn resource_value(
    container: &Container,
    facts: &Facts,
    field: &ResourceFieldSelector,
) -> Result<String, ConfigError> {
    let unknown = || ConfigError::Resource(field.resource.clone());
    let resources = container.resources.as_ref();
    let (table, name) = field.resource.split_once('.').ok_or_else(unknown)?;
    let amounts = match table {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(unknown()),
    };
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") {
        return Err(unknown());
    }
    let parse = |text: &str| text.parse::<Quantity>().map_err(|_| unknown());
    let amount = match amounts.and_then(|amounts| amounts.get(name)) {
        Some(quantity) => parse(&quantity.0)?,
        None => match field.resource.as_str() {
            "limits.cpu" => parse(&format!("{}m", facts.cpu_millis))?,
            "limits.memory" => Quantity::units(facts.memory),
            _ => Quantity::default(),
        },
    };
    let divisor = match &field.divisor {
        Some(divisor) => parse(&divisor.0)?,
        None => Quantity::default(),
    };
    let divisor = if divisor.is_zero() {
        Quantity::units(1)
    } else {
        divisor
    };
    let quotient = if name == "cpu" {
        ceiling(amount.millis(), divisor.millis())
    } else {
        ceiling(amount.value(), divisor.value())
    };
    Ok(quotient.to_string())
}

fn ceiling(amount: i64, divisor: i64) -> i64 {
    let divisor = divisor.max(1);
    amount / divisor + i64::from(amount % divisor > 0)
}

/// Variables in order of definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Variables {
    /// Defines or redefines a variable.
    pub fn set(&mut self, name: String, value: String) {
        if !self.values.contains_key(&name) {
            self.order.push(name.clone());
        }
        self.values.insert(name, value);
    }

    /// Defines a variable under a name somebody else chose; what no environment can hold is
    /// left out, as upstream does.
    pub fn offer(&mut self, name: String, value: String) {
        let usable = !name.is_empty() && !name.contains('=') && !name.contains('\0');
        if usable {
            self.set(name, value);
        }
    }

    /// Replaces `$(NAME)` by known variables; unknown ones stay, `$$` is a plain dollar.
    #[must_use]
    pub fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = rest
                .strip_prefix('(')
                .and_then(|inner| inner.split_once(')'))
            {
                match self.values.get(name) {
                    Some(value) => out.push_str(value),
                    None => {
                        out.push_str("$(");
                        out.push_str(name);
                        out.push(')');
                    }
                }
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        out
    }

    /// `NAME=value` for the engine.
    #[must_use]
    pub fn assignments(&self) -> Vec<String> {
        self.order
            .iter()
            .filter_map(|name| self.values.get(name).map(|value| format!("{name}={value}")))
            .collect()
    }
}
#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;
