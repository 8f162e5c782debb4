//! One node: an API server in the test's own process, the real agent as its node, pods by
//! name. Whoever is waited for is watched, and nothing has a deadline but the test.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cadet_apiserver::{App, Keys, User};
use cadet_kubelet::{Config, PORT, ServerTls};
use cadet_network::{Network, NetworkConfig};
use cadet_store::{LocalStore, MemoryDisk, Options};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait;
use kube::{Client, Resource};
use nix::sched::{CloneFlags, unshare};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime as Threads;
use tokio_util::sync::CancellationToken;

use crate::engine::{BUSYBOX, Engine, run};

pub const NODE: &str = "n1";

/// Plays a test on a machine of its own: threads and children in a fresh network namespace.
pub fn play<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let played = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: the tests run as root");
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        threads.block_on(test());
    });
    if let Err(panic) = played.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The agent, on threads of its own so that it can die as a process does.
struct Agent {
    threads: Threads,
    stop: CancellationToken,
}

pub struct Cluster {
    pub engine: Engine,
    pub client: Client,
    app: App,
    agent: Option<Agent>,
    pki: Pki,
    /// Compiled here: the pause program.
    pause: PathBuf,
}

struct Pki {
    ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Pki {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let ca = params.self_signed(&key).expect("sign").pem();
        Pki {
            ca,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, name: &str, group: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("sign");
        (certificate.pem(), key.serialize_pem())
    }
}

impl Cluster {
    pub async fn start() -> Cluster {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let engine = Engine::start().await;
        let advertise = "127.0.0.1:6443".parse().expect("address");
        let mut config = cadet_apiserver::Config::new("10.96.0.0/12", advertise);
        let key = KeyPair::generate().expect("key");
        config.token_keys = Some(Arc::new(Keys::new(&key.serialize_der()).expect("P-256")));
        config.authority = "the authority".to_owned();
        let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
        let app = App::start(config, Arc::new(store)).await.expect("start");
        let admin = User::new("cadet-admin", &["system:masters"]);
        let client = Client::new(app.service(admin), "default");
        let pause = pause_program(&engine);
        let mut cluster = Cluster {
            engine,
            client,
            app,
            agent: None,
            pki: Pki::new(),
            pause,
        };
        // What a controller would make; the API server makes the account itself.
        let authority = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "the authority"}});
        cluster.create(authority).await;
        cluster.start_agent();
        let node: Api<Node> = Api::all(cluster.client.clone());
        let ready = wait::await_condition(node, NODE, |node: Option<&Node>| {
            node.is_some_and(|node| {
                let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
                let conditions = node
                    .status
                    .iter()
                    .flat_map(|s| s.conditions.iter().flatten());
                taints.is_none_or(Vec::is_empty)
                    && conditions
                        .into_iter()
                        .any(|c| c.type_ == "Ready" && c.status == "True")
            })
        });
        ready.await.expect("ready");
        cluster
    }

    pub fn start_agent(&mut self) {
        let node = User::new(format!("system:node:{NODE}"), &["system:nodes"]);
        let client = Client::new(self.app.service(node), "default");
        let (certificate, key) = self.pki.issue("system:node:n1", "system:nodes");
        let folder = self.engine.folder().to_owned();
        std::fs::write(folder.join("resolv.conf"), "nameserver 10.0.2.3\n").expect("write");
        let config = Config {
            node_name: NODE.into(),
            host_ip: Ipv4Addr::LOCALHOST,
            pod_cidr: "10.244.7.0/24".into(),
            version: "v1.36.0+cadet.test".into(),
            pods_dir: Some(folder.join("pods")),
            lessons_dir: folder.join("lessons"),
            pause_program: self.pause.clone(),
            resolv_conf: folder.join("resolv.conf"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            tls: Some(ServerTls {
                client_ca: self.pki.ca.clone().into_bytes(),
                certificate: certificate.into_bytes(),
                key: key.into_bytes(),
            }),
            machine: None,
            dns: None,
            static_pods: Some(folder.join("manifests")),
        };
        let runtime = self.engine.runtime.clone();
        let stop = CancellationToken::new();
        // Threads inherit the network namespace of the one that starts them.
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let stopped = stop.clone();
        threads.spawn(async move {
            let network = Network::setup(NetworkConfig {
                pod_cidr: "10.244.7.0/24".parse().expect("range"),
                cluster_cidr: "10.244.0.0/16".parse().expect("range"),
            });
            let network = network.await.expect("network");
            let agent = cadet_kubelet::run(config, client, runtime, Arc::new(network), stopped);
            agent.await.expect("agent");
        });
        self.agent = Some(Agent { threads, stop });
    }

    /// The agent dies where it stands, as with SIGKILL; its port is free then.
    pub fn kill_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            // Threads of a runtime may not wait for those of another.
            let longest = Duration::from_secs(10);
            let died = std::thread::spawn(move || agent.threads.shutdown_timeout(longest));
            died.join().expect("it dies");
        }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Any object of the core group in the default namespace or without one.
    pub async fn create(&self, object: Value) -> Value {
        let kind = object["kind"].as_str().expect("kind");
        let kind =
            kube::api::ApiResource::from_gvk(&kube::api::GroupVersionKind::gvk("", "v1", kind));
        let object: kube::api::DynamicObject = serde_json::from_value(object).expect("object");
        let cluster_wide = ["PersistentVolume", "Namespace"].contains(&kind.kind.as_str());
        let api: Api<kube::api::DynamicObject> = if cluster_wide {
            Api::all_with(self.client.clone(), &kind)
        } else {
            Api::namespaced_with(self.client.clone(), "default", &kind)
        };
        let made = api.create(&PostParams::default(), &object).await;
        serde_json::to_value(made.expect("create")).expect("json")
    }

    /// A pod of this name and spec on the node. Containers without an image are busybox.
    pub async fn pod(&self, name: &str, spec: Value) -> Pod {
        let pod: Pod = serde_json::from_value(manifest(name, spec)).expect("pod");
        let made = self.api::<Pod>().create(&PostParams::default(), &pod).await;
        made.expect("create")
    }

    /// The pod once `wanted` holds.
    pub async fn until(&self, name: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        let condition = |pod: Option<&Pod>| pod.is_some_and(&wanted);
        let pod = wait::await_condition(self.api::<Pod>(), name, condition).await;
        pod.expect("watch").expect("the pod is there")
    }

    pub async fn running(&self, name: &str) -> Pod {
        self.until(name, |pod| phase(pod) == "Running").await
    }

    pub async fn ready(&self, name: &str) -> Pod {
        self.until(name, |pod| condition(pod, "Ready") == "True")
            .await
    }

    /// What the first container of a pod that runs to its end left as its last words.
    pub async fn says(&self, name: &str, spec: Value) -> String {
        self.pod(name, spec).await;
        self.words(name).await
    }

    /// As [`Cluster::says`], of a pod that is there.
    pub async fn words(&self, name: &str) -> String {
        let over = |pod: &Pod| ["Succeeded", "Failed"].contains(&phase(pod));
        let pod = self.until(name, over).await;
        last_words(&pod, 0)
    }

    pub async fn delete(&self, name: &str) {
        let pods = self.api::<Pod>();
        pods.delete(name, &DeleteParams::default())
            .await
            .expect("delete");
    }

    pub async fn gone(&self, name: &str, uid: &str) {
        let gone = wait::conditions::is_deleted(uid);
        let gone = wait::await_condition(self.api::<Pod>(), name, gone).await;
        gone.expect("watch");
    }

    pub async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let patch = Patch::Merge(patch);
        let api = self.api::<K>();
        api.patch(name, &PatchParams::default(), &patch)
            .await
            .expect("patch");
    }

    /// Waits for an event about a pod whose reason and message begin so.
    pub async fn event(&self, pod: &str, words: &str) -> String {
        loop {
            let events = self.events(pod).await;
            if let Some(found) = events.iter().find(|event| event.starts_with(words)) {
                return found.clone();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// `Reason: message` of everything told about a pod.
    pub async fn events(&self, pod: &str) -> Vec<String> {
        let about = ListParams::default().fields(&format!("involvedObject.name={pod}"));
        let events = self.api::<Event>().list(&about).await.expect("list");
        let line = |event: Event| {
            let reason = event.reason.unwrap_or_default();
            format!("{reason}: {}", event.message.unwrap_or_default())
        };
        events.into_iter().map(line).collect()
    }

    pub async fn config_map(&self, name: &str, data: Value) -> ConfigMap {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name}, "data": data});
        serde_json::from_value(self.create(map).await).expect("config map")
    }

    /// Runs a command in the first container of a pod and returns what it prints.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> String {
        use cadet_kubelet::runtime::Runtime as _;
        let pod = self.api::<Pod>().get(pod).await.expect("get");
        let id = container_id(&pod, 0);
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let outcome = self.engine.runtime.exec(&id, &command).await.expect("exec");
        outcome.output.trim_end().to_owned()
    }

    /// Asks the agent's server, as an administrator.
    pub fn ask_agent(&self, path: &str) -> String {
        let (certificate, key) = self.pki.issue("me", "system:masters");
        let folder = self.engine.folder();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("write");
            path
        };
        run(Command::new("curl")
            .args(["-sS", "--fail", "--cacert"])
            .arg(file("ca.pem", &self.pki.ca))
            .arg("--cert")
            .arg(file("me.pem", &certificate))
            .arg("--key")
            .arg(file("me.key", &key))
            .arg(format!("https://127.0.0.1:{PORT}{path}")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop.cancel();
            agent.threads.shutdown_background();
        }
        // Memory file systems of pods that were left behind.
        let pods = self.engine.folder().join("pods");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for line in mounts.lines() {
            let at = line.split(' ').nth(4).unwrap_or_default();
            if std::path::Path::new(at).starts_with(&pods) {
                let _ = nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH);
            }
        }
    }
}

/// A pod's manifest with what every pod here needs.
pub fn manifest(name: &str, mut spec: Value) -> Value {
    spec["nodeName"] = json!(NODE);
    let defaults = |container: &mut Value| {
        let fields = container.as_object_mut().expect("container");
        fields.entry("image").or_insert(json!(BUSYBOX));
        fields
            .entry("imagePullPolicy")
            .or_insert(json!("IfNotPresent"));
    };
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(defaults);
    }
    let fields = spec.as_object_mut().expect("spec");
    fields
        .entry("terminationGracePeriodSeconds")
        .or_insert(json!(1));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// A container that runs this line of shell.
pub fn shell(name: &str, line: &str) -> Value {
    json!({"name": name, "command": ["sh", "-c", line]})
}

/// A line that waits for ever and ends at once when asked to.
pub const WAIT: &str = "trap 'exit 0' TERM; while true; do sleep 0.1; done";

pub fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status.and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

pub fn condition<'a>(pod: &'a Pod, type_: &str) -> &'a str {
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let found = conditions.into_iter().find(|c| c.type_ == type_);
    found.map_or("", |c| c.status.as_str())
}

/// `status.containerStatuses[index]` as JSON, which is easier to look into.
pub fn status(pod: &Pod, index: usize) -> Value {
    let status = serde_json::to_value(&pod.status).expect("json");
    status["containerStatuses"][index].clone()
}

/// The reason of waiting or of the end; `running`.
pub fn state(pod: &Pod, index: usize) -> String {
    let state = &status(pod, index)["state"];
    for of in ["waiting", "terminated"] {
        if let Some(reason) = state[of]["reason"].as_str() {
            return reason.to_owned();
        }
    }
    if state["running"].is_object() {
        "running".into()
    } else {
        String::new()
    }
}

pub fn last_words(pod: &Pod, index: usize) -> String {
    let ended = &status(pod, index)["state"]["terminated"];
    ended["message"]
        .as_str()
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

pub fn container_id(pod: &Pod, index: usize) -> String {
    let id = status(pod, index)["containerID"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    id.trim_start_matches("docker://").to_owned()
}

/// A static program that does nothing, for the image of the sandbox.
fn pause_program(engine: &Engine) -> PathBuf {
    let source = engine.folder().join("pause.c");
    let program = engine.folder().join("pause");
    let text = "#include <unistd.h>\n#include <signal.h>\n#include <sys/wait.h>\n\
        static void end(int n) { _exit(0); }\n\
        static void reap(int n) { while (waitpid(-1, 0, WNOHANG) > 0); }\n\
        int main() { signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause(); }\n";
    std::fs::write(&source, text).expect("write");
    run(Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(&program)
        .arg(&source));
    program
}
