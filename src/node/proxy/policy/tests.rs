use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

use super::*;

const NODE: &str = "here";

fn named(namespace: &str, name: &str) -> ObjectName {
    (namespace.into(), name.into())
}

fn policy(spec: &Value) -> Option<Policy> {
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "shop"}, "spec": spec,
    });
    Policy::read(&serde_json::from_value::<NetworkPolicy>(object).unwrap())
}

fn pod(app: &str, n: u8, node: &str) -> Option<Pod> {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": app, "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [
            {"ports": [{"name": "http", "containerPort": 8000 + u16::from(n)}]},
        ]},
        "status": {"phase": "Running", "podIP": format!("10.244.0.{n}")},
    });
    Pod::read(&serde_json::from_value(object).unwrap(), NODE)
}

/// A web pod here, a client elsewhere in the same namespace, another in namespace `mall`.
struct World {
    policies: Policies,
    table: Table,
}

impl World {
    fn new(spec: &Value) -> Self {
        let mut world = World {
            policies: Policies::default(),
            table: Table::default(),
        };
        let team = |name: &str| Labels::from([("team".to_owned(), name.to_owned())]);
        let World { policies, table } = &mut world;
        policies.set_namespace("shop", Some(team("shop")), table);
        policies.set_namespace("mall", Some(team("mall")), table);
        policies.set_pod(&named("shop", "web"), pod("web", 1, NODE), table);
        policies.set_pod(&named("shop", "client"), pod("client", 2, "far"), table);
        policies.set_pod(&named("mall", "client"), pod("client", 3, "far"), table);
        policies.set_policy(&named("shop", "p"), policy(spec));
        world
    }

    fn statements(&mut self) -> String {
        self.policies.refresh(&mut self.table);
        self.table.commit().unwrap_or_default()
    }
}

/// Rules of the policy's chain and elements of the groups of pods, without their names.
fn allowed(text: &str, direction: &str) -> Vec<String> {
    let start = format!("add rule ip cadet policy-{direction}-");
    let rules = text.lines().filter_map(|line| {
        let (_, rule) = line.strip_prefix(&start)?.split_once(' ')?;
        let words = rule.split(' ');
        let words = words.map(|w| if w.starts_with("@pods-") { "@pods" } else { w });
        Some(words.collect::<Vec<_>>().join(" "))
    });
    let groups = text.lines().filter_map(|line| {
        let (_, elements) = line
            .strip_prefix("add element ip cadet pods-")?
            .split_once(' ')?;
        Some(elements.to_owned())
    });
    rules.chain(groups).collect()
}

#[test]
fn deny_all_leaves_a_pod_only_itself() {
    let mut world = World::new(&json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    let text = world.statements();
    let chain = |direction: &str| {
        let start = format!("add element ip cadet policy-{direction} {{ 10.244.0.1 : goto ");
        let found = text.lines().find_map(|line| line.strip_prefix(&start));
        found.unwrap().trim_end_matches(" }").to_owned()
    };
    let rules = |chain: &str| -> Vec<&str> {
        let start = format!("add rule ip cadet {chain} ");
        text.lines()
            .filter_map(|line| line.strip_prefix(&start))
            .collect()
    };
    let (inward, outward) = (chain("in"), chain("out"));
    assert_eq!(rules(&inward)[0], "ip saddr 10.244.0.1 accept");
    assert!(rules(&inward)[1].starts_with("jump policy-in-"));
    assert_eq!(rules(&inward)[2..], ["drop"]);
    assert_eq!(rules(&outward)[0], "ip daddr 10.244.0.1 accept");
    assert_eq!(
        rules("policy-forward"),
        [
            "ct state established,related accept",
            "oifname \"cadet0\" ip daddr != @here drop",
            "iifname \"cadet0\" ip saddr != @here drop",
            "ip saddr vmap @policy-out",
            "goto policy-ingress"
        ]
    );
    world.policies.set_policy(&named("shop", "p"), None);
    world.statements();
    assert_eq!(world.table.whole(), "");
}

#[test]
fn peers_are_groups_that_change_by_the_pod() {
    let mut world = World::new(&json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{
            "from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
            "ports": [{"port": 80}, {"port": 8000, "endPort": 8100}, {"port": 8050},
                      {"port": 53, "protocol": "UDP"}],
        }],
    }));
    assert_eq!(
        allowed(&world.statements(), "in"),
        [
            "ip saddr @pods tcp dport { 80, 8000-8100 } accept",
            "ip saddr @pods udp dport { 53 } accept",
            "{ 10.244.0.2 }"
        ]
    );
    let World { policies, table } = &mut world;
    policies.set_pod(&named("shop", "client-2"), pod("client", 9, "far"), table);
    let text = world.statements();
    assert!(text.starts_with("add element ip cadet pods-") && text.ends_with("{ 10.244.0.9 }\n"));
    assert_eq!(text.lines().count(), 1);
    let World { policies, table } = &mut world;
    policies.set_pod(&named("shop", "client-2"), None, table);
    let text = world.statements();
    assert!(text.starts_with("delete element ip cadet pods-"), "{text}");
    // A pod elsewhere that no rule names is no business of this node.
    let World { policies, table } = &mut world;
    policies.set_pod(&named("mall", "other"), pod("other", 10, "far"), table);
    assert_eq!(world.statements(), "");
}

#[test]
fn namespaces_are_chosen_by_their_labels_of_now() {
    let mut world = World::new(&json!({
        "podSelector": {},
        "ingress": [{"from": [{
            "namespaceSelector": {"matchLabels": {"team": "mall"}},
            "podSelector": {"matchLabels": {"app": "client"}},
        }]}],
    }));
    assert_eq!(
        allowed(&world.statements(), "in"),
        ["ip saddr @pods accept", "{ 10.244.0.3 }"]
    );
    let World { policies, table } = &mut world;
    policies.set_namespace("mall", Some(Labels::new()), table);
    let text = world.statements();
    assert!(text.starts_with("delete element ip cadet pods-"), "{text}");
}

#[test]
fn blocks_have_holes() {
    let mut world = World::new(&json!({
        "podSelector": {}, "policyTypes": ["Egress"],
        "egress": [{
            "to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.2.0/24"]}}],
            "ports": [{"protocol": "SCTP"}],
        }],
    }));
    assert_eq!(
        allowed(&world.statements(), "out"),
        [
            "ip daddr 10.0.0.0/8 ip daddr != 10.1.0.0/16 ip daddr != 10.1.2.0/24 meta l4proto sctp \
          goto policy-ingress"
        ]
    );
}

#[test]
fn named_ports_are_those_of_the_pod_that_is_connected_to() {
    let http = json!([{"port": "http"}]);
    let mut world = World::new(&json!({"podSelector": {}, "ingress": [{"ports": http}]}));
    let by_port = "ip daddr . meta l4proto . th dport @pods";
    // All pods of the namespace on this node.
    assert_eq!(
        allowed(&world.statements(), "in"),
        [
            format!("{by_port} accept"),
            "{ 10.244.0.1 . tcp . 8001 }".into()
        ]
    );
    let mut world = World::new(&json!({
        "podSelector": {}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"namespaceSelector": {}}], "ports": http}],
    }));
    let lines = allowed(&world.statements(), "out");
    assert_eq!(lines[0], format!("{by_port} goto policy-ingress"));
    assert_eq!(lines[1].matches(" . tcp . ").count(), 3);
}

#[test]
fn several_policies_of_a_pod_add_up() {
    let from = |app: &str| {
        json!({"podSelector": {"matchLabels": {"app": "web"}},
               "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": app}}}]}]})
    };
    let mut world = World::new(&from("a"));
    world
        .policies
        .set_policy(&named("shop", "q"), policy(&from("b")));
    let text = world.statements();
    assert_eq!(text.matches(" jump policy-in-").count(), 2);
    let chain = text.lines().filter(|line| line.contains(" pod-in-"));
    assert_eq!(chain.filter(|line| line.ends_with(" drop")).count(), 1);
}

#[test]
fn pods_of_this_node_are_cut_off_until_they_are_known() {
    // The policy is for nobody here yet.
    let mut world = World::new(&json!({"podSelector": {"matchLabels": {"app": "next"}}}));
    let text = world.statements();
    let here = "add element ip cadet here { 10.244.0.1 }";
    assert!(text.lines().any(|line| line == here), "{text}");
    let World { policies, table } = &mut world;
    policies.set_pod(&named("shop", "next"), pod("next", 7, NODE), table);
    let text = world.statements();
    let here = "add element ip cadet here { 10.244.0.7 }";
    assert!(text.lines().any(|line| line == here), "{text}");
    assert!(text.contains("add element ip cadet policy-in { 10.244.0.7 : goto"));
    let World { policies, table } = &mut world;
    policies.set_pod(&named("shop", "next"), None, table);
    let text = world.statements();
    assert!(text.contains("delete element ip cadet here { 10.244.0.7 }"));
    world.policies.set_policy(&named("shop", "p"), None);
    world.statements();
    assert_eq!(world.table.whole(), "");
}

#[test]
fn an_address_belongs_to_the_pod_heard_of_last() {
    let mut world = World::new(&json!({"podSelector": {"matchLabels": {"app": "web"}}}));
    assert!(
        world
            .statements()
            .contains("add element ip cadet policy-in { 10.244.0.1 : goto")
    );
    let World { policies, table } = &mut world;
    policies.set_pod(&named("mall", "next"), pod("next", 1, NODE), table);
    assert!(
        world
            .statements()
            .contains("delete element ip cadet policy-in { 10.244.0.1 }")
    );
    let World { policies, table } = &mut world;
    policies.set_pod(&named("shop", "web"), None, table);
    assert_eq!(world.statements(), "");
}

#[test]
fn pods_without_an_address_of_their_own_are_nobody() {
    let read = |spec: Value, status: Value| {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                            "spec": spec, "status": status});
        Pod::read(&serde_json::from_value(object).unwrap(), NODE)
    };
    let running = json!({"phase": "Running", "podIP": "10.0.0.1"});
    assert!(
        read(json!({"nodeName": NODE}), running.clone())
            .unwrap()
            .local
    );
    assert_eq!(read(json!({"hostNetwork": true}), running), None);
    assert_eq!(read(json!({}), json!({"phase": "Pending"})), None);
    let done = json!({"phase": "Succeeded", "podIP": "10.0.0.1"});
    assert_eq!(read(json!({}), done), None);
    let evicted = |state: Value| json!({"phase": "Failed", "podIP": "10.0.0.1", "containerStatuses": [{"state": state}]});
    let ending = evicted(json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
    assert!(read(json!({}), ending).is_some());
    assert_eq!(
        read(json!({}), evicted(json!({"terminated": {"exitCode": 143}}))),
        None
    );
}
