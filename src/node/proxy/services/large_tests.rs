//! Lists that are large enough for a map of their own.

use super::*;

const COUNT: u8 = chains::LARGE as u8;

/// Ready endpoints 10.244.0.N on this port.
fn endpoints(numbers: std::ops::RangeInclusive<u8>, port: u16) -> (Box<str>, Slice) {
    let all: Vec<(u8, u8)> = numbers.map(|n| (n, UP)).collect();
    let (owner, mut slice) = slice(&all);
    slice.ports[0].2 = port;
    (owner, slice)
}

fn world(service: Service) -> World {
    let mut world = World::new(service, &[]);
    let all = endpoints(1..=COUNT, 8080);
    world.services.set_slice(&named("web-1"), Some(all));
    world
}

/// What distinguishes the list's names, from the first statement that has one.
fn name(text: &str) -> String {
    let start = "add map ip cadet endpoints-";
    let name = text.lines().find_map(|line| line.strip_prefix(start));
    let name = name.expect("a map").split(['-', ' ']).next();
    name.expect("a name").to_owned()
}

#[test]
fn endpoints_stand_once_for_all_entrances() {
    let mut service = web();
    service.external_ips = vec!["192.0.2.1".parse().unwrap()];
    service.ports[0].node_port = Some(30_080);
    let text = world(service).statements();
    let list = name(&text);
    has(
        &text,
        &[
            &format!(
                "map ip cadet endpoints-{list}-8080 {{ typeof numgen random mod 2 : ip daddr; }}"
            ),
            &format!(
                "rule ip cadet pick-{list}-8080-128 meta l4proto tcp dnat ip to numgen random mod \
                 128 map @endpoints-{list}-8080 : 8080"
            ),
            &format!("rule ip cadet masquerade-pick-{list}-8080-128 goto pick-{list}-8080-128"),
            &format!(
                "element ip cadet service-ips {{ 10.96.0.10 . tcp . 80 : goto \
                 pick-{list}-8080-128, 192.0.2.1 . tcp . 80 : goto \
                 masquerade-pick-{list}-8080-128 }}"
            ),
            &format!(
                "element ip cadet service-nodeports {{ tcp . 30080 : goto \
                 masquerade-pick-{list}-8080-128 }}"
            ),
        ],
    );
    assert_eq!(text.matches("4 : 10.244.0.5,").count(), 1, "{text}");
}

#[test]
fn one_more_is_one_element_and_fewer_share_a_map_again() {
    let mut world = world(web());
    let list = name(&world.statements());
    let more = endpoints(1..=COUNT + 1, 8080);
    world.services.set_slice(&named("web-1"), Some(more));
    let (old, new) = (
        format!("pick-{list}-8080-128"),
        format!("pick-{list}-8080-129"),
    );
    assert_eq!(
        world.statements(),
        format!(
            "add chain ip cadet {new}\n\
             add rule ip cadet {new} meta l4proto tcp dnat ip to numgen random mod 129 map \
             @endpoints-{list}-8080 : 8080\n\
             delete element ip cadet service-ips {{ 10.96.0.10 . tcp . 80 }}\n\
             add element ip cadet endpoints-{list}-8080 {{ 128 : 10.244.0.129 }}\n\
             add element ip cadet service-ips {{ 10.96.0.10 . tcp . 80 : goto {new} }}\n\
             flush chain ip cadet {old}\n\
             delete chain ip cadet {old}\n"
        )
    );
    let few = endpoints(1..=2, 8080);
    world.services.set_slice(&named("web-1"), Some(few));
    let text = world.statements();
    has(
        &text,
        &["element ip cadet service-ips { 10.96.0.10 . tcp . 80 : goto pick-tcp-2 }"],
    );
    // Not one by one.
    assert!(
        !text.contains("delete element ip cadet endpoints-"),
        "{text}"
    );
    let gone = format!("delete map ip cadet endpoints-{list}-8080\n");
    assert!(text.ends_with(&gone), "{text}");
}

#[test]
fn all_replaced_at_once_empties_the_map() {
    let mut world = world(web());
    let list = name(&world.statements());
    let others = endpoints(100..=99 + COUNT, 8080);
    world.services.set_slice(&named("web-1"), Some(others));
    let text = world.statements();
    let flushed = format!("flush map ip cadet endpoints-{list}-8080\nadd element ");
    // Of 128 the first 99 are gone: their slots are filled, the others stay where they were.
    assert!(text.starts_with(&flushed), "{text}");
    assert!(text.contains("{ 0 : 10.244.0.129, "), "{text}");
    assert!(text.contains(", 99 : 10.244.0.100, "), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn ports_that_differ_stand_with_the_addresses() {
    let mut world = world(web());
    let list = name(&world.statements());
    let other = endpoints(200..=201, 9090);
    world.services.set_slice(&named("web-2"), Some(other));
    let text = world.statements();
    has(
        &text,
        &[
            &format!(
                "map ip cadet endpoints-{list} {{ typeof numgen random mod 2 : ip daddr . tcp \
                 dport; }}"
            ),
            &format!(
                "rule ip cadet pick-{list}-130 meta l4proto tcp dnat ip to numgen random mod 130 \
                 map @endpoints-{list}"
            ),
        ],
    );
    assert!(text.contains("0 : 10.244.0.1 . 8080, "), "{text}");
    assert!(text.contains("129 : 10.244.0.201 . 9090 }"), "{text}");
    let gone = format!("delete map ip cadet endpoints-{list}-8080\n");
    assert!(text.ends_with(&gone), "{text}");
}

#[test]
fn with_affinity_endpoints_are_chains_however_many() {
    let mut service = web();
    service.affinity = Some(60);
    let text = world(service).statements();
    assert!(text.contains("pick-sticky-tcp-128"), "{text}");
    assert!(!text.contains("endpoints-"), "{text}");
}
