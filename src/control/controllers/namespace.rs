//! Empties a namespace that is being deleted, then lets it go.

use std::time::Duration;

use cadet_api::resource;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Client, ResourceExt};
use tracing::{debug, info};

use crate::errors::{Error, overtaken};
use crate::shared::{Complete, Key, PodInfo, Queue, Record, Shared, Store, work};

/// The mark that keeps a namespace until this controller has emptied it.
const FINALIZER: &str = "kubernetes";

/// A pod that ends wakes us; for finalizers on other kinds we look again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Namespaces emptied at a time (upstream: 10).
const WORKERS: usize = 10;

struct Context {
    shared: Shared,
    namespaces: Store<Namespace>,
    queue: Queue,
}

/// Empties namespaces until the shutdown.
pub async fn run(shared: Shared) {
    let context = Context {
        namespaces: shared.store(),
        queue: Queue::default(),
        shared,
    };
    let pods = context.shared.store::<PodInfo>();
    context.namespaces.subscribe({
        let queue = context.queue.clone();
        move |_, new| {
            if let Some(namespace) = new.filter(|namespace| namespace.is_deleting()) {
                queue.add(Key::of(namespace));
            }
        }
    });
    pods.subscribe({
        let (queue, namespaces) = (context.queue.clone(), context.namespaces.clone());
        move |old, new| {
            // Only the end of a pod can bring us further.
            if let (Some(pod), None) = (old, new)
                && let Some(namespace) = namespaces.get("", &pod.namespace)
                && namespace.is_deleting()
            {
                queue.add(Key::of(&*namespace));
            }
        }
    });
    let caches: [&dyn Complete; 1] = [&context.namespaces];
    let reconcile = |key| reconcile(&context, key);
    work(&context.shared, &context.queue, &caches, WORKERS, reconcile).await;
}

async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    let Some(namespace) = context.namespaces.get("", &key.name) else {
        return Ok(());
    };
    if !namespace.is_deleting() || !has_finalizer(&namespace) {
        return Ok(());
    }
    let (client, name) = (context.shared.client(), namespace.name_any());
    let left = empty(client, &name).await?;
    if !left.is_empty() {
        debug!(namespace = %name, left = %left.join(", "), "namespace is not empty yet");
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
        Err(why) if overtaken(&why) => {}
        Err(source) => {
            return Err(Error::Write {
                what: format!("namespace {name}"),
                source,
            });
        }
    }
    Ok(())
}

/// Deletes everything in the namespace; returns the kinds of which something is left.
async fn empty(client: &Client, namespace: &str) -> Result<Vec<String>, Error> {
    let mut left = Vec::new();
    let custom = custom_kinds(client).await?;
    let kinds = custom
        .into_iter()
        .chain(contents().into_iter().map(api_resource));
    for kind in kinds {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        let what = || format!("{} in namespace {namespace}", kind.plural);
        api.delete_collection(&DeleteParams::background(), &ListParams::default())
            .await
            .map_err(|source| Error::Delete {
                what: what(),
                source,
            })?;
        let rest = api
            .list_metadata(&ListParams::default().limit(1))
            .await
            .map_err(|source| Error::Read {
                what: what(),
                source,
            })?;
        if !rest.items.is_empty() {
            left.push(kind.plural.clone());
        }
    }
    Ok(left)
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
