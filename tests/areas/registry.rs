//! Images from registries: one that is open to all and one that wants a name and a password. Both
//! are a pod of this area, which the node's engine reaches at the node's own loopback.

use serde_json::{Value, json};

use super::patience::told;
use super::{BUSYBOX, Cluster, shell};

/// Folder on the node for what a registry has.
pub const ROOT: &str = "/var/tmp/cadet-areas-registry";
const OPEN: &str = "127.0.0.1:18501/shelf/app";
const LOCKED: &str = "127.0.0.1:18502/shelf/app";

/// Answers one request as registries do (OCI Distribution Specification, pull). It has one image
/// under every tag. An engine asks by TLS first, which begins with no letter.
const SERVE: &str = r#"#!/bin/sh
letter=$(dd bs=1 count=1 2>/dev/null)
case "$letter" in
    [A-Z]) ;;
    *) printf "HTTP/1.0 400 Bad Request\r\n\r\n"; exit;;
esac
read -r method path version
while read -r line && [ ${#line} -gt 1 ]; do
    case "$line" in
        [Aa]uthorization:*) auth=${line#*: };;
    esac
done
echo "$1 $letter$method $path" >> /site/log
answer() {
    printf "HTTP/1.1 $1\r\nContent-Type: $2\r\nContent-Length: $(wc -c < $3)\r\n"
    printf "Connection: close\r\n$4\r\n"
    [ "$letter" = H ] || cat $3
}
if [ "$1" = locked ] && [ "${auth%?}" != "Basic bW9sZTpjb2F0" ]; then
    answer "401 Unauthorized" text/plain /dev/null "WWW-Authenticate: Basic realm=\"shelf\"\r\n"
    exit
fi
case "$path" in
    */manifests/*) answer "200 OK" application/vnd.docker.distribution.manifest.v2+json \
        /site/manifest "Docker-Content-Digest: $(cat /site/digest)\r\n";;
    */blobs/*) answer "200 OK" application/octet-stream "/site/${path##*/}";;
    *) answer "200 OK" application/json /dev/null;;
esac
"#;

pub fn play(cluster: &dyn Cluster) {
    let digest = fill(cluster);
    registries(cluster);
    let login = [
        "create",
        "secret",
        "docker-registry",
        "shelf",
        "--docker-server=127.0.0.1:18502",
        "--docker-username=mole",
        "--docker-password=coat",
    ];
    cluster.kubectl(&login);
    let with_login = json!({"imagePullSecrets": [{"name": "shelf"}]});
    let without = json!({});
    let exact = format!("{OPEN}@{digest}");
    runs(
        cluster,
        "pulled",
        &format!("{OPEN}:1"),
        "IfNotPresent",
        &without,
    );
    runs(cluster, "exact", &exact, "IfNotPresent", &without);
    runs(cluster, "always", &format!("{OPEN}:2"), "Always", &without);
    runs(
        cluster,
        "let-in",
        &format!("{LOCKED}:1"),
        "IfNotPresent",
        &with_login,
    );
    runs(
        cluster,
        "locked-out",
        &format!("{LOCKED}:2"),
        "IfNotPresent",
        &without,
    );
    for pod in ["pulled", "exact", "always", "let-in"] {
        cluster.until(&format!("pod/{pod}"), ".status.phase", "Succeeded");
    }
    it_was_fetched(cluster, "pulled", &format!("{OPEN}:1"));
    it_was_fetched(cluster, "let-in", &format!("{LOCKED}:1"));
    let id = cluster.field("pod/pulled", ".status.containerStatuses[0].imageID");
    assert!(id.ends_with(&digest), "{id}");
    nobody_comes_in_without_a_password(cluster);
    what_is_there_is_asked_for_again_only_if_one_says_so(cluster);
    clear(cluster, &exact);
}

/// Lays an image like the areas' own out as a registry has it, with the program that answers for
/// it; the digest of its manifest.
pub fn fill(cluster: &dyn Cluster) -> String {
    cluster.node_says(&format!(
        "rm -rf {ROOT} && mkdir -p {ROOT}/saved && cd {ROOT} && \
         docker save {BUSYBOX} | tar -x -C saved && printf %s '{SERVE}' > serve && chmod +x serve"
    ));
    let read = |path: &str| -> Value {
        let text = cluster.node_says(&format!("cat {ROOT}/saved/{path}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    };
    let text = |value: &Value| value.as_str().expect("a path").to_owned();
    let saved = read("manifest.json");
    // An image of its own: it has another author.
    let mut config = read(&text(&saved[0]["Config"]));
    config["author"] = json!("the areas");
    cluster.node_says(&format!("printf %s '{config}' > {ROOT}/saved/config"));
    let blob = |kind: &str, path: &str| {
        let told = cluster.node_says(&format!(
            "cd {ROOT} && sum=$(sha256sum < saved/{path} | cut -d ' ' -f 1) && \
             cat saved/{path} > sha256:$sum && echo sha256:$sum $(wc -c < saved/{path})"
        ));
        let (digest, size) = told.split_once(' ').expect("digest and size");
        let size: u64 = size.parse().expect("a number");
        json!({"mediaType": kind, "digest": digest, "size": size})
    };
    let layers = saved[0]["Layers"].as_array().expect("layers");
    let layer = |path| blob("application/vnd.docker.image.rootfs.diff.tar", &text(path));
    let layers: Vec<Value> = layers.iter().map(layer).collect();
    let manifest = json!({"schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": blob("application/vnd.docker.container.image.v1+json", "config"),
        "layers": layers});
    cluster.node_says(&format!(
        "cd {ROOT} && printf %s '{manifest}' > manifest && \
         printf sha256:%s $(sha256sum < manifest | cut -d ' ' -f 1) > digest && cat digest"
    ))
}

fn registries(cluster: &dyn Cluster) {
    let line = "nc -ll -p 8081 -e /site/serve open & nc -ll -p 8082 -e /site/serve locked & \
                trap 'exit 0' TERM; wait";
    let mut app = shell("app", line);
    let port = |own: u16, nodes: u16| json!({"containerPort": own, "hostPort": nodes, "hostIP": "127.0.0.1"});
    app["ports"] = json!([port(8081, 18501), port(8082, 18502)]);
    app["readinessProbe"] =
        json!({"tcpSocket": {"port": 8082}, "periodSeconds": 1, "timeoutSeconds": 20});
    app["volumeMounts"] = json!([{"name": "site", "mountPath": "/site"}]);
    cluster.pod(
        "registry",
        json!({"containers": [app],
            "volumes": [{"name": "site", "hostPath": {"path": ROOT, "type": "Directory"}}]}),
    );
    cluster.ready("registry");
}

/// A pod that runs a word of an image.
fn runs(cluster: &dyn Cluster, name: &str, image: &str, policy: &str, more: &Value) {
    let app = json!({"name": "app", "image": image, "imagePullPolicy": policy,
        "command": ["true"]});
    let mut spec = json!({"restartPolicy": "Never", "containers": [app]});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    cluster.pod(name, spec);
}

fn it_was_fetched(cluster: &dyn Cluster, pod: &str, image: &str) {
    told(
        cluster,
        pod,
        "Pulling",
        &format!("Pulling image \"{image}\""),
    );
    let words = format!("Successfully pulled image \"{image}\" in ");
    told(cluster, pod, "Pulled", &words);
}

fn nobody_comes_in_without_a_password(cluster: &dyn Cluster) {
    let reason = ".status.containerStatuses[0].state.waiting.reason";
    cluster.until("pod/locked-out", reason, "ImagePullBackOff");
    let words = format!("Failed to pull image \"{LOCKED}:2\": ");
    told(cluster, "locked-out", "Failed", &words);
    told(cluster, "locked-out", "Failed", "Error: ErrImagePull");
}

fn what_is_there_is_asked_for_again_only_if_one_says_so(cluster: &dyn Cluster) {
    let without = json!({});
    let (one, two) = (format!("{OPEN}:1"), format!("{OPEN}:2"));
    runs(cluster, "present", &one, "IfNotPresent", &without);
    runs(cluster, "afresh", &two, "Always", &without);
    for pod in ["present", "afresh"] {
        cluster.until(&format!("pod/{pod}"), ".status.phase", "Succeeded");
    }
    let words = format!(
        "Container image \"{one}\" already present on machine and can be accessed by the pod"
    );
    told(cluster, "present", "Pulled", &words);
    it_was_fetched(cluster, "afresh", &two);
    // The other registry has the same tags.
    let asked = |tag: u32| {
        let count = format!("grep -c '^open .*/manifests/{tag}$' {ROOT}/log");
        cluster.node_says(&count).parse::<u32>().expect("a number")
    };
    assert!(
        asked(2) > asked(1),
        "{}",
        cluster.node_says(&format!("cat {ROOT}/log"))
    );
}

fn clear(cluster: &dyn Cluster, exact: &str) {
    let mut all = vec!["pod", "registry", "pulled", "exact", "always", "let-in"];
    all.extend(["locked-out", "present", "afresh"]);
    cluster.forget(&all);
    cluster.forget(&["secret/shelf"]);
    cluster.until_gone(&["pod/registry"]);
    cluster.node_says(&format!(
        "docker rmi -f {OPEN}:1 {OPEN}:2 {LOCKED}:1 {exact} >/dev/null; rm -rf {ROOT}"
    ));
}
