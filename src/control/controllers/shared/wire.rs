//! Requests of controllers, written so that the caches see the answers at once.
//!
//! Pods are made by the thousand, so no more of the answers is decoded than the cache keeps.

use http::{Method, Request};
use kube::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::pod::{PodInfo, PodWire};
use super::record::Record;
use super::store::Store;

/// Who writes, as `managedFields` has it.
const WRITER: &str = "fieldManager=kube-controller-manager";

/// Creates a pod from the bytes of its JSON and shows it in the cache. The same bytes make
/// any number of pods if they say `generateName`.
///
/// # Errors
/// Whatever the API says.
pub async fn create_pod(
    client: &Client,
    pods: &Store<PodInfo>,
    namespace: &str,
    body: &[u8],
) -> kube::Result<PodInfo> {
    let uri = format!("/api/v1/namespaces/{namespace}/pods?{WRITER}");
    let request = request(Method::POST, &uri, "application/json", body.to_vec())?;
    let born = PodInfo::of(client.request::<PodWire>(request).await?);
    pods.written(born.clone());
    Ok(born)
}

/// Deletes this very pod in its own time, and shows it as going in the cache. That it was
/// gone already is as good.
///
/// # Errors
/// Whatever else the API says.
pub async fn delete_pod(client: &Client, pods: &Store<PodInfo>, pod: &PodInfo) -> kube::Result<()> {
    delete(client, pods, pod, json!({})).await
}

/// Changes a pod by a strategic merge patch and shows the change in the cache.
///
/// # Errors
/// Whatever the API says.
pub async fn patch_pod(
    client: &Client,
    pods: &Store<PodInfo>,
    pod: &PodInfo,
    patch: &Value,
) -> kube::Result<()> {
    patch_part(client, pods, pod, "", patch).await
}

/// The same with its status.
///
/// # Errors
/// Whatever the API says.
pub async fn patch_pod_status(
    client: &Client,
    pods: &Store<PodInfo>,
    pod: &PodInfo,
    patch: &Value,
) -> kube::Result<()> {
    patch_part(client, pods, pod, "/status", patch).await
}

async fn patch_part(
    client: &Client,
    pods: &Store<PodInfo>,
    pod: &PodInfo,
    part: &str,
    patch: &Value,
) -> kube::Result<()> {
    let uri = format!("{}{part}?{WRITER}", path(pod));
    let kind = "application/strategic-merge-patch+json";
    let request = request(Method::PATCH, &uri, kind, patch.to_string().into_bytes())?;
    pods.written(PodInfo::of(client.request::<PodWire>(request).await?));
    Ok(())
}

/// Creates an object and shows it in the cache.
///
/// # Errors
/// Whatever the API says.
pub async fn create<K: Kept>(client: &Client, store: &Store<K>, object: &K) -> kube::Result<K> {
    let uri = format!("{}?{WRITER}", collection(object));
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = request(Method::POST, &uri, "application/json", body)?;
    let born: K = client.request(request).await?;
    store.written(K::of(born.clone()));
    Ok(born)
}

/// Deletes this very object, and shows it as going in the cache. `options` are members of
/// its DeleteOptions. That it was gone already is as good.
///
/// # Errors
/// Whatever else the API says.
pub async fn delete<R: Record>(
    client: &Client,
    store: &Store<R>,
    object: &R,
    options: Value,
) -> kube::Result<()> {
    let meta = object.meta();
    let mut body = options;
    body["preconditions"] = json!({"uid": meta.uid});
    let body = body.to_string().into_bytes();
    let request = request(Method::DELETE, &path(object), "application/json", body)?;
    match client.request_text(request).await {
        Ok(_) => {}
        // 409: it is another of that name by now.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => return Err(error),
    }
    store.deleted(meta.namespace, meta.name, meta.uid);
    Ok(())
}

/// How a patch is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// RFC 7396: lists are replaced.
    Plain,
    /// Upstream's: lists with keys are merged.
    Strategic,
}

/// Changes an object by a patch and shows the change in the cache; `part` is `""` or
/// `"/status"`.
///
/// # Errors
/// Whatever the API says.
pub async fn patch<K: Kept>(
    client: &Client,
    store: &Store<K>,
    object: &K,
    part: &str,
    merge: Merge,
    patch: &Value,
) -> kube::Result<K> {
    let uri = format!("{}{part}?{WRITER}", path(object));
    let kind = match merge {
        Merge::Plain => "application/merge-patch+json",
        Merge::Strategic => "application/strategic-merge-patch+json",
    };
    let request = request(Method::PATCH, &uri, kind, patch.to_string().into_bytes())?;
    let changed: K = client.request(request).await?;
    store.written(K::of(changed.clone()));
    Ok(changed)
}

/// The typed kinds that are cached whole.
pub trait Kept: Record<Wire = Self> + Clone + Serialize + DeserializeOwned {}

impl<K> Kept for K where K: Record<Wire = K> + Clone + Serialize + DeserializeOwned {}

/// The merge patch that makes `new` of `old`, or `None` if they are equal.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, new) in after {
        let changed = match before.get(key) {
            Some(old) => difference(old, new),
            None => Some(new.clone()),
        };
        patch.extend(changed.map(|changed| (key.clone(), changed)));
    }
    Some(Value::Object(patch))
}

/// What the API said, without our own words around it: it goes into events and conditions.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether a create failed because its namespace is on its way out: no reason to complain.
pub fn is_namespace_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403
        && causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
}

/// The path of an object.
pub fn path<R: Record>(object: &R) -> String {
    format!("{}/{}", collection(object), object.meta().name)
}

/// The path of the objects of its kind in its namespace.
fn collection<R: Record>(object: &R) -> String {
    let (all, namespace) = (R::path(), object.meta().namespace);
    match (namespace.is_empty(), all.rsplit_once('/')) {
        (false, Some((root, plural))) => format!("{root}/namespaces/{namespace}/{plural}"),
        _ => all,
    }
}

fn request(
    method: Method,
    uri: &str,
    content: &str,
    body: Vec<u8>,
) -> kube::Result<Request<Vec<u8>>> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", content)
        .body(body)
        .map_err(kube::Error::HttpError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Node;

    #[test]
    fn objects_are_where_the_api_has_them() {
        let mut set = ReplicaSet::default();
        set.metadata.name = Some("web".into());
        set.metadata.namespace = Some("d".into());
        assert_eq!(path(&set), "/apis/apps/v1/namespaces/d/replicasets/web");
        let mut node = Node::default();
        node.metadata.name = Some("n".into());
        assert_eq!(path(&node), "/api/v1/nodes/n");
    }

    #[test]
    fn a_difference_says_what_changed_and_what_went() {
        let old = json!({"a": 1, "b": {"x": 1, "y": 2}, "c": [1], "d": 4});
        let new = json!({"a": 1, "b": {"y": 3}, "c": [1, 2], "e": 5});
        let patch = json!({"b": {"x": null, "y": 3}, "c": [1, 2], "d": null, "e": 5});
        assert_eq!(difference(&old, &new), Some(patch));
        assert_eq!(difference(&old, &old), None);
    }
}
