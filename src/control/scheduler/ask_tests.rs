use super::*;
use serde_json::{Value, json};

fn ask(spec: Value) -> Ask {
    let metadata =
        json!({"name": "web-1", "namespace": "d", "labels": {"app": "web", "hash": "7"}});
    Ask::of(&serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn c(cpu: &str, memory: &str) -> Value {
    json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
}

#[test]
fn init_containers_count_at_their_peak_and_sidecars_always() {
    let a = ask(json!({"containers": [c("100m", "1Ki"), c("200m", "1Ki")],
        "initContainers": [c("250m", "4Ki")]}));
    assert_eq!((a.requests.cpu, a.requests.memory), (300, 4096));
    let mut side = c("50m", "1Ki");
    side["restartPolicy"] = json!("Always");
    let a = ask(
        json!({"containers": [c("100m", "1Ki")], "initContainers": [side, c("250m", "1Ki")],
        "overhead": {"cpu": "1"}}),
    );
    assert_eq!(a.requests.cpu, 300 + 1000);
    assert_eq!(a.requests.memory, 2048);
    let whole = json!({"containers": [c("100m", "1Ki")], "resources": {"requests": {"cpu": "2"}}});
    assert_eq!(ask(whole).requests.cpu, 2000);
}

#[test]
fn what_a_node_can_never_give_is_not_held_against_it() {
    let mut pod = json!({"metadata": {"name": "p"},
        "spec": {"containers": [c("1000", "1Ki")]},
        "status": {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "1"}}],
            "conditions": [{"type": "PodResizePending", "status": "True",
                "reason": "Infeasible"}]}});
    let cpu = |pod: &Value| {
        let pod = serde_json::from_value(pod.clone()).unwrap();
        Ask::of(&pod).requests.cpu
    };
    assert_eq!(cpu(&pod), 1000);
    pod["status"]["conditions"][0]["reason"] = json!("Deferred");
    assert_eq!(cpu(&pod), 1_000_000, "it may have it one day");
}

#[test]
fn a_pod_that_asks_for_nothing_weighs_something() {
    let a = ask(json!({"containers": [{"name": "c"}, {"name": "d"}]}));
    assert_eq!(a.requests, Amounts::default());
    assert_eq!(a.weighed, [200, 400 * 1024 * 1024]);
    let a = ask(json!({"containers": [c("50m", "1Ki")]}));
    assert_eq!(a.weighed, [50, 1024]);
}

#[test]
fn host_ports_clash_by_address_protocol_and_number() {
    let p = |ip: &str, protocol: &str, port| HostPort {
        ip: ip.into(),
        protocol: protocol.into(),
        port,
    };
    assert!(p("", "TCP", 80).clashes(&p("10.0.0.1", "TCP", 80)));
    assert!(!p("10.0.0.2", "TCP", 80).clashes(&p("10.0.0.1", "TCP", 80)));
    assert!(!p("", "UDP", 80).clashes(&p("", "TCP", 80)));
    let a = ask(json!({"containers": [{"name": "a", "ports": [
        {"containerPort": 1}, {"containerPort": 2, "hostPort": 9, "hostIP": "0.0.0.0"}]}]}));
    assert_eq!(a.host_ports, [p("", "TCP", 9)]);
}

#[test]
fn tolerations_open_doors() {
    let taint = wire::Taint {
        key: "k".into(),
        value: Some("v".into()),
        effect: "NoSchedule".into(),
    };
    for (toleration, want) in [
        (json!({"key": "k", "operator": "Exists"}), true),
        (json!({"operator": "Exists"}), true),
        (json!({"key": "k", "value": "v"}), true),
        (
            json!({"key": "k", "operator": "Equal", "value": "w"}),
            false,
        ),
        (
            json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}),
            false,
        ),
        (json!({"key": "j", "operator": "Exists"}), false),
        (json!({"value": "v"}), false),
    ] {
        let a = ask(json!({"containers": [], "tolerations": [toleration]}));
        assert_eq!(!a.minds(&taint), want, "{toleration}");
    }
}

#[test]
fn node_selectors_and_required_terms_go_together() {
    let l = Labels::from([("disk".into(), "ssd".into())]);
    let a = ask(json!({"containers": [], "nodeSelector": {"disk": "ssd"}}));
    assert!(a.admits("n", &l) && !a.admits("n", &Labels::new()));
    let named =
        json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]});
    let a = ask(json!({"containers": [], "affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [named]}}}}));
    assert_eq!(a.only_nodes().unwrap(), ["n"]);
    assert!(a.admits("n", &l) && !a.admits("m", &l));
    let empty = ask(json!({"containers": [], "affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}}));
    assert!(!empty.admits("n", &l) && empty.only_nodes().is_none());
}

#[test]
fn the_pods_own_labels_complete_its_terms() {
    let a = ask(json!({"containers": [], "affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone",
            "labelSelector": {"matchLabels": {"app": "web"}},
            "matchLabelKeys": ["hash", "absent"]}],
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm":
            {"topologyKey": "zone", "labelSelector": {}, "mismatchLabelKeys": ["hash"],
             "namespaceSelector": {}}}]}}}));
    let of =
        |hash: &str| Labels::from([("app".into(), "web".into()), ("hash".into(), hash.into())]);
    assert!(a.apart[0].means("d", None, &of("7")));
    assert!(!a.apart[0].means("d", None, &of("8")));
    assert!(!a.apart[0].means("e", None, &of("7")));
    let (weight, wish) = &a.wishes[0];
    assert_eq!(*weight, -7);
    assert!(wish.means("e", None, &of("8")) && !wish.means("e", None, &of("7")));
}

#[test]
fn claims_images_and_owners() {
    let a = ask(
        json!({"containers": [{"image": "nginx"}, {"image": "reg:5000/a"}, {"image": "b@sha256:1"}],
        "volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "scratch", "ephemeral": {}}, {"name": "c", "emptyDir": {}}]}),
    );
    assert_eq!(
        a.images,
        ["nginx:latest", "reg:5000/a:latest", "b@sha256:1"]
    );
    let claims: Vec<&str> = a.mounts.iter().map(|m| m.claim.as_str()).collect();
    assert_eq!(claims, ["data", "web-1-scratch"]);
    assert!(a.owner.is_none());
}

#[test]
fn equal_asks_are_one() {
    let mut asks = Asks::default();
    let spec = || json!({"containers": [c("1", "1Ki")]});
    let first = asks.share(ask(spec()));
    assert!(Arc::ptr_eq(&first, &asks.share(ask(spec()))));
    assert!(!Arc::ptr_eq(
        &first,
        &asks.share(ask(json!({"containers": [c("2", "1Ki")]})))
    ));
}
