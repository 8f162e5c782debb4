//! Two nodes, each with the same address towards the outside, joined by a card of their own: as
//! virtual machines of one profile are.

use std::net::Ipv4Addr;
use std::sync::Arc;

use cadet_network::{Cidr, Network, NetworkConfig, set_up_card};
use cadet_proxy::services::{Services, Slice, SliceEndpoint, flag};
use cadet_proxy::table::{Protocol::Tcp, Table};
use cadet_proxy::{Config, base, nft};

use crate::space::{Answer, Space};
use crate::world::{PODS, WEB, config, named, web};

/// What every machine believes to be its address towards the outside.
const OUTGOING: &str = "10.0.2.15";

struct Node {
    number: u8,
    space: Space,
    network: Arc<Network>,
    pod: Space,
}

fn card(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 89, 0, number)
}

fn range(number: u8) -> String {
    format!("10.244.{}.0/24", number - 1)
}

fn cidr(number: u8) -> Cidr {
    range(number).parse().expect("range")
}

fn pod(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, number - 1, 2)
}

/// Two machines with an engine's closed door, their cards on one segment, one pod on each.
fn two() -> [Node; 2] {
    let spaces = [Space::new(), Space::new()];
    let pair = "ip link add c1 address 02:ca:de:00:00:01 type veth \
                peer name c2 address 02:ca:de:00:00:02";
    spaces[0].sh(&format!("{pair} && ip link set c2 netns {}", spaces[1].id));
    let mut number = 0;
    spaces.map(|space| {
        number += 1;
        node(number, space)
    })
}

fn node(number: u8, space: Space) -> Node {
    space.sh(&format!(
        "ip link add up0 type veth peer name up1 && ip link set up1 up &&
         ip addr add {OUTGOING}/24 dev up0 && ip link set up0 up &&
         ip route add default via 10.0.2.2 &&
         iptables -w -N DOCKER-USER && iptables -w -P FORWARD DROP &&
         iptables -w -A FORWARD -j DOCKER-USER"
    ));
    let network = space.run(move |runtime| {
        runtime.block_on(async {
            let mac = format!("02:ca:de:00:00:{number:02x}");
            set_up_card(&mac, card(number), 24).await.expect("card");
            // At a second start it is as it was.
            set_up_card(&mac, card(number), 24).await.expect("card");
            let config = NetworkConfig {
                pod_cidr: cidr(number),
                cluster_cidr: PODS.parse().expect("range"),
            };
            Network::setup(config).await.expect("network")
        })
    });
    let network = Arc::new(network);
    let own = Space::new();
    let (attached, id) = (network.clone(), own.id);
    let attach = async move { attached.attach("pod", id, pod(number)).await };
    space
        .run(|runtime| runtime.block_on(attach))
        .expect("attached");
    own.serve(if number == 1 { "one" } else { "two" }, 8080);
    Node {
        number,
        space,
        network,
        pod: own,
    }
}

impl Node {
    /// Leads to the pods of these nodes; whether the kernel took all of it.
    fn leads_to(&self, nodes: &[u8]) -> bool {
        let ways = nodes.iter().map(|n| (cidr(*n), card(*n))).collect();
        let network = self.network.clone();
        let lead = async move { network.lead_to_nodes(&ways).await };
        self.space.run(|runtime| runtime.block_on(lead)).is_ok()
    }

    fn routes(&self) -> Vec<String> {
        let listed = self.space.sh("ip route show proto 202");
        listed.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// The Service `web`, whose only endpoint is the pod of the second node.
    fn serves(&self) {
        let config = Config {
            pod_rules: self.network.rules(),
            ..config()
        };
        let mut services = Services::new(PODS);
        services.set_service(&named("web"), Some(web(Tcp)));
        let here = if self.number == 2 { flag::LOCAL } else { 0 };
        let slice = Slice {
            ports: vec![("".into(), Tcp, 8080)],
            endpoints: [SliceEndpoint {
                ip: pod(2),
                flags: flag::READY | flag::SERVING | here,
            }]
            .into(),
        };
        services.set_slice(&named("web"), Some(("web".into(), slice)));
        let mut table = Table::default();
        services.refresh(&mut table);
        let rules = table.commit().expect("rules");
        self.space.run(move |runtime| {
            runtime.block_on(async {
                nft::apply(&base::ruleset(&config)).await.expect("table");
                nft::apply(&rules).await.expect("rules");
            });
        });
    }
}

#[track_caller]
fn sees(result: std::io::Result<Answer>, who: Ipv4Addr) {
    let answer = result.expect("an answer");
    assert_eq!(answer.name, "two");
    assert_eq!(answer.sees, who.to_string());
}

#[test]
fn pods_reach_pods_of_another_node_and_are_seen_as_themselves() {
    let [one, two] = two();
    assert!(one.leads_to(&[2]) && two.leads_to(&[1]));
    let to = format!("{}:8080", pod(2));
    sees(one.pod.tcp(&to), pod(1));
    sees(one.pod.udp(&to), pod(1));
    // The machine itself by the address others know it by, not by the one all have.
    sees(one.space.tcp(&to), card(1));
}

#[test]
fn a_service_leads_to_another_node() {
    let [one, two] = two();
    assert!(one.leads_to(&[2]) && two.leads_to(&[1]));
    one.serves();
    two.serves();
    let to = format!("{WEB}:80");
    sees(one.pod.tcp(&to), pod(1));
    sees(one.space.tcp(&to), card(1));
}

#[test]
fn routes_follow_the_nodes() {
    let [one, _two] = two();
    assert!(one.leads_to(&[2]));
    assert!(one.leads_to(&[2]), "again");
    let way = "10.244.1.0/24 via 10.89.0.2 dev c1";
    assert_eq!(one.routes(), [way]);
    // A node that cannot be reached does not keep the others.
    let far = Ipv4Addr::new(192, 0, 2, 9);
    one.space.sh("ip route del default");
    let ways = [(cidr(8), far), (cidr(2), card(2)), (cidr(3), card(3))];
    let network = one.network.clone();
    let lead = async move { network.lead_to_nodes(&ways.into()).await };
    let refused = one.space.run(|runtime| runtime.block_on(lead));
    assert!(refused.is_err());
    assert_eq!(one.routes(), [way, "10.244.2.0/24 via 10.89.0.3 dev c1"]);
    assert!(one.leads_to(&[]));
    assert!(one.routes().is_empty());
}

#[test]
fn a_machine_without_the_card_says_which_it_lacks() {
    let space = Space::new();
    let missing = space.run(|runtime| {
        let set_up = set_up_card("02:ca:de:00:00:07", card(7), 24);
        runtime.block_on(set_up)
    });
    let error = missing.expect_err("there is none").to_string();
    assert!(error.contains("02:ca:de:00:00:07"), "{error}");
}
