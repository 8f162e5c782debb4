//! Kinds nobody writes: what there is to say about this server, as objects.

use std::sync::Arc;

use cadet_api::resource::{self, Resource};
use cadet_api::status::Status;
use cadet_store::Entry;
use serde_json::{Value, json};

use crate::app::App;
use crate::object::{Object, key_of, to_stored};
use crate::usage;

/// Since when API services are there: the day of Kubernetes 1.0, for want of a better one.
const SINCE: &str = "2015-07-10T00:00:00Z";

/// All objects of a computed kind in a namespace ("" is all), those with this name at least
/// if one is given; `None` for kinds that are stored.
pub async fn objects(
    app: &App,
    kind: &'static Resource,
    namespace: &str,
    name: Option<&str>,
) -> Option<Result<Vec<Arc<Object>>, Status>> {
    if kind.gv.group == "metrics.k8s.io" {
        return usage::objects(app, kind, namespace, name).await;
    }
    let values = match kind.id() {
        ("", "ComponentStatus") => components(app),
        ("apiregistration.k8s.io", "APIService") => services(app),
        _ => return None,
    };
    let revision = app.world.revision();
    let objects = values.into_iter().map(|value| {
        let name = cadet_api::json::str_at(&value, "/metadata/name");
        let entry = Entry {
            key: key_of(kind, "", name).into(),
            value: to_stored(kind, &value),
            created: revision,
            modified: revision,
        };
        Object::from_entry(&entry, app.world.kinds())
            .map(Arc::new)
            .map_err(Status::internal)
    });
    Some(objects.collect())
}

fn components(app: &App) -> Vec<Value> {
    let component = |name: &str, fault: Option<String>| {
        let condition = match fault {
            None => json!({"type": "Healthy", "status": "True", "message": "ok"}),
            Some(why) => json!({"type": "Healthy", "status": "False", "message": why}),
        };
        json!({"metadata": {"name": name}, "conditions": [condition]})
    };
    // The loops run inside this process: who can ask has them running.
    vec![
        component("controller-manager", None),
        component("etcd-0", app.world.store().fault()),
        component("scheduler", None),
    ]
}

fn services(app: &App) -> Vec<Value> {
    let rows = app.world.kinds().rows();
    let mut all: Vec<Value> = resource::groups(&rows)
        .into_iter()
        .flat_map(|(group, versions)| versions.into_iter().map(move |v| (group, v)))
        .map(|(group, version)| {
            // The core group's name ends in a dot: "v1.".
            json!({
                "metadata": {"name": format!("{version}.{group}"), "creationTimestamp": SINCE,
                    "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}},
                "spec": {"group": group, "version": version,
                    "groupPriorityMinimum": 17_000, "versionPriority": 15},
                "status": {"conditions": [{"type": "Available", "status": "True",
                    "reason": "Local", "message": "Local APIServices are always available",
                    "lastTransitionTime": SINCE}]},
            })
        })
        .collect();
    all.sort_by_key(|s| s["metadata"]["name"].to_string());
    all
}
