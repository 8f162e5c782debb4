use serde_json::{Value, json};

use super::{Outcome, decide};
use crate::rng::Coin;
use crate::testing::{World, app, cpu, on, priority};

fn outcome(w: &mut World, key: usize) -> Outcome {
    let diagnosis = w.diagnosis(key);
    decide(&mut w.cache, key, &diagnosis, &mut Coin::new(1))
}

/// Name of the node and of the victims.
fn victims(w: &mut World, key: usize) -> (String, Vec<String>) {
    match outcome(w, key) {
        Outcome::Preempt { slot, victims } => {
            let name = |key: &usize| w.cache.pod(*key).unwrap().name.clone();
            let names = victims.iter().map(name).collect();
            (w.cache.facts(slot).unwrap().name.clone(), names)
        }
        other => panic!("{other:?}"),
    }
}

fn words(w: &mut World, key: usize) -> String {
    match outcome(w, key) {
        Outcome::Futile(words) => words,
        Outcome::Forbidden(words) => words.to_owned(),
        other => panic!("{other:?}"),
    }
}

fn small(w: &mut World, name: &str) -> usize {
    w.node(name, json!({"status": {"allocatable": {"cpu": "2"}}}))
}

#[test]
fn upstreams_words_when_nobodys_going_would_help() {
    let mut w = World::new();
    small(&mut w, "a");
    small(&mut w, "b");
    w.node("c", json!({"spec": {"unschedulable": true}}));
    let huge = w.pod("huge", priority(9, cpu("3")));
    assert_eq!(
        words(&mut w, huge),
        "0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    for (n, node) in ["a", "b"].into_iter().enumerate() {
        w.pod(&format!("p{n}"), on(node, cpu("2")));
    }
    let equal = w.pod("equal", cpu("1"));
    assert_eq!(
        words(&mut w, equal),
        "0/3 nodes are available: 1 Preemption is not helpful for scheduling, \
         2 No preemption victims found for incoming pod."
    );
    let mut meek = priority(9, cpu("1"));
    meek["spec"]["preemptionPolicy"] = json!("Never");
    let meek = w.pod("meek", meek);
    assert_eq!(
        words(&mut w, meek),
        "not eligible due to preemptionPolicy=Never."
    );
}

#[test]
fn the_least_important_and_the_fewest_go() {
    let mut w = World::new();
    small(&mut w, "a");
    small(&mut w, "b");
    for (name, node, n, amount) in [
        ("a-low", "a", 1, "1"),
        ("a-mid", "a", 3, "1"),
        ("b-low", "b", 2, "1"),
        ("b-mid", "b", 3, "1"),
    ] {
        w.pod(name, on(node, priority(n, cpu(amount))));
    }
    let one = w.pod("one", priority(9, cpu("1")));
    assert_eq!(victims(&mut w, one), ("a".into(), vec!["a-low".into()]));
    let two = w.pod("two", priority(9, cpu("2")));
    let (_, both) = victims(&mut w, two);
    assert_eq!(both.len(), 2);
    let low = w.pod("low", priority(2, cpu("2")));
    assert_eq!(
        words(&mut w, low),
        "0/2 nodes are available: 1 Insufficient cpu, \
         1 No preemption victims found for incoming pod."
    );
}

#[test]
fn budgets_are_kept_where_possible() {
    let mut w = World::new();
    small(&mut w, "a");
    small(&mut w, "b");
    w.pod("guarded", on("a", app("db", priority(1, cpu("2")))));
    w.pod("other", on("b", priority(5, cpu("2"))));
    w.other(
        "PodDisruptionBudget",
        json!({"metadata": {"name": "db", "namespace": "d"},
            "spec": {"selector": {"matchLabels": {"app": "db"}}},
            "status": {"disruptionsAllowed": 0}}),
    );
    let strong = w.pod("strong", priority(9, cpu("1")));
    assert_eq!(victims(&mut w, strong), ("b".into(), vec!["other".into()]));
    w.delete("other");
    w.pod("rock", on("b", priority(9, cpu("2"))));
    assert_eq!(
        victims(&mut w, strong),
        ("a".into(), vec!["guarded".into()])
    );
}

#[test]
fn whoever_keeps_away_must_go_too() {
    let mut w = World::new();
    w.node("a", json!({}));
    let apart: Value = json!({"spec": {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "web"}}}]}}}});
    w.pod("bystander", on("a", cpu("1")));
    w.pod("hermit", on("a", apart));
    let web = w.pod("web", app("web", priority(9, cpu("1"))));
    assert_eq!(victims(&mut w, web), ("a".into(), vec!["hermit".into()]));
}

#[test]
fn a_pod_waits_for_its_victims() {
    let mut w = World::new();
    let slot = small(&mut w, "a");
    let victim = w.pod("victim", on("a", cpu("2")));
    let strong = w.pod("strong", priority(9, cpu("1")));
    assert_eq!(victims(&mut w, strong).1, ["victim"]);
    w.cache.nominate(strong, Some(slot));
    w.cache.preempt(victim);
    assert_eq!(
        words(&mut w, strong),
        "not eligible due to a terminating pod on the nominated node."
    );
    w.cache.spare(victim);
    assert_eq!(victims(&mut w, strong).1, ["victim"]);
}
