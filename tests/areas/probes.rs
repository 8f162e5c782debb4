//! How containers begin, are watched, fail, come back and end: probes, hooks, restarts,
//! sidecars, debuggers, and pods that only the node knows.

use serde_json::{Value, json};

use super::patience::{ended, told};
use super::{BUSYBOX, Cluster, SERVE, WAIT, shell};

/// Folder on the node for this area.
const ROOT: &str = "/var/tmp/cadet-areas-probes";
/// Serves `/ok` at port 8080 and does not mind being asked to end.
const STUBBORN: &str = "trap '' TERM; mkdir /www; echo ok > /www/ok; \
                        httpd -f -p 8080 -h /www & while true; do sleep 0.1; done";
const STATUS: &str = ".status.containerStatuses[0]";

pub fn play(cluster: &dyn Cluster) {
    cluster.node_says(&format!("rm -rf {ROOT} && mkdir -p {ROOT}"));
    // All begin at once; each is then looked at in turn.
    begin(cluster);
    those_without_an_image(cluster);
    those_that_fail(cluster);
    readiness_decides_about_the_service(cluster);
    a_debugger_sees_and_harms_nobody(cluster);
    a_debugger_sees_the_node(cluster);
    liveness_restarts(cluster);
    a_slow_starter_is_given_time(cluster);
    order_is_kept(cluster);
    the_grace_is_kept(cluster);
    the_nodes_own_pods_are_shown(cluster);
    cluster.forget(&["service/checked"]);
    let mut all = vec!["pod"];
    all.extend([
        "checked", "ailing", "slow", "crash", "again", "once", "missing", "rude", "never",
    ]);
    all.extend(["nowhere", "hurried"]);
    cluster.forget(&all);
    cluster.node_says(&format!("rm -rf {ROOT}"));
}

/// A probe every second that a slow machine has time to answer.
fn probe(mut check: Value, failures: u32) -> Value {
    check["periodSeconds"] = json!(1);
    check["timeoutSeconds"] = json!(20);
    check["failureThreshold"] = json!(failures);
    check
}

fn tcp(failures: u32) -> Value {
    probe(json!({"tcpSocket": {"port": 8080}}), failures)
}

fn begin(cluster: &dyn Cluster) {
    let serve = format!("touch /started; {STUBBORN}");
    let page = json!({"httpGet": {"path": "/ok", "port": "http"}});
    let mut app = shell("app", &serve);
    app["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    app["startupProbe"] = probe(
        json!({"exec": {"command": ["test", "-e", "/started"]}}),
        300,
    );
    app["readinessProbe"] = probe(page.clone(), 1);
    cluster.pod("checked", json!({"containers": [app]}));

    let mut app = shell("app", STUBBORN);
    app["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    app["startupProbe"] = tcp(300);
    app["livenessProbe"] = probe(page, 1);
    // The probe's own patience, not the pod's.
    app["livenessProbe"]["terminationGracePeriodSeconds"] = json!(1);
    cluster.pod(
        "ailing",
        json!({"containers": [app], "terminationGracePeriodSeconds": 600}),
    );

    let line = format!("until [ -e /go ]; do sleep 0.1; done; {SERVE}");
    let mut app = shell("app", &line);
    app["startupProbe"] = tcp(1000);
    app["livenessProbe"] = tcp(1);
    cluster.pod("slow", json!({"containers": [app]}));

    let line = "echo last words; exit 3";
    cluster.pod("crash", json!({"containers": [shell("app", line)]}));
    let line = "test -e /kept/x && exit 0; touch /kept/x; exit 1";
    let mut app = shell("app", line);
    app["volumeMounts"] = json!([{"name": "kept", "mountPath": "/kept"}]);
    cluster.pod(
        "again",
        json!({"restartPolicy": "OnFailure", "containers": [app],
            "volumes": [{"name": "kept", "emptyDir": {}}]}),
    );
    cluster.pod(
        "once",
        json!({"restartPolicy": "Never", "containers": [shell("app", "exit 1")]}),
    );
    let missing = json!({"name": "app", "image": BUSYBOX, "command": ["/no/such/program"]});
    cluster.pod("missing", json!({"containers": [missing]}));
    let mut app = shell("app", WAIT);
    app["lifecycle"] = json!({"postStart": {"exec": {"command": ["false"]}}});
    cluster.pod("rude", json!({"containers": [app]}));
    cluster.pod(
        "hurried",
        json!({"activeDeadlineSeconds": 1, "containers": [shell("app", WAIT)]}),
    );

    // Nobody listens at this port of the node, so the engine is refused at once.
    for (name, image, policy) in [
        ("never", "absent:test", "Never"),
        ("nowhere", "127.0.0.1:1/absent:test", "IfNotPresent"),
    ] {
        let app = json!({"name": "app", "image": image, "imagePullPolicy": policy});
        cluster.pod(name, json!({"containers": [app]}));
    }
    ordered_pod(cluster);
    ending_pod(cluster);
}

#[track_caller]
fn waits(cluster: &dyn Cluster, pod: &str, reason: &str) {
    let path = format!("{STATUS}.state.waiting.reason");
    cluster.until(&format!("pod/{pod}"), &path, reason);
}

#[track_caller]
fn row_begins(cluster: &dyn Cluster, pod: &str, wanted: &str) {
    cluster.until_row(&format!("pod/{pod}"), &format!("{pod} {wanted} "));
}

fn those_without_an_image(cluster: &dyn Cluster) {
    waits(cluster, "never", "ErrImageNeverPull");
    row_begins(cluster, "never", "0/1 ErrImageNeverPull 0");
    let words = "Container image \"absent:test\" is not present with pull policy of Never";
    told(cluster, "never", "ErrImageNeverPull", words);
    told(cluster, "never", "Failed", "Error: ErrImageNeverPull");

    waits(cluster, "nowhere", "ImagePullBackOff");
    row_begins(cluster, "nowhere", "0/1 ImagePullBackOff 0");
    let image = "127.0.0.1:1/absent:test";
    let words = format!("Failed to pull image \"{image}\": ");
    told(cluster, "nowhere", "Failed", &words);
    told(cluster, "nowhere", "Failed", "Error: ErrImagePull");
    let words = format!("Back-off pulling image \"{image}\"");
    told(cluster, "nowhere", "BackOff", &words);
    told(cluster, "nowhere", "Failed", "Error: ImagePullBackOff");
    assert_eq!(cluster.field("pod/nowhere", ".status.phase"), "Pending");
}

fn those_that_fail(cluster: &dyn Cluster) {
    // It is started again now and then, so what is seen is seen between two runs.
    let listed = ["get", "pod/crash", "--no-headers"];
    cluster.until_said(&listed, &|row| row.contains(" CrashLoopBackOff "));
    let whole = ["get", "pod/crash", "-o", "json"];
    let seen = cluster.until_said(&whole, &|text| text.contains("\"back-off "));
    let seen: Value = serde_json::from_str(&seen).expect("kubectl prints JSON");
    assert_eq!(seen["status"]["phase"], "Running");
    let status = &seen["status"]["containerStatuses"][0];
    let end = &status["lastState"]["terminated"];
    assert_eq!(
        (&end["exitCode"], &end["reason"]),
        (&json!(3), &json!("Error"))
    );
    let uid = seen["metadata"]["uid"].as_str().expect("uid");
    // Ten seconds at first, doubled each time.
    let message = status["state"]["waiting"]["message"].as_str();
    let message = message.expect("message");
    let words = format!(" restarting failed container=app pod=crash_default({uid})");
    assert!(
        message.starts_with("back-off ") && message.ends_with(&words),
        "{message}"
    );
    let words = format!("Back-off restarting failed container app in pod crash_default({uid})");
    told(cluster, "crash", "BackOff", &words);
    let words = ["logs", "crash", "--previous"];
    cluster.until_said(&words, &|words| words == "last words");

    cluster.until("pod/again", ".status.phase", "Succeeded");
    row_begins(cluster, "again", "0/1 Completed 1");
    cluster.until("pod/once", ".status.phase", "Failed");
    row_begins(cluster, "once", "0/1 Error 0");

    waits(cluster, "missing", "CrashLoopBackOff");
    let end = format!("{STATUS}.lastState.terminated");
    let end = format!("jsonpath={{{end}.exitCode}} {{{end}.reason}}");
    let end = ["get", "pod/missing", "-o", end.as_str()];
    cluster.until_said(&end, &|end| end == "128 StartError");
    told(
        cluster,
        "rude",
        "FailedPostStartHook",
        "PostStartHook failed",
    );
    cluster.until("pod/hurried", ".status.phase", "Failed");
    assert_eq!(
        cluster.field("pod/hurried", ".status.reason"),
        "DeadlineExceeded"
    );
    let words = "Pod was active on the node longer than the specified deadline";
    assert_eq!(cluster.field("pod/hurried", ".status.message"), words);
}

fn readiness_decides_about_the_service(cluster: &dyn Cluster) {
    let expose = [
        "expose",
        "pod/checked",
        "--port=80",
        "--target-port=http",
        "--selector=app=checked",
    ];
    cluster.kubectl(&expose);
    cluster.ready("checked");
    let label = "kubernetes.io/service-name=checked";
    let slices = ["get", "endpointslices", "-l", label, "-o", "name"];
    let slice = cluster.until_said(&slices, &|names| !names.is_empty());
    let path = "jsonpath={.endpoints[*].conditions.ready}";
    let is_ready = ["get", slice.as_str(), "-o", path];
    cluster.until_said(&is_ready, &|ready| ready == "true");

    cluster.inside("checked", "rm /www/ok");
    cluster.until_said(&is_ready, &|ready| ready == "false");
    row_begins(cluster, "checked", "0/1 Running 0");
    let words = "Readiness probe failed: HTTP probe failed with statuscode: 404";
    told(cluster, "checked", "Unhealthy", words);
    let condition = cluster.object("pod/checked");
    let condition = condition["status"]["conditions"].as_array();
    let condition = condition.and_then(|all| all.iter().find(|one| one["type"] == "Ready"));
    let condition = condition.expect("Ready");
    assert_eq!(condition["reason"], "ContainersNotReady");
    assert_eq!(
        condition["message"],
        "containers with unready status: [app]"
    );

    cluster.inside("checked", "echo ok > /www/ok");
    cluster.until_said(&is_ready, &|ready| ready == "true");
    cluster.ready("checked");
    row_begins(cluster, "checked", "1/1 Running 0");
}

fn a_debugger_sees_and_harms_nobody(cluster: &dyn Cluster) {
    let image = format!("--image={BUSYBOX}");
    // It shares the processes of its target and the network of the pod.
    let look = "ps | grep -q '[h]ttpd' && wget -qO- 127.0.0.1:8080/ok";
    let debug = [
        "debug",
        "checked",
        &image,
        "--image-pull-policy=IfNotPresent",
        "--target=app",
        "--container=doctor",
        "--",
        "sh",
        "-c",
        look,
    ];
    cluster.kubectl(&debug);
    let path = "jsonpath={.status.ephemeralContainerStatuses[*].state.terminated.exitCode}";
    let end = ["get", "pod/checked", "-o", path];
    assert_eq!(cluster.until_said(&end, &|code| !code.is_empty()), "0");
    assert_eq!(cluster.kubectl(&["logs", "checked", "-c", "doctor"]), "ok");
    row_begins(cluster, "checked", "1/1 Running 0");
}

/// In the node's own namespaces, with the node's files below `/host`.
fn a_debugger_sees_the_node(cluster: &dyn Cluster) {
    let (node, image) = (
        format!("node/{}", cluster.node()),
        format!("--image={BUSYBOX}"),
    );
    let look = format!("ls -d /host{ROOT}; readlink /proc/self/ns/net");
    let debug = [
        "debug",
        &node,
        &image,
        "--image-pull-policy=IfNotPresent",
        "--",
        "sh",
        "-c",
        &look,
    ];
    cluster.kubectl(&debug);
    let pods = cluster.kubectl(&["get", "pods", "-o", "name"]);
    let mut pods = pods.lines();
    let pod = pods.find(|pod| pod.starts_with("pod/node-debugger-"));
    let pod = pod.expect("a debugger");
    cluster.until(pod, ".status.phase", "Succeeded");
    let net = cluster.node_says("readlink /proc/self/ns/net");
    let said = cluster.kubectl(&["logs", pod]);
    assert_eq!(said, format!("/host{ROOT}\n{net}"));
    cluster.forget(&[pod]);
}

fn liveness_restarts(cluster: &dyn Cluster) {
    cluster.ready("ailing");
    let (before, restarts) = cluster.container("ailing");
    assert_eq!(restarts, "0");
    // It may be ended before it can say that it is done.
    cluster.try_kubectl(&["exec", "ailing", "--", "rm", "/www/ok"]);
    cluster.until("pod/ailing", &format!("{STATUS}.restartCount"), "1");
    let words = "Liveness probe failed: HTTP probe failed with statuscode: 404";
    told(cluster, "ailing", "Unhealthy", words);
    let words = "Container app failed liveness probe, will be restarted";
    told(cluster, "ailing", "Killing", words);
    let last = cluster.object("pod/ailing");
    let last = &last["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 137, "it did not listen: {last}");
    assert_eq!(last["containerID"], format!("docker://{before}"));
    cluster.ready("ailing");
    // `1 (5s ago)`
    let row = cluster.row("pod/ailing");
    assert!(
        row.starts_with("ailing 1/1 Running 1 (") && row.contains(" ago) "),
        "{row}"
    );
    cluster.kubectl(&[
        "delete",
        "pod",
        "ailing",
        "--grace-period=1",
        "--wait=false",
    ]);
}

fn a_slow_starter_is_given_time(cluster: &dyn Cluster) {
    let words = ":8080: connect: connection refused";
    told(cluster, "slow", "Unhealthy", words);
    let told = cluster.event("slow", "Unhealthy");
    let ip = cluster.field("pod/slow", ".status.podIP");
    assert_eq!(
        told,
        format!("Startup probe failed: dial tcp {ip}:8080: connect: connection refused")
    );
    row_begins(cluster, "slow", "0/1 Running 0");
    assert_eq!(
        cluster.field("pod/slow", &format!("{STATUS}.started")),
        "false"
    );
    cluster.inside("slow", "touch /go");
    cluster.ready("slow");
    assert_eq!(
        cluster.field("pod/slow", &format!("{STATUS}.started")),
        "true"
    );
    row_begins(cluster, "slow", "1/1 Running 0");
}

/// An init container, a sidecar and a container with hooks, all of which keep a log.
fn ordered_pod(cluster: &dyn Cluster) {
    let log = |words: &str| format!("echo {words} >> /log/order");
    let say = |words: &str| json!({"exec": {"command": ["sh", "-c", log(words)]}});
    let mut sidecar = shell(
        "sidecar",
        &format!(
            "trap '{}; exit 0' TERM; {}; sleep 1; {}; touch /up; while true; do sleep 0.1; done",
            log("sidecar down"),
            log("sidecar up"),
            log("sidecar started"),
        ),
    );
    sidecar["restartPolicy"] = json!("Always");
    sidecar["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 1}}});
    sidecar["startupProbe"] = probe(json!({"exec": {"command": ["test", "-e", "/up"]}}), 300);
    let mut app = shell(
        "app",
        &format!(
            "trap 'sleep 0.5; {}; exit 0' TERM; {}; while true; do sleep 0.1; done",
            log("app down"),
            log("app up"),
        ),
    );
    app["lifecycle"] = json!({"postStart": say("hello"), "preStop": say("goodbye")});
    let mut setup = shell("setup", &log("setup"));
    for container in [&mut setup, &mut sidecar, &mut app] {
        container["volumeMounts"] = json!([{"name": "log", "mountPath": "/log"}]);
    }
    cluster.pod(
        "ordered-end",
        json!({"terminationGracePeriodSeconds": 60,
            "volumes": [{"name": "log", "hostPath": {"path": ROOT, "type": "Directory"}}],
            "initContainers": [setup, sidecar], "containers": [app]}),
    );
}

fn order_is_kept(cluster: &dyn Cluster) {
    cluster.ready("ordered-end");
    row_begins(cluster, "ordered-end", "2/2 Running 0");
    let read = |lines: u32| {
        let order = format!("{ROOT}/order");
        let wait = format!("until [ $(wc -l < {order}) -ge {lines} ]; do sleep 0.1; done");
        cluster.node_says(&format!("{wait}; cat {order}"))
    };
    let order = read(5);
    let order: Vec<&str> = order.lines().collect();
    assert_eq!(order[..3], ["setup", "sidecar up", "sidecar started"]);
    // A postStart hook runs beside the program, in no order.
    let mut both = order[3..].to_vec();
    both.sort_unstable();
    assert_eq!(both, ["app up", "hello"]);

    cluster.kubectl(&["delete", "pod", "ordered-end"]);
    let order = read(8);
    let order: Vec<&str> = order.lines().collect();
    assert_eq!(order[5..], ["goodbye", "app down", "sidecar down"]);
}

/// Its object stays until the finalizer is taken away, so that its end can be read.
fn ending_pod(cluster: &dyn Cluster) {
    // Ready when it has said what it does when it is asked to end.
    let container = |name: &str, act: &str| {
        let line = format!("trap '{act}' TERM; touch /up; while true; do sleep 0.1; done");
        let mut container = shell(name, &line);
        container["readinessProbe"] = probe(json!({"exec": {"command": ["test", "-e", "/up"]}}), 3);
        container
    };
    let containers = [
        container("polite", "exit 0"),
        container("grumpy", "exit 7"),
        container("stubborn", ""),
    ];
    cluster.create(&json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "ending", "finalizers": ["cadet.dev/area"]},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 15,
            "containers": containers}}));
}

fn the_grace_is_kept(cluster: &dyn Cluster) {
    cluster.ready("ending");
    cluster.forget(&["pod/ending"]);
    cluster.until("pod/ending", ".status.phase", "Failed");
    for (container, code, reason) in [
        ("polite", "0", "Completed"),
        ("grumpy", "7", "Error"),
        ("stubborn", "137", "Error"),
    ] {
        assert_eq!(ended(cluster, "ending", container, "exitCode"), code);
        assert_eq!(ended(cluster, "ending", container, "reason"), reason);
        let words = format!("Stopping container {container}");
        told(cluster, "ending", "Killing", &words);
    }
    let free = r#"{"metadata": {"finalizers": null}}"#;
    cluster.kubectl(&["patch", "pod", "ending", "-p", free]);
    cluster.until_gone(&["pod/ending"]);
}

/// The agent's folder of manifests lies beside that of its pods.
fn manifests(cluster: &dyn Cluster) -> String {
    let (id, _) = cluster.container("checked");
    let uid = cluster.field("pod/checked", ".metadata.uid");
    let format = "'{{range .Mounts}}{{println .Source}}{{end}}'";
    let sources = cluster.node_says(&format!("docker inspect -f {format} {id}"));
    let within = format!("/pods/{uid}");
    let data = sources.lines().find_map(|path| path.split_once(&within));
    let (data, _) = data.unwrap_or_else(|| panic!("{sources}"));
    format!("{data}/manifests")
}

fn the_nodes_own_pods_are_shown(cluster: &dyn Cluster) {
    let folder = manifests(cluster);
    let app = json!({"name": "app", "image": BUSYBOX, "command": ["sleep", "100000"]});
    let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "still"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [app]}});
    // Hidden while it is written.
    cluster.node_says(&format!(
        "cd {folder} && printf %s '{manifest}' > .still && mv .still still.yaml"
    ));
    let name = format!("still-{}", cluster.node());
    let mirror = format!("pod/{name}");
    let path = "jsonpath={.metadata.uid}";
    let get = ["get", mirror.as_str(), "-o", path];
    let uid = cluster.until_said(&get, &|uid| !uid.is_empty());
    cluster.ready(&name);
    let seen = cluster.object(&mirror);
    let notes = &seen["metadata"]["annotations"];
    assert_eq!(notes["kubernetes.io/config.source"], "file", "{notes}");
    let hash = &notes["kubernetes.io/config.hash"];
    assert!(hash.is_string(), "{notes}");
    assert_eq!(&notes["kubernetes.io/config.mirror"], hash, "{notes}");
    let owner = &seen["metadata"]["ownerReferences"][0];
    assert_eq!(owner["kind"], "Node", "{owner}");
    assert_eq!(owner["name"], cluster.node(), "{owner}");
    let before = cluster.container(&name);

    // To delete the picture does nothing to the pod.
    cluster.forget(&[&mirror]);
    cluster.until_said(&get, &|now| !now.is_empty() && now != uid);
    cluster.ready(&name);
    assert_eq!(cluster.container(&name), before);

    cluster.node_says(&format!("rm {folder}/still.yaml"));
    cluster.until_gone(&[&mirror]);
    let id = before.0;
    // nextest ends a test that waits for ever.
    cluster.node_says(&format!(
        "while docker ps -q --no-trunc | grep -q {id}; do sleep 0.1; done"
    ));
}
