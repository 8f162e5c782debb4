//! Writing what changed of a status, and nothing if nothing did.

use kube::Client;
use serde::Serialize;
use serde_json::json;

use crate::errors::Error;
use crate::shared::{Kept, Key, Merge, Store, difference, patch};

const OBSERVED: &str = "observedGeneration";

/// Writes a status unless the object was changed since it was looked at; gives the object as
/// it then is, or `None` if there was nothing to write.
///
/// # Errors
/// Whatever the API says; a conflict if the object was changed meanwhile.
pub async fn write_status<K, S>(
    client: &Client,
    store: &Store<K>,
    object: &K,
    before: &S,
    after: &S,
) -> Result<Option<K>, Error>
where
    K: Kept,
    S: Serialize,
{
    let failed = |source| Error::Write {
        what: format!("status of {} {}", K::path(), Key::of(object)),
        source,
    };
    let value = |status: &S| {
        let value = serde_json::to_value(status);
        value.map_err(|error| failed(kube::Error::SerdeError(error)))
    };
    let (mut before, after) = (value(before)?, value(after)?);
    if before.get(OBSERVED).is_none() && after.get(OBSERVED).is_some() {
        // The first look: figures of 0 were never written, either.
        before = json!({});
    }
    let Some(changes) = difference(&before, &after) else {
        return Ok(None);
    };
    let version = object.meta().version.to_string();
    let change = json!({"metadata": {"resourceVersion": version}, "status": changes});
    let written = patch(client, store, object, "/status", Merge::Plain, &change).await;
    written.map(Some).map_err(failed)
}
