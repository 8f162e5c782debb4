//! Counting replicas: load, tolerance, pods that start, pods without figures.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// An old pod that is ready, asking for a core.
fn pod(name: &str) -> Pod {
    Pod {
        name: name.into(),
        phase: "Running".into(),
        deleting: false,
        started: Some(at(-10_000)),
        ready: Some((false, at(-9_900))),
        request: Ok(1000),
    }
}

fn figures(values: &[(&str, i64)]) -> BTreeMap<String, Figure> {
    let figure = |value| Figure {
        value,
        at: at(0),
        window: 10.0,
    };
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), figure(*value)))
        .collect()
}

fn count(current: i32, goal: Goal, pods: &[Pod], used: &[(&str, i64)]) -> Result<Proposal, String> {
    propose(
        current,
        goal,
        "cpu",
        pods,
        &figures(used),
        Tolerances::default(),
        at(0),
    )
}

fn replicas(current: i32, goal: Goal, pods: &[Pod], used: &[(&str, i64)]) -> i32 {
    count(current, goal, pods, used).unwrap().replicas
}

#[test]
fn load_is_spread_to_the_target() {
    let pods = [pod("a"), pod("b")];
    let half = Goal::Utilization(50);
    let busy = count(2, half, &pods, &[("a", 1000), ("b", 800)]).unwrap();
    assert_eq!(
        (busy.replicas, busy.utilization, busy.average),
        (4, Some(90), 900)
    );
    assert_eq!(
        replicas(2, half, &pods, &[("a", 500), ("b", 540)]),
        2,
        "within a tenth"
    );
    assert_eq!(replicas(2, half, &pods, &[("a", 100), ("b", 100)]), 1);
    let value = Goal::Value(300);
    assert_eq!(replicas(2, value, &pods, &[("a", 600), ("b", 600)]), 4);
    assert_eq!(
        count(2, value, &pods, &[("a", 300), ("b", 300)])
            .unwrap()
            .utilization,
        None
    );
}

#[test]
fn what_cannot_be_told_is_said() {
    let half = Goal::Utilization(50);
    assert_eq!(
        count(1, half, &[], &[]),
        Err("no pods returned by selector while calculating replica count".into())
    );
    assert_eq!(
        count(1, half, &[pod("a")], &[]),
        Err("did not receive metrics for targeted pods (pods might be unready)".into())
    );
    let mut bare = pod("a");
    bare.request = Err("c".into());
    assert_eq!(
        count(1, half, &[bare], &[("a", 1)]),
        Err("missing request for cpu in container c of Pod a".into())
    );
}

#[test]
fn pods_without_figures_slow_every_change() {
    let pods = [pod("a"), pod("b"), pod("c")];
    let half = Goal::Utilization(50);
    // Growing: the silent one counts as idle. 90 % of two is 60 % of three.
    assert_eq!(replicas(3, half, &pods, &[("a", 900), ("b", 900)]), 4);
    // Shrinking: it counts as fully busy.
    assert_eq!(replicas(3, half, &pods, &[("a", 100), ("b", 100)]), 3);
}

#[test]
fn pods_that_start_count_as_idle_when_growing_and_not_at_all_otherwise() {
    let half = Goal::Utilization(50);
    let mut young = pod("b");
    young.started = Some(at(-20));
    young.ready = Some((true, at(-20)));
    let pods = [pod("a"), young.clone()];
    assert_eq!(replicas(2, half, &pods, &[("a", 1000), ("b", 2000)]), 2);
    assert_eq!(replicas(2, half, &pods, &[("a", 100), ("b", 2000)]), 1);
    // For memory every figure counts.
    let used = figures(&[("a", 1000), ("b", 2000)]);
    let all = propose(
        2,
        half,
        "memory",
        &pods,
        &used,
        Tolerances::default(),
        at(0),
    );
    assert_eq!(all.unwrap().replicas, 6);
    // Ready for longer than a window: its CPU counts.
    young.ready = Some((false, at(-15)));
    assert_eq!(
        replicas(2, half, &[pod("a"), young], &[("a", 1000), ("b", 1000)]),
        4
    );
}

#[test]
fn pods_on_their_way_out_do_not_count() {
    let mut going = pod("b");
    going.deleting = true;
    let mut failed = pod("c");
    failed.phase = "Failed".into();
    let pods = [pod("a"), going, failed];
    let used = [("a", 1000), ("b", 0), ("c", 0)];
    assert_eq!(replicas(1, Goal::Utilization(50), &pods, &used), 2);
}
