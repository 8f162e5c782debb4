//! Names, rights and policies: what a program that runs complains of.

use cadet_why::{Access, Found, Kind, Want};
use serde_json::{Value, json};

use crate::world::{NS, World, app, meta, running, with_status};

fn dns_service() -> Value {
    json!({"metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": {"clusterIP": "10.96.0.10"}})
}

fn complaining(spec: Value, text: &str) -> World {
    let mut one = with_status("web", app(), running());
    for (key, value) in spec.as_object().expect("fields") {
        one["spec"][key] = value.clone();
    }
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one)
        .with(Kind::Service, dns_service())
        .log("web", "app", false, text)
}

fn database() -> Value {
    json!({"metadata": meta("mongo"), "spec": {}})
}

#[test]
fn a_name_that_does_not_exist() {
    let world = complaining(json!({}), "wget: bad address 'mongoo:27017'")
        .all(Kind::Service, &[database()]);
    world.says(
        "DNS_NAME",
        &[
            "there is no Service mongoo in namespace shop",
            "there is a Service mongo",
            "log wget: bad address",
        ],
    );
}

#[test]
fn a_name_of_another_namespace() {
    let far = json!({"metadata": {"name": "mail", "namespace": "post"}});
    let world = complaining(json!({}), "getaddrinfo ENOTFOUND mail")
        .all(Kind::Service, &[])
        .with(Kind::Service, far);
    world.says("DNS_NAME", &["its name here is mail.post"]);
}

#[test]
fn names_of_the_world_outside_are_not_judged() {
    let world = complaining(
        json!({}),
        "curl: (6) Could not resolve host: www.exmple.com",
    )
    .all(Kind::Service, &[]);
    world.says("NOTHING_WRONG", &[]);
    // Nor is a name whose Service is there by now.
    let world =
        complaining(json!({}), "wget: bad address 'mongo:27017'").all(Kind::Service, &[database()]);
    world.says("NOTHING_WRONG", &[]);
}

#[test]
fn a_policy_of_names_that_asks_the_wrong_server() {
    let world = complaining(json!({"dnsPolicy": "Default"}), "wget: bad address 'mongo'")
        .all(Kind::Service, &[database()]);
    world.says(
        "DNS_POLICY",
        &["dnsPolicy is Default", "service mongo exists"],
    );
    let world = complaining(json!({"hostNetwork": true}), "wget: bad address 'mongo'")
        .all(Kind::Service, &[database()]);
    world.says("DNS_POLICY", &["ClusterFirstWithHostNet"]);
    let none = json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"]}});
    let world = complaining(none, "wget: bad address 'mongo'").all(Kind::Service, &[database()]);
    world.says("DNS_POLICY", &["dnsPolicy is None"]);
}

#[test]
fn a_cluster_without_names() {
    let mut world =
        complaining(json!({}), "wget: bad address 'mongo'").all(Kind::Service, &[database()]);
    let by_pods = json!({"metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": {"selector": {"k8s-app": "kube-dns"}}});
    world.facts.put(Kind::Service, by_pods);
    world.facts.learn(
        Want::list(Kind::EndpointSlice, "kube-system"),
        Found::Object(json!({"items": []})),
    );
    world.says(
        "DNS_SERVER",
        &["the cluster's names are not served", "no ready endpoint"],
    );
}

fn policy(spec: Value) -> Value {
    json!({"metadata": meta("door"), "spec": spec})
}

#[test]
fn a_policy_that_lets_nothing_out_keeps_names_away() {
    let closed = policy(
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 27017}]}]}),
    );
    let world = complaining(json!({}), "wget: bad address 'mongo'")
        .all(Kind::Service, &[database()])
        .with(Kind::NetworkPolicy, closed);
    world.says(
        "NETWORK_POLICY",
        &["NetworkPolicy door lets nothing out to port 53"],
    );
    let open = policy(
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}),
    );
    let world = complaining(json!({}), "wget: bad address 'mongoo'")
        .all(Kind::Service, &[database()])
        .with(Kind::NetworkPolicy, open);
    world.says("DNS_NAME", &[]);
}

#[test]
fn a_policy_is_certain_only_if_it_lets_nobody_in() {
    let pod = with_status("web", app(), running());
    let world = |spec: Value| {
        World::about(Kind::Pod, "web")
            .node()
            .with(Kind::Pod, pod.clone())
            .with(Kind::NetworkPolicy, policy(spec))
    };
    world(json!({"podSelector": {}, "policyTypes": ["Ingress"]})).says(
        "NETWORK_POLICY",
        &[
            "lets nobody in",
            "kubectl describe networkpolicy door -n shop",
        ],
    );
    let some = world(
        json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}]}),
    );
    some.may_say("NETWORK_POLICY", &["lets only some in"]);
    assert!(!some.answer().confident);
    world(json!({"podSelector": {}, "ingress": [{}]})).says("NOTHING_WRONG", &[]);
    world(json!({"podSelector": {"matchLabels": {"app": "other"}}})).says("NOTHING_WRONG", &[]);
    world(json!({"podSelector": {}, "policyTypes": ["Egress"]})).says("NOTHING_WRONG", &[]);
}

#[test]
fn a_policy_explains_a_service_whose_pods_are_ready() {
    let service = json!({"metadata": meta("web"), "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let world = World::about(Kind::Service, "web")
        .node()
        .with(Kind::Service, service)
        .all(Kind::Pod, &[with_status("web", app(), running())])
        .with(
            Kind::NetworkPolicy,
            policy(json!({"podSelector": {}, "policyTypes": ["Ingress"]})),
        );
    world.says(
        "NETWORK_POLICY",
        &["service/web has ready pods, but a NetworkPolicy lets nobody in"],
    );
}

const FORBIDDEN: &str = "Error from server (Forbidden): pods is forbidden: User \"system:serviceaccount:shop:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"shop\"";

fn access() -> Want {
    Want::Access(Access {
        user: "system:serviceaccount:shop:default".into(),
        verb: "list".into(),
        group: String::new(),
        resource: "pods".into(),
        namespace: NS.into(),
    })
}

#[test]
fn a_right_that_is_lacking() {
    let no = Found::Object(json!({"status": {"allowed": false}}));
    let world = complaining(json!({}), FORBIDDEN).learn(access(), no);
    world.says(
        "RBAC",
        &[
            "its service account shop/default may not list pods in namespace shop",
            "still says no",
            "kubectl create role shop-default-list --verb=list --resource=pods -n shop",
            "--serviceaccount=shop:default",
        ],
    );
    let quoted = FORBIDDEN.replace('"', "\\\"");
    let no = Found::Object(json!({"status": {"allowed": false}}));
    complaining(json!({}), &format!("level=error msg=\"{quoted}\""))
        .learn(access(), no)
        .says("RBAC", &["may not list pods"]);
}

#[test]
fn a_right_that_was_given_since_is_no_fault() {
    let yes = Found::Object(json!({"status": {"allowed": true}}));
    complaining(json!({}), FORBIDDEN)
        .learn(access(), yes)
        .says("NOTHING_WRONG", &[]);
}
