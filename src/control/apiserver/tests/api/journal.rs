//! The journal of requests: what outside clients did, in order, for administrators only.

use cadet_apiserver::User;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Client, PODS, admin, app, config_map, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const KUBECTL: (&str, &str) = ("user-agent", "kubectl/v1.33.0 (linux/amd64) kubernetes/abc");

/// `verb resource/subresource name code`, and whether something was written.
fn brief(entry: &Value) -> String {
    let text = |name: &str| entry[name].as_str().unwrap_or("?").to_owned();
    let part = match text("subresource").as_str() {
        "" => String::new(),
        part => format!("/{part}"),
    };
    let wrote = if entry["revision"] == 0 { "" } else { " wrote" };
    format!(
        "{} {}{part} {} {}{wrote}",
        text("verb"),
        text("resource"),
        text("name"),
        entry["code"]
    )
}

async fn read(client: &Client, query: &str) -> (String, Vec<Value>) {
    let path = format!("/debug/journal{query}");
    let journal = client.get(&path).await.expect(200);
    let items = journal["items"].as_array().expect("items").clone();
    (journal["now"].as_str().expect("now").to_owned(), items)
}

#[tokio::test]
async fn requests_of_outside_clients_are_told_in_order_with_what_they_wrote() {
    let app = app().await;
    let client = Client::new(&app, admin());
    let (before, items) = read(&client, "").await;
    assert_eq!(
        items,
        Vec::<Value>::new(),
        "the journal does not tell of itself"
    );

    let made = client
        .send(
            Method::POST,
            MAPS,
            &[KUBECTL],
            config_map("m", "1").to_string(),
        )
        .await
        .expect(201);
    client
        .post(MAPS, &json!({"metadata": {"generateName": "g-"}}))
        .await
        .expect(201);
    client.post(MAPS, &config_map("m", "1")).await.refused(409);
    client.get(&format!("{MAPS}/m")).await.expect(200);
    client.get(MAPS).await.expect(200);
    let dry = format!("{MAPS}/m?dryRun=All");
    client
        .patch(&dry, "merge", &json!({"data": {"key": "2"}}))
        .await
        .expect(200);
    client.get(&format!("{MAPS}/none")).await.refused(404);
    let watch = client.watch(&format!("{MAPS}?watch=1")).await;
    client
        .delete(&format!("{MAPS}/m"), &json!({}))
        .await
        .expect(200);
    client.delete(MAPS, &json!({})).await.expect(200);
    drop(watch);
    // What is no resource is not told.
    client.get("/version").await.expect(200);

    let (_, items) = read(&client, &format!("?since={before}")).await;
    let told: Vec<String> = items.iter().map(brief).collect();
    let generated = items[1]["name"].as_str().expect("name");
    assert!(generated.starts_with("g-"), "{generated}");
    let generated = format!("create configmaps {generated} 201 wrote");
    assert_eq!(
        told,
        [
            "create configmaps m 201 wrote",
            generated.as_str(),
            "create configmaps  409",
            "get configmaps m 200",
            "list configmaps  200",
            "patch configmaps m 200",
            "get configmaps none 404",
            "watch configmaps  200",
            "delete configmaps m 200 wrote",
            "deletecollection configmaps  200 wrote",
        ]
    );
    let first = &items[0];
    assert_eq!(first["user"], "cadet-admin");
    assert_eq!(first["agent"], KUBECTL.1);
    assert_eq!(
        [&first["group"], &first["version"], &first["namespace"]],
        ["", "v1", "default"]
    );
    let revision = made["metadata"]["resourceVersion"].as_str();
    assert_eq!(Some(first["revision"].to_string().as_str()), revision);
    let times: Vec<&str> = items.iter().filter_map(|e| e["time"].as_str()).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    // 2026-01-02T03:04:05.000123Z
    assert!(
        times.iter().all(|t| t.len() == 27 && t.ends_with('Z')),
        "{times:?}"
    );
    assert!(before.as_str() < times[0] && before.len() == 27);
}

#[tokio::test]
async fn a_watch_of_the_journal_brings_each_request_as_it_happens_and_resumes() {
    let app = app().await;
    let client = Client::new(&app, admin());
    client.get(MAPS).await.expect(200);
    let (now, _) = read(&client, "").await;
    let mut live = client.watch("/debug/journal?watch=1").await;
    client.post(MAPS, &config_map("m", "1")).await.expect(201);
    let first = live.next().await.expect("an entry");
    assert_eq!(brief(&first), "create configmaps m 201 wrote");
    client.get(&format!("{MAPS}/m")).await.expect(200);
    let second = live.next().await.expect("an entry");
    assert_eq!(brief(&second), "get configmaps m 200");
    // From a moment on: what came since, then what comes.
    let since = |time: &str| format!("/debug/journal?watch=1&since={time}");
    let mut all = client.watch(&since(&now)).await;
    let mut rest = client
        .watch(&since(first["time"].as_str().expect("time")))
        .await;
    assert_eq!(all.next().await.as_ref(), Some(&first));
    assert_eq!(all.next().await.as_ref(), Some(&second));
    assert_eq!(rest.next().await.as_ref(), Some(&second));
    client
        .delete(&format!("{MAPS}/m"), &json!({}))
        .await
        .expect(200);
    for events in [&mut live, &mut all, &mut rest] {
        let entry = events.next().await.expect("an entry");
        assert_eq!(brief(&entry), "delete configmaps m 200 wrote");
    }
    app.stop();
    assert_eq!(live.next().await, None, "it ends with the server");
}

#[tokio::test]
async fn the_clusters_own_parts_are_left_out() {
    let app = app().await;
    let client = Client::new(&app, admin());
    client.post(PODS, &pod("x")).await.expect(201);
    let (now, _) = read(&client, "").await;
    for own in ["system:kube-scheduler", "system:kube-controller-manager"] {
        let own = Client::new(&app, User::new(own, &["system:authenticated"]));
        own.get(PODS).await.expect(200);
        let path = format!("{PODS}/x");
        let labels = json!({"metadata": {"labels": {"by": "own"}}});
        own.patch(&path, "merge", &labels).await.expect(200);
    }
    let (_, items) = read(&client, &format!("?since={now}")).await;
    assert_eq!(items, Vec::<Value>::new());
}

#[tokio::test]
async fn only_who_may_reads_the_journal() {
    let app = app().await;
    let client = Client::new(&app, admin());
    let lee = Client::new(&app, User::new("lee", &["system:authenticated"]));
    lee.get("/debug/journal").await.refused(403);
    let rules = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "reader"},
        "rules": [{"nonResourceURLs": ["/debug/journal"], "verbs": ["get"]}]});
    client
        .post(&format!("{rules}/clusterroles"), &role)
        .await
        .expect(201);
    let binding = json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "lee"}]});
    client
        .post(&format!("{rules}/clusterrolebindings"), &binding)
        .await
        .expect(201);
    lee.get("/debug/journal").await.expect(200);
    let why = lee.get("/debug/journal?since=now").await.refused(400);
    assert!(why.contains("\"now\" is no time"), "{why}");
    lee.post("/debug/journal", &json!({})).await.refused(403);
}
