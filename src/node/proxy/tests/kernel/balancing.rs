//! Who answers when a Service is called, and what it sees of the caller.

use std::collections::{BTreeMap, BTreeSet};

use cadet_proxy::nft;
use cadet_proxy::services::{Slice, SliceEndpoint, flag};
use cadet_proxy::table::Protocol::{self, Tcp, Udp};

use crate::space::{Answer, Space, ask, is_dropped, is_refused};
use crate::world::{GATEWAY, NODE, OUTSIDE, UP, WEB, World, address, named, web};

/// Sixty calls: enough that of three equals none is left out.
pub fn sixty(space: &Space, protocol: Protocol, to: &str) -> BTreeMap<String, u32> {
    let mut count = BTreeMap::new();
    for _ in 0..60 {
        let answer = match protocol {
            Udp => space.udp(to),
            _ => space.tcp(to),
        };
        *count.entry(answer.expect("an answer").name).or_insert(0) += 1;
    }
    count
}

#[track_caller]
fn answers(result: std::io::Result<Answer>, name: &str, sees: &str) {
    let expected = Answer {
        name: name.to_owned(),
        sees: sees.to_owned(),
    };
    assert_eq!(result.expect("an answer"), expected);
}

#[test]
fn endpoints_share_the_calls_and_see_the_caller() {
    for protocol in [Tcp, Udp] {
        let mut world = World::new();
        world.service("web", web(protocol));
        world.endpoints("web", protocol, &[("a", UP), ("b", UP), ("c", UP)]);
        world.sync();
        let to = format!("{WEB}:80");
        let count = sixty(world.pod("a"), protocol, &to);
        assert_eq!(count.len(), 3, "{count:?}");
        assert!(count.values().all(|n| *n >= 5), "{count:?}");
        // A neighbour on the same bridge answers through the node, or this would not work.
        world.endpoints("web", protocol, &[("b", UP)]);
        world.sync();
        let call = match protocol {
            Udp => Space::udp,
            _ => Space::tcp,
        };
        answers(call(world.pod("a"), &to), "b", &address("a").to_string());
        // The node's own address leads to no pod and back only if it is the gateway's.
        answers(call(&world.node, &to), "b", GATEWAY);
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let mut world = World::new();
    world.service("web", web(Tcp));
    world.endpoints("web", Tcp, &[("a", UP)]);
    world.sync();
    let to = format!("{WEB}:80");
    answers(world.pod("a").tcp(&to), "a", GATEWAY);
    answers(world.pod("b").tcp(&to), "a", &address("b").to_string());
}

#[test]
fn nobody_there_is_refused_at_once() {
    for protocol in [Tcp, Udp] {
        let mut world = World::new();
        let mut service = web(protocol);
        service.ports[0].node_port = Some(30_080);
        world.service("web", service);
        world.endpoints("web", protocol, &[]);
        world.sync();
        let call = match protocol {
            Udp => Space::udp,
            _ => Space::tcp,
        };
        let to = format!("{WEB}:80");
        assert!(is_refused(&call(world.pod("a"), &to)));
        assert!(is_refused(&call(&world.node, &to)));
        assert!(is_refused(&call(&world.outside, &format!("{NODE}:30080"))));
        // A port the Service does not have, and an address no Service has.
        assert!(is_refused(&call(world.pod("a"), &format!("{WEB}:81"))));
        let briefly = match protocol {
            Udp => Space::brief_udp,
            _ => Space::brief_tcp,
        };
        assert!(is_dropped(&briefly(world.pod("a"), "10.96.0.99:80")));
        // As soon as somebody is there, it is answered.
        world.endpoints("web", protocol, &[("b", UP)]);
        world.sync();
        assert_eq!(call(world.pod("a"), &to).expect("answer").name, "b");
    }
}

#[test]
fn pods_about_to_end_answer_when_nobody_else_does() {
    let mut world = World::new();
    world.service("web", web(Tcp));
    let ending = flag::SERVING | flag::TERMINATING | flag::LOCAL;
    world.endpoints("web", Tcp, &[("a", ending), ("b", UP)]);
    world.sync();
    let to = format!("{WEB}:80");
    assert_eq!(
        sixty(world.pod("c"), Tcp, &to),
        [("b".to_owned(), 60)].into()
    );
    world.endpoints(
        "web",
        Tcp,
        &[("a", ending), ("b", flag::TERMINATING | flag::LOCAL)],
    );
    world.sync();
    assert_eq!(
        sixty(world.pod("c"), Tcp, &to),
        [("a".to_owned(), 60)].into()
    );
}

#[test]
fn node_ports_and_addresses_outside_lead_in() {
    let mut world = World::new();
    let mut service = web(Tcp);
    service.ports[0].node_port = Some(30_080);
    service.external_ips = vec!["198.51.100.1".parse().expect("address")];
    service.balancer_ips = vec!["198.51.100.2".parse().expect("address")];
    world.service("web", service.clone());
    world.endpoints("web", Tcp, &[("b", UP)]);
    world.sync();
    let doors = [
        format!("{NODE}:30080"),
        "198.51.100.1:80".into(),
        "198.51.100.2:80".into(),
    ];
    for door in &doors {
        answers(world.outside.tcp(door), "b", GATEWAY);
        answers(world.node.tcp(door), "b", GATEWAY);
        answers(world.pod("a").tcp(door), "b", GATEWAY);
        answers(world.pod("b").tcp(door), "b", GATEWAY);
    }
    // The gateway is an address of the node as well.
    answers(
        world.pod("a").tcp(&format!("{GATEWAY}:30080")),
        "b",
        GATEWAY,
    );

    // With the local policy the caller is seen as it is.
    service.external_local = true;
    world.service("web", service.clone());
    world.sync();
    for door in &doors {
        answers(world.outside.tcp(door), "b", OUTSIDE);
        answers(world.node.tcp(door), "b", GATEWAY);
        answers(world.pod("a").tcp(door), "b", &address("a").to_string());
        answers(world.pod("b").tcp(door), "b", GATEWAY);
    }
    // Nobody on this node: not for those outside, but this node's pods go elsewhere.
    world.endpoints("web", Tcp, &[("b", UP & !flag::LOCAL)]);
    world.sync();
    for door in &doors {
        assert!(is_dropped(&world.outside.brief_tcp(door)), "{door}");
        answers(world.pod("a").tcp(door), "b", &address("a").to_string());
    }
}

#[test]
fn a_balancer_keeps_out_whom_it_does_not_know() {
    let mut world = World::new();
    let mut service = web(Tcp);
    service.balancer_ips = vec!["198.51.100.2".parse().expect("address")];
    service.source_ranges = vec!["203.0.113.0/24".into(), "10.244.0.2/32".into()];
    world.service("web", service.clone());
    world.endpoints("web", Tcp, &[("b", UP)]);
    world.sync();
    let door = "198.51.100.2:80";
    assert!(is_dropped(&world.outside.brief_tcp(door)));
    assert!(is_dropped(&world.pod("c").brief_tcp(door)));
    answers(world.pod("a").tcp(door), "b", GATEWAY);
    // Other doors of the Service are open.
    answers(
        world.pod("c").tcp(&format!("{WEB}:80")),
        "b",
        &address("c").to_string(),
    );
    service.source_ranges.push("192.0.2.0/24".into());
    world.service("web", service);
    world.sync();
    answers(world.outside.tcp(door), "b", GATEWAY);
}

#[test]
fn a_cluster_ip_with_the_local_policy_stays_on_the_node() {
    let mut world = World::new();
    let mut service = web(Tcp);
    service.internal_local = true;
    world.service("web", service);
    world.endpoints("web", Tcp, &[("a", UP), ("b", UP & !flag::LOCAL)]);
    world.sync();
    let to = format!("{WEB}:80");
    assert_eq!(
        sixty(world.pod("c"), Tcp, &to),
        [("a".to_owned(), 60)].into()
    );
    world.endpoints("web", Tcp, &[("b", UP & !flag::LOCAL)]);
    world.sync();
    assert!(is_dropped(&world.pod("c").brief_tcp(&to)));
}

#[test]
fn clients_with_affinity_come_back_to_the_same_endpoint() {
    for protocol in [Tcp, Udp] {
        let mut world = World::new();
        let mut service = web(protocol);
        service.affinity = Some(3600);
        service.ports[0].node_port = Some(30_080);
        world.service("web", service);
        world.endpoints("web", protocol, &[("a", UP), ("b", UP), ("c", UP)]);
        world.sync();
        let to = format!("{WEB}:80");
        let firsts: Vec<String> = ["a", "b", "c"]
            .map(|client| {
                let count = sixty(world.pod(client), protocol, &to);
                assert_eq!(count.len(), 1, "{protocol} {client}: {count:?}");
                count.into_keys().next().expect("one")
            })
            .into();
        // By whichever door.
        let door = format!("{NODE}:30080");
        let count = sixty(world.pod("a"), protocol, &door);
        assert_eq!(count, [(firsts[0].clone(), 60)].into());

        // Its endpoint gone, a client gets another one and keeps that; the rest stay.
        let gone = firsts[0].as_str();
        let left: Vec<(&str, u8)> = ["a", "b", "c"]
            .into_iter()
            .filter(|pod| *pod != gone)
            .map(|pod| (pod, UP))
            .collect();
        world.endpoints("web", protocol, &left);
        let todo = world.sync();
        assert!(!todo.sticky.is_empty());
        assert_eq!(todo.udp, protocol == Udp);
        if todo.udp {
            world.forget_flows();
        }
        for (map, known) in todo.sticky {
            world.node.run(move |runtime| {
                runtime.block_on(async move {
                    let clients = nft::clients(&map).await.expect("clients");
                    if let Some(statement) = nft::forget(&map, &clients, &known) {
                        nft::apply(&statement).await.expect("forgotten");
                    }
                });
            });
        }
        for (client, first) in ["a", "b", "c"].into_iter().zip(&firsts) {
            let count = sixty(world.pod(client), protocol, &to);
            let names: BTreeSet<&str> = count.keys().map(String::as_str).collect();
            assert_eq!(names.len(), 1, "{protocol} {client}: {count:?}");
            assert!(!names.contains(gone));
            assert!(first == gone || names.contains(first.as_str()), "{client}");
        }
    }
}

#[test]
fn udp_clients_leave_an_endpoint_that_is_gone() {
    let mut world = World::new();
    world.service("web", web(Udp));
    world.endpoints("web", Udp, &[("a", UP)]);
    world.sync();
    let to = format!("{WEB}:80");
    let socket = world.pod("c").udp_socket();
    assert_eq!(ask(&socket, &to).expect("answer").name, "a");
    world.endpoints("web", Udp, &[("b", UP)]);
    assert!(world.sync().udp);
    // The kernel still knows where the socket's packets go.
    assert_eq!(ask(&socket, &to).expect("answer").name, "a");
    assert_eq!(world.forget_flows(), 1);
    assert_eq!(ask(&socket, &to).expect("answer").name, "b");
    assert_eq!(world.forget_flows(), 0);
}

#[test]
fn a_table_made_anew_is_the_same_table() {
    let mut world = World::new();
    let mut service = web(Tcp);
    service.affinity = Some(60);
    service.external_local = true;
    service.ports[0].node_port = Some(30_080);
    world.service("web", service);
    world.service("dns", {
        let mut dns = web(Udp);
        dns.cluster_ip = "10.96.0.53".parse().expect("address");
        dns
    });
    world.endpoints("web", Tcp, &[("a", UP), ("b", UP)]);
    world.endpoints("dns", Udp, &[("c", UP)]);
    world.sync();
    let list = "nft -s list table ip cadet | sort";
    let before = world.node.sh(list);
    let config = cadet_proxy::Config {
        pod_rules: world.network.rules(),
        ..crate::world::config()
    };
    let again = cadet_proxy::base::ruleset(&config) + &world.table.whole();
    world.nft(again);
    assert_eq!(world.node.sh(list), before);
    // And everything can go.
    world.services.set_service(&named("web"), None);
    world.services.set_service(&named("dns"), None);
    world.sync();
    let left = world.node.sh("nft list table ip cadet");
    assert!(
        !left.contains("pick") && !left.contains("affinity"),
        "{left}"
    );
}

#[test]
fn pods_reach_the_outside_and_the_node() {
    let world = World::new();
    answers(
        world.pod("a").tcp(&format!("{OUTSIDE}:9090")),
        "outside",
        NODE,
    );
    answers(
        world.pod("a").tcp(&format!("{NODE}:9090")),
        "node",
        "10.244.0.2",
    );
    answers(world.pod("a").tcp("10.244.0.3:8080"), "b", "10.244.0.2");
    answers(world.node.tcp("10.244.0.3:8080"), "b", GATEWAY);
}

#[test]
fn endpoints_of_other_nodes_answer_through_this_one() {
    let mut world = World::new();
    let far = Space::new();
    world.node.sh(&format!(
        "ip link add eth2 type veth peer name eth3 && ip link set eth3 netns {} &&
         ip addr add 192.0.3.1/24 dev eth2 && ip link set eth2 up &&
         ip route add 10.244.1.0/24 via 192.0.3.2",
        far.id
    ));
    far.sh(
        "ip addr add 192.0.3.2/24 dev eth3 && ip addr add 10.244.1.2/32 dev lo &&
            ip link set eth3 up && ip route add default via 192.0.3.1",
    );
    far.serve("far", 8080);
    let mut service = web(Tcp);
    service.ports[0].node_port = Some(30_080);
    world.service("web", service);
    let slice = Slice {
        ports: vec![("".into(), Tcp, 8080)],
        endpoints: [SliceEndpoint {
            ip: "10.244.1.2".parse().expect("address"),
            flags: flag::READY | flag::SERVING,
        }]
        .into(),
    };
    let slice = Some(("web".into(), slice));
    world.services.set_slice(&named("web-far"), slice);
    world.sync();
    let to = format!("{WEB}:80");
    // A pod is seen as it is on other nodes too; whoever is no pod as this node, or the
    // answer would go past it.
    answers(world.pod("a").tcp(&to), "far", "10.244.0.2");
    answers(world.pod("a").tcp("10.244.1.2:8080"), "far", "10.244.0.2");
    answers(world.node.tcp(&to), "far", "192.0.3.1");
    answers(
        world.outside.tcp(&format!("{NODE}:30080")),
        "far",
        "192.0.3.1",
    );
}
