//! Slices: what stands in them, and how few change.

use super::*;
use serde_json::json;

fn service(spec: serde_json::Value) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "d", "uid": "s", "labels": {"app": "web"}},
        "spec": spec,
    }))
    .unwrap()
}

fn plain() -> Service {
    service(
        json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}),
    )
}

fn pod_with(n: usize, change: impl FnOnce(&mut serde_json::Value)) -> PodInfo {
    let ip = format!("10.1.{}.{}", n / 250, n % 250 + 1);
    let mut pod = json!({
        "metadata": {"namespace": "d", "name": format!("p{n:04}"), "uid": format!("u{n}")},
        "spec": {"nodeName": "n1"},
        "status": {"podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]},
    });
    change(&mut pod);
    PodInfo::of(serde_json::from_value(pod).unwrap())
}

fn pod(n: usize) -> PodInfo {
    pod_with(n, |_| {})
}

fn zone(node: &str) -> Option<String> {
    (node == "n1").then(|| "z1".to_owned())
}

/// The plan for a Service of these pods.
fn planned(svc: &Service, pods: &[PodInfo], existing: &[Slice], trigger: Option<&str>) -> Plan {
    let existing: Vec<&Slice> = existing.iter().collect();
    plan(svc, pods.iter(), &zone, &existing, trigger)
}

/// What is there after a plan was carried out.
fn carried_out(mut existing: Vec<Slice>, plan: Plan) -> Vec<Slice> {
    existing.retain(|slice| !plan.delete.contains(&slice.name));
    for slice in plan.update {
        let at = existing.iter().position(|s| s.name == slice.name).unwrap();
        existing[at] = slice;
    }
    for slice in plan.create {
        let name = format!("web-{}", existing.len());
        existing.push(Slice { name, ..slice });
    }
    existing
}

fn sizes(slices: &[Slice]) -> Vec<usize> {
    slices.iter().map(|s| s.endpoints.len()).collect()
}

#[test]
fn a_service_without_pods_has_an_empty_slice_that_the_first_pod_fills() {
    let svc = plain();
    let made = planned(&svc, &[], &[], Some("2026-01-01T00:00:00Z"));
    let slices = carried_out(vec![], made);
    assert_eq!(sizes(&slices), [0]);
    assert!(slices[0].ports.is_empty());
    assert_eq!(slices[0].labels[SERVICE_NAME], "web");
    assert_eq!(slices[0].labels[MANAGED_BY], CONTROLLER);
    assert_eq!(slices[0].labels["app"], "web");
    assert_eq!(slices[0].annotations[TRIGGER_TIME], "2026-01-01T00:00:00Z");
    assert!(planned(&svc, &[], &slices, None).is_empty(), "stable");
    let pods = [pod(1)];
    let next = planned(&svc, &pods, &slices, None);
    assert_eq!(
        (next.create.len(), next.update.len(), next.delete.len()),
        (0, 1, 0)
    );
    let endpoint = &next.update[0].endpoints[0];
    assert_eq!(
        serde_json::to_value(endpoint).unwrap(),
        json!({"addresses": ["10.1.0.2"],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "d", "name": "p0001", "uid": "u1"},
            "nodeName": "n1", "zone": "z1"})
    );
    assert_eq!(next.update[0].ports[0].port, Some(8080));
}

#[test]
fn many_pods_fill_slices_and_a_change_touches_one() {
    let svc = plain();
    let mut pods: Vec<PodInfo> = (0..250).map(pod).collect();
    let slices = carried_out(vec![], planned(&svc, &pods, &[], None));
    assert_eq!(sizes(&slices), [100, 100, 50]);
    // One goes, its slice alone changes.
    pods.remove(7);
    let next = planned(&svc, &pods, &slices, None);
    assert_eq!(
        (next.create.len(), next.update.len(), next.delete.len()),
        (0, 1, 0)
    );
    let slices = carried_out(slices, next);
    assert_eq!(sizes(&slices), [100, 100, 49]);
    // One comes: it goes where it fits best.
    pods.push(pod(900));
    let next = planned(&svc, &pods, &slices, None);
    assert_eq!((next.create.len(), next.update.len()), (0, 1));
    let slices = carried_out(slices, next);
    assert_eq!(sizes(&slices), [100, 100, 50]);
    // One goes and others come: what changes anyway is filled first.
    pods.remove(0);
    pods.extend([pod(901), pod(902)]);
    let next = planned(&svc, &pods, &slices, None);
    assert_eq!(next.update.len(), 2);
    let slices = carried_out(slices, next);
    assert_eq!(sizes(&slices), [100, 100, 51]);
    // All go: a placeholder stays.
    let next = planned(&svc, &[], &slices, None);
    assert_eq!(
        (next.create.len(), next.update.len(), next.delete.len()),
        (0, 1, 2)
    );
}

#[test]
fn readiness_and_leaving_are_three_conditions() {
    let mut svc = plain();
    let leaving = pod(1).deleting();
    let sick = pod_with(2, |p| {
        p["status"]["conditions"][0]["status"] = json!("False")
    });
    let ended = pod_with(3, |p| p["status"]["phase"] = json!("Failed"));
    let lost = pod_with(4, |p| p["spec"]["nodeName"] = json!("gone"));
    let pods = [leaving, sick, ended, lost];
    let conditions = |svc: &Service| -> Vec<(Option<bool>, Option<bool>, Option<bool>)> {
        let made = planned(svc, &pods, &[], None);
        let endpoints = made.create[0].endpoints.iter();
        endpoints
            .map(|e| {
                (
                    e.conditions.ready,
                    e.conditions.serving,
                    e.conditions.terminating,
                )
            })
            .collect()
    };
    assert_eq!(
        conditions(&svc),
        [
            (Some(false), Some(true), Some(true)),
            (Some(false), Some(false), Some(false)),
        ]
    );
    svc.spec.publish_not_ready_addresses = true;
    assert_eq!(conditions(&svc).len(), 3, "also the one whose node is gone");
    assert!(conditions(&svc).iter().all(|c| c.0 == Some(true)));
}

#[test]
fn pods_with_other_ports_stand_in_slices_of_their_own() {
    let svc = service(json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.9",
        "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}));
    let named = |number: u16| {
        move |p: &mut serde_json::Value| {
            p["spec"]["containers"] =
                json!([{"name": "c", "ports": [{"name": "web", "containerPort": number}]}]);
        }
    };
    let (a, b, c) = (pod_with(1, named(8080)), pod_with(2, named(9090)), pod(3));
    let pods = [a, b, c];
    let made = planned(&svc, &pods, &[], None);
    let mut ports: Vec<Vec<Option<u16>>> = made
        .create
        .iter()
        .map(|s| s.ports.iter().map(|p| p.port).collect())
        .collect();
    ports.sort();
    assert_eq!(ports, [vec![], vec![Some(8080)], vec![Some(9090)]]);
}

#[test]
fn slices_of_a_family_the_service_lost_go_and_labels_follow_the_service() {
    let mut svc = plain();
    let pods = [pod(1)];
    let mut slices = carried_out(vec![], planned(&svc, &pods, &[], None));
    slices.push(Slice {
        name: "old6".into(),
        family: Family::IPv6,
        ..slices[0].clone()
    });
    svc.metadata.labels.insert("tier".into(), "front".into());
    svc.metadata.labels.remove("app");
    let next = planned(&svc, &pods, &slices, None);
    assert_eq!(next.delete, ["old6"]);
    assert_eq!(next.update.len(), 1);
    assert_eq!(next.update[0].labels["tier"], "front");
    assert!(!next.update[0].labels.contains_key("app"));
    assert!(!next.update[0].labels.contains_key(HEADLESS));
    svc.spec.cluster_ip = "None".into();
    assert_eq!(labels_of(&svc)[HEADLESS], "");
}

#[test]
fn hints_follow_the_traffic_distribution() {
    let hints = |distribution: &str, pods: &[PodInfo], existing: &[Slice]| {
        let mut svc = plain();
        svc.spec.traffic_distribution = Some(distribution.to_owned()).filter(|d| !d.is_empty());
        let slices = carried_out(existing.to_vec(), planned(&svc, pods, existing, None));
        let all = slices[0].endpoints.iter();
        let all = all.map(|e| serde_json::to_value(e).unwrap()["hints"].clone());
        (all.collect::<Vec<_>>(), slices.clone())
    };
    let sick = pod_with(2, |p| {
        p["status"]["conditions"][0]["status"] = json!("False")
    });
    let pods = [pod(1), sick];
    let zone = json!({"forZones": [{"name": "z1"}]});
    let both = json!({"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]});
    let (near, slices) = hints("PreferClose", &pods, &[]);
    assert_eq!(near, [zone.clone(), json!(null)]);
    let (same, slices) = hints("PreferSameZone", &pods, &slices);
    assert_eq!(same, [zone, json!(null)]);
    // A change of the Service alone changes the slices that are there.
    let (own, slices) = hints("PreferSameNode", &pods, &slices);
    assert_eq!(own, [both, json!(null)]);
    let (none, _) = hints("", &pods, &slices);
    assert_eq!(none, [json!(null), json!(null)]);
}
