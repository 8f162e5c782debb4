//! Server-side apply as clients meet it: what is refused, and how kubectl moves over to it.

use http::Method;
use serde_json::{Value, json};

use crate::program::{Kubectl, has, kubectls};
use crate::support::{Answer, Client, admin, app};
use crate::tls::Served;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn apply(client: &Client, path: &str, query: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{path}?fieldManager={query}");
    let body = body.to_string();
    client.send(Method::PATCH, &path, &headers, body).await
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let entries = entries.into_iter().flatten();
    entries
        .map(|e| {
            let text = |key: &str| e[key].as_str().unwrap_or_default();
            format!("{} {}", text("manager"), text("operation"))
        })
        .collect()
}

#[tokio::test]
async fn what_does_not_fit_is_refused_in_upstreams_words() {
    let client = Client::new(&app().await, admin());
    let path = format!("{MAPS}/m");
    let mut odd = map(json!({"a": "1"}));
    odd["foo"] = json!(1);
    let status = apply(&client, &path, "me", &odd).await.expect(500);
    assert_eq!(
        status["message"],
        "failed to create typed patch object (default/m; /v1, Kind=ConfigMap): .foo: field not declared in schema"
    );
    let mut owned = map(json!({}));
    owned["metadata"]["managedFields"] = json!([]);
    let why = apply(&client, &path, "me", &owned).await.refused(400);
    assert_eq!(why, "metadata.managedFields must be nil");
    let unnamed = client
        .send(
            Method::PATCH,
            &path,
            &[("content-type", "application/apply-patch+yaml")],
            odd.to_string(),
        )
        .await
        .refused(422);
    assert!(unnamed.contains("fieldManager: Required value: is required for apply patch"));
}

#[tokio::test]
async fn a_record_can_be_cleared_and_begun_anew() {
    let client = Client::new(&app().await, admin());
    let path = format!("{MAPS}/m");
    apply(&client, &path, "me", &map(json!({"a": "1"})))
        .await
        .expect(201);
    let empty = json!([{"op": "replace", "path": "/metadata/managedFields", "value": []}]);
    let kept = client.patch(&path, "json", &empty).await.expect(200);
    assert_eq!(managers(&kept), ["me Apply"], "an empty list means nothing");
    let clear = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let cleared = client.patch(&path, "json", &clear).await.expect(200);
    assert_eq!(managers(&cleared), Vec::<String>::new());
    let change = json!({"data": {"b": "2"}});
    let changed = client.patch(&path, "merge", &change).await.expect(200);
    assert_eq!(managers(&changed), Vec::<String>::new());
    let other = map(json!({"a": "2"}));
    let why = apply(&client, &path, "me", &other).await.refused(409);
    assert_eq!(
        why,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
    let forced = apply(&client, &path, "me&force=true", &other)
        .await
        .expect(200);
    assert_eq!(managers(&forced), ["me Apply", "before-first-apply Update"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_moves_over_to_server_side_apply() {
    let app = app().await;
    let served = Served::start(app.clone()).await;
    let kubeconfig = served.kubeconfig(&served.identity("cadet-admin", "system:masters"));
    let client = Client::new(&app, admin());
    for (n, program) in kubectls().iter().enumerate() {
        let kubectl = Kubectl::new(program, &kubeconfig);
        let name = format!("m{n}");
        let mut manifest = map(json!({"a": "1", "gone": "x"}));
        manifest["metadata"]["name"] = json!(name);
        kubectl.file("m.json", &manifest);
        kubectl.run("apply -f m.json").await;
        manifest["data"] = json!({"a": "2"});
        kubectl.file("m.json", &manifest);
        let said = kubectl.run("apply --server-side -f m.json").await;
        has(&said, &["serverside-applied"]);
        let now = client.get(&format!("{MAPS}/{name}")).await.expect(200);
        assert_eq!(now["data"], json!({"a": "2"}), "{}", program.display());
        let owners = managers(&now);
        let has_own = owners.contains(&"kubectl Apply".to_owned());
        // Newer kubectls keep the annotation for older ones, by a manager of its own.
        let moved = !owners
            .iter()
            .any(|m| m.starts_with("kubectl-client-side-apply"));
        assert!(has_own && moved, "{}: {owners:?}", program.display());
        let told =
            &now["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
        assert!(
            told.as_str().is_some_and(|t| t.contains("\"a\":\"2\"")),
            "{told}"
        );
    }
    served.stop().await;
}
