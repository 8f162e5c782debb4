//! Services: one address for many pods, from pods, from the machine and from outside.

use serde_json::{Value, json};

use super::ask::{self, Check, NOBODY};
use super::workloads::deployment;
use super::{Cluster, WAIT, shell};

/// Two pages of one pod at two ports, and at the first a script that says who asks.
const TWO_PAGES: &str = "mkdir -p /www/cgi-bin /admin; echo many > /www/index.html; \
    echo admin > /admin/index.html; \
    echo \"#!/bin/sh\" > /www/cgi-bin/who; \
    echo \"echo; echo \\$REMOTE_ADDR\" >> /www/cgi-bin/who; chmod +x /www/cgi-bin/who; \
    httpd -p 0.0.0.0:8081 -h /admin; \
    trap 'exit 0' TERM; httpd -f -p 0.0.0.0:8080 -h /www & wait";

/// A network beside the node, as somebody outside has one.
const OUTSIDER: &str = "192.168.78.2";
const OUTSIDE: &str = "ip netns add outside && \
    ip link add outside0 type veth peer name outside1 && ip link set outside1 netns outside && \
    ip address add 192.168.78.1/30 dev outside0 && ip link set outside0 up && \
    ip -n outside link set lo up && ip -n outside link set outside1 up && \
    ip -n outside address add 192.168.78.2/30 dev outside1 && \
    ip -n outside route add default via 192.168.78.1";
const NO_OUTSIDE: &str = "ip netns del outside 2>/dev/null; ip link del outside0 2>/dev/null; true";

pub fn play(cluster: &dyn Cluster) {
    let mut many = shell("app", TWO_PAGES);
    many["ports"] = json!([{"name": "web", "containerPort": 8080},
        {"name": "admin", "containerPort": 8081}]);
    let spec = json!({"type": "ClusterIP", "selector": {"app": "many"}, "ports": [
        {"name": "first", "port": 80, "targetPort": "web"},
        {"name": "second", "port": 81, "targetPort": "admin"}]});
    service(cluster, "many", &spec);
    cluster.pod("many", json!({"containers": [many]}));
    cluster.pod(
        "hosted",
        json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet",
            "containers": [shell("app", WAIT)]}),
    );
    cluster.create(&deployment("shop", 2));
    let expose = [
        "expose",
        "deployment/shop",
        "--port=80",
        "--target-port=http",
    ];
    cluster.kubectl(&expose);
    cluster.rolled_out("deployment/shop");
    cluster.pod("client", json!({"containers": [shell("app", WAIT)]}));
    for pod in ["many", "hosted", "client"] {
        cluster.ready(pod);
    }

    all_answer_under_one_address(cluster);
    ports_have_names(cluster);
    one_client_stays_with_one_pod(cluster);
    packets_reach_endpoints_without_pods(cluster);
    the_machines_own_ports(cluster);
    a_balancer_has_an_address(cluster);
    services_without_an_address(cluster);
    the_api_is_a_service(cluster);
    nobody_behind_it(cluster);
    cluster.forget(&[
        "service/shop",
        "service/many",
        "deployment/shop",
        "pod/client",
        "pod/many",
        "pod/hosted",
    ]);
}

fn service(cluster: &dyn Cluster, name: &str, spec: &Value) {
    cluster.create(&json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name}, "spec": spec}));
}

fn node_address(cluster: &dyn Cluster) -> String {
    cluster.field(
        &format!("node/{}", cluster.node()),
        ".status.addresses[?(@.type==\"InternalIP\")].address",
    )
}

fn all_answer_under_one_address(cluster: &dyn Cluster) {
    let ip = cluster.field("service/shop", ".spec.clusterIP");
    // Every pod answers sooner or later.
    let ask = format!("until timeout 3 wget -qO- {ip}; do sleep 0.1; done");
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..40 {
        names.insert(cluster.inside("client", &ask));
        if names.len() == 2 {
            break;
        }
    }
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(
        names.iter().all(|name| name.starts_with("shop-")),
        "{names:?}"
    );

    let port = "{\"spec\": {\"type\": \"NodePort\"}}";
    cluster.kubectl(&["patch", "service", "shop", "-p", port]);
    let port = cluster.field("service/shop", ".spec.ports[0].nodePort");
    let page = cluster.page(&format!("{}:{port}", node_address(cluster)));
    assert!(page.contains("shop-"), "{page}");
}

fn ports_have_names(cluster: &dyn Cluster) {
    let ip = cluster.field("service/many", ".spec.clusterIP");
    let row = cluster.row("service/many");
    let wanted = format!("many ClusterIP {ip} <none> 80/TCP,81/TCP ");
    assert!(row.starts_with(&wanted), "{row}");
    let own = cluster.field("pod/client", ".status.podIP");
    let both = || {
        vec![
            Check::page(&format!("{ip}:80"), "many"),
            Check::page(&format!("{ip}:81"), "admin"),
        ]
    };
    let mut checks = both();
    // Inside the cluster nobody hides who asks.
    checks.push(Check::page(&format!("{ip}/cgi-bin/who"), &own));
    ask::come_true(cluster, "client", &checks);
    // An address that somebody leads to the node stands for the Service as well.
    let foreign = "{\"spec\": {\"externalIPs\": [\"198.51.100.7\"]}}";
    cluster.kubectl(&["patch", "service", "many", "-p", foreign]);
    let row = cluster.row("service/many");
    let wanted = format!("many ClusterIP {ip} 198.51.100.7 80/TCP,81/TCP ");
    assert!(row.starts_with(&wanted), "{row}");
    let foreign = [Check::page("198.51.100.7:81", "admin")];
    ask::come_true(cluster, "client", &foreign);
    // The pod reaches itself by its Service, and so does who is on the machine's network.
    ask::come_true(cluster, "many", &both());
    ask::come_true(cluster, "hosted", &both());
    // By name as well, because it asked for that.
    let named = [Check::page("many.default.svc.cluster.local:81", "admin")];
    ask::come_true(cluster, "hosted", &named);
    let hosted = cluster.field("pod/hosted", ".status.podIP");
    assert_eq!(hosted, node_address(cluster));

    // A container is told of the Services that were there before it.
    let variables = [
        ("HOST", "$MANY_SERVICE_HOST", ip.clone()),
        ("PORT", "$MANY_SERVICE_PORT", "80".to_owned()),
        ("named", "$MANY_SERVICE_PORT_SECOND", "81".to_owned()),
        ("url", "$MANY_PORT", format!("tcp://{ip}:80")),
        ("link", "$MANY_PORT_81_TCP", format!("tcp://{ip}:81")),
        ("protocol", "$MANY_PORT_81_TCP_PROTO", "tcp".to_owned()),
        ("number", "$MANY_PORT_81_TCP_PORT", "81".to_owned()),
        ("address", "$MANY_PORT_81_TCP_ADDR", ip.clone()),
    ];
    let line: Vec<String> = variables
        .iter()
        .map(|(label, name, _)| format!("echo {label} {name}"))
        .collect();
    let told = cluster.inside("client", &line.join("; "));
    let wanted: Vec<String> = variables
        .iter()
        .map(|(label, _, value)| format!("{label} {value}"))
        .collect();
    assert_eq!(told, wanted.join("\n"));
}

fn one_client_stays_with_one_pod(cluster: &dyn Cluster) {
    let spec = json!({"selector": {"app": "shop"}, "sessionAffinity": "ClientIP",
        "ports": [{"port": 80, "targetPort": "http"}]});
    service(cluster, "sticky", &spec);
    let seconds = ".spec.sessionAffinityConfig.clientIP.timeoutSeconds";
    assert_eq!(cluster.field("service/sticky", seconds), "10800");
    let ip = cluster.field("service/sticky", ".spec.clusterIP");
    let line = format!(
        "until timeout 3 wget -qO- {ip} >/dev/null 2>&1; do sleep 0.1; done; \
         for n in $(seq 10); do wget -qO- {ip}; done | sort | uniq -c"
    );
    let counted = cluster.inside("client", &line);
    let words: Vec<&str> = counted.split_whitespace().collect();
    assert!(
        matches!(words[..], ["10", name] if name.starts_with("shop-")),
        "{counted}"
    );
    cluster.forget(&["service/sticky"]);
}

/// No selector: somebody else says where it leads. Here to the cluster's own DNS, the only
/// one at hand that speaks UDP.
fn packets_reach_endpoints_without_pods(cluster: &dyn Cluster) {
    let slices = [
        "get",
        "endpointslices",
        "-n",
        "kube-system",
        "-l",
        "kubernetes.io/service-name=kube-dns",
        "-o",
        "jsonpath={.items[0].endpoints[0].addresses[0]}",
    ];
    let dns = cluster.kubectl(&slices);
    let spec = json!({"ports": [
        {"name": "dns", "protocol": "UDP", "port": 5353, "targetPort": 53}]});
    service(cluster, "packets", &spec);
    cluster.create(
        &json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "packets-1",
            "labels": {"kubernetes.io/service-name": "packets"}},
        "addressType": "IPv4", "ports": [{"name": "dns", "protocol": "UDP", "port": 53}],
        "endpoints": [{"addresses": [dns]}]}),
    );
    let ip = cluster.field("service/packets", ".spec.clusterIP");
    let row = cluster.row("service/packets");
    assert!(
        row.starts_with(&format!("packets ClusterIP {ip} <none> 5353/UDP ")),
        "{row}"
    );
    let name = "kubernetes.default.svc.cluster.local";
    let ask = format!("timeout 3 nslookup -type=a {name} {ip}:5353");
    let known = |ask: &str| Check::has(ask, "Address: 10.96.0.1");
    ask::come_true(cluster, "client", &[known(&ask)]);
    let nodes = "{\"spec\": {\"type\": \"NodePort\"}}";
    cluster.kubectl(&["patch", "service", "packets", "-p", nodes]);
    let port = cluster.field("service/packets", ".spec.ports[0].nodePort");
    let node = node_address(cluster);
    let ask = format!("timeout 3 nslookup -type=a {name} {node}:{port}");
    ask::come_true(cluster, "client", &[known(&ask)]);
    cluster.forget(&["service/packets", "endpointslice/packets-1"]);
}

fn the_machines_own_ports(cluster: &dyn Cluster) {
    let spec = json!({"type": "NodePort", "selector": {"app": "many"},
        "ports": [{"port": 80, "targetPort": 8080}]});
    service(cluster, "door", &spec);
    let port = cluster.field("service/door", ".spec.ports[0].nodePort");
    let row = cluster.row("service/door");
    assert!(row.contains(&format!(" <none> 80:{port}/TCP ")), "{row}");
    cluster.node_says(&format!("{NO_OUTSIDE}; {OUTSIDE}"));
    let who = format!("{}:{port}/cgi-bin/who", node_address(cluster));
    // Any node may be asked, and the answer must go back by the same: the pod sees the node.
    let is_address = |seen: &str| seen.parse::<std::net::Ipv4Addr>().is_ok();
    let seen = seen_from_outside(cluster, &who, |seen| is_address(seen) && seen != OUTSIDER);
    assert!(is_address(&seen) && seen != OUTSIDER, "{seen}");
    let local = "{\"spec\": {\"externalTrafficPolicy\": \"Local\"}}";
    cluster.kubectl(&["patch", "service", "door", "-p", local]);
    let seen = seen_from_outside(cluster, &who, |seen| seen == OUTSIDER);
    assert_eq!(seen, OUTSIDER);
    cluster.forget(&["service/door"]);
    a_balancer_knows_its_guests(cluster);
    cluster.node_says(NO_OUTSIDE);
}

/// The last line that somebody outside reads at an address, asked until it is right.
fn seen_from_outside(cluster: &dyn Cluster, at: &str, right: impl Fn(&str) -> bool) -> String {
    let (address, path) = at.split_once('/').expect("HOST:PORT/PATH");
    let (host, port) = address.split_once(':').expect("HOST:PORT");
    let ask = format!(
        "exec 3<>/dev/tcp/{host}/{port} && printf \"GET /{path} HTTP/1.0\\r\\n\\r\\n\" >&3 && cat <&3"
    );
    let line = format!(
        "nsenter --net=/run/netns/outside timeout 3 bash -c '{ask}' 2>/dev/null || echo {NOBODY}"
    );
    let mut seen = String::new();
    for _ in 0..100 {
        let said = cluster.node_says(&line);
        let last = said.lines().next_back().unwrap_or_default();
        seen = last.trim().to_owned();
        if right(&seen) {
            break;
        }
    }
    seen
}

/// Of those outside only some may use it (`loadBalancerSourceRanges`).
fn a_balancer_knows_its_guests(cluster: &dyn Cluster) {
    let spec = json!({"type": "LoadBalancer", "selector": {"app": "many"},
        "loadBalancerSourceRanges": [format!("{OUTSIDER}/32")],
        "ports": [{"port": 8090, "targetPort": 8080}]});
    service(cluster, "club", &spec);
    cluster.event("club", "EnsuredLoadBalancer");
    let ip = cluster.field("service/club", ".status.loadBalancer.ingress[0].ip");
    let at = format!("{ip}:8090/");
    let seen = seen_from_outside(cluster, &at, |seen| seen == "many");
    assert_eq!(seen, "many");
    let ranges = "{\"spec\": {\"loadBalancerSourceRanges\": [\"203.0.113.0/24\"]}}";
    cluster.kubectl(&["patch", "service", "club", "-p", ranges]);
    let seen = seen_from_outside(cluster, &at, |seen| seen == NOBODY);
    assert_eq!(seen, NOBODY);
    cluster.forget(&["service/club"]);
}

fn a_balancer_has_an_address(cluster: &dyn Cluster) {
    let spec = json!({"type": "LoadBalancer", "selector": {"app": "many"},
        "ports": [{"port": 8091, "targetPort": "web"}]});
    service(cluster, "front", &spec);
    let told = cluster.event("front", "EnsuredLoadBalancer");
    assert_eq!(told, "Ensured load balancer");
    let ip = cluster.field("service/front", ".status.loadBalancer.ingress[0].ip");
    let own = cluster.field("service/front", ".spec.clusterIP");
    let port = cluster.field("service/front", ".spec.ports[0].nodePort");
    let row = cluster.row("service/front");
    let wanted = format!("front LoadBalancer {own} {ip} 8091:{port}/TCP ");
    assert!(row.starts_with(&wanted), "{row}");
    let page = cluster.page(&format!("{ip}:8091"));
    assert!(page.ends_with("many"), "{page}");
    let node = node_address(cluster);
    let checks = [
        Check::page(&format!("{ip}:8091"), "many"),
        Check::page(&format!("{own}:8091"), "many"),
        Check::page(&format!("{node}:{port}"), "many"),
    ];
    ask::come_true(cluster, "client", &checks);
    // A balancer of somebody else's would ask here which nodes have a pod of it.
    let local = "{\"spec\": {\"externalTrafficPolicy\": \"Local\"}}";
    cluster.kubectl(&["patch", "service", "front", "-p", local]);
    let port = cluster.field("service/front", ".spec.healthCheckNodePort");
    let health = cluster.page(&format!("{node}:{port}"));
    assert!(
        health.contains(" 200 OK") && health.contains("\"localEndpoints\": 1"),
        "{health}"
    );
    cluster.forget(&["service/front"]);
}

fn services_without_an_address(cluster: &dyn Cluster) {
    let away = [
        "create",
        "service",
        "externalname",
        "away",
        "--external-name=db.example.com",
    ];
    cluster.kubectl(&away);
    let row = cluster.row("service/away");
    let wanted = "away ExternalName <none> db.example.com <none> ";
    assert!(row.starts_with(wanted), "{row}");
    let spec = json!({"clusterIP": "None", "selector": {"app": "many"},
        "ports": [{"port": 80, "targetPort": "web"}]});
    service(cluster, "heads", &spec);
    let row = cluster.row("service/heads");
    assert!(
        row.starts_with("heads ClusterIP None <none> 80/TCP "),
        "{row}"
    );
    // Its name leads to the pod, so the port is the pod's own.
    let name = "heads.default.svc.cluster.local:8080";
    ask::come_true(cluster, "client", &[Check::page(name, "many")]);
    cluster.forget(&["service/away", "service/heads"]);
}

fn the_api_is_a_service(cluster: &dyn Cluster) {
    let row = cluster.row("service/kubernetes");
    let wanted = "kubernetes ClusterIP 10.96.0.1 <none> 443/TCP ";
    assert!(row.starts_with(wanted), "{row}");
    // busybox's TLS is too old for the API, so it must do that somebody takes the call.
    let call = "timeout 5 nc -w 3 kubernetes.default 443 </dev/null >/dev/null && echo taken";
    let told = "echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT";
    let checks = [Check::is(call, "taken"), Check::is(told, "10.96.0.1:443")];
    ask::come_true(cluster, "client", &checks);
    ask::come_true(cluster, "hosted", &checks[1..]);
}

/// Refused at once, not after a minute.
fn nobody_behind_it(cluster: &dyn Cluster) {
    let ip = cluster.field("service/shop", ".spec.clusterIP");
    cluster.kubectl(&["scale", "deployment/shop", "--replicas=0"]);
    cluster.until_gone(&["pod", "-l", "app=shop"]);
    let refused = format!("timeout 5 wget -qO- {ip}");
    ask::come_true(
        cluster,
        "client",
        &[Check::has(&refused, "Connection refused")],
    );
}
