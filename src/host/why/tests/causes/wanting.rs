//! What is fetched: little at first, more where it may tell something, and never twice.

use cadet_why::{Facts, Found, Kind, Target, Want, explain, wants};
use serde_json::{Value, json};

use crate::world::{
    NS, THEN, World, app, crashed, meta, owned, pod, running, unplaced, with_status,
};

/// Answers wants from a small cluster until there are none; how many rounds that took, and all
/// that was asked.
fn fetched(mut facts: Facts, known: &[(Kind, Value)]) -> (Facts, usize, Vec<Want>) {
    let mut all = Vec::new();
    for round in 0.. {
        let now = wants(&facts);
        if now.is_empty() {
            return (facts, round, all);
        }
        assert!(round < 8, "it does not come to an end: {now:?}");
        for want in now {
            assert!(!all.contains(&want), "asked twice: {want:?}");
            all.push(want.clone());
            let found = answer(&want, known);
            facts.learn(want, found);
        }
    }
    unreachable!("the loop ends by itself")
}

fn answer(want: &Want, known: &[(Kind, Value)]) -> Found {
    let of = |wanted: Kind| {
        known
            .iter()
            .filter(move |(kind, _)| *kind == wanted)
            .map(|(_, object)| object.clone())
    };
    match want {
        Want::Object { kind, name, .. } => of(*kind)
            .find(|object| object["metadata"]["name"] == name.as_str())
            .map_or(Found::Absent, Found::Object),
        Want::List { kind, .. } => Found::Object(json!({"items": of(*kind).collect::<Vec<_>>()})),
        Want::PodsOn { .. } => Found::Object(json!({"items": of(Kind::Pod).collect::<Vec<_>>()})),
        Want::Log { .. } => Found::Text("no database".into()),
        Want::Dial { .. } => Found::Unread("connect: connection refused".into()),
        Want::Access(_) => Found::Absent,
    }
}

fn about(kind: Kind, name: &str) -> Facts {
    World::about(kind, name).facts
}

#[test]
fn a_healthy_pod_takes_two_rounds() {
    let known = [
        (Kind::Pod, with_status("web", app(), running())),
        (Kind::Node, crate::world::node("cadet", json!({}))),
    ];
    let (facts, rounds, all) = fetched(about(Kind::Pod, "web"), &known);
    assert_eq!(rounds, 2, "{all:?}");
    assert!(all.len() <= 8, "{all:?}");
    assert_eq!(
        explain(&facts).expect("an answer").cause.id(),
        "NOTHING_WRONG"
    );
}

#[test]
fn all_pods_of_the_cluster_are_asked_for_only_where_room_is_the_matter() {
    let lists = |sentence: &str| {
        let known = [(Kind::Pod, unplaced("web", json!({}), sentence))];
        let (_, _, all) = fetched(about(Kind::Pod, "web"), &known);
        all.iter().any(|want| matches!(want, Want::PodsOn { .. }))
    };
    assert!(lists("0/1 nodes are available: 1 Insufficient cpu."));
    assert!(!lists(
        "0/1 nodes are available: 1 node(s) had untolerated taint(s)."
    ));
}

#[test]
fn a_deployment_leads_to_the_log_of_its_failing_pod() {
    let known = [
        (
            Kind::Deployment,
            json!({"metadata": meta("web"), "spec": {"replicas": 1}, "status": {"replicas": 1, "updatedReplicas": 1}}),
        ),
        (
            Kind::ReplicaSet,
            owned(
                json!({"metadata": meta("web-1"), "spec": {"replicas": 1}, "status": {"replicas": 1}}),
                Kind::Deployment,
                "web",
            ),
        ),
        (
            Kind::Pod,
            owned(
                with_status("web-1-x", app(), crashed(3, "Error")),
                Kind::ReplicaSet,
                "web-1",
            ),
        ),
        (Kind::Node, crate::world::node("cadet", json!({}))),
    ];
    let (facts, rounds, all) = fetched(about(Kind::Deployment, "web"), &known);
    assert!(rounds <= 4, "{rounds}: {all:?}");
    let told = crate::world::text(&explain(&facts).expect("an answer"));
    assert!(told.contains("log no database"), "{told}");
}

#[test]
fn a_service_tries_its_port_only_when_a_pod_is_ready() {
    let service = json!({"metadata": meta("web"), "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let tried = |pod: Value| {
        let known = [
            (Kind::Service, service.clone()),
            (Kind::Pod, pod),
            (Kind::Node, crate::world::node("cadet", json!({}))),
        ];
        let (facts, _, all) = fetched(about(Kind::Service, "web"), &known);
        let dialled = all
            .iter()
            .any(|want| matches!(want, Want::Dial { port: 80, .. }));
        (dialled, explain(&facts).expect("an answer").cause.id())
    };
    assert_eq!(
        tried(with_status("web", app(), running())),
        (true, "TARGET_PORT")
    );
    assert_eq!(
        tried(with_status("web", app(), crashed(3, "Error"))),
        (false, "CRASH")
    );
}

#[test]
fn every_kind_comes_to_an_end_with_nothing_but_itself() {
    for kind in [
        Kind::Pod,
        Kind::Deployment,
        Kind::ReplicaSet,
        Kind::ReplicationController,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::Job,
        Kind::CronJob,
        Kind::Service,
        Kind::Ingress,
        Kind::Claim,
        Kind::Node,
        Kind::Autoscaler,
    ] {
        let bare = json!({"metadata": {"name": "web", "namespace": NS, "creationTimestamp": THEN}});
        let (facts, ..) = fetched(about(kind, "web"), &[(kind, bare)]);
        let answer = explain(&facts).expect("an answer");
        assert!(
            !answer.headline.is_empty() && !answer.next.is_empty(),
            "{kind:?}: {answer:#?}"
        );
    }
}

/// Whatever is in the objects, there is an answer and no panic: all fields may be of any type.
#[test]
fn odd_objects_are_survived() {
    let odd = [
        json!(null),
        json!([]),
        json!({}),
        json!("x"),
        json!(7),
        json!([[], {}, null, "x"]),
    ];
    let sample = with_status("web", app(), crashed(3, "Error"));
    for (path, value) in ["spec", "status", "metadata"]
        .iter()
        .flat_map(|path| odd.iter().map(move |value| (path, value)))
    {
        let mut one = sample.clone();
        match *path {
            "metadata" => one["metadata"]["labels"] = value.clone(),
            path => one[path] = value.clone(),
        }
        let mut facts = about(Kind::Pod, "web");
        facts.put(Kind::Pod, one);
        assert!(explain(&facts).is_some(), "{path}: {value}");
    }
}

#[test]
fn an_object_that_is_not_there_has_no_answer() {
    let facts = Facts::new(
        Target::new(Kind::Pod, NS, "web"),
        about(Kind::Pod, "web").now,
    );
    assert!(explain(&facts).is_none());
    let mut facts = facts;
    facts.put(Kind::Pod, pod("wep", json!([app()])));
    assert_eq!(cadet_why::similar(&facts), Some("wep"));
}
