//! What makes, scales and guards pods: born complete, scaled by a door of its own, counted.

use crate::support::{Client, admin, app};
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn client() -> Client {
    Client::new(&app().await, admin())
}

fn workload(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1.27"}]}}}})
}

#[tokio::test]
async fn every_scalable_kind_has_a_scale() {
    let client = client().await;
    let mut controller = workload("ReplicationController", "a");
    controller["apiVersion"] = json!("v1");
    controller["spec"]["selector"] = json!({"app": "a"});
    for (path, object) in [
        (DEPLOYMENTS, workload("Deployment", "a")),
        (
            "/apis/apps/v1/namespaces/default/replicasets",
            workload("ReplicaSet", "a"),
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            workload("StatefulSet", "a"),
        ),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            controller,
        ),
    ] {
        let born = client.post(path, &object).await.expect(201);
        let scale = format!("{path}/a/scale");
        let found = client.get(&scale).await.expect(200);
        assert_eq!(found["kind"], "Scale");
        assert_eq!(found["apiVersion"], "autoscaling/v1");
        assert_eq!(found["metadata"]["uid"], born["metadata"]["uid"]);
        assert_eq!(found["spec"]["replicas"], 1);
        assert_eq!(
            found["status"],
            json!({"replicas": 0, "selector": "app=a"}),
            "{path}"
        );
        // As kubectl scale --current-replicas: a PUT that names no content type.
        let mut wanted = found.clone();
        wanted["spec"]["replicas"] = json!(3);
        let scaled = client.put(&scale, &wanted).await.expect(200);
        assert_eq!(scaled["spec"]["replicas"], 3);
        let message = client.put(&scale, &wanted).await.refused(409);
        assert!(
            message.contains("the object has been modified"),
            "{message}"
        );
        let patch = json!({"spec": {"replicas": 5}});
        client.patch(&scale, "merge", &patch).await.expect(200);
        let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 0}]);
        let none = client.patch(&scale, "json", &patch).await.expect(200);
        assert!(none["spec"].get("replicas").is_none());
        let object = client.get(&format!("{path}/a")).await.expect(200);
        assert_eq!(object["spec"]["replicas"], 0);
        assert_eq!(object["metadata"]["generation"], 4);
        let wrong = json!({"spec": {"replicas": -1}});
        assert_eq!(
            client.patch(&scale, "merge", &wrong).await.refused(422),
            "Scale.autoscaling \"a\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
    }
    assert_eq!(
        client.get(&format!("{DEPLOYMENTS}/none/scale")).await.code,
        404
    );
    assert_eq!(
        client
            .get("/apis/apps/v1/namespaces/default/daemonsets/a/scale")
            .await
            .code,
        404
    );
}

#[tokio::test]
async fn a_generation_counts_what_is_wanted_and_nothing_else() {
    let client = client().await;
    let path = format!("{DEPLOYMENTS}/web");
    client
        .post(DEPLOYMENTS, &workload("Deployment", "web"))
        .await
        .expect(201);
    for (part, patch, generation) in [
        ("", json!({"metadata": {"labels": {"a": "b"}}}), 1),
        (
            "/status",
            json!({"status": {"replicas": 1, "readyReplicas": 1}}),
            1,
        ),
        ("", json!({"spec": {"paused": true}}), 2),
        ("", json!({"status": {"replicas": 9}}), 2),
        // A Deployment hands its annotations on, so they are wanted of it.
        (
            "",
            json!({"metadata": {"annotations": {"kubernetes.io/change-cause": "x"}}}),
            3,
        ),
    ] {
        let path = format!("{path}{part}");
        let now = client.patch(&path, "merge", &patch).await.expect(200);
        assert_eq!(now["metadata"]["generation"], generation, "{patch}");
        assert_ne!(now["status"]["replicas"], 9);
    }
    let message = client
        .patch(
            &format!("{path}/status"),
            "merge",
            &json!({"status": {"readyReplicas": 2}}),
        )
        .await
        .refused(422);
    assert!(
        message.ends_with(
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"
        ),
        "{message}"
    );
    let message = client
        .patch(
            &path,
            "merge",
            &json!({"spec": {"selector": {"matchLabels": {"app": "other"}},
            "template": {"metadata": {"labels": {"app": "other"}}}}}),
        )
        .await
        .refused(422);
    assert_eq!(
        message,
        "Deployment.apps \"web\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"other\"}}: field is immutable"
    );
}

#[tokio::test]
async fn a_daemon_set_counts_its_templates() {
    let client = client().await;
    let list = "/apis/apps/v1/namespaces/default/daemonsets";
    let path = format!("{list}/agent");
    let count = |o: &Value| {
        let pointer = "/metadata/annotations/deprecated.daemonset.template.generation";
        o.pointer(pointer).cloned().expect("annotation")
    };
    let born = client
        .post(list, &workload("DaemonSet", "agent"))
        .await
        .expect(201);
    assert_eq!(count(&born), "1");
    let other = json!({"spec": {"minReadySeconds": 3}, "metadata": {"annotations": null}});
    let now = client.patch(&path, "merge", &other).await.expect(200);
    assert_eq!(
        (count(&now), &now["metadata"]["generation"]),
        (json!("1"), &json!(2))
    );
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:1.28"}]}}}});
    let now = client.patch(&path, "merge", &image).await.expect(200);
    assert_eq!(
        (count(&now), &now["metadata"]["generation"]),
        (json!("2"), &json!(3))
    );
}

#[tokio::test]
async fn an_autoscaler_is_one_object_in_three_versions() {
    let client = client().await;
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let sent = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    let born = client.post(v1, &sent).await;
    assert!(born.warnings().is_empty());
    let born = born.expect(201);
    assert_eq!(born["spec"]["targetCPUUtilizationPercentage"], 80);
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/web";
    let memory = json!([{"op": "add", "path": "/spec/metrics/-", "value": {"type": "Resource",
        "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 70}}}}]);
    client.patch(v2, "json", &memory).await.expect(200);
    let table = client
        .send(
            http::Method::GET,
            v2,
            &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")],
            "",
        )
        .await
        .expect(200);
    assert_eq!(
        table["rows"][0]["cells"][2],
        "cpu: <unknown>/80%, memory: <unknown>/70%"
    );
    // Version 1 keeps what it cannot say in an annotation, and gives it back.
    let old = client.get(&format!("{v1}/web")).await.expect(200);
    let note = &old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"];
    assert!(
        note.as_str()
            .is_some_and(|n| n.contains("\"targetAverageUtilization\":70"))
    );
    client.put(&format!("{v1}/web"), &old).await.expect(200);
    let now = client.get(v2).await.expect(200);
    assert_eq!(now["spec"]["metrics"].as_array().map(Vec::len), Some(2));
    let past = "/apis/autoscaling/v2beta2/namespaces/default/horizontalpodautoscalers/web";
    assert_eq!(
        client.get(past).await.expect(200)["apiVersion"],
        "autoscaling/v2beta2"
    );
}
