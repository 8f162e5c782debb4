//! Who may do what, and that nobody without a name gets anywhere.

use crate::support::{Client, PODS, admin, app, config_map, pod};
use cadet_apiserver::{App, User};
use serde_json::{Value, json};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
}

fn agent(app: &App, name: &str) -> Client {
    Client::new(
        app,
        User::new(format!("system:node:{name}"), &["system:nodes"]),
    )
}

async fn bind(client: &Client, name: &str, node: &str) {
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
    client
        .post(&format!("{PODS}/{name}/binding"), &binding)
        .await
        .expect(201);
}

#[tokio::test]
async fn strangers_see_health_and_version_and_nothing_else() {
    let client = Client::new(&app().await, User::anonymous());
    for path in ["/version", "/healthz", "/livez", "/readyz", "/readyz/ping"] {
        assert_eq!(client.get(path).await.code, 200, "{path}");
    }
    for path in [
        "/api",
        "/apis",
        "/api/v1",
        PODS,
        "/metrics",
        "/openapi/v3",
        "/",
        "/healthzz",
    ] {
        let message = client.get(path).await.refused(403);
        assert!(
            message.contains("User \"system:anonymous\" cannot "),
            "{path}: {message}"
        );
    }
    assert_eq!(client.post("/version", &json!({})).await.code, 403);
}

#[tokio::test]
async fn a_known_user_without_rights_is_told_what_is_missing() {
    let app = app().await;
    let client = Client::new(&app, User::new("jo", &["system:authenticated"]));
    assert_eq!(client.get("/api").await.code, 200);
    assert_eq!(
        client.get(PODS).await.refused(403),
        "pods is forbidden: User \"jo\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(
        client
            .delete("/api/v1/nodes/n1", &json!({}))
            .await
            .refused(403),
        "nodes \"n1\" is forbidden: User \"jo\" cannot delete resource \"nodes\" in API group \"\" at the cluster scope"
    );
    assert_eq!(client.get("/metrics").await.code, 403);
    let scheduler = Client::new(&app, User::new("system:kube-scheduler", &[]));
    assert_eq!(scheduler.get("/api/v1/pods").await.code, 200);
}

#[tokio::test]
async fn a_node_keeps_to_itself() {
    let app = app().await;
    let (admin, one) = (Client::new(&app, admin()), agent(&app, "n1"));
    one.post("/api/v1/nodes", &node("n1")).await.expect(201);
    let message = one.post("/api/v1/nodes", &node("n2")).await.refused(403);
    assert!(
        message.contains("node \"n1\" is not allowed to modify node \"n2\""),
        "{message}"
    );
    admin.post("/api/v1/nodes", &node("n2")).await.expect(201);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    one.patch("/api/v1/nodes/n1/status", "merge", &ready)
        .await
        .expect(200);
    assert_eq!(
        one.patch("/api/v1/nodes/n2/status", "merge", &ready)
            .await
            .code,
        403
    );
    assert_eq!(one.delete("/api/v1/nodes/n2", &json!({})).await.code, 403);

    let lease = |name: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40,
                     "renewTime": "2026-01-01T00:00:00.000000Z"}})
    };
    one.post(LEASES, &lease("n1")).await.expect(201);
    one.post(LEASES, &lease("n2")).await.refused(403);
    admin.post(LEASES, &lease("n2")).await.expect(201);
    let renew = json!({"spec": {"leaseDurationSeconds": 41}});
    one.patch(&format!("{LEASES}/n1"), "merge", &renew)
        .await
        .expect(200);
    assert_eq!(
        one.patch(&format!("{LEASES}/n2"), "merge", &renew)
            .await
            .code,
        403
    );

    for name in ["mine", "theirs"] {
        admin.post(PODS, &pod(name)).await.expect(201);
    }
    bind(&admin, "mine", "n1").await;
    bind(&admin, "theirs", "n2").await;
    let own = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1";
    let list = one.get(own).await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    for path in [
        "/api/v1/pods",
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2",
        PODS,
    ] {
        assert_eq!(one.get(path).await.code, 403, "{path}");
    }
    let running = json!({"status": {"phase": "Running"}});
    one.patch(&format!("{PODS}/mine/status"), "merge", &running)
        .await
        .expect(200);
    assert_eq!(
        one.patch(&format!("{PODS}/theirs/status"), "merge", &running)
            .await
            .code,
        403
    );
    assert_eq!(one.get(&format!("{PODS}/theirs")).await.code, 403);
    assert_eq!(one.post(PODS, &pod("new")).await.code, 403);
    let at_once = json!({"gracePeriodSeconds": 0});
    assert_eq!(
        one.delete(&format!("{PODS}/theirs"), &at_once).await.code,
        403
    );
    one.delete(&format!("{PODS}/mine"), &at_once)
        .await
        .expect(200);
    assert_eq!(
        one.get(&format!("{PODS}/mine")).await.code,
        404,
        "gone, not forbidden"
    );

    let maps = "/api/v1/namespaces/default/configmaps";
    admin.post(maps, &config_map("m", "1")).await.expect(201);
    assert_eq!(
        one.get(&format!("{maps}/m")).await.code,
        403,
        "no pod on this node needs it"
    );
    assert_eq!(one.get(maps).await.code, 403);
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "mine", "namespace": "default"},
        "reason": "Started", "message": "Started container c", "type": "Normal"});
    one.post("/api/v1/namespaces/default/events", &event)
        .await
        .expect(201);
    assert_eq!(
        one.get("/api/v1/namespaces/default/secrets").await.code,
        403
    );
}

/// A pod with a volume from the ConfigMap and Secret of its own name.
fn needy(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["volumes"] = json!([
        {"name": "m", "configMap": {"name": name}},
        {"name": "s", "secret": {"secretName": name}},
    ]);
    pod
}

#[tokio::test]
async fn a_node_reads_and_gets_tokens_only_for_what_its_pods_need() {
    let app = app().await;
    let (admin, one) = (Client::new(&app, admin()), agent(&app, "n1"));
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    for name in ["default", "other"] {
        let account = json!({"metadata": {"name": name}});
        admin.post(accounts, &account).await;
    }
    let secrets = "/api/v1/namespaces/default/secrets";
    let maps = "/api/v1/namespaces/default/configmaps";
    for (name, on) in [("mine", "n1"), ("theirs", "n2")] {
        admin.post(maps, &config_map(name, "1")).await.expect(201);
        let secret = json!({"metadata": {"name": name}});
        admin.post(secrets, &secret).await.expect(201);
        admin.post(PODS, &needy(name)).await.expect(201);
        bind(&admin, name, on).await;
    }
    for (name, code) in [("mine", 200), ("theirs", 403)] {
        for kind in [maps, secrets] {
            let path = format!("{kind}/{name}");
            assert_eq!(one.get(&path).await.code, code, "{path}");
        }
    }
    let uid = |pod: Value| pod["metadata"]["uid"].clone();
    let mine = uid(admin.get(&format!("{PODS}/mine")).await.expect(200));
    let theirs = uid(admin.get(&format!("{PODS}/theirs")).await.expect(200));
    let request = |name: &str, uid: &Value| {
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}}})
    };
    let path = format!("{accounts}/default/token");
    one.post(&path, &request("mine", &mine)).await.expect(201);
    for (body, words) in [
        (
            request("theirs", &theirs),
            "bound to a pod scheduled on a different node",
        ),
        (request("mine", &theirs), "does not match the UID in record"),
        (request("mine", &Value::Null), "pod binding without a uid"),
        (json!({"spec": {}}), "not bound to a pod"),
    ] {
        let message = one.post(&path, &body).await.refused(403);
        assert!(message.contains(words), "{message}");
    }
    let path = format!("{accounts}/other/token");
    assert_eq!(one.post(&path, &request("mine", &mine)).await.code, 403);
}
