//! A cluster of one node whose agent is the real kubelet's server over an engine that is
//! not there: commands run on the test's own machine.

// Each test binary uses its own part of this.

mod engine;
mod processes;

use std::net::SocketAddr;
use std::sync::Arc;

use cadet_apiserver::{App, Config};
use cadet_kubelet::{PodTable, Server, ServerTls};
use cadet_store::{LocalStore, MemoryDisk, Options};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use engine::Engine;

use crate::support::{Client, PODS, admin, bind};
use crate::tls::{Authority, Served};

pub struct Cluster {
    pub client: Client,
    pub served: Served,
    pub kubeconfig: Value,
    pub runtime: Arc<Engine>,
    pods: PodTable,
    stop: CancellationToken,
    agent_task: tokio::task::JoinHandle<()>,
}

impl Cluster {
    pub async fn start() -> Cluster {
        Cluster::start_with(|_, _| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config, &mut Options)) -> Cluster {
        let authority = Authority::new();
        let mut options = Options::default();
        let mut config = Config {
            kubelet_tls: Some(authority.towards_agents()),
            ..crate::support::config()
        };
        change(&mut config, &mut options);
        let store = LocalStore::open(MemoryDisk, options).expect("store");
        let app = App::start(config, Arc::new(store)).await.expect("start");
        let client = Client::new(&app, admin());
        let (client_ca, identity) = authority.server_pem();
        let tls = ServerTls {
            client_ca: client_ca.into_bytes(),
            certificate: identity.certificate.into_bytes(),
            key: identity.key.into_bytes(),
        };
        let (runtime, pods) = (Arc::new(Engine::default()), PodTable::default());
        let listen = "127.0.0.1:0".parse().expect("address");
        let server = Server::bind(listen, &tls, runtime.clone(), pods.clone()).await;
        let server = server.expect("agent");
        let address: SocketAddr = server.address().expect("address");
        let stop = CancellationToken::new();
        let agent_task = tokio::spawn(server.run(stop.clone()));
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": address.port()}}}});
        client.post("/api/v1/nodes", &node).await.expect(201);
        let served = Served::start_under(authority, app).await;
        let kubeconfig = served.kubeconfig(&served.identity("cadet-admin", "system:masters"));
        Cluster {
            client,
            served,
            kubeconfig,
            runtime,
            pods,
            stop,
            agent_task,
        }
    }

    /// A pod on the node. Its containers run, except those named `stopped`.
    pub async fn pod(&self, name: &str, spec: Value) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": spec});
        self.client.post(PODS, &pod).await.expect(201);
        bind(&self.client, name, "n1").await.expect(201);
        let path = format!("{PODS}/{name}");
        let pod = self.client.get(&path).await.expect(200);
        let containers = pod["spec"]["containers"].as_array().expect("containers");
        let uid = pod["metadata"]["uid"].as_str().expect("uid");
        self.runtime.run(uid, "sandbox", "");
        let mut statuses = Vec::new();
        for container in containers {
            let container = container["name"].as_str().expect("name");
            if container != "stopped" {
                self.runtime.run(uid, "app", container);
            }
            statuses.push(
                json!({"name": container, "ready": true, "restartCount": 0, "image": "x",
                "imageID": "x", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}),
            );
        }
        let status = json!({"status": {"phase": "Running", "podIP": "10.244.0.9",
            "hostIP": "127.0.0.1", "containerStatuses": statuses,
            "conditions": [{"type": "Ready", "status": "True"}]}});
        let path = format!("{path}/status");
        let running = self.client.patch(&path, "merge", &status);
        let running = running.await.expect(200);
        let running = serde_json::from_value(running).expect("pod");
        self.pods.insert(uid, Arc::new(running));
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.agent_task.await.expect("agent");
        self.served.stop().await;
    }
}
