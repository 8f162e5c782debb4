//! Services with so many endpoints that those stand in a map of their own.

use std::net::Ipv4Addr;

use cadet_proxy::services::{Slice, SliceEndpoint, flag};
use cadet_proxy::table::Protocol::Tcp;

use crate::balancing::sixty;
use crate::space::Space;
use crate::world::{NODE, UP, WEB, World, named, web};

/// Endpoints of each far node.
const COUNT: u8 = 200;

/// Another node, which answers by all addresses of 10.244.N.0/24.
fn far(world: &World, n: u8, name: &'static str) -> Space {
    let far = Space::new();
    world.node.sh(&format!(
        "ip link add near{n} type veth peer name far{n} && ip link set far{n} netns {} &&
         ip addr add 192.0.{n}.1/24 dev near{n} && ip link set near{n} up &&
         ip route add 10.244.{n}.0/24 via 192.0.{n}.2",
        far.id
    ));
    far.sh(&format!(
        "ip addr add 192.0.{n}.2/24 dev far{n} && ip route add local 10.244.{n}.0/24 dev lo &&
         ip link set far{n} up && ip route add default via 192.0.{n}.1"
    ));
    far.serve(name, 8080);
    far
}

/// A slice of `web` with endpoints of these far nodes.
fn set(world: &mut World, slice: &str, nodes: &[u8], port: u16) {
    let on = |n: u8| (1..=COUNT).map(move |host| Ipv4Addr::new(10, 244, n, host));
    let endpoints = nodes.iter().flat_map(|n| on(*n)).map(|ip| SliceEndpoint {
        ip,
        flags: flag::READY | flag::SERVING,
    });
    let read = Slice {
        ports: vec![("".into(), Tcp, port)],
        endpoints: endpoints.collect(),
    };
    let read = Some(("web".into(), read));
    world.services.set_slice(&named(slice), read);
}

/// Who answers sixty calls by the cluster IP and as many by the node port.
#[track_caller]
fn answer(world: &World, expected: &[&str]) {
    let doors = [
        (world.pod("a"), format!("{WEB}:80")),
        (&world.outside, format!("{NODE}:30080")),
    ];
    for (space, to) in &doors {
        let count = sixty(space, Tcp, to);
        let names: Vec<&str> = count.keys().map(String::as_str).collect();
        assert_eq!(names, expected, "{to}: {count:?}");
    }
}

#[test]
fn all_answer_by_every_door_and_make_room_for_others() {
    let mut world = World::new();
    let three = far(&world, 3, "three");
    let _four = far(&world, 4, "four");
    let mut service = web(Tcp);
    service.ports[0].node_port = Some(30_080);
    world.service("web", service);
    set(&mut world, "web-far", &[3], 8080);
    world.sync();
    answer(&world, &["three"]);
    // More than before, and all of those that were there.
    set(&mut world, "web-far", &[3, 4], 8080);
    world.sync();
    answer(&world, &["four", "three"]);
    set(&mut world, "web-far", &[4], 8080);
    world.sync();
    answer(&world, &["four"]);
    // None stays.
    set(&mut world, "web-far", &[3], 8080);
    world.sync();
    answer(&world, &["three"]);
    // Some answer on another port.
    three.serve("also", 8081);
    set(&mut world, "web-also", &[3], 8081);
    set(&mut world, "web-far", &[4], 8080);
    world.sync();
    answer(&world, &["also", "four"]);
    // Made anew it is the same table.
    let list = "nft -s list table ip cadet | sort";
    let before = world.node.sh(list);
    let config = cadet_proxy::Config {
        pod_rules: world.network.rules(),
        ..crate::world::config()
    };
    let again = cadet_proxy::base::ruleset(&config) + &world.table.whole();
    world.nft(again);
    assert_eq!(world.node.sh(list), before);
    // Few stand among those of other Services.
    for slice in ["web-far", "web-also"] {
        world.services.set_slice(&named(slice), None);
    }
    world.endpoints("web", Tcp, &[("b", UP)]);
    world.sync();
    answer(&world, &["b"]);
    let left = world.node.sh("nft list maps ip");
    let maps = left.matches("map endpoints-").count();
    assert_eq!(maps, 1, "{left}");
}
