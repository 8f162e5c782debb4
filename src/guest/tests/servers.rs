//! Real server processes on one etcd: what a death costs, and who may join.
#![allow(clippy::print_stdout)] // what was measured

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cadet_api::install::{Features, IngressPorts, NodeConfig};
use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt, wait};
use kube::{Client, ResourceExt};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

#[allow(dead_code)] // a part of it is enough here
#[path = "../../control/store/tests/etcd/mod.rs"]
mod etcd;

use etcd::Etcd;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cadet-node");

/// What a further server needs of the first.
const SHARED: [&str; 3] = ["ca.crt", "ca.key", "sa.key"];

struct Server {
    folder: TempDir,
    process: Child,
    client: Client,
}

/// A folder with the configuration of a server in it.
fn folder(name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let config = NodeConfig {
        node_name: name.into(),
        cluster_name: "several".into(),
        cluster_cidr: "10.244.0.0/16".into(),
        pod_cidr: "10.244.0.0/24".into(),
        service_cidr: "10.96.0.0/12".into(),
        load_balancer_cidr: None,
        api_port: etcd::free_port(),
        api_sans: vec![],
        lessons_dir: "/nowhere".into(),
        host_dns: false,
        // Several servers run side by side here.
        ingress: IngressPorts { http: 0, https: 0 },
        features: Features::default(),
        node_network: None,
        address: None,
        server: None,
    };
    let config = serde_json::to_vec(&config).expect("json");
    std::fs::write(folder.path().join("node.json"), config).expect("write");
    folder
}

fn program(folder: &Path, verb: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("--data")
        .arg(folder)
        .arg(verb)
        .arg("--config")
        .arg(folder.join("node.json"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn pki(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join("pki").join(name)
}

fn copy_pki(from: &TempDir, to: &TempDir) {
    std::fs::create_dir_all(to.path().join("pki")).expect("folder");
    for name in SHARED {
        std::fs::copy(pki(from, name), pki(to, name)).expect("copy");
    }
}

impl Server {
    /// Starts one and waits until it says that it is ready.
    async fn start(etcd: &Etcd, folder: TempDir) -> Server {
        let path = folder.path().join("ready");
        let socket = UnixDatagram::bind(&path).expect("socket");
        let mut process = program(folder.path(), "server")
            .args(["--datastore", &etcd.address()])
            .args(["--dashboard-port", "0"])
            .env("NOTIFY_SOCKET", &path)
            .spawn()
            .expect("start");
        let ready = tokio::task::spawn_blocking(move || {
            let mut word = [0; 16];
            socket.recv(&mut word)
        });
        tokio::select! {
            ready = ready => { ready.expect("task").expect("word"); }
            ended = process.wait() => panic!("it ended: {ended:?}"),
        }
        let output = program(folder.path(), "kubeconfig").output().await;
        let kubeconfig = serde_json::from_slice(&output.expect("run").stdout).expect("kubeconfig");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
        let client = Client::try_from(config.expect("config")).expect("client");
        Server {
            folder,
            process,
            client,
        }
    }

    /// Two servers of one cluster; the first leads.
    async fn pair(etcd: &Etcd) -> (Server, Server) {
        let a = Server::start(etcd, folder("a")).await;
        for lease in ["kube-controller-manager", "kube-scheduler"] {
            leader(&a.client, lease, "a").await;
        }
        let to = folder("b");
        copy_pki(&a.folder, &to);
        let b = Server::start(etcd, to).await;
        (a, b)
    }

    fn signal(&self, signal: i32) {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        let id = id.expect("it runs");
        // SAFETY: a signal to a child of ours that was not waited for.
        let sent = unsafe { libc::kill(id, signal) };
        assert_eq!(sent, 0);
    }
}

/// Waits until a server of this node holds the Lease.
async fn leader(client: &Client, lease: &str, node: &str) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let held = |lease: Option<&Lease>| {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        holder.is_some_and(|holder| holder.starts_with(&format!("{node}_")))
    };
    let held = wait::await_condition(leases, lease, held).await;
    held.expect("watch");
}

fn config_map(name: &str) -> ConfigMap {
    let value = json!({"metadata": {"name": name}, "data": {"k": "x"}});
    serde_json::from_value(value).expect("object")
}

/// Shows that the loops work: a controller makes the account of a new namespace, and the
/// scheduler finds a node for a pod in it.
async fn loops_work(client: &Client, namespace: &str) {
    let post = PostParams::default();
    let object = json!({"metadata": {"name": namespace}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object: Namespace = serde_json::from_value(object).expect("object");
    namespaces.create(&post, &object).await.expect("namespace");
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let made = wait::await_condition(accounts, "default", |a: Option<&_>| a.is_some()).await;
    made.expect("watch");
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    // No agent keeps the node ready.
    let pod = json!({"metadata": {"name": "p"}, "spec": {"tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "nginx"}]}});
    let pod: Pod = serde_json::from_value(pod).expect("object");
    pods.create(&post, &pod).await.expect("pod");
    let bound = |pod: Option<&Pod>| {
        let spec = pod.and_then(|pod| pod.spec.as_ref());
        spec.is_some_and(|spec| spec.node_name.is_some())
    };
    wait::await_condition(pods, "p", bound)
        .await
        .expect("watch");
}

async fn make_node(client: &Client) {
    let node = json!({"metadata": {"name": "n"}});
    let node: Node = serde_json::from_value(node).expect("object");
    let nodes: Api<Node> = Api::all(client.clone());
    let made = nodes.create(&PostParams::default(), &node).await;
    made.expect("node");
    let status = json!({"status": {"allocatable": {"cpu": "8", "memory": "8Gi", "pods": "100"},
        "conditions": [{"type": "Ready", "status": "True"}]}});
    let patch = Patch::Merge(status);
    let written = nodes
        .patch_status("n", &PatchParams::default(), &patch)
        .await;
    written.expect("status");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_costs_no_acknowledged_write_and_the_other_takes_over() {
    let etcd = Etcd::start();
    let (mut a, b) = Server::pair(&etcd).await;
    make_node(&b.client).await;
    loops_work(&b.client, "before").await;

    let killed = Arc::new(AtomicBool::new(false));
    let mut writers: JoinSet<Vec<String>> = JoinSet::new();
    for writer in 0..8 {
        let through_a = writer % 2 == 0;
        let client = if through_a { &a.client } else { &b.client };
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let killed = Arc::clone(&killed);
        writers.spawn(async move {
            let mut acknowledged = vec![];
            let mut after = 0;
            for n in 0.. {
                let name = format!("m{writer}-{n}");
                match maps
                    .create(&PostParams::default(), &config_map(&name))
                    .await
                {
                    Ok(_) => acknowledged.push(name),
                    // A slow disk: no answer is no acknowledgement.
                    Err(error) if error.to_string().contains("may or may not") => {}
                    Err(error) => {
                        let expected = through_a && killed.load(Ordering::SeqCst);
                        assert!(expected, "{error}");
                        break;
                    }
                }
                after += usize::from(killed.load(Ordering::SeqCst));
                if after > 20 {
                    break;
                }
            }
            acknowledged
        });
    }
    // Some hundred writes are on their way or done.
    let maps: Api<ConfigMap> = Api::default_namespaced(b.client.clone());
    let mut changes = pin!(watcher(maps.clone(), watcher::Config::default()).applied_objects());
    for _ in 0..300 {
        changes.try_next().await.expect("watch").expect("endless");
    }
    killed.store(true, Ordering::SeqCst);
    let since = Instant::now();
    a.process.kill().await.expect("kill");
    loops_work(&b.client, "after").await;
    println!("the loops work again {:?} after the kill", since.elapsed());
    for lease in ["kube-controller-manager", "kube-scheduler"] {
        leader(&b.client, lease, "b").await;
    }

    let acknowledged = writers.join_all().await.concat();
    let found = maps.list(&Default::default()).await.expect("list");
    let found: BTreeMap<String, ()> = found.iter().map(|m| (m.name_any(), ())).collect();
    for name in &acknowledged {
        assert!(found.contains_key(name), "{name} was acknowledged");
    }
    println!(
        "{} writes acknowledged, {} found",
        acknowledged.len(),
        found.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_hands_the_loops_over() {
    let etcd = Etcd::start();
    let (mut a, b) = Server::pair(&etcd).await;
    make_node(&b.client).await;
    let since = Instant::now();
    a.signal(libc::SIGTERM);
    let ended = a.process.wait().await.expect("wait");
    assert!(ended.success(), "{ended}");
    println!("stopped after {:?}", since.elapsed());
    // Given up: nobody waits for the end of a lease that is still the first one's.
    for lease in ["kube-controller-manager", "kube-scheduler"] {
        let leases: Api<Lease> = Api::namespaced(b.client.clone(), "kube-system");
        let spec = leases.get(lease).await.expect("lease").spec;
        let holder = spec.and_then(|spec| spec.holder_identity);
        assert!(holder.is_none_or(|h| h.starts_with("b_")), "{lease}");
    }
    loops_work(&b.client, "after").await;
    println!(
        "the loops work again {:?} after the signal",
        since.elapsed()
    );
    // And back: the first one may come again, and lead again.
    let Server { folder, .. } = a;
    let ready = folder.path().join("ready");
    std::fs::remove_file(ready).expect("remove");
    let a = Server::start(&etcd, folder).await;
    b.signal(libc::SIGTERM);
    loops_work(&a.client, "again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_authority_is_told_what_to_copy() {
    let etcd = Etcd::start();
    let a = Server::start(&etcd, folder("a")).await;
    let join = async |folder: &TempDir| {
        let output = program(folder.path(), "server")
            .args(["--datastore", &etcd.address()])
            .output()
            .await
            .expect("run");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // Without any files: told, and none is made that would be in the way.
    let b = folder("b");
    let words = join(&b).await;
    assert!(
        words.contains("another certificate authority") && words.contains("copy ca.crt, ca.key"),
        "{words}"
    );
    assert!(!pki(&b, "ca.key").exists());
    // With the authority only.
    copy_pki(&a.folder, &b);
    std::fs::remove_file(pki(&b, "sa.key")).expect("remove");
    let words = join(&b).await;
    assert!(words.contains("another key for tokens"), "{words}");
    assert!(!pki(&b, "sa.key").exists());
    // With an authority of another cluster.
    let elsewhere = Etcd::start();
    let c = Server::start(&elsewhere, folder("c")).await;
    copy_pki(&c.folder, &b);
    let words = join(&b).await;
    assert!(words.contains("another certificate authority"), "{words}");
    // With what it was told to copy.
    copy_pki(&a.folder, &b);
    let b = Server::start(&etcd, b).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(a.client.clone());
    let made = maps.create(&PostParams::default(), &config_map("m")).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(b.client.clone());
    let found = maps.get("m").await.expect("at once");
    assert_eq!(found, made.expect("made"));
}
