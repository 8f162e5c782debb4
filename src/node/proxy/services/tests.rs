use super::*;
use crate::Config;

#[path = "large_tests.rs"]
mod large;

const PODS: &str = "10.244.0.0/16";
const UP: u8 = flag::READY | flag::SERVING;
const HERE: u8 = UP | flag::LOCAL;

fn named(name: &str) -> ObjectName {
    ("default".into(), name.into())
}

fn web() -> Service {
    Service {
        cluster_ip: "10.96.0.10".parse().unwrap(),
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
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

/// Endpoints 10.244.0.N on port 8080.
fn slice(endpoints: &[(u8, u8)]) -> (Box<str>, Slice) {
    slice_of(Protocol::Tcp, endpoints)
}

fn slice_of(protocol: Protocol, endpoints: &[(u8, u8)]) -> (Box<str>, Slice) {
    let endpoint = |(n, flags): &(u8, u8)| SliceEndpoint {
        ip: Ipv4Addr::new(10, 244, 0, *n),
        flags: *flags,
    };
    let slice = Slice {
        ports: vec![("".into(), protocol, 8080)],
        endpoints: endpoints.iter().map(endpoint).collect(),
    };
    ("web".into(), slice)
}

struct World {
    services: Services,
    table: Table,
}

impl World {
    fn new(service: Service, endpoints: &[(u8, u8)]) -> Self {
        let mut world = World {
            services: Services::new(PODS),
            table: Table::default(),
        };
        world.services.set_service(&named("web"), Some(service));
        world
            .services
            .set_slice(&named("web-1"), Some(slice(endpoints)));
        world
    }

    /// The statements since the last call.
    fn statements(&mut self) -> String {
        self.services.refresh(&mut self.table);
        self.table.commit().unwrap_or_default()
    }
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|l| l == format!("add {line}")),
            "no {line:?} in\n{text}"
        );
    }
}

#[test]
fn a_service_is_elements_of_maps_and_a_shared_chain() {
    let text = World::new(web(), &[(2, UP), (3, HERE)]).statements();
    assert_eq!(
        text,
        "add map ip cadet endpoints-tcp { typeof ip daddr . tcp dport . numgen random mod 2 : \
         ip daddr . tcp dport; }\n\
         add chain ip cadet pick-tcp-2\n\
         add rule ip cadet pick-tcp-2 dnat ip to ip daddr . tcp dport . numgen random mod 2 \
         map @endpoints-tcp\n\
         add element ip cadet cluster-ips { 10.96.0.10 }\n\
         add element ip cadet endpoints-tcp { 10.96.0.10 . 80 . 0 : 10.244.0.2 . 8080, \
         10.96.0.10 . 80 . 1 : 10.244.0.3 . 8080 }\n\
         add element ip cadet hairpin { 10.244.0.3 . 10.244.0.3 }\n\
         add element ip cadet service-ips { 10.96.0.10 . tcp . 80 : goto pick-tcp-2 }\n"
    );
}

#[test]
fn one_endpoint_more_is_one_element_and_another_chain() {
    let mut world = World::new(web(), &[(2, UP)]);
    world.statements();
    world
        .services
        .set_slice(&named("web-1"), Some(slice(&[(1, UP), (2, UP)])));
    assert_eq!(
        world.statements(),
        "add chain ip cadet pick-tcp-2\n\
         add rule ip cadet pick-tcp-2 dnat ip to ip daddr . tcp dport . numgen random mod 2 \
         map @endpoints-tcp\n\
         delete element ip cadet service-ips { 10.96.0.10 . tcp . 80 }\n\
         add element ip cadet endpoints-tcp { 10.96.0.10 . 80 . 1 : 10.244.0.1 . 8080 }\n\
         add element ip cadet service-ips { 10.96.0.10 . tcp . 80 : goto pick-tcp-2 }\n\
         flush chain ip cadet pick-tcp-1\n\
         delete chain ip cadet pick-tcp-1\n"
    );
    world.services.set_service(&named("web"), None);
    world.services.set_slice(&named("web-1"), None);
    let text = world.statements();
    assert!(
        text.contains("delete map ip cadet endpoints-tcp\n"),
        "{text}"
    );
    assert_eq!(world.table.whole(), "");
}

#[test]
fn an_address_that_changes_hands_at_once_keeps_its_endpoints() {
    for (gone, new) in [("web", "app"), ("web", "zoo")] {
        let mut world = World::new(web(), &[(2, UP), (3, UP)]);
        world.statements();
        let services = &mut world.services;
        services.set_service(&named(new), Some(web()));
        let (_, endpoints) = slice(&[(4, UP)]);
        services.set_slice(&named("new-1"), Some((new.into(), endpoints)));
        services.set_service(&named(gone), None);
        let text = world.statements();
        let line = "element ip cadet endpoints-tcp { 10.96.0.10 . 80 . 0 : 10.244.0.4 . 8080 }";
        has(&text, &[line]);
        has(&world.table.whole(), &[line]);
    }
}

#[test]
fn nobody_answers_is_refused() {
    let refused = "element ip cadet no-endpoint-services { 10.96.0.10 . tcp . 80 : goto \
                   reject-connection }";
    has(&World::new(web(), &[]).statements(), &[refused]);
    has(
        &World::new(web(), &[(1, flag::TERMINATING)]).statements(),
        &[refused],
    );
}

#[test]
fn traffic_from_outside_is_masqueraded() {
    let mut service = web();
    service.external_ips = vec!["192.0.2.1".parse().unwrap()];
    service.ports[0].node_port = Some(30_080);
    let text = World::new(service, &[(2, UP)]).statements();
    has(
        &text,
        &[
            "element ip cadet service-ips { 10.96.0.10 . tcp . 80 : goto pick-tcp-1, \
             192.0.2.1 . tcp . 80 : goto masquerade-pick-tcp-1 }",
            "element ip cadet service-nodeports { tcp . 30080 : goto \
             masquerade-node-pick-tcp-1 }",
            "rule ip cadet masquerade-pick-tcp-1 meta mark set meta mark | 0x4000",
            "rule ip cadet masquerade-pick-tcp-1 goto pick-tcp-1",
            "rule ip cadet node-pick-tcp-1 dnat ip to tcp dport . numgen random mod 1 map \
             @node-endpoints-tcp",
            "element ip cadet node-endpoints-tcp { 30080 . 0 : 10.244.0.2 . 8080 }",
        ],
    );
}

#[test]
fn local_external_policy_keeps_the_source_and_drops_where_nobody_is() {
    let mut service = web();
    service.external_local = true;
    service.ports[0].node_port = Some(30_080);
    let mut world = World::new(service, &[(2, UP), (3, HERE)]);
    has(
        &world.statements(),
        &[
            "element ip cadet service-nodeports { tcp . 30080 : goto \
             edge-node-pick-tcp-2-node-local-pick-tcp-1 }",
            "rule ip cadet edge-node-pick-tcp-2-node-local-pick-tcp-1 ip saddr 10.244.0.0/16 \
             goto node-pick-tcp-2",
            "rule ip cadet edge-node-pick-tcp-2-node-local-pick-tcp-1 fib saddr type local goto \
             masquerade-node-pick-tcp-2",
            "rule ip cadet edge-node-pick-tcp-2-node-local-pick-tcp-1 goto \
             node-local-pick-tcp-1",
            "element ip cadet node-local-endpoints-tcp { 30080 . 0 : 10.244.0.3 . 8080 }",
        ],
    );
    world
        .services
        .set_slice(&named("web-1"), Some(slice(&[(2, UP)])));
    has(
        &world.statements(),
        &["element ip cadet no-endpoint-nodeports { tcp . 30080 : drop }"],
    );
}

#[test]
fn local_internal_policy_stays_here() {
    let mut service = web();
    service.internal_local = true;
    let mut world = World::new(service, &[(2, UP), (3, HERE)]);
    has(
        &world.statements(),
        &["element ip cadet endpoints-tcp { 10.96.0.10 . 80 . 0 : 10.244.0.3 . 8080 }"],
    );
    world
        .services
        .set_slice(&named("web-1"), Some(slice(&[(2, UP)])));
    has(
        &world.statements(),
        &["element ip cadet no-endpoint-services { 10.96.0.10 . tcp . 80 : drop }"],
    );
}

#[test]
fn a_balancer_lets_in_whom_it_is_told() {
    let mut service = web();
    service.balancer_ips = vec!["192.0.2.7".parse().unwrap()];
    service.source_ranges = vec!["198.51.100.0/24".into()];
    let text = World::new(service, &[(2, UP)]).statements();
    let chain = text
        .lines()
        .find_map(|l| l.strip_prefix("add chain ip cadet firewall-"))
        .unwrap();
    has(
        &text,
        &[
            &format!(
                "element ip cadet firewall-ips {{ 192.0.2.7 . tcp . 80 : goto firewall-{chain} }}"
            ),
            &format!("rule ip cadet firewall-{chain} ip saddr 198.51.100.0/24 return"),
            &format!("rule ip cadet firewall-{chain} ip saddr 192.0.2.7 return"),
            &format!("rule ip cadet firewall-{chain} drop"),
        ],
    );
}

#[test]
fn clients_with_affinity_are_remembered_and_forgotten_with_their_endpoint() {
    let mut service = web();
    service.affinity = Some(60);
    let mut world = World::new(service, &[(2, UP), (3, UP)]);
    let text = world.statements();
    let map = Sticky::new(&named("web"), "", false, 60).map;
    has(
        &text,
        &[
            &format!(
                "map ip cadet {map} {{ type ipv4_addr : ipv4_addr . inet_service; flags \
                 dynamic,timeout; timeout 60s; }}"
            ),
            &format!(
                "element ip cadet sticky-tcp {{ 10.96.0.10 . 80 . 0 : goto {map}-10.244.0.2-8080, 10.96.0.10 . 80 . 1 : goto {map}-10.244.0.3-8080 }}"
            ),
            &format!(
                "rule ip cadet {map}-10.244.0.2-8080 update @{map} {{ ip saddr : 10.244.0.2 . 8080 }}"
            ),
            &format!(
                "rule ip cadet {map}-10.244.0.2-8080 meta l4proto tcp dnat ip to ip saddr map @{map}"
            ),
        ],
    );
    world
        .services
        .set_slice(&named("web-1"), Some(slice(&[(3, UP)])));
    let left = Backend {
        ip: "10.244.0.3".parse().unwrap(),
        port: 8080,
    };
    let todo = world.services.refresh(&mut world.table);
    assert_eq!(todo.sticky, [(map, [left].into())].into());
}

#[test]
fn of_two_services_with_one_address_the_first_has_it_and_leaves_it() {
    let mut service = web();
    service.external_ips = vec!["192.0.2.1".parse().unwrap()];
    let mut world = World::new(service.clone(), &[(2, UP)]);
    service.cluster_ip = "10.96.0.11".parse().unwrap();
    world.services.set_service(&named("also"), Some(service));
    let (_, also) = slice(&[(9, UP)]);
    let also = Some((Box::from("also"), also));
    world.services.set_slice(&named("also-1"), also);
    let text = world.statements();
    assert!(
        text.contains("192.0.2.1 . 80 . 0 : 10.244.0.9 . 8080"),
        "{text}"
    );
    assert_eq!(text.matches("192.0.2.1 . tcp").count(), 1);
    world.services.set_service(&named("also"), None);
    let text = world.statements();
    assert!(
        text.contains("192.0.2.1 . 80 . 0 : 10.244.0.2 . 8080"),
        "{text}"
    );
}

#[test]
fn lost_udp_endpoints_and_health_ports_are_told() {
    let mut service = web();
    service.ports[0].protocol = Protocol::Udp;
    service.health_port = Some(31_000);
    let mut world = World::new(service, &[]);
    let udp = |endpoints: &[(u8, u8)]| Some(slice_of(Protocol::Udp, endpoints));
    let set = |world: &mut World, endpoints: &[(u8, u8)]| {
        world.services.set_slice(&named("web-1"), udp(endpoints));
        world.services.refresh(&mut world.table)
    };
    // From nobody to somebody: packets sent in vain are remembered.
    assert!(set(&mut world, &[(1, HERE), (2, HERE)]).udp);
    assert_eq!(world.services.health()[&31_000].local, 2);
    let todo = set(&mut world, &[(1, HERE), (2, HERE), (3, UP)]);
    assert_eq!(todo, Consequences::default());
    let ending = flag::SERVING | flag::TERMINATING | flag::LOCAL;
    let todo = set(&mut world, &[(1, ending), (2, HERE), (3, UP)]);
    assert!(!todo.udp && todo.health);
    let todo = set(&mut world, &[(2, HERE), (3, UP)]);
    assert!(todo.udp && todo.closed.is_empty());
    // Nobody else will ever remind the kernel of a Service that is gone.
    world.services.set_service(&named("web"), None);
    let todo = world.services.refresh(&mut world.table);
    let front = Front::Address("10.96.0.10".parse().unwrap(), Protocol::Udp, 80);
    assert!(todo.udp);
    assert_eq!(todo.closed, [front].into());
}

#[test]
fn the_base_knows_the_ranges_and_takes_in_the_pods_own_rules() {
    let text = crate::base::ruleset(&Config {
        node_name: "n".into(),
        cluster_cidr: PODS.into(),
        service_cidr: "10.96.0.0/12".into(),
        pod_rules: "add chain ip cadet pods\n".into(),
    });
    assert!(text.starts_with("add table ip cadet\ndelete table ip cadet\nadd table ip cadet\n"));
    has(
        &text,
        &[
            "rule ip cadet services ip daddr 10.96.0.0/12 ip saddr != 10.244.0.0/16 meta mark \
             set meta mark | 0x4000",
            "rule ip cadet services ip daddr != 127.0.0.0/8 fib daddr type local meta \
             l4proto . th dport vmap @service-nodeports",
            "rule ip cadet cluster-ip-ports ip daddr 10.96.0.0/12 drop",
            "chain ip cadet pods",
        ],
    );
}

use super::chains::Sticky;
