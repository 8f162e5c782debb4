//! What every cluster has from its first moment, made anew if it is missing.

use cadet_api::json;
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::admission::{ETERNAL_NAMESPACES, Request, find, find_in};
use crate::app::{App, StartError};
use crate::handlers::store_new;
use crate::ownership::Manager;
use crate::{access, endpoints};

/// Where node agents keep their heartbeats.
const LEASES: &str = "kube-node-lease";

pub async fn run(app: &App) -> Result<(), StartError> {
    // What does not need the other is made together, so that it shares a few disk barriers.
    let namespaces = || ETERNAL_NAMESPACES.iter().chain([&LEASES]);
    let made =
        namespaces().map(|name| make(app, "namespaces", json!({"metadata": {"name": name}})));
    try_join_all(made).await?;
    let accounts = namespaces().map(|name| {
        let account = json!({"metadata": {"name": "default", "namespace": name}});
        make(app, "serviceaccounts", account)
    });
    let failed = |status| StartError::Bootstrap {
        what: "priority classes".into(),
        status,
    };
    let classes = find_in("scheduling.k8s.io", "priorityclasses").map_err(failed)?;
    let classes = priority_classes().map(|class| async move {
        let made = make_of(app, classes, class).await;
        made.map_err(failed)
    });
    let policy = access::policy::objects();
    let policy = policy.into_iter().map(|(plural, object)| async move {
        let name = json::str_at(&object, "/metadata/name").to_owned();
        let failed = |status| StartError::Bootstrap {
            what: format!("{plural}/{name}"),
            status,
        };
        let kind = access::rbac::kind(plural)
            .ok_or_else(|| failed(Status::internal("not in the table of kinds")))?;
        make_of(app, kind, object).await.map_err(failed)
    });
    tokio::try_join!(
        try_join_all(accounts),
        try_join_all(classes),
        try_join_all(policy),
        make(app, "services", kubernetes_service(app)),
    )?;
    let failed = |status| StartError::Bootstrap {
        what: "endpoints/kubernetes".into(),
        status,
    };
    endpoints::begin(app).await.map_err(failed)
}

/// Creates an object of the core group unless it is there.
async fn make(app: &App, plural: &str, object: Value) -> Result<(), StartError> {
    let failed = |status| StartError::Bootstrap {
        what: format!("{plural}/{}", json::str_at(&object, "/metadata/name")),
        status,
    };
    let resource = find(plural).map_err(failed)?;
    make_of(app, resource, object.clone()).await.map_err(failed)
}

/// Creates an object unless it is there, or another server is faster.
pub async fn make_of(app: &App, resource: &'static Resource, object: Value) -> Result<(), Status> {
    let name = json::str_at(&object, "/metadata/name").to_owned();
    let namespace = json::str_at(&object, "/metadata/namespace").to_owned();
    if app.world.get(resource, &namespace, &name).is_some() {
        return Ok(());
    }
    let request = Request::server(app, resource, &namespace);
    match store_new(&request, object, &Manager::server()).await {
        Err(status) if status.code == 409 => {
            let settled = app.world.settle().await;
            settled.map_err(Status::internal)
        }
        other => other.map(|_| ()),
    }
}

/// The classes of what a cluster cannot do without; their values are above all a user may
/// give (KEP-268).
fn priority_classes() -> [Value; 2] {
    let class = |name: &str, value: i64, description: &str| json!({"metadata": {"name": name}, "value": value, "description": description});
    [
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ]
}

fn kubernetes_service(app: &App) -> Value {
    let port = app.config.advertise.port();
    json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": app.addresses.first().to_string(),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    })
}
