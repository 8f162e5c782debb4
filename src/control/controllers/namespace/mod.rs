//! Empties a namespace that is being deleted, then lets it go; meanwhile its conditions say
//! what is left.
//!
//! ```text
//!   pods ─ all gone ─▶ everything else ─ all gone ─▶ finalizer off
//!     └── some left ─────────┴── some left ──▶ conditions, and another look
//! ```
//! Pods go first, so that none outlives what guards it, a NetworkPolicy above all (KEP-5080).
//! One that has ended and is only held by a finalizer keeps nothing waiting: who put it there
//! may wait for its own end, as a Job does.

mod conditions;

use std::time::Duration;

use cadet_api::resource;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tracing::{debug, info};

use crate::errors::Error;
use crate::shared::{
    Complete, Key, Merge, PodInfo, Queue, Record, Shared, Store, patch, words, work,
};
use crate::wire::is_gone;
use conditions::{Found, conditions};

/// The mark that keeps a namespace until this controller has emptied it.
const FINALIZER: &str = "kubernetes";

/// A pod that ends wakes us; for finalizers on other kinds we look again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Namespaces emptied at a time (upstream: 10).
const WORKERS: usize = 10;
/// So many objects of a kind are looked at for the finalizers on them; the others are counted.
const SEEN: u32 = 500;

struct Context {
    shared: Shared,
    namespaces: Store<Namespace>,
    pods: Store<PodInfo>,
    queue: Queue,
}

/// Empties namespaces until the shutdown.
pub async fn run(shared: Shared) {
    let context = Context {
        namespaces: shared.store(),
        pods: shared.store(),
        queue: Queue::default(),
        shared,
    };
    context.namespaces.subscribe({
        let queue = context.queue.clone();
        move |old, new| {
            let Some(namespace) = new.filter(|namespace| namespace.is_deleting()) else {
                return;
            };
            // The conditions we write come back, too: they are no news.
            if !old.is_some_and(|old| asks_the_same(old, namespace)) {
                queue.add(Key::of(namespace));
            }
        }
    });
    context.pods.subscribe({
        let (queue, namespaces) = (context.queue.clone(), context.namespaces.clone());
        move |old, new| {
            // Only the end of a pod can bring us further.
            let ended = match (old, new) {
                (Some(old), Some(new)) => !old.has_ended() && new.has_ended(),
                (old, new) => old.is_some() && new.is_none(),
            };
            if let Some(pod) = new.or(old).filter(|_| ended)
                && let Some(namespace) = namespaces.get("", &pod.namespace)
                && namespace.is_deleting()
            {
                queue.add(Key::of(&*namespace));
            }
        }
    });
    let caches: [&dyn Complete; 2] = [&context.namespaces, &context.pods];
    let reconcile = |key| reconcile(&context, key);
    work(&context.shared, &context.queue, &caches, WORKERS, reconcile).await;
}

/// Whether a change touched nothing but the status.
fn asks_the_same(old: &Namespace, new: &Namespace) -> bool {
    let (before, after) = (&old.metadata, &new.metadata);
    before.uid == after.uid
        && before.deletion_timestamp == after.deletion_timestamp
        && before.finalizers == after.finalizers
        && old.spec == new.spec
}

async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    let Some(namespace) = context.namespaces.get("", &key.name) else {
        return Ok(());
    };
    if !namespace.is_deleting() || !has_finalizer(&namespace) {
        return Ok(());
    }
    let (client, name) = (context.shared.client(), namespace.name_any());
    let (found, failure) = empty(client, &context.pods, &name).await;
    let Some(namespace) = say(context, &namespace, &found).await? else {
        return Ok(());
    };
    if let Some(failure) = failure {
        return Err(failure);
    }
    if !found.is_nothing() {
        debug!(namespace = %name, left = %found.kinds(), "namespace is not empty yet");
        context.queue.add_after(key, LOOK_AGAIN);
        return Ok(());
    }
    let api: Api<Namespace> = Api::all(client.clone());
    let freed = without_finalizer(&namespace);
    match api
        .replace_subresource("finalize", &name, &PostParams::default(), &freed)
        .await
    {
        Ok(_) => info!(namespace = %name, "namespace emptied and released"),
        Err(why) if is_gone(&why) => {}
        Err(source) => {
            return Err(Error::Write {
                what: format!("namespace {name}"),
                source,
            });
        }
    }
    Ok(())
}

/// Writes the conditions, unless the namespace is about to go anyway. Gives the namespace as
/// it is then, `None` if it is gone.
async fn say(
    context: &Context,
    namespace: &Namespace,
    found: &Found,
) -> Result<Option<Namespace>, Error> {
    let status = namespace.status.as_ref();
    let old = status.and_then(|status| status.conditions.as_deref());
    let held = without_finalizer(namespace)
        .spec
        .and_then(|spec| spec.finalizers);
    let goes = found.is_nothing() && held.is_none_or(|held| held.is_empty());
    let new = conditions(found, old.unwrap_or_default(), Timestamp::now());
    let Some(new) = new.filter(|_| !goes) else {
        return Ok(Some(namespace.clone()));
    };
    let change = json!({"status": {"conditions": new}});
    let (client, store) = (context.shared.client(), &context.namespaces);
    match patch(client, store, namespace, "/status", Merge::Plain, &change).await {
        Ok(changed) => Ok(Some(changed)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(Error::Write {
            what: format!("status of namespace {}", namespace.name_any()),
            source,
        }),
    }
}

/// Deletes everything in the namespace, pods first. Gives what is left, and the first failure.
async fn empty(client: &Client, pods: &Store<PodInfo>, namespace: &str) -> (Found, Option<Error>) {
    let mut found = Found::default();
    let mut failure = None;
    let custom = match custom_kinds(client).await {
        Ok(custom) => custom,
        Err(error) => {
            found.not_discovered(why(&error));
            failure = Some(error);
            Vec::new()
        }
    };
    let (first, rest): (Vec<_>, Vec<_>) =
        contents().into_iter().map(api_resource).partition(is_pod);
    for kind in first.into_iter().chain(custom).chain(rest) {
        match sweep(client, namespace, &kind, &mut found).await {
            Ok(left) if is_pod(&kind) => {
                let known = pods.in_namespace(namespace);
                let ended = known.iter().filter(|pod| pod.has_ended()).count();
                if left > i64::try_from(ended).unwrap_or(i64::MAX) {
                    break;
                }
            }
            Ok(_) => {}
            Err(error) => {
                found.not_deleted(why(&error));
                failure.get_or_insert(error);
            }
        }
    }
    (found, failure)
}

/// Deletes all objects of a kind; gives how many are left.
async fn sweep(
    client: &Client,
    namespace: &str,
    kind: &ApiResource,
    found: &mut Found,
) -> Result<i64, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, kind);
    let what = || format!("{} in namespace {namespace}", kind.plural);
    api.delete_collection(&DeleteParams::background(), &ListParams::default())
        .await
        .map_err(|source| Error::Delete {
            what: what(),
            source,
        })?;
    let rest = api
        .list_metadata(&ListParams::default().limit(SEEN))
        .await
        .map_err(|source| Error::Read {
            what: what(),
            source,
        })?;
    let more = rest.metadata.remaining_item_count.unwrap_or(0);
    let left = i64::try_from(rest.items.len()).unwrap_or(i64::MAX);
    let left = left.saturating_add(more);
    let finalizers = rest.items.into_iter();
    let finalizers: Vec<String> = finalizers
        .flat_map(|object| object.metadata.finalizers.unwrap_or_default())
        .collect();
    found.left(&kind.plural, &kind.group, left, &finalizers);
    Ok(left)
}

fn is_pod(kind: &ApiResource) -> bool {
    kind.group.is_empty() && kind.plural == "pods"
}

/// What the API said.
fn why(error: &Error) -> String {
    match error {
        Error::Read { source, .. } | Error::Write { source, .. } | Error::Delete { source, .. } => {
            words(source)
        }
        Error::Going { .. } => error.to_string(),
    }
}

/// The namespaced kinds that definitions have added, each at a version that is served.
async fn custom_kinds(client: &Client) -> Result<Vec<ApiResource>, Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let found = api.list(&ListParams::default()).await;
    let definitions = found.map_err(|source| Error::Read {
        what: "definitions of custom kinds".to_owned(),
        source,
    })?;
    let kinds = definitions.items.into_iter().filter_map(|definition| {
        let spec = definition.spec;
        let served = spec.versions.iter().find(|version| version.served)?;
        (spec.scope == "Namespaced").then(|| ApiResource {
            api_version: format!("{}/{}", spec.group, served.name),
            group: spec.group.clone(),
            version: served.name.clone(),
            kind: spec.names.kind.clone(),
            plural: spec.names.plural.clone(),
        })
    });
    Ok(kinds.collect())
}

/// Every stored kind that lives in namespaces, pods first: what they write while ending
/// (events above all) is swept up after them.
fn contents() -> Vec<&'static resource::Resource> {
    let mut all: Vec<_> = resource::all()
        .iter()
        .filter(|r| r.namespaced && !r.is_converted() && r.allows("deletecollection"))
        .collect();
    all.sort_by_key(|r| match r.plural {
        "pods" => 0,
        "events" => 2,
        _ => 1,
    });
    all
}

fn api_resource(res: &resource::Resource) -> ApiResource {
    ApiResource {
        group: res.gv.group.to_owned(),
        version: res.gv.version.to_owned(),
        api_version: res.gv.api_version(),
        kind: res.kind.to_owned(),
        plural: res.plural.to_owned(),
    }
}

fn has_finalizer(namespace: &Namespace) -> bool {
    let spec = namespace.spec.as_ref();
    spec.and_then(|s| s.finalizers.as_ref())
        .into_iter()
        .flatten()
        .any(|f| f == FINALIZER)
}

fn without_finalizer(namespace: &Namespace) -> Namespace {
    let mut out = namespace.clone();
    if let Some(list) = out.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
        list.retain(|f| f != FINALIZER);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_namespaced_kind_is_emptied_pods_first_events_last() {
        let order: Vec<&str> = contents().iter().map(|r| r.plural).collect();
        assert_eq!(
            (order.first(), order.last()),
            (Some(&"pods"), Some(&"events"))
        );
        for r in resource::all()
            .iter()
            .filter(|r| r.namespaced && !r.is_converted() && r.allows("create") && !r.transient)
        {
            assert!(
                order.contains(&r.plural),
                "{} would keep the namespace for ever",
                r.plural
            );
        }
        assert!(!order.contains(&"nodes"));
    }

    #[test]
    fn only_our_finalizer_goes() {
        let ns: Namespace = serde_json::from_value(
            json!({"metadata": {"name": "x"}, "spec": {"finalizers": ["kubernetes", "a.b/c"]}}),
        )
        .unwrap();
        assert!(has_finalizer(&ns));
        let freed = without_finalizer(&ns);
        assert!(!has_finalizer(&freed));
        assert_eq!(freed.spec.unwrap().finalizers.unwrap(), ["a.b/c"]);
    }
}
