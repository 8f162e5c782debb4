//! What a cluster has from the start, and the addresses it gives out.

use crate::support::{Client, admin, app};
use serde_json::{Value, json};

async fn client() -> Client {
    Client::new(&app().await, admin())
}

#[tokio::test]
async fn a_new_cluster_has_its_first_objects() {
    let client = client().await;
    let list = client.get("/api/v1/namespaces").await.expect(200);
    let names: Vec<_> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|n| {
            (
                n["metadata"]["name"].as_str().expect("name"),
                n["status"]["phase"].clone(),
            )
        })
        .collect();
    let active = |name| (name, json!("Active"));
    assert_eq!(
        names,
        [
            active("default"),
            active("kube-node-lease"),
            active("kube-public"),
            active("kube-system")
        ]
    );
    let service = client
        .get("/api/v1/namespaces/default/services/kubernetes")
        .await
        .expect(200);
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 6443);
    let endpoints = client
        .get("/api/v1/namespaces/default/endpoints/kubernetes")
        .await
        .expect(200);
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "10.0.2.15");
    let slice = client
        .get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
        .await
        .expect(200);
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.0.2.15"]));
    assert_eq!(slice["ports"][0]["port"], 6443);
}

#[tokio::test]
async fn services_get_addresses_of_their_own() {
    let client = client().await;
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    let ports = json!([{"port": 80}]);
    let mut seen = std::collections::HashSet::new();
    for n in 0..20 {
        let sent = service(&format!("s{n}"), json!({"ports": ports}));
        let born = client.post(services, &sent).await.expect(201);
        let ip = born["spec"]["clusterIP"]
            .as_str()
            .expect("address")
            .to_owned();
        assert_eq!(born["spec"]["clusterIPs"], json!([ip]));
        assert!(seen.insert(ip));
    }
    let taken = seen.iter().next().expect("one").clone();
    let sent = service("again", json!({"ports": ports, "clusterIP": taken}));
    assert!(
        client
            .post(services, &sent)
            .await
            .refused(422)
            .contains("already allocated")
    );
    let sent = service(
        "outside",
        json!({"ports": ports, "clusterIP": "192.168.0.1"}),
    );
    assert_eq!(client.post(services, &sent).await.code, 422);
    let sent = service("fixed", json!({"ports": ports, "clusterIP": "10.96.0.10"}));
    client.post(services, &sent).await.expect(201);
    client
        .delete(&format!("{services}/fixed"), &json!({}))
        .await
        .expect(200);
    client.post(services, &sent).await.expect(201);
    let headless = service("headless", json!({"ports": ports, "clusterIP": "None"}));
    let born = client.post(services, &headless).await.expect(201);
    assert_eq!(born["spec"]["clusterIP"], "None");
    let external = service(
        "ext",
        json!({"type": "ExternalName", "externalName": "example.com"}),
    );
    let born = client.post(services, &external).await.expect(201);
    assert_eq!(born["spec"].get("clusterIP"), None);
    let patch = json!({"spec": {"type": "ClusterIP", "externalName": null, "ports": ports}});
    let changed = client
        .patch(&format!("{services}/ext"), "merge", &patch)
        .await
        .expect(200);
    assert!(
        changed["spec"]["clusterIP"]
            .as_str()
            .is_some_and(|ip| ip.starts_with("10."))
    );
}

/// A disk that takes no more once it is told to be full.
struct Failing(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl cadet_store::Disk for Failing {
    fn load(&mut self) -> Result<cadet_store::Stored, cadet_store::OpenError> {
        Ok(cadet_store::Stored::default())
    }

    fn append(&mut self, _: u64, _: &[cadet_store::Record]) -> Result<(), String> {
        match self.0.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err("no space left on device".to_owned()),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_full_disk_fails_writes_and_readiness_but_not_reads() {
    let full = std::sync::Arc::default();
    let disk = Failing(std::sync::Arc::clone(&full));
    let store = cadet_store::LocalStore::open(disk, cadet_store::Options::default());
    let app = crate::support::app_on(std::sync::Arc::new(store.expect("store"))).await;
    let client = Client::new(&app, admin());
    assert_eq!(client.get("/readyz").await.text, "ok");
    full.store(true, std::sync::atomic::Ordering::SeqCst);
    let maps = "/api/v1/namespaces/default/configmaps";
    let lost = client
        .post(maps, &crate::support::config_map("m", "1"))
        .await
        .refused(500);
    assert!(lost.contains("no space left on device"), "{lost}");
    assert_eq!(
        client.get(&format!("{maps}/m")).await.code,
        404,
        "what was lost is not shown"
    );
    let ready = client.get("/readyz").await;
    assert_eq!(ready.code, 500);
    assert!(
        ready.text.contains("[-]etcd failed: reason withheld\n"),
        "{}",
        ready.text
    );
    assert_eq!(client.get("/api/v1/namespaces").await.code, 200);
}

#[tokio::test]
async fn an_eviction_asks_the_disruption_budget() {
    let client = client().await;
    let path = |name: &str| format!("{}/{name}", crate::support::PODS);
    let eviction = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let evict = async |name: &str| {
        client
            .post(&format!("{}/eviction", path(name)), &eviction(name))
            .await
    };
    for name in ["waiting", "running"] {
        client
            .post(crate::support::PODS, &crate::support::pod(name))
            .await
            .expect(201);
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {}}});
    client.post(budgets, &budget).await.expect(201);
    let up = json!({"status": {"phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}]}});
    let status = format!("{}/status", path("running"));
    client.patch(&status, "merge", &up).await.expect(200);

    assert_eq!(evict("waiting").await.expect(201)["status"], "Success");
    assert_eq!(client.get(&path("waiting")).await.code, 404);
    assert!(evict("nobody").await.refused(404).contains("not found"));
    let answer = evict("running").await;
    assert_eq!(answer.headers["retry-after"], "10");
    let words = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert_eq!(answer.refused(429), words);

    let seen = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1}});
    let status = format!("{budgets}/b/status");
    client.patch(&status, "merge", &seen).await.expect(200);
    let rehearsal = format!("{}/eviction?dryRun=All", path("running"));
    client
        .post(&rehearsal, &eviction("running"))
        .await
        .expect(201);
    assert_eq!(client.get(&path("running")).await.code, 200);
    evict("running").await.expect(201);
    assert_eq!(client.get(&path("running")).await.code, 404);
    let left = client.get(&format!("{budgets}/b")).await.expect(200);
    assert_eq!(left["status"]["disruptionsAllowed"], 0);
    assert!(left["status"]["disruptedPods"]["running"].is_string());
}

#[tokio::test]
async fn node_ports_are_given_once_and_come_back() {
    let client = client().await;
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, port: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}})
    };
    let first = client.post(services, &service("a", json!(30080))).await;
    first.expect(201);
    let message = client.post(services, &service("b", json!(30080))).await;
    assert_eq!(
        message.refused(422),
        "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    );
    let born = client.post(services, &service("b", Value::Null)).await;
    let given = born.expect(201)["spec"]["ports"][0]["nodePort"].as_i64();
    assert!(given.is_some_and(|port| (30_000..=32_767).contains(&port)));
    let b = format!("{services}/b");
    let taken = json!({"spec": {"ports": [{"port": 80, "nodePort": 30080}]}});
    assert_eq!(client.patch(&b, "merge", &taken).await.code, 422);
    let inward = json!({"spec": {"type": "ClusterIP"}});
    let a = format!("{services}/a");
    let changed = client.patch(&a, "merge", &inward).await.expect(200);
    assert_eq!(changed["spec"]["ports"][0].get("nodePort"), None);
    client.patch(&b, "merge", &taken).await.expect(200);
    let outward = json!({"spec": {"type": "NodePort"}});
    let changed = client.patch(&a, "merge", &outward).await.expect(200);
    assert!(changed["spec"]["ports"][0]["nodePort"].is_i64());
}
