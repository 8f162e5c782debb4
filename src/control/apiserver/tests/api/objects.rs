//! Objects through their lives: create, read, change, delete, in upstream's words.

use crate::support::{Client, PODS, admin, app, bind, config_map, pod};
use http::Method;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn client() -> Client {
    Client::new(&app().await, admin())
}

#[tokio::test]
async fn a_pod_is_born_with_what_the_server_decides() {
    let client = client().await;
    let mut sent = pod("web");
    sent["metadata"]["uid"] = json!("mine");
    sent["status"] = json!({"phase": "Running"});
    let born = client.post(PODS, &sent).await.expect(201);
    assert_eq!(born["metadata"]["namespace"], "default");
    assert_ne!(born["metadata"]["uid"], "mine");
    assert_eq!(born["metadata"]["generation"], 1);
    assert!(born["metadata"]["resourceVersion"].is_string());
    assert!(born["metadata"]["creationTimestamp"].is_string());
    assert_eq!(born["status"]["phase"], "Pending");
    assert_eq!(born["spec"]["restartPolicy"], "Always");
    assert_eq!(born["spec"]["serviceAccountName"], "default");
    assert_eq!(client.get(&format!("{PODS}/web")).await.expect(200), born);
    let message = client.post(PODS, &sent).await.refused(409);
    assert_eq!(message, "pods \"web\" already exists");
    let message = client.get(&format!("{PODS}/none")).await.refused(404);
    assert_eq!(message, "pods \"none\" not found");
}

#[tokio::test]
async fn wrong_bodies_are_told_apart() {
    let client = client().await;
    let mut elsewhere = pod("a");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    assert!(
        client
            .post(PODS, &elsewhere)
            .await
            .refused(400)
            .contains("does not match")
    );
    assert!(
        client
            .post(PODS, &config_map("a", ""))
            .await
            .refused(400)
            .contains("cannot be handled as a Pod")
    );
    let mut nameless = pod("a");
    nameless["metadata"] = json!({});
    assert!(
        client
            .post(PODS, &nameless)
            .await
            .refused(422)
            .contains("name or generateName is required")
    );
    let mut empty = pod("a");
    empty["spec"]["containers"] = json!([]);
    assert!(
        client
            .post(PODS, &empty)
            .await
            .refused(422)
            .contains("spec.containers: Required value")
    );
    let missing = "/api/v1/namespaces/nowhere/pods";
    assert_eq!(
        client.post(missing, &pod("a")).await.refused(404),
        "namespaces \"nowhere\" not found"
    );
    assert_eq!(client.send(Method::POST, PODS, &[], "{").await.code, 400);
    let typed = [("content-type", "text/plain")];
    assert_eq!(
        client.send(Method::POST, PODS, &typed, "{}").await.code,
        415
    );
    let long = vec![b' '; 3 * 1024 * 1024 + 1];
    assert_eq!(client.send(Method::POST, PODS, &[], long).await.code, 413);
    assert_eq!(client.post("/api/v1/pods", &pod("a")).await.code, 405);
}

#[tokio::test]
async fn unknown_fields_are_an_error_a_warning_or_nothing() {
    let client = client().await;
    let mut sent = pod("a");
    sent["spec"]["colour"] = json!("red");
    let dry = format!("{PODS}?dryRun=All");
    let strict = client
        .post(&format!("{dry}&fieldValidation=Strict"), &sent)
        .await;
    assert!(
        strict
            .refused(400)
            .contains("strict decoding error: unknown field \"spec.colour\"")
    );
    let warned = client.post(&dry, &sent).await;
    assert_eq!(
        warned.warnings(),
        ["299 - \"unknown field \\\"spec.colour\\\"\""]
    );
    let ignored = client
        .post(&format!("{dry}&fieldValidation=Ignore"), &sent)
        .await;
    assert!(ignored.warnings().is_empty());
    assert_eq!(ignored.code, 201);
    assert_eq!(
        client.get(&format!("{PODS}/a")).await.code,
        404,
        "a dry run leaves nothing"
    );
}

#[tokio::test]
async fn generated_names_differ() {
    let client = client().await;
    let mut sent = config_map("", "1");
    sent["metadata"] = json!({"generateName": "box-"});
    let first = client.post(MAPS, &sent).await.expect(201);
    let second = client.post(MAPS, &sent).await.expect(201);
    let name = first["metadata"]["name"].as_str().expect("name");
    assert!(name.starts_with("box-") && name.len() == 9, "{name}");
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
}

#[tokio::test]
async fn the_old_pod_of_the_first_lesson_is_understood() {
    let client = client().await;
    let old = json!({
        "kind": "Pod",
        "apiVersion": "v1beta3",
        "metadata": {"name": "telescope-pod", "labels": {"name": "telescope"}},
        "spec": {"containers": [
            {"name": "mongo", "image": "mongo", "command": ["mongod", "--smallfiles"],
             "ports": [{"name": "mongo", "containerPort": 27017}]},
            {"name": "telescope", "image": "meteorhacks/telescope",
             "ports": [{"name": "web", "containerPort": 80}],
             "env": [{"name": "MONGO_URL", "value": "mongodb://localhost:27017/app"}]}]},
    });
    let path = "/api/v1beta3/namespaces/default/pods";
    let answer = client
        .post(&format!("{path}?fieldValidation=Strict"), &old)
        .await;
    assert!(
        answer
            .warnings()
            .iter()
            .any(|w| w.contains("apiVersion: v1")),
        "{answer:?}"
    );
    assert_eq!(answer.expect(201)["apiVersion"], "v1beta3");
    let today = client
        .get(&format!("{PODS}/telescope-pod"))
        .await
        .expect(200);
    assert_eq!(today["apiVersion"], "v1");
    assert_eq!(today["spec"]["containers"][1]["name"], "telescope");
    let listed = client.get(path).await.expect(200);
    assert_eq!(listed["apiVersion"], "v1beta3");
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    client
        .delete(&format!("{path}/telescope-pod"), &json!({}))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_stale_writer_is_refused_and_a_patch_without_version_never() {
    let client = client().await;
    let path = format!("{MAPS}/m");
    let born = client.post(MAPS, &config_map("m", "1")).await.expect(201);
    let mut mine = born.clone();
    mine["data"]["key"] = json!("2");
    let mine = client.put(&path, &mine).await.expect(200);
    assert_eq!(mine["data"]["key"], "2");
    let stale = client.put(&path, &born).await;
    assert!(stale.refused(409).contains("the object has been modified"));
    let mut unconditional = config_map("m", "3");
    unconditional["metadata"]["namespace"] = json!("default");
    client.put(&path, &unconditional).await.expect(200);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (client, path) = (client.clone(), path.clone());
            tokio::spawn(async move {
                let patch = json!({"data": {format!("k{n}"): "x"}});
                client.patch(&path, "merge", &patch).await.expect(200);
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("task");
    }
    let all = client.get(&path).await.expect(200);
    assert_eq!(
        all["data"].as_object().map(|d| d.len()),
        Some(21),
        "no patch was lost"
    );
    let conditional = json!({"metadata": {"resourceVersion": "1"}, "data": {"key": "9"}});
    client
        .patch(&path, "merge", &conditional)
        .await
        .refused(409);
    let mut other = born.clone();
    other["metadata"]["resourceVersion"] = Value::Null;
    other["metadata"]["uid"] = json!("another");
    let said = client.put(&path, &other).await.refused(409);
    assert!(
        said.contains(
            "StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/m, \
             ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             UID in precondition: another, UID in object meta: "
        ),
        "{said}"
    );
}

/// As Helm does with the Secrets that hold its releases.
#[tokio::test]
async fn a_writer_need_not_say_which_namespace_it_writes_in() {
    let client = client().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    client.post(maps, &config_map("m", "1")).await.expect(201);
    let path = format!("{maps}/m");
    let written = client.put(&path, &config_map("m", "2")).await.expect(200);
    assert_eq!(written["metadata"]["namespace"], "default");
    assert_eq!(written["data"]["key"], "2");
    let mut elsewhere = config_map("m", "3");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    let said = client.put(&path, &elsewhere).await.refused(400);
    assert!(said.contains("does not match"), "{said}");
    let node = json!({"metadata": {"name": "n", "namespace": "default"}});
    client.post("/api/v1/nodes", &node).await.expect(201);
    let written = client.put("/api/v1/nodes/n", &node).await.expect(200);
    assert_eq!(written["metadata"].get("namespace"), None);
}

#[tokio::test]
async fn writing_what_is_there_already_changes_no_version() {
    let client = client().await;
    let path = format!("{MAPS}/m");
    let born = client.post(MAPS, &config_map("m", "1")).await.expect(201);
    assert_eq!(client.put(&path, &born).await.expect(200), born);
    let patch = json!({"data": {"key": "1"}});
    assert_eq!(
        client
            .patch(&path, "strategic-merge", &patch)
            .await
            .expect(200),
        born
    );
}

#[tokio::test]
async fn patches_come_in_three_kinds_and_no_others() {
    let client = client().await;
    let path = format!("{PODS}/web");
    client.post(PODS, &pod("web")).await.expect(201);
    let strategic = json!({"spec": {"containers": [{"name": "c", "image": "nginx:1.28"}]}});
    let changed = client
        .patch(&path, "strategic-merge", &strategic)
        .await
        .expect(200);
    assert_eq!(changed["spec"]["containers"][0]["image"], "nginx:1.28");
    assert_eq!(changed["metadata"]["generation"], 2);
    let operations = json!([{"op": "add", "path": "/metadata/labels/tier", "value": "front"}]);
    let changed = client.patch(&path, "json", &operations).await.expect(200);
    assert_eq!(changed["metadata"]["labels"]["tier"], "front");
    let merge = json!({"metadata": {"labels": {"tier": null}}});
    let changed = client.patch(&path, "merge", &merge).await.expect(200);
    assert_eq!(changed["metadata"]["labels"].get("tier"), None);
    let plain = [("content-type", "application/json")];
    assert_eq!(
        client.send(Method::PATCH, &path, &plain, "{}").await.code,
        415
    );
    let renamed = json!({"metadata": {"name": "other"}});
    assert_eq!(client.patch(&path, "merge", &renamed).await.code, 400);
    let forbidden = json!({"spec": {"nodeName": "n9"}});
    let message = client.patch(&path, "merge", &forbidden).await.refused(422);
    assert!(
        message.contains("pod updates may not change fields other than"),
        "{message}"
    );
    assert_eq!(
        client
            .patch(&format!("{PODS}/none"), "merge", &merge)
            .await
            .code,
        404
    );
    let impossible = json!([{"op": "test", "path": "/metadata/name", "value": "x"}]);
    assert_eq!(client.patch(&path, "json", &impossible).await.code, 422);
}

#[tokio::test]
async fn status_is_its_own_part() {
    let client = client().await;
    client.post(PODS, &pod("web")).await.expect(201);
    let path = format!("{PODS}/web");
    let both = json!({"spec": {"nodeName": "n9"}, "status": {"phase": "Running"}});
    let changed = client
        .patch(&format!("{path}/status"), "merge", &both)
        .await
        .expect(200);
    assert_eq!(changed["status"]["phase"], "Running");
    assert_eq!(changed["spec"].get("nodeName"), None);
    let changed = client
        .patch(
            &path,
            "merge",
            &json!({"status": {"phase": "Failed"}, "metadata": {"labels": {"a": "b"}}}),
        )
        .await
        .expect(200);
    assert_eq!(changed["status"]["phase"], "Running");
    assert_eq!(
        client.get(&format!("{path}/status")).await.expect(200),
        changed
    );
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let client = client().await;
    client.post(PODS, &pod("web")).await.expect(201);
    assert_eq!(
        bind(&client, "web", "n1").await.expect(201)["status"],
        "Success"
    );
    let pod = client.get(&format!("{PODS}/web")).await.expect(200);
    assert_eq!(pod["spec"]["nodeName"], "n1");
    let message = bind(&client, "web", "n2").await.refused(409);
    assert!(
        message.contains("already assigned to node \"n1\""),
        "{message}"
    );
    assert_eq!(bind(&client, "none", "n1").await.code, 404);
}

#[tokio::test]
async fn what_is_not_served_is_said_at_once() {
    let client = client().await;
    client.post(PODS, &pod("web")).await.expect(201);
    assert_eq!(client.get(&format!("{PODS}/web/colour")).await.code, 404);
    assert_eq!(client.get("/apis/example.com/v1/things").await.code, 404);
    assert_eq!(client.get("/nothing/here").await.code, 404);
    assert_eq!(
        client.get(&format!("{PODS}/web/log")).await.text,
        "",
        "not scheduled, no log"
    );
    bind(&client, "web", "n1").await.expect(201);
    assert_eq!(
        client.get(&format!("{PODS}/web/log")).await.code,
        404,
        "no such node"
    );
    let answer = client.get(&format!("{PODS}/web/log?container=x")).await;
    assert_eq!(answer.refused(400), "container x is not valid for pod web");
}
