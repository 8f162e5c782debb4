//! How objects go: at once, in time, when let go, and in crowds.

use crate::support::{Client, PODS, admin, app, bind, config_map, pod};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn client() -> Client {
    Client::new(&app().await, admin())
}

#[tokio::test]
async fn a_running_pod_is_given_time_and_the_kubelet_has_the_last_word() {
    let client = client().await;
    let path = format!("{PODS}/web");
    client.post(PODS, &pod("web")).await.expect(201);
    bind(&client, "web", "n1").await.expect(201);
    let dying = client.delete(&path, &json!({})).await.expect(200);
    assert_eq!(dying["kind"], "Pod");
    assert_eq!(dying["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(dying["metadata"]["deletionTimestamp"].is_string());
    let again = client.get(&path).await.expect(200);
    assert_eq!(again, dying);
    let sooner = client
        .delete(&path, &json!({"gracePeriodSeconds": 5}))
        .await
        .expect(200);
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 5);
    client
        .delete(&path, &json!({"gracePeriodSeconds": 0}))
        .await
        .expect(200);
    assert_eq!(client.get(&path).await.code, 404);
    client.post(PODS, &pod("idle")).await.expect(201);
    client
        .delete(&format!("{PODS}/idle"), &json!({}))
        .await
        .expect(200);
    assert_eq!(
        client.get(&format!("{PODS}/idle")).await.code,
        404,
        "no node, no grace"
    );
}

#[tokio::test]
async fn finalizers_and_preconditions_hold_a_deletion() {
    let client = client().await;
    let path = format!("{MAPS}/m");
    let mut sent = config_map("m", "1");
    sent["metadata"]["finalizers"] = json!(["example.com/wait"]);
    let born = client.post(MAPS, &sent).await.expect(201);
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert!(client.delete(&path, &wrong).await.refused(409).contains(
        "ConfigMap \"m\": the UID in the precondition (other) does not match the UID in record"
    ));
    let marked = client.delete(&path, &json!({})).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let freed = json!({"metadata": {"finalizers": null}});
    client.patch(&path, "merge", &freed).await.expect(200);
    assert_eq!(client.get(&path).await.code, 404);
    client.post(MAPS, &config_map("m", "1")).await.expect(201);
    let status = client.delete(&path, &json!({})).await.expect(200);
    assert_eq!(
        (&status["kind"], &status["status"]),
        (&json!("Status"), &json!("Success"))
    );
    assert_ne!(status["details"]["uid"], born["metadata"]["uid"]);
    assert_eq!(client.delete(&path, &json!({})).await.code, 404);
    let dry = client.post(MAPS, &config_map("m", "1")).await.expect(201);
    client
        .delete(&path, &json!({"dryRun": ["All"]}))
        .await
        .expect(200);
    assert_eq!(client.get(&path).await.expect(200), dry);
    assert_eq!(
        client
            .delete(&path, &json!({"propagationPolicy": "Never"}))
            .await
            .code,
        422
    );
}

#[tokio::test]
async fn a_namespace_goes_in_two_steps_and_takes_nothing_new_meanwhile() {
    let client = client().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}});
    client
        .post("/api/v1/namespaces", &namespace)
        .await
        .expect(201);
    let path = "/api/v1/namespaces/lab";
    let going = client.delete(path, &json!({})).await.expect(200);
    assert_eq!(going["status"]["phase"], "Terminating");
    let maps = "/api/v1/namespaces/lab/configmaps";
    let message = client.post(maps, &config_map("m", "1")).await.refused(403);
    assert!(
        message.contains("because it is being terminated"),
        "{message}"
    );
    let mut done = going.clone();
    done["spec"]["finalizers"] = json!([]);
    client
        .put(&format!("{path}/finalize"), &done)
        .await
        .expect(200);
    assert_eq!(client.get(path).await.code, 404);
    let message = client
        .delete("/api/v1/namespaces/default", &json!({}))
        .await
        .refused(403);
    assert!(message.contains("may not be deleted"), "{message}");
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let client = client().await;
    for name in ["a", "b", "c"] {
        client.post(PODS, &pod(name)).await.expect(201);
    }
    let path = format!("{PODS}?labelSelector=app%20in%20(a,c)");
    let gone = client.delete(&path, &json!({})).await.expect(200);
    assert_eq!(gone["items"].as_array().map(Vec::len), Some(2));
    let left = client.get(PODS).await.expect(200);
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_an_owner_owns_decides_how_it_goes() {
    let client = client().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}});
    let path = format!("{jobs}/j");
    for (options, held) in [
        (json!({}), json!(["orphan"])),
        (json!({"propagationPolicy": "Orphan"}), json!(["orphan"])),
        (
            json!({"propagationPolicy": "Foreground"}),
            json!(["foregroundDeletion"]),
        ),
        (json!({"orphanDependents": true}), json!(["orphan"])),
    ] {
        let owner = client.post(jobs, &job).await.expect(201);
        let mut owned = pod("owned");
        owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "Job",
            "name": "j", "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}]);
        client.post(PODS, &owned).await.expect(201);
        let marked = client.delete(&path, &options).await.expect(200);
        assert_eq!(marked["metadata"]["finalizers"], held, "{options}");
        assert_eq!(marked["metadata"]["generation"], 2);
        // The collector's part.
        let free = json!({"metadata": {"finalizers": null}});
        client.patch(&path, "merge", &free).await.expect(200);
        assert_eq!(client.get(&path).await.code, 404);
        client
            .delete(&format!("{PODS}/owned"), &json!({}))
            .await
            .expect(200);
    }
    // Nobody waits for a collector that would find nothing.
    client.post(jobs, &job).await.expect(201);
    let gone = client.delete(&path, &json!({})).await;
    assert!(
        gone.warnings()[0].contains("child pods are preserved by default when jobs are deleted"),
        "{gone:?}"
    );
    assert_eq!(gone.expect(200)["kind"], "Status");
    client.post(jobs, &job).await.expect(201);
    let gone = client
        .delete(&path, &json!({"propagationPolicy": "Background"}))
        .await;
    assert!(gone.warnings().is_empty());
    gone.expect(200);
}
