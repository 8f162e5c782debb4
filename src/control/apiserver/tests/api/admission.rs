//! What the world adds to an object, and what it refuses.

use crate::support::{Client, PODS, admin, app, config_map, pod};
use serde_json::{Value, json};

const SPACES: &str = "/api/v1/namespaces";

async fn client() -> Client {
    Client::new(&app().await, admin())
}

async fn namespace(client: &Client, name: &str, labels: &Value) -> String {
    let space = json!({"metadata": {"name": name, "labels": labels}});
    client.post(SPACES, &space).await.expect(201);
    let account = json!({"metadata": {"name": "default"}});
    let accounts = format!("{SPACES}/{name}/serviceaccounts");
    client.post(&accounts, &account).await.expect(201);
    format!("{SPACES}/{name}/pods")
}

#[tokio::test]
async fn a_pod_gets_its_account_token_priority_and_tolerations() {
    let client = client().await;
    let made = client.post(PODS, &pod("a")).await.expect(201);
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["priority"], 0);
    let volume = &made["spec"]["volumes"][0];
    let name = volume["name"].as_str().expect("name");
    assert!(name.starts_with("kube-api-access-"), "{name}");
    let sources = volume["projected"]["sources"].as_array().expect("sources");
    assert_eq!(sources[0]["serviceAccountToken"]["path"], "token");
    assert_eq!(sources[1]["configMap"]["name"], "kube-root-ca.crt");
    let mount = &made["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(
        mount["mountPath"],
        "/var/run/secrets/kubernetes.io/serviceaccount"
    );
    let tolerations = made["spec"]["tolerations"].as_array().expect("tolerations");
    assert_eq!(tolerations.len(), 2);

    let mut other = pod("b");
    other["spec"]["serviceAccountName"] = json!("captain");
    let why = client.post(PODS, &other).await.refused(403);
    assert_eq!(
        why,
        "pods \"b\" is forbidden: error looking up service account default/captain: serviceaccount \"captain\" not found"
    );
    let mut important = pod("c");
    important["spec"]["priorityClassName"] = json!("system-node-critical");
    let made = client.post(PODS, &important).await.expect(201);
    assert_eq!(made["spec"]["priority"], 2_000_001_000);
    important["spec"]["priorityClassName"] = json!("nope");
    let why = client.post(PODS, &important).await.refused(403);
    assert_eq!(
        why,
        "pods \"c\" is forbidden: no PriorityClass with name nope was found"
    );
}

#[tokio::test]
async fn a_limit_range_fills_in_and_refuses() {
    let client = client().await;
    let limits = json!({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container",
        "max": {"cpu": "500m"}, "default": {"cpu": "300m"}, "defaultRequest": {"cpu": "100m"}}]}});
    let ranges = "/api/v1/namespaces/default/limitranges";
    client.post(ranges, &limits).await.expect(201);
    let made = client.post(PODS, &pod("a")).await.expect(201);
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "300m"}, "requests": {"cpu": "100m"}})
    );
    let mut big = pod("b");
    big["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
    let why = client.post(PODS, &big).await.refused(403);
    assert!(
        why.contains("maximum cpu usage per Container is 500m, but limit is 1"),
        "{why}"
    );
    assert!(client.get(&format!("{PODS}/b")).await.code == 404);
}

/// Waits until a quota says that so much of one name is used.
async fn used(client: &Client, quota: &str, name: &str, wanted: &str) {
    let path = "/api/v1/namespaces/default/resourcequotas";
    let listed = client.get(path).await.expect(200);
    let version = listed["metadata"]["resourceVersion"].as_str().expect("rv");
    let is = |object: &Value| {
        object["metadata"]["name"] == quota && object["status"]["used"][name] == wanted
    };
    if listed["items"].as_array().expect("items").iter().any(is) {
        return;
    }
    let mut events = client
        .watch(&format!("{path}?watch=true&resourceVersion={version}"))
        .await;
    while let Some(event) = events.next().await {
        if is(&event["object"]) {
            return;
        }
    }
    panic!("the watch ended");
}

#[tokio::test]
async fn fifty_at_once_get_what_the_quota_has_room_for() {
    let client = client().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "10", "pods": "1", "requests.cpu": "1"}}});
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    client.post(quotas, &quota).await.expect(201);
    let maps = "/api/v1/namespaces/default/configmaps";
    let asked = (0..50).map(|n| {
        let client = client.clone();
        async move { client.post(maps, &config_map(&format!("m{n}"), "x")).await }
    });
    let answers = futures::future::join_all(asked).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    assert_eq!(made, 10);
    let refused = answers.into_iter().find(|answer| answer.code != 201);
    let why = refused.expect("one").refused(403);
    let words =
        "exceeded quota: q, requested: configmaps=1, used: configmaps=10, limited: configmaps=10";
    assert!(why.ends_with(words), "{why}");
    used(&client, "q", "configmaps", "10").await;

    let listed = client.get(maps).await.expect(200);
    let one = listed["items"][0]["metadata"]["name"]
        .as_str()
        .expect("name");
    client
        .delete(&format!("{maps}/{one}"), &json!({}))
        .await
        .expect(200);
    used(&client, "q", "configmaps", "9").await;
    client
        .post(maps, &config_map("late", "x"))
        .await
        .expect(201);

    let why = client.post(PODS, &pod("a")).await.refused(403);
    assert!(
        why.ends_with("failed quota: q: must specify requests.cpu for: c"),
        "{why}"
    );
    let mut modest = pod("a");
    modest["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "250m"}});
    client.post(PODS, &modest).await.expect(201);
    used(&client, "q", "requests.cpu", "250m").await;
}

#[tokio::test]
async fn pod_security_labels_refuse_and_warn() {
    let client = client().await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
    let pods = namespace(&client, "strict", &labels).await;
    let mut host = pod("a");
    host["spec"]["hostNetwork"] = json!(true);
    let why = client.post(&pods, &host).await.refused(403);
    assert_eq!(
        why,
        "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    let answer = client.post(&pods, &pod("b")).await;
    let warnings = answer.warnings().join("\n");
    assert!(
        warnings.contains(
            "would violate PodSecurity \\\"restricted:latest\\\": allowPrivilegeEscalation != false"
        ),
        "{warnings}"
    );
    answer.expect(201);
}
