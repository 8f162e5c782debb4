//! Names of the cluster: Services and pods are found by DNS.

use serde_json::json;

use super::ask::{self, Check};
use super::workloads::deployment;
use super::{Cluster, SERVE, WAIT, shell};

const DOMAIN: &str = "default.svc.cluster.local";

pub fn play(cluster: &dyn Cluster) {
    begin(cluster);
    what_a_pod_is_told(cluster);
    short_and_long_names(cluster);
    services_have_records(cluster);
    pods_have_records(cluster);
    members_of_a_stateful_set_have_names(cluster);
    what_does_not_exist(cluster);
    a_pod_with_settings_of_its_own(cluster);
    cluster.forget(&[
        "service/named",
        "service/alias",
        "service/db",
        "service/team",
        "deployment/named",
        "statefulset/db",
        "pod/asks",
        "pod/settings",
    ]);
}

/// Everything at once, and then all of it is waited for.
fn begin(cluster: &dyn Cluster) {
    let service = |name: &str, spec: serde_json::Value| {
        cluster.create(&json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name}, "spec": spec}));
    };
    let http = |number: u16| json!([{"name": "http", "port": number, "targetPort": "http"}]);
    service(
        "named",
        json!({"selector": {"app": "named"}, "ports": http(80)}),
    );
    service(
        "db",
        json!({"selector": {"app": "db"}, "clusterIP": "None", "ports": http(80)}),
    );
    service(
        "team",
        json!({"selector": {"app": "asks"}, "clusterIP": "None"}),
    );
    service(
        "alias",
        json!({"type": "ExternalName", "externalName": format!("named.{DOMAIN}")}),
    );
    let mut app = shell("app", SERVE);
    app["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    cluster.create(
        &json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"replicas": 2, "serviceName": "db", "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [app]}}}}),
    );
    cluster.create(&deployment("named", 1));
    cluster.pod(
        "asks",
        json!({"hostname": "busy", "subdomain": "team", "containers": [shell("app", WAIT)]}),
    );
    // As in the documentation of a pod's DNS config.
    cluster.pod(
        "settings",
        json!({"containers": [shell("app", WAIT)], "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["192.0.2.1"],
                "searches": ["ns1.svc.cluster-domain.example", "my.dns.search.suffix"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
    );
    cluster.rolled_out("deployment/named");
    cluster.rolled_out("statefulset/db");
    cluster.ready("asks");
}

fn what_a_pod_is_told(cluster: &dyn Cluster) {
    let config = cluster.inside("asks", "cat /etc/resolv.conf");
    assert!(config.contains("nameserver 10.96.0.10"), "{config}");
    let search = "search default.svc.cluster.local svc.cluster.local cluster.local";
    assert!(
        config.contains(search) && config.contains("options ndots:5"),
        "{config}"
    );
    let own = cluster.inside("asks", "hostname; grep busy /etc/hosts");
    let ip = cluster.field("pod/asks", ".status.podIP");
    let words: Vec<&str> = own.split_whitespace().collect();
    let long = format!("busy.team.{DOMAIN}");
    assert_eq!(words, ["busy", ip.as_str(), long.as_str(), "busy"]);
}

fn a_pod_with_settings_of_its_own(cluster: &dyn Cluster) {
    cluster.ready("settings");
    let config = cluster.inside("settings", "cat /etc/resolv.conf");
    let wanted = "nameserver 192.0.2.1\n\
                  search ns1.svc.cluster-domain.example my.dns.search.suffix\n\
                  options ndots:2 edns0";
    assert_eq!(config, wanted);
}

/// By the C library, as programs ask.
fn short_and_long_names(cluster: &dyn Cluster) {
    let full = format!("named.{DOMAIN}");
    let absolute = format!("{full}.");
    let names = [
        "named",
        "named.default",
        "named.default.svc",
        "alias",
        full.as_str(),
        absolute.as_str(),
    ];
    let mut checks: Vec<Check> = names
        .iter()
        .map(|name| Check::has(&format!("timeout 5 wget -qO- http://{name}/"), "named-"))
        .collect();
    checks.push(Check::page("db-1.db:8080", "db-1"));
    checks.push(Check::page("db-0.db.default:8080", "db-0"));
    ask::come_true(cluster, "asks", &checks);
}

fn nslookup(kind: &str, name: &str) -> String {
    format!("timeout 5 nslookup -type={kind} {name}")
}

fn services_have_records(cluster: &dyn Cluster) {
    let ip = cluster.field("service/named", ".spec.clusterIP");
    let named = format!("named.{DOMAIN}");
    let address = format!("Address: {ip}");
    let service = nslookup("srv", &format!("_http._tcp.{named}"));
    let alias = nslookup("a", &format!("alias.{DOMAIN}"));
    let dns = "kube-dns.kube-system.svc.cluster.local";
    let checks = [
        Check::has(&nslookup("a", &named), &address),
        // Priority, weight, port and name.
        Check::has(
            &service,
            &format!("_http._tcp.{named}\tservice = 0 100 80 {named}"),
        ),
        Check::has(&format!("timeout 5 nslookup {ip}"), &reverse(&ip, &named)),
        Check::has(&alias, &format!("alias.{DOMAIN}\tcanonical name = {named}")),
        Check::has(&alias, &format!("Name:\t{named}\nAddress: {ip}")),
        Check::has(&nslookup("a", dns), "Address: 10.96.0.10"),
        Check::has(
            &nslookup("srv", &format!("_dns._udp.{dns}")),
            &format!("service = 0 100 53 {dns}"),
        ),
        Check::has(
            "timeout 5 nslookup 10.96.0.10",
            &reverse("10.96.0.10", "kube-dns.kube-system.svc.cluster.local"),
        ),
        Check::has(
            &nslookup("srv", "_https._tcp.kubernetes.default.svc.cluster.local"),
            "service = 0 100 443 kubernetes.default.svc.cluster.local",
        ),
        Check::has(
            &nslookup("a", "kubernetes.default.svc.cluster.local"),
            "Address: 10.96.0.1",
        ),
        Check::has(
            "timeout 5 nslookup 10.96.0.1",
            &reverse("10.96.0.1", "kubernetes.default.svc.cluster.local"),
        ),
        Check::has(
            &nslookup("txt", "dns-version.cluster.local"),
            "text = \\\"1.1.0\\\"",
        ),
    ];
    ask::come_true(cluster, "asks", &checks);
}

/// The line of an address's name.
fn reverse(ip: &str, name: &str) -> String {
    let octets: Vec<&str> = ip.rsplit('.').collect();
    format!("{}.in-addr.arpa\tname = {name}", octets.join("."))
}

fn pods_have_records(cluster: &dyn Cluster) {
    let ip = cluster.field("pod/asks", ".status.podIP");
    let pod = format!("{}.default.pod.cluster.local", ip.replace('.', "-"));
    let address = format!("Address: {ip}");
    let checks = [
        Check::has(&nslookup("a", &pod), &address),
        Check::has(
            &nslookup("a", "10-244-0-5.default.pod.cluster.local"),
            "Address: 10.244.0.5",
        ),
        // Hostname and subdomain, and a headless Service of the subdomain's name.
        Check::has(&nslookup("a", &format!("busy.team.{DOMAIN}")), &address),
        Check::has(&nslookup("a", &format!("team.{DOMAIN}")), &address),
    ];
    ask::come_true(cluster, "asks", &checks);
}

fn members_of_a_stateful_set_have_names(cluster: &dyn Cluster) {
    let ips = [0, 1].map(|n| cluster.field(&format!("pod/db-{n}"), ".status.podIP"));
    let (whole, ports) = (
        nslookup("a", &format!("db.{DOMAIN}")),
        nslookup("srv", &format!("_http._tcp.db.{DOMAIN}")),
    );
    let mut checks = Vec::new();
    for (n, ip) in ips.iter().enumerate() {
        let name = format!("db-{n}.db.{DOMAIN}");
        let address = format!("Address: {ip}");
        checks.push(Check::has(&nslookup("a", &name), &address));
        // The Service's own name has all of them, and a port's name the pods' port.
        checks.push(Check::has(&whole, &address));
        checks.push(Check::has(&ports, &format!("service = 0 50 8080 {name}")));
        let back = format!("timeout 5 nslookup {ip}");
        checks.push(Check::has(&back, &reverse(ip, &name)));
    }
    ask::come_true(cluster, "asks", &checks);
    // Its next pod has the same name and another address.
    let uid = cluster.field("pod/db-0", ".metadata.uid");
    cluster.forget(&["pod/db-0"]);
    let state = "jsonpath={.metadata.uid} {.status.conditions[?(@.type==\"Ready\")].status}";
    let state = ["get", "pod", "db-0", "--ignore-not-found", "-o", state];
    cluster.until_said(&state, &|state| {
        state.ends_with(" True") && !state.starts_with(&uid)
    });
    ask::come_true(cluster, "asks", &[Check::page("db-0.db:8080", "db-0")]);
    let ip = cluster.field("pod/db-0", ".status.podIP");
    let name = nslookup("a", &format!("db-0.db.{DOMAIN}"));
    let address = format!("Address: {ip}");
    ask::come_true(cluster, "asks", &[Check::has(&name, &address)]);
}

fn what_does_not_exist(cluster: &dyn Cluster) {
    let unknown = [
        "nonsense.default.svc.cluster.local",
        "named.elsewhere.svc.cluster.local",
        "db-7.db.default.svc.cluster.local",
        "nonsense.cluster.local",
    ];
    let mut checks: Vec<Check> = unknown
        .iter()
        .map(|name| {
            let wanted = format!("server can't find {name}: NXDOMAIN");
            Check::has(&nslookup("a", name), &wanted)
        })
        .collect();
    // A Service that is gone takes its name along.
    cluster.kubectl(&["delete", "service", "alias"]);
    let gone = format!("alias.{DOMAIN}");
    checks.push(Check::has(
        &nslookup("a", &gone),
        &format!("server can't find {gone}: NXDOMAIN"),
    ));
    ask::come_true(cluster, "asks", &checks);
}
