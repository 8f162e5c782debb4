//! The client library for Rust. It is also the one our own loops are written with, so the
//! tests here are of what those do not use.

mod controller;
mod streams;
mod watching;

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, ServiceAccount};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, EvictParams, GroupVersionKind, ListParams,
    Patch, PatchParams, PostParams, PropagationPolicy,
};
use kube::discovery::{self, Discovery, Scope};
use kube::{Client, Error, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::Setting;

const NAMESPACE: &str = "default";

async fn client(setting: &Setting) -> Client {
    let served = &setting.cluster.served;
    served.kube("cadet-admin", "system:masters").await
}

fn config_map(name: &str, labels: Value) -> ConfigMap {
    typed(json!({"metadata": {"name": name, "labels": labels}, "data": {"key": "1"}}))
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of this kind")
}

/// Code and reason of a refusal.
#[track_caller]
fn refused<T>(answer: Result<T, Error>) -> (u16, String, String) {
    match answer {
        Err(Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not refused"),
    }
}

fn deployment(name: &str) -> Deployment {
    typed(json!({"metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "containers": [{"name": "c", "image": "nginx:1.27"}]}}}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_listed_and_deleted() {
    let setting = Setting::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&setting).await);
    let new = PostParams::default();
    for number in 0..7 {
        let map = config_map(&format!("many-{number}"), json!({"set": "many"}));
        maps.create(&new, &map).await.expect("created");
    }
    let mut names = Vec::new();
    let mut page = ListParams::default().labels("set=many").limit(3);
    loop {
        let list = maps.list(&page).await.expect("list");
        names.extend(list.iter().map(ResourceExt::name_any));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    let wanted: Vec<String> = (0..7).map(|number| format!("many-{number}")).collect();
    assert_eq!(names, wanted);
    // Metadata alone, as caches of large objects ask for it.
    let labelled = ListParams::default().labels("set");
    let partial = maps.list_metadata(&labelled).await.expect("list");
    assert_eq!(partial.items.len(), 7);
    assert_eq!(partial.items[0].metadata.name.as_deref(), Some("many-0"));
    let one = maps.get_metadata("many-1").await.expect("partial");
    assert_eq!(one.labels()["set"], "many");

    let refusal = refused(maps.create(&new, &config_map("many-0", json!({}))).await);
    assert_eq!((refusal.0, refusal.1.as_str()), (409, "AlreadyExists"));
    let first = maps.get("many-0").await.expect("there");
    let mut changed = first.clone();
    changed.data = None;
    maps.replace("many-0", &new, &changed)
        .await
        .expect("replaced");
    let refusal = refused(maps.replace("many-0", &new, &first).await);
    assert_eq!((refusal.0, refusal.1.as_str()), (409, "Conflict"));
    assert!(maps.get_opt("nothing").await.expect("answer").is_none());
    let entry = maps.entry("by-entry").await.expect("entry");
    let mut entry = entry.or_insert(|| config_map("by-entry", json!({})));
    entry.get_mut().data = Some([("a".to_owned(), "b".to_owned())].into());
    entry.commit(&new).await.expect("committed");

    let gone = maps.delete("many-0", &DeleteParams::default()).await;
    let status = gone.expect("deleted").right().expect("a status");
    assert!(status.is_success());
    assert_eq!(Some(status.details.expect("details").uid), first.uid());
    let all = ListParams::default().labels("set=many");
    let gone = maps.delete_collection(&DeleteParams::default(), &all).await;
    assert_eq!(
        gone.expect("deleted").left().expect("a list").items.len(),
        6
    );
    assert_eq!(maps.list(&all).await.expect("list").items.len(), 0);
    setting.stop().await;
}

async fn patch<P: Serialize + Debug>(
    deployments: &Api<Deployment>,
    how: &PatchParams,
    patch: Patch<P>,
) -> Result<Deployment, Error> {
    deployments.patch("web", how, &patch).await
}

#[track_caller]
fn replicas(answer: Result<Deployment, Error>) -> Option<i32> {
    let spec = answer.expect("patched").spec;
    spec.expect("spec").replicas
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_of_every_kind_are_taken() {
    let setting = Setting::start().await;
    let client = client(&setting).await;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let (new, plain) = (PostParams::default(), PatchParams::default());
    let born = deployments.create(&new, &deployment("web")).await;
    let born = born.expect("created");
    let containers = |found: &Deployment| -> Vec<String> {
        let pod = found.spec.as_ref().and_then(|s| s.template.spec.as_ref());
        let containers = pod.map(|pod| &pod.containers).expect("containers");
        containers.iter().map(|each| each.name.clone()).collect()
    };
    let second = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "d", "image": "busybox"}]}}}});
    let both = patch(&deployments, &plain, Patch::Strategic(&second)).await;
    let mut both = containers(&both.expect("patched"));
    both.sort();
    assert_eq!(both, ["c", "d"]);
    let one = patch(&deployments, &plain, Patch::Merge(&second)).await;
    assert_eq!(containers(&one.expect("patched")), ["d"]);
    let steps = typed(json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]));
    let three = patch(&deployments, &plain, Patch::Json::<()>(steps)).await;
    assert_eq!(replicas(three), Some(3));

    let five = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 5}});
    let six = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 6}});
    let (mine, theirs) = (PatchParams::apply("mine"), PatchParams::apply("theirs"));
    let applied = patch(&deployments, &theirs.force(), Patch::Apply(&five)).await;
    assert_eq!(replicas(applied), Some(5));
    let contested = patch(&deployments, &mine, Patch::Apply(&six)).await;
    let (code, reason, said) = refused(contested);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    let conflict = "conflict with \"theirs\": .spec.replicas";
    assert!(said.contains(conflict), "{said}");
    let mine = mine.force();
    let forced = patch(&deployments, &mine, Patch::Apply(&six)).await;
    assert_eq!(replicas(forced), Some(6));
    let tried = patch(&deployments, &mine.dry_run(), Patch::Apply(&five)).await;
    assert_eq!(replicas(tried), Some(5));

    let scale = deployments.get_scale("web").await.expect("scale");
    assert_eq!(scale.spec.expect("spec").replicas, Some(6));
    let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
    let scaled = deployments.patch_scale("web", &plain, &two).await;
    assert_eq!(
        scaled.expect("scaled").spec.expect("spec").replicas,
        Some(2)
    );
    let status = Patch::Merge(json!({"status": {"readyReplicas": 2, "replicas": 2}}));
    let told = deployments.patch_status("web", &plain, &status).await;
    assert_eq!(
        told.expect("told").status.expect("status").ready_replicas,
        Some(2)
    );
    let restarted = deployments.restart("web").await.expect("restarted");
    assert!(restarted.metadata.generation > born.metadata.generation);
    let nodes: Api<Node> = Api::all(client);
    nodes.cordon("n1").await.expect("cordoned");
    let cordoned = nodes.get("n1").await.expect("node").spec.expect("spec");
    assert_eq!(cordoned.unschedulable, Some(true));
    nodes.uncordon("n1").await.expect("uncordoned");
    setting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_discovered_and_used_without_types() {
    let setting = Setting::start().await;
    let client = client(&setting).await;
    for found in [
        Discovery::new(client.clone()).run().await,
        Discovery::new(client.clone()).run_aggregated().await,
    ] {
        let found = found.expect("discovery");
        let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
        let (resource, capabilities) = found.resolve_gvk(&kind).expect("resolved");
        assert_eq!(resource.plural, "deployments");
        assert_eq!(capabilities.scope, Scope::Namespaced);
        assert!(capabilities.supports_operation(discovery::verbs::WATCH));
        let parts: Vec<&str> = capabilities
            .subresources
            .iter()
            .map(|(part, _)| part.plural.as_str())
            .collect();
        assert!(parts.contains(&"scale"), "{parts:?}");
        let names: Vec<&str> = found
            .groups_alphabetical()
            .iter()
            .map(|g| g.name())
            .collect();
        assert!(names.contains(&"batch") && names.contains(&""), "{names:?}");
    }
    let group = discovery::group(&client, "autoscaling")
        .await
        .expect("group");
    let (scaler, _) = group
        .recommended_kind("HorizontalPodAutoscaler")
        .expect("kind");
    assert_eq!(scaler.version, "v2");
    let kind = GroupVersionKind::gvk("", "v1", "ConfigMap");
    let (maps, _) = discovery::pinned_kind(&client, &kind).await.expect("kind");
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &maps);
    let mut made = DynamicObject::new("dynamic", &maps).data(json!({"data": {"a": "b"}}));
    made.labels_mut().insert("l".into(), "1".into());
    let made = api.create(&PostParams::default(), &made).await;
    assert_eq!(made.expect("created").data["data"], json!({"a": "b"}));
    let listed = api.list(&ListParams::default().labels("l=1")).await;
    let listed = listed.expect("list");
    assert_eq!(listed.items.len(), 1);
    let nowhere = ApiResource::from_gvk(&GroupVersionKind::gvk("no.example.com", "v1", "No"));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &nowhere);
    assert_eq!(refused(api.list(&ListParams::default()).await).0, 404);
    let version = client.apiserver_version().await.expect("version");
    assert!(version.git_version.starts_with("v1."));
    setting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_evicted_leases_held_and_tokens_given() {
    let setting = Setting::start().await;
    let client = client(&setting).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    // One that a budget forbids is not tried: this library asks again for minutes.
    let evicted = pods
        .evict("web", &EvictParams::default())
        .await
        .expect("evicted");
    assert!(evicted.is_success());
    let dying = pods.get("web").await.expect("pod");
    assert!(dying.meta().deletion_timestamp.is_some());

    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let claim = |holder: &str, time: &str| {
        Patch::Apply(
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15,
            "renewTime": time}}),
        )
    };
    let first = claim("first", "2026-01-01T00:00:00.123456Z");
    let second = claim("second", "2026-01-01T00:00:01.000000Z");
    let (one, other) = (PatchParams::apply("first"), PatchParams::apply("second"));
    let held = leases.patch("lock", &one, &first).await;
    let held = held.expect("held").spec.expect("spec");
    assert_eq!(held.holder_identity.as_deref(), Some("first"));
    assert_eq!(
        serde_json::to_value(held.renew_time).expect("time"),
        "2026-01-01T00:00:00.123456Z"
    );
    let contested = leases.patch("lock", &other, &second).await;
    assert_eq!(refused(contested).0, 409);

    let accounts: Api<ServiceAccount> = Api::default_namespaced(client);
    let robot = typed(json!({"metadata": {"name": "robot"}}));
    let new = PostParams::default();
    accounts.create(&new, &robot).await.expect("created");
    let wish: TokenRequest = typed(json!({"spec": {"audiences": [], "expirationSeconds": 600}}));
    let given = accounts.create_token_request("robot", &new, &wish).await;
    let status = given.expect("given").status.expect("status");
    assert_eq!(status.token.expect("token").split('.').count(), 3);
    let foreground = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    accounts
        .delete("robot", &foreground)
        .await
        .expect("deleted");
    setting.stop().await;
}
