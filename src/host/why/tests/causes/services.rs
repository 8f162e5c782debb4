//! Services and Ingresses that lead nowhere.

use cadet_why::{Found, Kind, Want};
use serde_json::{Value, json};

use crate::world::{NS, World, app, crashed, meta, owned, running, with_status};

fn service(selector: Value, ports: Value) -> Value {
    json!({"metadata": meta("web"), "spec": {"type": "ClusterIP", "selector": selector, "ports": ports}})
}

fn ready(name: &str, ports: Value) -> Value {
    let mut one = app();
    one["ports"] = ports;
    with_status(name, one, running())
}

fn dial(port: u16) -> Want {
    Want::Dial {
        namespace: NS.into(),
        pod: "web".into(),
        port,
    }
}

fn world(service: Value, pods: &[Value]) -> World {
    World::about(Kind::Service, "web")
        .node()
        .with(Kind::Service, service)
        .all(Kind::Pod, pods)
}

#[test]
fn a_selector_with_a_slip_shows_the_nearest_pod() {
    let told = world(
        service(json!({"app": "wbe"}), json!([{"port": 80}])),
        &[ready("db", json!([])), ready("web", json!([]))],
    );
    told.says(
        "SELECTOR_MISMATCH",
        &[
            "it selects pods with app=wbe, and no pod has these labels",
            "nearest pod/web has app=web",
            "kubectl set selector service/web app=web -n shop",
        ],
    );
}

#[test]
fn a_selector_with_one_label_too_many() {
    let told = world(
        service(
            json!({"app": "web", "tier": "front"}),
            json!([{"port": 80}]),
        ),
        &[ready("web", json!([]))],
    );
    told.says(
        "SELECTOR_MISMATCH",
        &["app=web,tier=front", "nearest pod/web has app=web"],
    );
}

#[test]
fn no_pods_at_all_may_be_a_deployments_matter() {
    let told = world(service(json!({"app": "web"}), json!([{"port": 80}])), &[]);
    told.says("SELECTOR_MISMATCH", &["has no pods at all"]);
    let deployment = json!({"metadata": meta("web"), "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}}}, "status": {}});
    let told = told.with(Kind::Deployment, deployment);
    told.says(
        "SCALED_TO_ZERO",
        &[
            "service/web leads nowhere because there are no pods of deployment/web",
            "kubectl scale deployment/web --replicas=1 -n shop",
        ],
    );
}

#[test]
fn without_a_selector_somebody_must_write_endpoints() {
    let told = world(service(json!({}), json!([{"port": 80}])), &[]);
    told.says("NO_SELECTOR", &["nobody has written endpoints"]);
    let slice = json!({"metadata": {"name": "web-1", "namespace": NS, "labels": {"kubernetes.io/service-name": "web"}}, "endpoints": [{"addresses": ["10.0.0.9"]}]});
    told.with(Kind::EndpointSlice, slice)
        .says("NOTHING_WRONG", &["1 endpoint that somebody wrote"]);
}

#[test]
fn pods_that_are_not_ready_are_explained() {
    let told = world(
        service(json!({"app": "web"}), json!([{"port": 80}])),
        &[with_status("web", app(), crashed(3, "Error"))],
    );
    told.says(
        "CRASH",
        &[
            "service/web leads nowhere because its only pod is not ready: pod/web keeps ending",
            "exit code 3",
        ],
    );
}

#[test]
fn a_named_port_that_no_pod_has() {
    let told = world(
        service(
            json!({"app": "web"}),
            json!([{"port": 80, "targetPort": "http"}]),
        ),
        &[ready(
            "web",
            json!([{"containerPort": 8080, "name": "web"}]),
        )],
    );
    told.says(
        "PORT_NAME",
        &["a port called \"http\"", "declares port 8080 (web)"],
    );
}

#[test]
fn a_port_where_nobody_listens_is_a_fault_only_if_it_was_tried() {
    let make = || {
        world(
            service(
                json!({"app": "web"}),
                json!([{"port": 80, "targetPort": 80}]),
            ),
            &[ready("web", json!([{"containerPort": 8080}]))],
        )
    };
    make().says("NOTHING_WRONG", &[]);
    let refused = Found::Unread(
        "error trying to reach service: dial tcp 10.244.0.5:80: connect: connection refused".into(),
    );
    make().learn(dial(80), refused).says(
        "TARGET_PORT",
        &[
            "port 80 of its pods, and nobody listens there",
            "declares port 8080",
            "\"path\":\"/spec/ports/0/targetPort\",\"value\":8080",
        ],
    );
    let slow =
        Found::Unread("error trying to reach service: dial tcp 10.244.0.5:80: i/o timeout".into());
    make().learn(dial(80), slow).says("NOTHING_WRONG", &[]);
    make()
        .learn(dial(80), Found::Text(String::new()))
        .says("NOTHING_WRONG", &["where somebody answers"]);
}

#[test]
fn another_name_is_no_fault_and_an_address_is() {
    let name = |host: &str| json!({"metadata": meta("web"), "spec": {"type": "ExternalName", "externalName": host}});
    world(name("db.example.com"), &[]).says("NOTHING_WRONG", &["another name for db.example.com"]);
    world(name("10.1.2.3"), &[]).says("EXTERNAL_NAME", &["is an address, and must be a name"]);
}

#[test]
fn a_service_that_works() {
    let told = world(
        service(
            json!({"app": "web"}),
            json!([{"port": 80, "targetPort": 8080}]),
        ),
        &[ready("web", json!([{"containerPort": 8080}]))],
    );
    told.says(
        "NOTHING_WRONG",
        &[
            "1 of 1 pod behind it are ready",
            "cadet open svc/web -n shop",
        ],
    );
}

fn ingress(class: &str, backend: Value) -> World {
    let one = json!({"metadata": meta("web"), "spec": {"ingressClassName": class, "rules": [
        {"host": "web.example", "http": {"paths": [{"path": "/", "backend": {"service": backend}}]}}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.2.15"}]}}});
    World::about(Kind::Ingress, "web")
        .node()
        .with(Kind::Ingress, one)
        .all(
            Kind::IngressClass,
            &[json!({"metadata": {"name": "cadet"}})],
        )
        .all(
            Kind::Service,
            &[service(
                json!({"app": "web"}),
                json!([{"port": 80, "name": "http"}]),
            )],
        )
        .all(Kind::Pod, &[ready("web", json!([]))])
}

#[test]
fn an_ingress_is_as_good_as_its_class_and_its_services() {
    ingress("nginx", json!({"name": "web", "port": {"number": 80}})).says(
        "INGRESS_CLASS",
        &["there is no IngressClass nginx", "there is cadet"],
    );
    ingress("cadet", json!({"name": "wep", "port": {"number": 80}})).says(
        "BACKEND_MISSING",
        &["its Service wep does not exist", "there is a Service web"],
    );
    ingress("cadet", json!({"name": "web", "port": {"number": 8080}})).says(
        "BACKEND_PORT",
        &["Service web has no port 8080", "80 (http)"],
    );
    ingress("cadet", json!({"name": "web", "port": {"name": "http"}}))
        .says("NOTHING_WRONG", &["served at 10.0.2.15", "web.example"]);
    let told = ingress("cadet", json!({"name": "web", "port": {"number": 80}}))
        .with(Kind::Pod, with_status("web", app(), crashed(3, "Error")));
    told.says(
        "CRASH",
        &[
            "ingress/web leads nowhere because of its Service",
            "exit code 3",
        ],
    );
}

#[test]
fn an_ingress_without_class_is_only_perhaps_nobodys() {
    let mut world = ingress("cadet", json!({"name": "web", "port": {"number": 80}}));
    let mut one = world.facts.subject().cloned().expect("it is there");
    one["spec"]
        .as_object_mut()
        .expect("spec")
        .remove("ingressClassName");
    one["status"] = json!({});
    world.facts.put(Kind::Ingress, one);
    world.may_say("INGRESS_CLASS", &["may be served by nobody"]);
    assert!(!world.answer().confident);
}

#[test]
fn a_deployments_pods_that_are_refused_explain_the_service() {
    let deployment = json!({"metadata": meta("web"), "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}}}, "status": {"replicas": 0}});
    let set = owned(
        json!({"metadata": meta("web-1"), "spec": {"replicas": 2}, "status": {"replicas": 0, "conditions": [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"web-1-x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1"}]}}),
        Kind::Deployment,
        "web",
    );
    let told = world(service(json!({"app": "web"}), json!([{"port": 80}])), &[])
        .with(Kind::Deployment, deployment)
        .with(Kind::ReplicaSet, set);
    told.says(
        "QUOTA",
        &["service/web leads nowhere", "ResourceQuota small"],
    );
}
