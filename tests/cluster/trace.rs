//! Stories: what becomes of a request in a whole cluster, told in order, and `cadet trace`
//! itself over TLS.

use std::process::{Command, Stdio};

use crate::cluster::Cluster;
use crate::cluster::tls::Served;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::Value;

const WEB: &str = "apiVersion: v1
kind: Service
metadata: {name: front}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: web}]}";

async fn story(cluster: &Cluster, kind: &str, name: &str) -> Value {
    let path = format!("/debug/story?kind={kind}&name={name}");
    let request = http::Request::get(path).body(Vec::new()).expect("request");
    cluster.client.request(request).await.expect("a story")
}

/// `who part act kind: text` of each line.
fn told(story: &Value) -> Vec<String> {
    let items = story["items"].as_array().expect("items");
    let line = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or("?").to_owned();
        let words = [text("who"), text("part"), text("act"), text("kind")];
        let words: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|w| !w.is_empty())
            .collect();
        format!("{}: {}", words.join(" "), text("text"))
    };
    items.iter().map(line).collect()
}

/// Each of `beginnings` begins a line, and those lines come in this order.
#[track_caller]
fn in_order(told: &[String], beginnings: &[&str]) {
    let mut from = 0;
    for beginning in beginnings {
        let found = told[from..]
            .iter()
            .position(|line| line.starts_with(beginning));
        let Some(found) = found else {
            panic!("no {beginning:?} after line {from} of {told:#?}");
        };
        from += found + 1;
    }
}

/// Times never go back and always have six digits.
#[track_caller]
fn times_are_in_order(story: &Value) {
    let items = story["items"].as_array().expect("items");
    let times: Vec<&str> = items
        .iter()
        .filter_map(|line| line["time"].as_str())
        .collect();
    assert_eq!(times.len(), items.len());
    assert!(times.is_sorted(), "{times:?}");
    assert!(
        times
            .iter()
            .all(|time| time.len() == 27 && time.ends_with('Z')),
        "{times:?}"
    );
}

async fn until_served(cluster: &Cluster, number: usize) {
    let ready = |slice: &EndpointSlice| {
        let endpoints = slice.endpoints.iter().flatten();
        let is_ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
            endpoint.conditions.as_ref().and_then(|c| c.ready) != Some(false)
        };
        endpoints.filter(is_ready).count()
    };
    let label = "kubernetes.io/service-name=front";
    cluster
        .until_all::<EndpointSlice>(label, |slices| {
            slices.iter().map(ready).sum::<usize>() == number
        })
        .await;
    cluster
        .until::<Deployment>("default", "web", |deployment| {
            let status = deployment.and_then(|deployment| deployment.status.as_ref());
            let conditions = status.and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|c| c.reason.as_deref() == Some("NewReplicaSetAvailable"))
            })
        })
        .await;
}

#[tokio::test]
async fn a_deployment_from_the_request_to_its_endpoints_and_back() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    until_served(&cluster, 2).await;
    let pods = cluster
        .until_all::<Pod>("app=web", |pods| pods.len() == 2)
        .await;
    for pod in &pods {
        cluster.until_event(&pod.name_any(), "Scheduled").await;
    }

    let now = story(&cluster, "deployment", "web").await;
    assert_eq!(now["alive"], true);
    times_are_in_order(&now);
    let lines = told(&now);
    let all = [
        "you created Deployment: created deployment web, 2 wanted",
        "controller deployment created ReplicaSet: made replica set web-",
        "controller replicaset created Pod: made pod web-",
        "scheduler scheduled Pod: → node node-1 (it fits, the only node)",
        "agent running Pod: Running, ip 10.244.",
        "agent ready Pod: ready",
        "service front endpoints Service: ",
    ];
    in_order(&lines, &all);
    in_order(&lines, &["service front endpoints Service: 2 endpoints"]);
    in_order(
        &lines,
        &["controller deployment rolled-out Deployment: rollout complete"],
    );
    let number = |act: &str| lines.iter().filter(|line| line.contains(act)).count();
    assert_eq!(
        (number(" created Pod: "), number(" scheduled Pod: ")),
        (2, 2),
        "{lines:#?}"
    );

    // A pod's story begins with who made it and knows nothing of its sister.
    let (one, other) = (pods[0].name_any(), pods[1].name_any());
    let of_one = told(&story(&cluster, "pod", &one).await);
    in_order(
        &of_one,
        &[
            "controller replicaset created Pod: ",
            "scheduler scheduled Pod: ",
            "agent ready Pod: ",
        ],
    );
    assert!(
        of_one.iter().all(|line| !line.contains(&other)),
        "{of_one:#?}"
    );
    // A Service's story is that of its endpoints.
    let of_front = told(&story(&cluster, "svc", "front").await);
    in_order(
        &of_front,
        &[
            "you created Service: ",
            "service front endpoints Service: 2 endpoints",
        ],
    );

    let scaled = WEB.replace("replicas: 2", "replicas: 1");
    cluster.apply(&scaled).await;
    cluster
        .until_all::<Pod>("app=web", |pods| pods.len() == 1)
        .await;
    let deployments = cluster.api::<Deployment>();
    deployments
        .delete("web", &DeleteParams::background())
        .await
        .expect("deleted");
    cluster.until_all::<Pod>("app=web", <[Pod]>::is_empty).await;
    cluster
        .until_all::<ReplicaSet>("app=web", <[ReplicaSet]>::is_empty)
        .await;
    let now = story(&cluster, "deploy", "web").await;
    assert_eq!(now["alive"], false);
    times_are_in_order(&now);
    let lines = told(&now);
    in_order(&lines, &all);
    in_order(
        &lines,
        &[
            "you created Deployment: ",
            "you scaled Deployment: scaled deployment web from 2 to 1",
            "controller deployment scaled ReplicaSet: ",
            "controller replicaset ending Pod: asked to end, 1 s at most",
            "agent gone Pod: gone",
            "you gone Deployment: deleted deployment web",
            "controller garbage gone ReplicaSet: deleted replica set web-",
            "controller garbage ending Pod: asked to end",
            "agent gone Pod: gone",
        ],
    );
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_says_why_and_then_where_it_went() {
    let mut cluster = Cluster::start().await;
    let pod = "apiVersion: v1
kind: Pod
metadata: {name: big}
spec:
  nodeSelector: {kubernetes.io/hostname: node-2}
  containers: [{name: c, image: web}]";
    cluster.apply(pod).await;
    cluster.until_event("big", "FailedScheduling").await;
    let lines = told(&story(&cluster, "pod", "big").await);
    let waits = [
        "you created Pod: created pod big",
        "scheduler unschedulable Pod: no node yet: 0/1 nodes are available: ",
    ];
    in_order(&lines, &waits);
    cluster.add_node("node-2").await;
    cluster
        .until::<Pod>("default", "big", |pod| pod.is_some_and(Cluster::is_ready))
        .await;
    cluster.until_event("big", "Scheduled").await;
    let now = story(&cluster, "pod", "big").await;
    times_are_in_order(&now);
    let mut whole = waits.to_vec();
    whole.extend([
        "scheduler scheduled Pod: → node node-2 (the only one of 2 that fits)",
        "agent running Pod: ",
        "agent ready Pod: ready",
    ]);
    in_order(&told(&now), &whole);
}

#[tokio::test]
async fn the_program_prints_the_story_in_columns_and_as_lines_of_json() {
    let cluster = Cluster::start().await;
    cluster.apply(WEB).await;
    until_served(&cluster, 2).await;
    let served = Served::start(cluster.app.clone()).await;
    let folder = tempfile::tempdir().expect("folder");
    let kubeconfig = served.kubeconfig(&served.identity("admin", "system:masters"));
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).expect("kubeconfig");

    let home = folder.path().to_path_buf();
    let trace = async |words: &'static str| {
        let (home, file) = (home.clone(), file.clone());
        let run = move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cadet"));
            command
                .env_clear()
                .env("HOME", &home)
                .env("CADET_HOME", home.join("cadet"))
                .args(["trace", "--kubeconfig"])
                .arg(file)
                .args(words.split(' '))
                .stdin(Stdio::null());
            command.output().expect("cadet")
        };
        let output = tokio::task::spawn_blocking(run).await.expect("a run");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };

    let (code, out, err) = trace("deployment/web").await;
    assert_eq!(code, Some(0), "{out}{err}");
    let rows: Vec<&str> = out.lines().collect();
    assert!(rows[0].starts_with("   0.000 s  you "), "{out}");
    assert!(
        rows[0].ends_with("created deployment web, 2 wanted"),
        "{out}"
    );
    assert!(rows.iter().all(|row| row.chars().count() <= 80), "{out}");
    for words in [
        "controller  deployment     made replica set web-",
        "controller  replicaset     made 2 pods",
        "service     front          2 endpoints",
        "  next: cadet trace deployment/web --follow",
    ] {
        assert!(out.contains(words), "{words} in\n{out}");
    }

    let (code, out, _) = trace("deploy web -o json").await;
    assert_eq!(code, Some(0), "{out}");
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object per line"))
        .collect();
    assert_eq!(lines[0]["text"], "created deployment web, 2 wanted");
    let made = |line: &&Value| line["act"] == "created" && line["kind"] == "Pod";
    assert_eq!(lines.iter().filter(made).count(), 2, "each by itself");

    let (code, _, err) = trace("pod/none").await;
    assert_eq!(code, Some(105), "{err}");
    assert!(err.contains("CLUSTER_NOT_FOUND"), "{err}");
    let (code, _, err) = trace("dragon/x").await;
    assert_eq!(code, Some(14), "{err}");
    assert!(err.contains("there is no \"dragon\""), "{err}");

    // Followed to the end of a pod that ends by itself.
    cluster
        .apply("apiVersion: v1\nkind: Pod\nmetadata: {name: brief}\nspec: {restartPolicy: Never, containers: [{name: c, image: exits-0}]}")
        .await;
    cluster
        .until::<Pod>("default", "brief", |pod| {
            let status = pod.and_then(|pod| pod.status.as_ref());
            status.and_then(|s| s.phase.as_deref()) == Some("Succeeded")
        })
        .await;
    let pods = cluster.api::<Pod>();
    let delete = async {
        let gone = pods.delete("brief", &DeleteParams::default()).await;
        gone.expect("deleted");
    };
    let ((code, out, err), ()) = tokio::join!(trace("pod/brief --follow"), delete);
    assert_eq!(code, Some(0), "{out}{err}");
    let order = [
        "created pod brief",
        "→ node node-1",
        "ended, exit code 0",
        "Succeeded",
        "gone",
    ];
    let mut from = 0;
    for words in order {
        let found = out[from..].find(words);
        from += found.unwrap_or_else(|| panic!("no {words:?} in\n{out}"));
    }
    served.stop().await;
}
