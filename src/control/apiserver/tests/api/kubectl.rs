//! The real kubectl against the server on loopback: its day, in every version found.

use std::process::Stdio;

use crate::program::{Kubectl, has, kubectls, texts};
use crate::support::{Client, admin, app};
use crate::tls::Served;
use cadet_apiserver::App;
use serde_json::{Value, json};

async fn served() -> (App, Served, Value) {
    let app = app().await;
    let served = Served::start(app.clone()).await;
    let kubeconfig = served.kubeconfig(&served.identity("cadet-admin", "system:masters"));
    (app, served, kubeconfig)
}

/// Plays scheduler and kubelet: binds the pod and reports it running.
async fn play_node(client: &Client, name: &str) {
    let path = format!("{}/{name}", crate::support::PODS);
    let binding = json!({"metadata": {"name": name}, "target": {"name": "n1"}});
    client
        .post(&format!("{path}/binding"), &binding)
        .await
        .expect(201);
    let pod = client.get(&path).await.expect(200);
    let statuses: Vec<Value> = support_containers(&pod)
        .map(|container| {
            json!({"name": container, "ready": true, "restartCount": 0, "image": "x", "imageID": "x",
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}})
        })
        .collect();
    let status = json!({"status": {"phase": "Running", "podIP": "10.244.0.9",
        "hostIP": "10.0.2.15", "containerStatuses": statuses}});
    client
        .patch(&format!("{path}/status"), "merge", &status)
        .await
        .expect(200);
}

fn support_containers(pod: &Value) -> impl Iterator<Item = &str> {
    let containers = pod["spec"]["containers"].as_array().expect("containers");
    containers.iter().map(|c| c["name"].as_str().expect("name"))
}

fn telescope() -> Value {
    json!({
        "kind": "Pod",
        "apiVersion": "v1beta3",
        "metadata": {"name": "telescope-pod", "labels": {"name": "telescope"}},
        "spec": {"containers": [
            {"name": "mongo", "image": "mongo", "command": ["mongod", "--smallfiles", "--nojournal"],
             "ports": [{"name": "mongo", "containerPort": 27017, "protocol": "TCP"}]},
            {"name": "telescope", "image": "meteorhacks/telescope",
             "ports": [{"name": "web", "containerPort": 80, "protocol": "TCP"}],
             "env": [{"name": "ROOT_URL", "value": "http://localhost"},
                     {"name": "MONGO_URL", "value": "mongodb://localhost:27017/app"}]}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_lesson_in_every_version() {
    let (app, served, kubeconfig) = served().await;
    let client = Client::new(&app, admin());
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &kubeconfig);
        kubectl.file("telescope-pod.json", &telescope());
        let said = kubectl.run("create -f telescope-pod.json").await;
        has(
            &said,
            &["pod/telescope-pod created", "Warning:", "apiVersion: v1"],
        );
        let said = kubectl.run("get pod").await;
        has(
            &said,
            &[
                "NAME",
                "READY",
                "STATUS",
                "RESTARTS",
                "AGE",
                "telescope-pod",
                "0/2",
                "Pending",
            ],
        );
        play_node(&client, "telescope-pod").await;
        let said = kubectl.run("get pods -o wide").await;
        has(
            &said,
            &["2/2", "Running", "10.244.0.9", "n1", "NOMINATED NODE"],
        );
        let said = kubectl.run("describe pod telescope-pod").await;
        has(
            &said,
            &["MONGO_URL", "Status:", "Running", "IP:", "10.244.0.9"],
        );
        has(
            &kubectl.run("get pods -l name=telescope -o name").await,
            &["pod/telescope-pod"],
        );
        let said = kubectl.run("delete pod telescope-pod --wait=false").await;
        has(&said, &["pod \"telescope-pod\"", "deleted"]);
        has(&kubectl.run("get pods").await, &["Terminating"]);
        let now = json!({"gracePeriodSeconds": 0});
        client
            .delete(&format!("{}/telescope-pod", crate::support::PODS), &now)
            .await
            .expect(200);
        has(
            &kubectl.run("get pods").await,
            &["No resources found in default namespace."],
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_changes_in_every_version() {
    let (app, served, kubeconfig) = served().await;
    let client = Client::new(&app, admin());
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &kubeconfig);
        let mut web = crate::support::pod("web");
        kubectl.file("web.json", &web);
        has(
            &kubectl.run("apply -f web.json").await,
            &["pod/web created"],
        );
        has(
            &kubectl.run("apply -f web.json").await,
            &["pod/web unchanged"],
        );
        web["spec"]["containers"][0]["image"] = json!("nginx:1.28");
        kubectl.file("web.json", &web);
        has(
            &kubectl.run("apply -f web.json").await,
            &["pod/web configured"],
        );
        has(
            &kubectl
                .run("get pod web -o jsonpath={.spec.containers[0].image}")
                .await,
            &["nginx:1.28"],
        );
        has(
            &kubectl.run("label pod web tier=front").await,
            &["pod/web labeled"],
        );
        has(
            &kubectl.run("annotate pod web note=hello").await,
            &["pod/web annotate"],
        );
        has(
            &kubectl.run("set image pod/web c=nginx:1.29").await,
            &["image updated"],
        );
        has(
            &kubectl.run("get pod web -L tier").await,
            &["TIER", "front"],
        );
        let patch = r#"patch pod web -p {"metadata":{"labels":{"a":"b"}}}"#;
        has(&kubectl.run(patch).await, &["pod/web patched"]);
        let patch = r#"patch pod web --type=json -p [{"op":"remove","path":"/metadata/labels/a"}]"#;
        has(&kubectl.run(patch).await, &["pod/web patched"]);
        // An editor that changes nothing but one word.
        let mut edit = kubectl.command("edit pod web");
        edit.env("KUBE_EDITOR", "sed -i s/hello/good-bye/");
        let edited = tokio::task::spawn_blocking(move || edit.output())
            .await
            .expect("task");
        has(&texts(&edited.expect("run")).0, &["pod/web edited"]);
        has(
            &kubectl.run("get pod web -o yaml").await,
            &["note: good-bye", "kind: Pod"],
        );
        has(
            &kubectl
                .run("get pods -A --field-selector metadata.name=web")
                .await,
            &["default", "web"],
        );
        has(
            &kubectl.run("get pods --sort-by=.metadata.name").await,
            &["web"],
        );

        web["spec"]["containers"][0]["imagee"] = json!("x");
        kubectl.file("wrong.json", &web);
        let said = kubectl.fail("create -f wrong.json").await;
        has(
            &said,
            &[
                "strict decoding error",
                "unknown field \"spec.containers[0].imagee\"",
            ],
        );
        has(
            &kubectl.fail("create -f web.json").await,
            &["(AlreadyExists)", "pods \"web\" already exists"],
        );
        has(
            &kubectl.fail("get pod none").await,
            &["(NotFound)", "pods \"none\" not found"],
        );
        has(&kubectl.fail("get gadgets").await, &["gadgets"]);
        // Sent in protobuf form since 1.32.
        for create in [
            "create configmap made --from-literal=a=b",
            "create secret generic made --from-literal=a=b",
            "create serviceaccount made",
            "create deployment made --image=nginx --replicas=0 --port=80",
        ] {
            has(&kubectl.run(create).await, &["created"]);
        }
        has(
            &kubectl.run("get secret made -o jsonpath={.data.a}").await,
            &["Yg=="],
        );
        has(
            &kubectl
                .run("get deployment made -o jsonpath={.spec.replicas}")
                .await,
            &["0"],
        );
        let said = kubectl
            .run("explain pod.spec.containers.livenessProbe.httpGet")
            .await;
        has(&said, &["httpGet", "path", "<string>", "port", "required"]);
        let said = kubectl
            .run("explain deployment.spec.template --recursive")
            .await;
        has(
            &said,
            &["containers", "imagePullPolicy", "tolerationSeconds"],
        );
        kubectl
            .run("delete configmap/made secret/made serviceaccount/made deployment/made")
            .await;

        kubectl.file(
            "list.json",
            &json!({"apiVersion": "v1", "kind": "List", "items": [
            crate::support::config_map("one", "1"),
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
             "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}]}),
        );
        has(
            &kubectl.run("apply -f list.json").await,
            &["configmap/one created", "service/web created"],
        );
        has(
            &kubectl.run("get svc web").await,
            &["CLUSTER-IP", "ClusterIP", "10.", "80/TCP"],
        );
        has(
            &kubectl.run("get all").await,
            &["pod/web", "service/kubernetes", "service/web"],
        );
        has(
            &kubectl.run("delete -f list.json").await,
            &["\"one\" deleted", "\"web\" deleted"],
        );

        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "web.1"},
            "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default"},
            "reason": "Scheduled", "message": "Successfully assigned default/web to n1",
            "type": "Normal", "count": 1, "source": {"component": "default-scheduler"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"});
        client
            .post("/api/v1/namespaces/default/events", &event)
            .await
            .expect(201);
        has(
            &kubectl.run("get events").await,
            &["Scheduled", "pod/web", "Successfully assigned"],
        );
        has(&kubectl.run("delete events --all").await, &["deleted"]);
        has(
            &kubectl.run("delete pod web").await,
            &["pod \"web\"", "deleted"],
        );
        has(&kubectl.fail("exec web -- true").await, &["not found"]);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_around_in_every_version() {
    let (_app, served, kubeconfig) = served().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &kubeconfig);
        let said = kubectl.run("api-resources").await;
        has(
            &said,
            &[
                "pods",
                "po",
                "configmaps",
                "leases",
                "coordination.k8s.io/v1",
            ],
        );
        has(
            &kubectl.run("api-versions").await,
            &["v1\n", "v1beta3", "coordination.k8s.io/v1"],
        );
        has(
            &kubectl.run("explain pods").await,
            &["KIND:", "Pod", "VERSION:", "v1"],
        );
        has(
            &kubectl.run("version").await,
            &["Server Version:", "v1.36.0+cadet."],
        );
        has(
            &kubectl.run("cluster-info").await,
            &["is running at", "https://127.0.0.1:"],
        );
        has(
            &kubectl.run("get --raw /readyz?verbose").await,
            &["readyz check passed"],
        );
        has(&kubectl.run("get ns").await, &["kube-node-lease", "Active"]);
        has(
            &kubectl.run("describe svc kubernetes").await,
            &["10.96.0.1", "6443/TCP"],
        );
        has(
            &kubectl.run("get endpoints kubernetes").await,
            &["10.0.2.15:6443"],
        );
        has(&kubectl.run("get nodes").await, &["No resources found"]);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_deleted_once_its_controller_has_finished() {
    let (app, served, kubeconfig) = served().await;
    let client = Client::new(&app, admin());
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &kubeconfig);
        kubectl.file(
            "ns.json",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}}),
        );
        has(
            &kubectl.run("create -f ns.json").await,
            &["namespace/lab created"],
        );
        let mut delete = kubectl.command("delete ns lab");
        let deleting = tokio::task::spawn_blocking(move || delete.output());
        // The namespace controller's part: wait until it is marked, then let it go.
        let mut events = client
            .watch("/api/v1/namespaces?watch=true&fieldSelector=metadata.name%3Dlab")
            .await;
        loop {
            let mut namespace = events.next().await.expect("event")["object"].take();
            if namespace["metadata"]["deletionTimestamp"].is_string() {
                namespace["spec"]["finalizers"] = json!([]);
                client
                    .put("/api/v1/namespaces/lab/finalize", &namespace)
                    .await
                    .expect(200);
                break;
            }
        }
        let output = deleting.await.expect("task").expect("run");
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{out}{err}");
        has(&out, &["namespace \"lab\" deleted"]);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_shows_a_pod_come_up_in_every_version() {
    use std::io::{BufRead, BufReader};
    let (app, served, kubeconfig) = served().await;
    let client = Client::new(&app, admin());
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &kubeconfig);
        client
            .post(crate::support::PODS, &crate::support::pod("web"))
            .await
            .expect(201);
        let mut command = kubectl.command("get pods -w");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("spawn");
        let mut lines = BufReader::new(child.stdout.take().expect("pipe")).lines();
        let mut line = || {
            let next = tokio::task::block_in_place(|| lines.next());
            next.expect("kubectl still runs").expect("text")
        };
        has(&line(), &["NAME", "STATUS"]);
        has(&line(), &["web", "Pending"]);
        play_node(&client, "web").await;
        while !line().contains("Running") {}
        let now = json!({"gracePeriodSeconds": 0});
        client
            .delete(&format!("{}/web", crate::support::PODS), &now)
            .await
            .expect(200);
        child.kill().expect("kill");
        child.wait().expect("reap");
    }
    served.stop().await;
}
