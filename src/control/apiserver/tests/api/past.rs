//! Manifests of the past, unmodified, with the real kubectl in every version found: they
//! run as their authors meant them, and what they have become is said.

use crate::program::{Kubectl, has, kubectls};
use crate::support::{Client, admin, app};
use crate::tls::Served;
use cadet_apiserver::App;
use serde_json::{Value, json};

const TELESCOPE: &str = include_str!("past/telescope-pod.json");
const HELLO_HAPI: &str = include_str!("past/hello-hapi-kube.yml");
const YEARS: &str = include_str!("past/years.yaml");

async fn served() -> (App, Served, Value) {
    let app = app().await;
    let served = Served::start(app.clone()).await;
    let kubeconfig = served.kubeconfig(&served.identity("cadet-admin", "system:masters"));
    (app, served, kubeconfig)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_of_the_seeds_in_every_version() {
    let (_app, served, kubeconfig) = served().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &kubeconfig);
        kubectl.text("telescope-pod.json", TELESCOPE);
        kubectl.text("hello-hapi-kube.yml", HELLO_HAPI);
        has(
            &kubectl.run("create -f telescope-pod.json").await,
            &["pod/telescope-pod created", "write apiVersion: v1"],
        );
        has(
            &kubectl.run("get pod").await,
            &["telescope-pod", "0/2", "Pending"],
        );
        has(
            &kubectl.run("delete -f telescope-pod.json").await,
            &["pod \"telescope-pod\" deleted"],
        );

        let said = kubectl.run("apply -f ./hello-hapi-kube.yml").await;
        has(
            &said,
            &[
                "extensions/v1beta1 Deployment is deprecated since Kubernetes 1.9 and gone since 1.16 (2019): write apiVersion: apps/v1",
                "spec.selector must be written today; the labels of the template were taken",
                "/hello-hapi created",
                "service/hello-hapi created",
            ],
        );
        has(
            &kubectl.run("apply -f ./hello-hapi-kube.yml").await,
            &["/hello-hapi unchanged", "service/hello-hapi unchanged"],
        );
        has(
            &kubectl.run("get services -o wide").await,
            &["SELECTOR", "hello-hapi", "NodePort", "app=hello-hapi"],
        );
        has(
            &kubectl.run("get deployments -l tier=backend").await,
            &["READY", "hello-hapi", "0/3"],
        );
        has(
            &kubectl
                .run("scale --replicas=4 deployment/hello-hapi")
                .await,
            &["deployment.apps/hello-hapi scaled"],
        );
        has(
            &kubectl
                .fail("scale --replicas=5 --current-replicas=3 deployment/hello-hapi")
                .await,
            &["Expected replicas to be 3, was 4"],
        );
        has(
            &kubectl
                .run("scale --replicas=5 --current-replicas=4 deployment/hello-hapi")
                .await,
            &["scaled"],
        );
        kubectl.text(
            "hello-hapi-kube.yml",
            &HELLO_HAPI.replace("hello-hapi:0.0.1", "hello-hapi:0.0.2"),
        );
        has(
            &kubectl.run("apply -f ./hello-hapi-kube.yml").await,
            &["/hello-hapi configured", "service/hello-hapi unchanged"],
        );
        let image = "get deployment hello-hapi -o jsonpath={.spec.replicas}-{.spec.template.spec.containers[0].image}";
        has(&kubectl.run(image).await, &["3-rockyj/hello-hapi:0.0.2"]);
        has(
            &kubectl.run("delete -f ./hello-hapi-kube.yml").await,
            &["\"hello-hapi\" deleted"],
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_old_form_in_every_version() {
    let (app, served, kubeconfig) = served().await;
    let client = Client::new(&app, admin());
    let objects: Vec<&str> = YEARS.split("\n---\n").collect();
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &kubeconfig);
        kubectl.text("years.yaml", YEARS);
        let said = kubectl.run("apply -f years.yaml").await;
        assert_eq!(said.matches(" created").count(), objects.len(), "{said}");
        for object in &objects {
            let line = |key: &str| {
                let value = object.lines().find_map(|l| l.strip_prefix(key));
                value.expect("a line").trim().to_owned()
            };
            let warning = format!(
                "{} {} is deprecated since",
                line("apiVersion:"),
                line("kind:")
            );
            has(&said, &[&warning]);
        }
        has(
            &said,
            &[
                "spec.host is called spec.nodeName today",
                "spec.portalIP is called spec.clusterIP today",
                "spec.port is called spec.ports[0].port today",
                "backend.serviceName is called backend.service.name today",
                "spec.rollbackTo is called the annotation deprecated.deployment.rollback.to today",
            ],
        );
        // Again nothing changes, though kubectl sends lists that it cannot merge.
        let versions = versions(&client).await;
        let again = kubectl.run("apply -f years.yaml").await;
        assert!(!again.contains(" created"), "{again}");
        assert_eq!(self::versions(&client).await, versions, "{again}");
        today(&client).await;
        // Reading by the old names gives the old form back.
        let old = kubectl.run("get -f years.yaml -o yaml").await;
        has(
            &old,
            &[
                "apiVersion: v1beta3",
                "portalIP: 10.96.0.53",
                "host: node-1",
                "rollbackTo:",
                "templateGeneration: 3",
                "serviceName: fallback",
                "apiVersion: autoscaling/v2beta2",
            ],
        );
        let table = kubectl.run("get -f years.yaml").await;
        has(&table, &["of-2016", "0/1", "zk-pdb", "cpu: <unknown>/50%"]);
        for scaled in ["deployments.v1beta1.extensions/of-2016", "rc/kube-dns"] {
            has(
                &kubectl.run(&format!("scale --replicas=2 {scaled}")).await,
                &["scaled"],
            );
        }
        let gone = kubectl.run("delete -f years.yaml --wait=false").await;
        assert_eq!(gone.matches(" deleted").count(), objects.len(), "{gone}");
    }
    served.stop().await;
}

async fn versions(client: &Client) -> Vec<String> {
    let mut found = vec![];
    for list in [
        "/api/v1/namespaces/default/services",
        "/api/v1/namespaces/default/replicationcontrollers",
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/daemonsets",
        "/apis/apps/v1/statefulsets",
        "/apis/networking.k8s.io/v1/ingresses",
    ] {
        let list = client.get(list).await.expect(200);
        let items = list["items"].as_array().expect("items").iter();
        found.extend(items.map(|o| {
            let metadata = &o["metadata"];
            format!("{} {}", metadata["name"], metadata["resourceVersion"])
        }));
    }
    found
}

/// What the old manifests are in today's form.
async fn today(client: &Client) {
    for (path, pointer, want) in [
        (
            "/api/v1/namespaces/default/services/kube-dns",
            "/spec/clusterIP",
            json!("10.96.0.53"),
        ),
        (
            "/api/v1/namespaces/default/services/kube-dns",
            "/spec/type",
            json!("LoadBalancer"),
        ),
        (
            "/api/v1/namespaces/default/services/kube-dns",
            "/spec/externalIPs/0",
            json!("203.0.113.7"),
        ),
        (
            "/api/v1/namespaces/default/services/first-port",
            "/spec/ports/0/targetPort",
            json!(3000),
        ),
        (
            "/api/v1/namespaces/default/replicationcontrollers/kube-dns",
            "/spec/template/spec/containers/0/securityContext/capabilities/add/0",
            json!("NET_ADMIN"),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments/of-2016",
            "/spec/strategy/rollingUpdate/maxSurge",
            json!(1),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments/of-2016",
            "/metadata/labels/app",
            json!("of-2016"),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments/of-2016",
            "/spec/progressDeadlineSeconds",
            json!(i32::MAX),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments/of-2017",
            "/spec/revisionHistoryLimit",
            json!(2),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments/of-2017",
            "/spec/strategy/rollingUpdate/maxSurge",
            json!("25%"),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments/of-2018",
            "/spec/revisionHistoryLimit",
            json!(10),
        ),
        (
            "/apis/apps/v1/namespaces/default/daemonsets/agent",
            "/spec/updateStrategy/type",
            json!("OnDelete"),
        ),
        (
            "/apis/apps/v1/namespaces/default/daemonsets/agent",
            "/metadata/annotations/deprecated.daemonset.template.generation",
            json!("3"),
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets/web",
            "/spec/updateStrategy/type",
            json!("OnDelete"),
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets/web",
            "/spec/selector/matchLabels/app",
            json!("nginx"),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses/old-door",
            "/spec/rules/0/http/paths/0/backend/service/port/name",
            json!("web"),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses/old-door",
            "/spec/rules/0/http/paths/0/pathType",
            json!("ImplementationSpecific"),
        ),
        (
            "/apis/batch/v1/namespaces/default/cronjobs/hello",
            "/spec/successfulJobsHistoryLimit",
            json!(3),
        ),
        (
            "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/php-apache",
            "/spec/targetCPUUtilizationPercentage",
            json!(50),
        ),
    ] {
        let object = client.get(path).await.expect(200);
        assert_eq!(object.pointer(pointer), Some(&want), "{path} {pointer}");
    }
}
