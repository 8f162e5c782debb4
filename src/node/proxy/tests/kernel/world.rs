//! A node with pods, wired by the agent's own pod network, and rules made of what tests
//! say there is.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use cadet_network::{Network, NetworkConfig};
use cadet_proxy::policy::{Labels, Pod, Policies, Policy};
use cadet_proxy::services::{
    Consequences, ObjectName, Service, ServicePort, Services, Slice, SliceEndpoint, flag,
};
use cadet_proxy::table::{Protocol, Table};
use cadet_proxy::{Config, base, conntrack, nft};
use serde_json::{Value, json};

use crate::space::Space;

pub const PODS: &str = "10.244.0.0/16";
pub const SERVICES: &str = "10.96.0.0/12";
/// The node as pods see it.
pub const GATEWAY: &str = "10.244.0.1";
/// The node as the outside sees it.
pub const NODE: &str = "192.0.2.1";
/// The machine outside.
pub const OUTSIDE: &str = "192.0.2.2";
/// A cluster IP.
pub const WEB: &str = "10.96.0.10";

/// Ready and on this node, which is where all pods of these tests are.
pub const UP: u8 = flag::READY | flag::SERVING | flag::LOCAL;

pub struct World {
    pub node: Space,
    pub outside: Space,
    pub pods: HashMap<&'static str, Space>,
    pub network: Arc<Network>,
    pub services: Services,
    pub policies: Policies,
    pub table: Table,
}

/// Pods a, b and c have these addresses and answer on port 8080.
pub fn address(pod: &str) -> Ipv4Addr {
    let n = match pod {
        "a" => 2,
        "b" => 3,
        "c" => 4,
        other => panic!("no pod {other}"),
    };
    Ipv4Addr::new(10, 244, 0, n)
}

pub fn config() -> Config {
    Config {
        node_name: "node".into(),
        cluster_cidr: PODS.into(),
        service_cidr: SERVICES.into(),
        pod_rules: String::new(),
    }
}

/// A node without rules for Services.
pub fn bare() -> World {
    let (node, outside) = (Space::new(), Space::new());
    node.sh(&format!(
        "ip link add eth0 type veth peer name eth1 && ip link set eth1 netns {} &&
         ip addr add {NODE}/24 dev eth0 && ip link set eth0 up &&
         ip route add default via {OUTSIDE}",
        outside.id
    ));
    outside.sh(&format!(
        "ip addr add {OUTSIDE}/24 dev eth1 && ip link set eth1 up &&
         ip route add default via {NODE}"
    ));
    let network = node.run(|runtime| {
        let config = NetworkConfig {
            pod_cidr: "10.244.0.0/24".parse().expect("range"),
            cluster_cidr: PODS.parse().expect("range"),
        };
        runtime.block_on(Network::setup(config)).expect("network")
    });
    let network = Arc::new(network);
    let mut pods = HashMap::new();
    for name in ["a", "b", "c"] {
        let pod = Space::new();
        let (network, id) = (network.clone(), pod.id);
        let attach = async move { network.attach(name, id, address(name)).await };
        node.run(|runtime| runtime.block_on(attach))
            .expect("attached");
        pod.serve(name, 8080);
        pods.insert(name, pod);
    }
    node.serve("node", 9090);
    outside.serve("outside", 9090);
    World {
        node,
        outside,
        pods,
        network,
        services: Services::new(PODS),
        policies: Policies::default(),
        table: Table::default(),
    }
}

impl World {
    /// A node with rules, but no Services.
    pub fn new() -> Self {
        let world = bare();
        let config = Config {
            pod_rules: world.network.rules(),
            ..config()
        };
        world.nft(base::ruleset(&config));
        world
    }

    pub fn pod(&self, name: &str) -> &Space {
        &self.pods[name]
    }

    pub fn service(&mut self, name: &str, service: Service) {
        self.services.set_service(&named(name), Some(service));
    }

    /// The endpoints of a Service: pods and their conditions.
    pub fn endpoints(&mut self, service: &str, protocol: Protocol, pods: &[(&str, u8)]) {
        let endpoints = pods.iter().map(|(pod, flags)| SliceEndpoint {
            ip: address(pod),
            flags: *flags,
        });
        let slice = Slice {
            ports: vec![("".into(), protocol, 8080)],
            endpoints: endpoints.collect(),
        };
        let slice = Some((service.into(), slice));
        self.services.set_slice(&named(service), slice);
    }

    /// A pod as policies see it: its label `app` is its name, its port is called `http`.
    pub fn policy_pod(&mut self, name: &str) {
        let pod = Pod {
            labels: Arc::new(Labels::from([("app".to_owned(), name.to_owned())])),
            ip: address(name),
            ports: [("http".into(), Protocol::Tcp, 8080)].into(),
            local: true,
        };
        self.policies
            .set_pod(&named(name), Some(pod), &mut self.table);
    }

    pub fn policy(&mut self, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        });
        let object = serde_json::from_value(object).expect("a policy");
        self.policies
            .set_policy(&named(name), Some(Policy::read(&object).expect("a policy")));
    }

    /// Gives the kernel what has changed.
    pub fn sync(&mut self) -> Consequences {
        let todo = self.services.refresh(&mut self.table);
        self.policies.refresh(&mut self.table);
        if let Some(statements) = self.table.commit() {
            self.nft(statements);
        }
        todo
    }

    pub fn nft(&self, statements: String) {
        self.node
            .run(move |runtime| runtime.block_on(nft::apply(&statements)))
            .expect("rules");
    }

    /// Forgets UDP connections to endpoints that are gone.
    pub fn forget_flows(&self) -> usize {
        let answers: HashMap<_, _> = self
            .services
            .udp()
            .map(|(front, known)| (*front, known.clone()))
            .collect();
        self.node
            .run(move |_| conntrack::forget(|flow| conntrack::is_stale(flow, &answers)))
            .expect("forgotten")
    }
}

pub fn named(name: &str) -> ObjectName {
    ("default".into(), name.into())
}

/// A Service with cluster IP [`WEB`] and port 80.
pub fn web(protocol: Protocol) -> Service {
    Service {
        cluster_ip: WEB.parse().expect("address"),
        ports: vec![ServicePort {
            name: "".into(),
            protocol,
            port: 80,
            node_port: None,
        }],
        external_ips: vec![],
        balancer_ips: vec![],
        source_ranges: vec![],
        internal_local: false,
        external_local: false,
        affinity: None,
        health_port: None,
    }
}
