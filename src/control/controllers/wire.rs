//! Writing through the API what a cache keeps a slim form of: bodies are JSON, answers are
//! read as the cache reads the watch.

use http::Request;
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::errors::Error;

/// Path of a collection in a namespace: of `/api/v1/services` and `d` it is
/// `/api/v1/namespaces/d/services`.
pub fn in_namespace(path: &str, namespace: &str) -> String {
    match path.rsplit_once('/') {
        Some((version, plural)) => format!("{version}/namespaces/{namespace}/{plural}"),
        None => path.to_owned(),
    }
}

/// Who writes, as `managedFields` has it.
const WRITER: &str = "fieldManager=kube-controller-manager";

async fn send<T: DeserializeOwned>(
    client: &Client,
    builder: http::request::Builder,
    body: &Value,
) -> kube::Result<T> {
    let request = builder
        .body(body.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

pub async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> kube::Result<T> {
    let request = Request::get(path)
        .body(vec![])
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

pub async fn post<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    body: &Value,
) -> kube::Result<T> {
    let builder =
        Request::post(format!("{path}?{WRITER}")).header("content-type", "application/json");
    send(client, builder, body).await
}

pub async fn put<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    body: &Value,
) -> kube::Result<T> {
    let builder =
        Request::put(format!("{path}?{WRITER}")).header("content-type", "application/json");
    send(client, builder, body).await
}

/// A JSON merge patch.
pub async fn merge<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    body: &Value,
) -> kube::Result<T> {
    let builder = Request::patch(format!("{path}?{WRITER}"))
        .header("content-type", "application/merge-patch+json");
    send(client, builder, body).await
}

/// Deletes the very object with this uid; that it is gone or another by now is as good.
/// `policy` as in DeleteOptions, "" for the kind's habit.
pub async fn delete(client: &Client, path: &str, uid: &str, policy: &str) -> kube::Result<()> {
    let mut options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": uid},
    });
    if !policy.is_empty() {
        options["propagationPolicy"] = json!(policy);
    }
    let request = Request::delete(path)
        .header("content-type", "application/json")
        .body(options.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    match client.request_text(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a failed write is called.
pub fn written(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    move |source| Error::Write { what, source }
}

/// What a failed read is called.
pub fn reading(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    move |source| Error::Read { what, source }
}

/// Whether what was to be changed is not there.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_have_a_place_in_each_namespace() {
        assert_eq!(
            in_namespace("/api/v1/services", "d"),
            "/api/v1/namespaces/d/services"
        );
        assert_eq!(
            in_namespace("/apis/apps/v1/deployments", "d"),
            "/apis/apps/v1/namespaces/d/deployments"
        );
    }
}
