use serde_json::json;

use super::{Choice, Verdict, enough};
use crate::pod::Place;
use crate::testing::{World, cpu, priority};

#[test]
fn enough_nodes_are_looked_at() {
    let looked: Vec<usize> = [1, 99, 100, 500, 1000, 5000, 10_000]
        .into_iter()
        .map(enough)
        .collect();
    assert_eq!(looked, [1, 99, 100, 230, 420, 500, 500]);
}

#[test]
fn many_nodes_get_their_share() {
    let mut w = World::new();
    for n in 0..300 {
        w.node(&format!("n{n}"), json!({}));
    }
    let mut used = std::collections::HashSet::new();
    for n in 0..300 {
        let key = w.pod(&format!("p{n}"), cpu("100m"));
        let name = w.choose(key);
        let slot = w.cache.slot(&name);
        w.cache.assume(key, slot);
        used.insert(slot);
    }
    assert!(used.len() > 200, "{}", used.len());
}

#[test]
fn zones_take_turns() {
    let mut w = World::new();
    let (a1, a2) = (w.zoned("a1", "a"), w.zoned("a2", "a"));
    let b1 = w.zoned("b1", "b");
    assert_eq!(w.cache.order(), [a1, b1, a2]);
}

#[test]
fn room_kept_for_a_pod_is_not_given_to_a_weaker_one() {
    let mut w = World::new();
    let slot = w.node("a", json!({"status": {"allocatable": {"cpu": "1"}}}));
    let strong = w.pod("strong", priority(5, cpu("1")));
    let weak = w.pod("weak", cpu("1"));
    let stronger = w.pod("stronger", priority(9, cpu("1")));
    w.cache.nominate(strong, Some(slot));
    assert!(w.choose(weak).contains("1 Insufficient cpu"));
    assert_eq!(w.choose(strong), "a");
    assert_eq!(w.choose(stronger), "a");
    w.cache.assume(strong, slot);
    assert_eq!(w.cache.pod(strong).unwrap().place, Place::Assumed(slot));
    assert!(w.cache.nominated(slot).is_empty());
    assert!(w.choose(stronger).contains("1 Insufficient cpu"));
}

#[test]
fn a_choice_says_why() {
    let mut w = World::new();
    let why = |w: &mut World, name: &str| {
        let key = w.pod(name, cpu("1"));
        match w.verdict(key) {
            Verdict::Fits { choice, .. } => choice.words(),
            Verdict::Nowhere(diagnosis) => panic!("{}", diagnosis.words()),
        }
    };
    let slot = w.node("a", json!({}));
    assert_eq!(why(&mut w, "p"), "it fits, the only node");
    w.node("b", json!({"status": {"allocatable": {"cpu": "1m"}}}));
    assert_eq!(why(&mut w, "q"), "the only one of 2 that fits");
    w.node("c", json!({}));
    assert_eq!(why(&mut w, "r"), "the best of 2 that fit");
    let key = w.pod("s", cpu("1"));
    w.cache.nominate(key, Some(slot));
    match w.verdict(key) {
        Verdict::Fits { choice, .. } => assert_eq!(choice, Choice::Promised),
        Verdict::Nowhere(diagnosis) => panic!("{}", diagnosis.words()),
    }
}
