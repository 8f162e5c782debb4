//! Names: a node's DNS server on a cluster's API, asked as a pod's C library asks, and the
//! Service by which it is known.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::time::Duration;

use cadet_apiserver::User;
use cadet_dns::{Config, Server};
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::Name;
use domain::base::{Message, MessageBuilder};
use domain::rdata::A;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DeleteParams};
use tokio::net::UdpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::{Cluster, PATIENCE};

/// What a pod of `default` looks for names in.
const SEARCHES: [&str; 3] = [
    "default.svc.cluster.local",
    "svc.cluster.local",
    "cluster.local",
];
const NDOTS: usize = 5;

/// A node's server, and a stub resolver as pods have it.
struct Dns {
    address: SocketAddr,
    _stop: DropGuard,
    _folder: tempfile::TempDir,
}

impl Dns {
    /// With what the API lets a node see.
    async fn start(cluster: &Cluster) -> Dns {
        let folder = tempfile::tempdir().expect("folder");
        let resolv_conf = folder.path().join("resolv.conf");
        std::fs::write(&resolv_conf, "").expect("write");
        let config = Config {
            listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
            address: Ipv4Addr::new(10, 96, 0, 10),
            domain: "cluster.local".into(),
            ranges: vec!["10.96.0.0/12".into(), "10.244.0.0/16".into()],
            resolv_conf,
        };
        let server = Server::bind(&config).await.expect("bind");
        let address = server.addresses().expect("address")[0];
        let groups = &["system:nodes", "system:authenticated"];
        let user = User::new("system:node:node-1", groups);
        let client = Client::new(cluster.app.service(user), "default");
        let stop = CancellationToken::new();
        tokio::spawn(server.run(client, stop.clone()));
        Dns {
            address,
            _stop: stop.drop_guard(),
            _folder: folder,
        }
    }

    /// One question, one answer.
    async fn ask(&self, name: &str) -> (Rcode, Vec<IpAddr>) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("bind");
        socket.connect(self.address).await.expect("connect");
        let mut question = MessageBuilder::new_vec();
        question.header_mut().set_rd(true);
        let mut question = question.question();
        let name = Name::<Vec<u8>>::from_str(name).expect("name");
        question.push((name, Rtype::A, Class::IN)).expect("room");
        socket.send(&question.finish()).await.expect("send");
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).await.expect("receive");
        let message = Message::from_slice(&buffer[..length]).expect("message");
        let answer = message.answer().expect("answer").limit_to::<A>();
        let mut addresses: Vec<IpAddr> = answer
            .map(|record| record.expect("record").data().addr().into())
            .collect();
        addresses.sort_unstable();
        (message.header().rcode(), addresses)
    }

    /// As getaddrinfo(3) with the options and search path of a pod.
    async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        let searched = SEARCHES.iter().map(|domain| format!("{name}.{domain}"));
        let dots = name.matches('.').count();
        let names: Vec<String> = match name.strip_suffix('.') {
            Some(name) => vec![name.to_owned()],
            None if dots >= NDOTS => std::iter::once(name.to_owned()).chain(searched).collect(),
            None => searched.chain([name.to_owned()]).collect(),
        };
        for name in names {
            let (_, addresses) = self.ask(&name).await;
            if !addresses.is_empty() {
                return addresses;
            }
        }
        Vec::new()
    }

    /// Waits until a name has these addresses: the watch brings them, and no answer tells when.
    async fn until(&self, name: &str, expected: &[&str]) {
        let expected: Vec<IpAddr> = expected
            .iter()
            .map(|a| a.parse().expect("address"))
            .collect();
        let mut last = Vec::new();
        let waiting = async {
            loop {
                last = self.look_up(name).await;
                if last == expected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{name}: {last:?}, not {expected:?}");
    }
}

fn slice(name: &str, service: &str, endpoints: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  labels: {{kubernetes.io/service-name: {service}, endpointslice.kubernetes.io/managed-by: test}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: {endpoints}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_found_as_pods_look_for_them() {
    let cluster = Cluster::bare().await;
    let dns = Dns::start(&cluster).await;
    // Also without a word from us: the API server's own.
    dns.until("kubernetes.default.svc.cluster.local", &["10.96.0.1"])
        .await;
    let service = cluster
        .apply("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80}]}}")
        .await;
    let address = service.data["spec"]["clusterIP"]
        .as_str()
        .expect("an address")
        .to_owned();
    for name in [
        "web",
        "web.default",
        "web.default.svc",
        "web.default.svc.cluster.local.",
    ] {
        dns.until(name, &[&address]).await;
    }
    assert_eq!(
        dns.ask("web.kube-system.svc.cluster.local").await.0,
        Rcode::NXDOMAIN
    );
    let services: Api<Service> = cluster.api();
    services
        .delete("web", &DeleteParams::default())
        .await
        .expect("delete");
    dns.until("web", &[]).await;
    assert_eq!(
        dns.ask("web.default.svc.cluster.local").await.0,
        Rcode::NXDOMAIN
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_headless_service_follows_its_endpoints() {
    let cluster = Cluster::bare().await;
    let dns = Dns::start(&cluster).await;
    cluster
        .apply("{apiVersion: v1, kind: Service, metadata: {name: pets}, spec: {clusterIP: None, ports: [{name: http, port: 80}]}}")
        .await;
    let endpoint = |address: &str, hostname: &str, ready: bool| {
        format!("{{addresses: [{address}], hostname: {hostname}, conditions: {{ready: {ready}}}}}")
    };
    let both = |ready| {
        let one = endpoint("10.244.0.7", "pet-0", true);
        slice(
            "pets-1",
            "pets",
            &format!("[{one}, {}]", endpoint("10.244.0.8", "pet-1", ready)),
        )
    };
    cluster.apply(&both(false)).await;
    dns.until("pets", &["10.244.0.7"]).await;
    dns.until("pet-0.pets", &["10.244.0.7"]).await;
    assert_eq!(
        dns.ask("pet-1.pets.default.svc.cluster.local").await.0,
        Rcode::NXDOMAIN
    );
    cluster.apply(&both(true)).await;
    dns.until("pets", &["10.244.0.7", "10.244.0.8"]).await;
    dns.until("pet-1.pets.default.svc", &["10.244.0.8"]).await;
    dns.until("10-244-0-9.default.pod.cluster.local", &["10.244.0.9"])
        .await;
    let slices: Api<EndpointSlice> = cluster.api();
    slices
        .delete("pets-1", &DeleteParams::default())
        .await
        .expect("delete");
    dns.until("pets", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_appear_and_go_with_their_namespace() {
    let cluster = Cluster::bare().await;
    let dns = Dns::start(&cluster).await;
    dns.until("kubernetes", &["10.96.0.1"]).await;
    assert_eq!(
        dns.ask("10-0-0-1.shop.pod.cluster.local").await.0,
        Rcode::NXDOMAIN
    );
    cluster
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
        .await;
    dns.until("10-0-0-1.shop.pod.cluster.local.", &["10.0.0.1"])
        .await;
    assert_eq!(
        dns.ask("shop.svc.cluster.local").await,
        (Rcode::NOERROR, vec![])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dns_service_stands_where_learners_look_for_it() {
    let cluster = Cluster::bare().await;
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let user = User::new("system:kube-controller-manager", &["system:authenticated"]);
    let client = Client::new(cluster.app.service(user), "default");
    let address = cadet_dns::service::address("10.96.0.0/12").expect("an address");
    tokio::spawn(cadet_dns::service::run(client, address, stop));
    let service = cluster
        .until::<Service>("kube-system", "kube-dns", |service| service.is_some())
        .await
        .and_then(|service| service.spec)
        .expect("a spec");
    assert_eq!(service.cluster_ip.as_deref(), Some("10.96.0.10"));
    let ports: Vec<String> = (service.ports.iter().flatten())
        .map(|p| format!("{}/{}", p.port, p.protocol.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(ports, ["53/UDP", "53/TCP"]);
    cluster
        .apply("{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.244.3.0/24, podCIDRs: [10.244.3.0/24]}}")
        .await;
    let slice = cluster
        .until::<EndpointSlice>("kube-system", "kube-dns-0", |slice| slice.is_some())
        .await
        .expect("it is there");
    let endpoints = slice.endpoints.expect("endpoints");
    assert_eq!(endpoints[0].addresses, ["10.244.3.1"]);
    assert_eq!(endpoints[0].node_name.as_deref(), Some("n1"));
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client.clone());
    nodes
        .delete("n1", &DeleteParams::default())
        .await
        .expect("delete");
    cluster
        .until::<EndpointSlice>("kube-system", "kube-dns-0", |slice| slice.is_none())
        .await;
}
