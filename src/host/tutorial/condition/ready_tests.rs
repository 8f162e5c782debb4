//! Objects as the cluster tells them, and what is said of them.

use super::*;

fn told(kind: &str, object: Value, facts: &Facts) -> (bool, String) {
    let Readiness { ready, now } = judge(&KindName::built_in(kind), &object, facts);
    (ready, now)
}

fn alone(kind: &str, object: Value) -> (bool, String) {
    told(kind, object, &Facts::default())
}

fn deployment(replicas: i64, status: Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default", "generation": 2},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}},
        "status": status
    })
}

#[test]
fn a_deployment_is_ready_when_it_is_rolled_out() {
    let status = |observed, updated, total, available| {
        json!({"observedGeneration": observed, "updatedReplicas": updated,
                   "replicas": total, "availableReplicas": available})
    };
    for (status, ready, now) in [
        (status(1, 2, 2, 2), false, UNSEEN),
        (status(2, 1, 3, 2), false, "has 1 of 2 pods of the new kind"),
        (status(2, 2, 3, 2), false, "still has 1 pod of the old kind"),
        (status(2, 2, 2, 1), false, "has 1 of 2 pods ready"),
        (status(2, 2, 2, 2), true, "has 2 of 2 pods ready"),
    ] {
        let told = alone("deployment", deployment(2, status));
        assert_eq!(told, (ready, now.to_owned()));
    }
    let empty = alone(
        "deployment",
        deployment(0, json!({"observedGeneration": 2})),
    );
    assert_eq!(empty, (true, "has 0 of 0 pods ready".to_owned()));
}

#[test]
fn a_deployment_tells_of_its_first_pod_in_trouble() {
    let pod = json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"app": "web"}},
        "status": {"phase": "Pending", "containerStatuses": [{
            "name": "c", "image": "web:9", "state": {"waiting": {"reason": "ErrImagePull"}}}]}
    });
    let facts = Facts::default().with("pod", Some("default"), vec![pod]);
    let object = deployment(
        1,
        json!({"observedGeneration": 2, "updatedReplicas": 1,
            "replicas": 1}),
    );
    assert_eq!(
        told("deployment", object, &facts),
        (
            false,
            "has 0 of 1 pods ready; pod/web-1 is Pending: image \"web:9\" cannot be pulled"
                .to_owned()
        )
    );
}

fn service() -> Value {
    json!({"metadata": {"name": "web", "namespace": "default"},
               "spec": {"selector": {"app": "web"}}})
}

fn slice(ready: bool) -> Value {
    json!({"metadata": {"name": "web-x", "namespace": "default",
                            "labels": {"kubernetes.io/service-name": "web"}},
               "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]})
}

#[test]
fn a_service_is_ready_when_somebody_serves_behind_it() {
    let facts = Facts::default().with("endpointslice", Some("default"), vec![slice(true)]);
    assert_eq!(
        told("service", service(), &facts),
        (true, "has 1 endpoint".to_owned())
    );
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "wbe"}}});
    let facts = Facts::default()
        .with("endpointslice", Some("default"), vec![])
        .with("pod", Some("default"), vec![pod]);
    assert_eq!(
        told("service", service(), &facts).1,
        "has no endpoint: no pod matches app=web; pods there are labelled app=wbe"
    );
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "web"}},
                         "status": {"phase": "Pending"}});
    let facts = Facts::default()
        .with("endpointslice", Some("default"), vec![slice(false)])
        .with("pod", Some("default"), vec![pod]);
    assert_eq!(
        told("service", service(), &facts).1,
        "has no endpoint that serves; pod/p is Pending: it waits for a node"
    );
}

#[test]
fn other_kinds_have_their_own_sense() {
    let with = |status: Value| json!({"metadata": {"name": "x"}, "status": status});
    let is = |name: &str, status: &str| {
        with(json!({"conditions": [{"type": name, "status": status, "message": "so"}]}))
    };
    assert_eq!(
        alone("job", is("Complete", "True")),
        (true, "is complete".into())
    );
    assert_eq!(
        alone("job", is("Failed", "True")),
        (false, "has failed: so".into())
    );
    assert_eq!(
        alone("job", with(json!({"active": 1}))),
        (false, "has 0 of 1 runs done, 1 pod at work".into())
    );
    assert_eq!(
        alone("pvc", with(json!({"phase": "Pending"}))),
        (false, "is Pending".into())
    );
    assert_eq!(
        alone("pvc", with(json!({"phase": "Bound"}))),
        (true, "is Bound".into())
    );
    assert_eq!(
        alone("node", is("Ready", "True")),
        (true, "is Ready".into())
    );
    assert_eq!(
        alone("node", is("Ready", "Unknown")),
        (false, "is not Ready: so".into())
    );
    assert_eq!(
        alone("configmap", with(json!({}))),
        (true, "is there".into())
    );
    assert!(has_sense(&KindName::built_in("po")));
    assert!(!has_sense(&KindName::built_in("configmap")));
    let mut gone = is("Ready", "True");
    gone["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(alone("node", gone), (false, "is being deleted".into()));
}

#[test]
fn sets_are_ready_when_all_their_pods_are() {
    let set = |status: Value| {
        json!({"metadata": {"name": "s", "generation": 1}, "spec": {"replicas": 2},
                   "status": status})
    };
    let status = json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2,
            "updateRevision": "b", "currentRevision": "a", "updatedReplicas": 1});
    assert_eq!(
        alone("statefulset", set(status)),
        (false, "has 1 of 2 pods of the new kind".into())
    );
    let status = json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2});
    assert!(alone("statefulset", set(status.clone())).0);
    assert!(alone("replicaset", set(status)).0);
    let daemon = json!({"metadata": {"name": "d", "generation": 1}, "status": {
            "observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1}});
    assert_eq!(
        alone("daemonset", daemon),
        (false, "has 0 of 1 pods ready".into())
    );
}
