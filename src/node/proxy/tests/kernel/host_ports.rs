//! Ports of the machine that lead to a pod: who answers, and whom it sees.

use std::net::Ipv4Addr;

use cadet_network::{HostPort, Protocol as Carrier};
use cadet_proxy::table::Protocol::Tcp;

use crate::space::{Space, ask};
use crate::world::{GATEWAY, NODE, OUTSIDE, UP, WEB, World, address, web};

const PORT: u16 = 18_080;

/// Port [`PORT`] of the machine leads to pod a.
fn world() -> World {
    let world = World::new();
    publish(&world, vec![port(None)]);
    world
}

#[test]
fn udp_clients_of_a_port_are_led_to_its_next_pod() {
    let world = World::new();
    let udp = || {
        let protocol = Carrier::Udp;
        vec![HostPort {
            protocol,
            ..port(None)
        }]
    };
    let lead = |to: &'static str| {
        let (network, ports) = (world.network.clone(), udp());
        let published = async move { network.publish("pod", address(to), ports).await };
        let led = world.node.run(|runtime| runtime.block_on(published));
        led.expect("published");
    };
    let door = format!("{NODE}:{PORT}");
    let socket = world.outside.udp_socket();
    for pod in ["a", "b"] {
        lead(pod);
        assert_eq!(ask(&socket, &door).expect("an answer").name, pod);
    }
}

fn port(host_ip: Option<Ipv4Addr>) -> HostPort {
    HostPort {
        protocol: Carrier::Tcp,
        host_ip,
        host_port: PORT,
        container_port: 8080,
    }
}

fn publish(world: &World, ports: Vec<HostPort>) {
    let network = world.network.clone();
    let published = async move { network.publish("a", address("a"), ports).await };
    world
        .node
        .run(|runtime| runtime.block_on(published))
        .expect("published");
}

#[track_caller]
fn answers(from: &Space, to: &str, name: &str, sees: &str) {
    let answer = from.tcp(to).expect("an answer");
    assert_eq!((answer.name.as_str(), answer.sees.as_str()), (name, sees));
}

#[test]
fn pods_see_who_calls_but_where_they_could_not_answer() {
    let world = world();
    let door = format!("{NODE}:{PORT}");
    answers(&world.outside, &door, "a", OUTSIDE);
    answers(world.pod("b"), &door, "a", &address("b").to_string());
    answers(&world.node, &door, "a", NODE);
    answers(world.pod("a"), &door, "a", GATEWAY);
    answers(&world.node, &format!("127.0.0.1:{PORT}"), "a", GATEWAY);
}

#[test]
fn services_show_their_callers_beside_host_ports() {
    let mut world = world();
    world.service("web", web(Tcp));
    world.endpoints("web", Tcp, &[("b", UP)]);
    world.sync();
    let to = format!("{WEB}:80");
    answers(world.pod("c"), &to, "b", &address("c").to_string());
}

#[test]
fn ports_and_pods_come_back_when_rules_and_bridge_were_taken_away() {
    let world = world();
    world.node.sh("nft flush ruleset && ip link del cadet0");
    let network = world.network.clone();
    let restored = async move { network.ensure().await };
    world
        .node
        .run(|runtime| runtime.block_on(restored))
        .expect("restored");
    answers(&world.outside, &format!("{NODE}:{PORT}"), "a", OUTSIDE);
    answers(
        world.pod("b"),
        "10.244.0.2:8080",
        "a",
        &address("b").to_string(),
    );
    // Nothing is left when the last one goes.
    publish(&world, vec![]);
    assert!(!world.node.sh("nft list tables").contains("cadet-ports"));
    let open = world
        .node
        .sh("cat /proc/sys/net/ipv4/conf/cadet0/route_localnet");
    assert_eq!(open.trim(), "0");
}

#[test]
fn a_port_of_one_address_is_no_port_of_the_others() {
    let world = World::new();
    publish(&world, vec![port(Some(Ipv4Addr::LOCALHOST))]);
    assert!(world.outside.brief_tcp(&format!("{NODE}:{PORT}")).is_err());
    answers(&world.node, &format!("127.0.0.1:{PORT}"), "a", GATEWAY);
}
