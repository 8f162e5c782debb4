//! Every sentence of the specification, and what CoreDNS answers where it says nothing.

use super::*;

fn zone() -> Zone {
    let mut zone = Zone::new(&ZoneConfig {
        domain: "cluster.local".into(),
        server: "10.96.0.10".parse().unwrap(),
        ranges: vec!["10.96.0.0/12".into(), "10.244.0.0/16".into()],
    })
    .unwrap();
    for part in [Part::Namespaces, Part::Services, Part::Slices] {
        zone.complete(part);
    }
    zone.set_namespace("default");
    zone.set_namespace("empty");
    zone
}

fn port(name: &str, number: u16) -> Port {
    Port {
        name: name.into(),
        protocol: Protocol::Tcp,
        number,
    }
}

fn service(kind: Kind, ports: &[Port]) -> Service {
    Service {
        kind,
        ports: ports.into(),
        publish_not_ready: false,
    }
}

fn cluster_ip(address: &str) -> Kind {
    Kind::ClusterIp(vec![address.parse().unwrap()])
}

fn endpoint(address: &str, hostname: Option<&str>, ready: bool) -> Endpoint {
    Endpoint {
        address: address.parse().unwrap(),
        hostname: hostname.map(Into::into),
        ready,
    }
}

/// A StatefulSet's headless Service: two pods ready, one not.
fn stateful() -> Zone {
    let mut zone = zone();
    let ports = [port("db", 27017), port("", 9000)];
    zone.set_service("default", "mongo", service(Kind::Headless, &ports));
    let endpoints = vec![
        endpoint("10.244.0.7", Some("mongo-0"), true),
        endpoint("10.244.1.8", Some("mongo-1"), true),
        endpoint("10.244.2.9", Some("mongo-2"), false),
    ];
    let ports = ports.to_vec().into();
    zone.set_slice("default", "mongo-x", "mongo", Slice::new(endpoints, ports));
    zone
}

/// What an answer says, shortly.
fn said(answer: &Answer) -> String {
    match answer {
        Answer::Found { records, .. } => {
            let words = records.iter().map(|data| match data {
                Data::Address(address) => address.to_string(),
                Data::Service {
                    weight,
                    port,
                    target,
                } => format!("0 {weight} {port} {target}"),
                Data::Pointer(name) | Data::NameServer(name) => name.clone(),
                Data::Text(text) => (*text).to_owned(),
                Data::Start => "SOA".to_owned(),
            });
            words.collect::<Vec<_>>().join(", ")
        }
        Answer::Alias(name) => format!("-> {name}"),
        Answer::NoData(_) => "NODATA".into(),
        Answer::NoSuchName(_) => "NXDOMAIN".into(),
        Answer::Elsewhere => "elsewhere".into(),
        Answer::NotYet => "not yet".into(),
    }
}

#[track_caller]
fn check(zone: &Zone, facts: &[(&str, Asked, &str)]) {
    for (name, asked, expected) in facts {
        assert_eq!(
            said(&zone.answer(name, *asked)),
            *expected,
            "{name} {asked:?}"
        );
    }
}

use Asked::{A, Aaaa, Ns, Other, Ptr, Soa, Srv, Txt};

#[test]
fn a_service_has_its_address_and_its_named_ports() {
    let mut zone = zone();
    let ports = [port("https", 443), port("", 80)];
    zone.set_service(
        "default",
        "kubernetes",
        service(cluster_ip("10.96.0.1"), &ports),
    );
    check(
        &zone,
        &[
            ("kubernetes.default.svc.cluster.local", A, "10.96.0.1"),
            ("kubernetes.default.svc.cluster.local", Aaaa, "NODATA"),
            ("kubernetes.default.svc.cluster.local", Txt, "NODATA"),
            (
                "_https._tcp.kubernetes.default.svc.cluster.local",
                Srv,
                "0 100 443 kubernetes.default.svc.cluster.local",
            ),
            (
                "_https._tcp.kubernetes.default.svc.cluster.local",
                A,
                "NODATA",
            ),
            (
                "_https._udp.kubernetes.default.svc.cluster.local",
                Srv,
                "NXDOMAIN",
            ),
            (
                "_http._tcp.kubernetes.default.svc.cluster.local",
                Srv,
                "NXDOMAIN",
            ),
            (
                "https.tcp.kubernetes.default.svc.cluster.local",
                Srv,
                "NXDOMAIN",
            ),
            ("_tcp.kubernetes.default.svc.cluster.local", Srv, "NODATA"),
            ("_udp.kubernetes.default.svc.cluster.local", Srv, "NXDOMAIN"),
            (
                "kubernetes.default.svc.cluster.local",
                Srv,
                "0 50 80 kubernetes.default.svc.cluster.local, 0 50 443 kubernetes.default.svc.cluster.local",
            ),
            (
                "1.0.96.10.in-addr.arpa",
                Ptr,
                "kubernetes.default.svc.cluster.local",
            ),
            ("1.0.96.10.in-addr.arpa", A, "NODATA"),
            ("2.0.96.10.in-addr.arpa", Ptr, "NXDOMAIN"),
        ],
    );
    let Answer::Found { extra, .. } =
        zone.answer("_https._tcp.kubernetes.default.svc.cluster.local", Srv)
    else {
        panic!("no answer");
    };
    let target = "kubernetes.default.svc.cluster.local".to_owned();
    assert_eq!(extra, [(target, "10.96.0.1".parse().unwrap())]);
}

#[test]
fn a_headless_service_has_its_ready_endpoints() {
    check(
        &stateful(),
        &[
            (
                "mongo.default.svc.cluster.local",
                A,
                "10.244.0.7, 10.244.1.8",
            ),
            ("mongo.default.svc.cluster.local", Aaaa, "NODATA"),
            ("mongo-0.mongo.default.svc.cluster.local", A, "10.244.0.7"),
            ("mongo-2.mongo.default.svc.cluster.local", A, "NXDOMAIN"),
            ("mongo-7.mongo.default.svc.cluster.local", A, "NXDOMAIN"),
            (
                "_db._tcp.mongo.default.svc.cluster.local",
                Srv,
                "0 50 27017 mongo-0.mongo.default.svc.cluster.local, 0 50 27017 mongo-1.mongo.default.svc.cluster.local",
            ),
            (
                "7.0.244.10.in-addr.arpa",
                Ptr,
                "mongo-0.mongo.default.svc.cluster.local",
            ),
            ("9.2.244.10.in-addr.arpa", Ptr, "NXDOMAIN"),
            // What has a hostname is called by nothing else.
            ("10-244-0-7.mongo.default.svc.cluster.local", A, "NXDOMAIN"),
        ],
    );
}

#[test]
fn not_ready_endpoints_are_published_if_the_service_says_so() {
    let mut zone = stateful();
    let mut all = service(Kind::Headless, &[]);
    all.publish_not_ready = true;
    zone.set_service("default", "mongo", all);
    check(
        &zone,
        &[
            (
                "mongo.default.svc.cluster.local",
                A,
                "10.244.0.7, 10.244.1.8, 10.244.2.9",
            ),
            ("mongo-2.mongo.default.svc.cluster.local", A, "10.244.2.9"),
            (
                "9.2.244.10.in-addr.arpa",
                Ptr,
                "mongo-2.mongo.default.svc.cluster.local",
            ),
        ],
    );
}

#[test]
fn endpoints_without_a_hostname_are_called_by_their_address() {
    let mut zone = zone();
    zone.set_service(
        "default",
        "web",
        service(Kind::Headless, &[port("http", 80)]),
    );
    let endpoints = vec![
        endpoint("10.244.0.7", None, true),
        endpoint("fd00::7", None, true),
    ];
    let slice = Slice::new(endpoints, [port("http", 8080)].into());
    zone.set_slice("default", "web-1", "web", slice);
    check(
        &zone,
        &[
            ("10-244-0-7.web.default.svc.cluster.local", A, "10.244.0.7"),
            ("fd00--7.web.default.svc.cluster.local", Aaaa, "fd00::7"),
            ("web.default.svc.cluster.local", A, "10.244.0.7"),
            ("web.default.svc.cluster.local", Aaaa, "fd00::7"),
            (
                "_http._tcp.web.default.svc.cluster.local",
                Srv,
                "0 50 8080 10-244-0-7.web.default.svc.cluster.local, 0 50 8080 fd00--7.web.default.svc.cluster.local",
            ),
            // Only endpoints with a hostname have a name for their address.
            ("7.0.244.10.in-addr.arpa", Ptr, "NXDOMAIN"),
        ],
    );
}

#[test]
fn a_headless_service_without_ready_endpoints_does_not_exist() {
    let mut zone = zone();
    zone.set_service("default", "web", service(Kind::Headless, &[]));
    check(&zone, &[("web.default.svc.cluster.local", A, "NXDOMAIN")]);
}

#[test]
fn an_external_name_is_an_alias() {
    let mut zone = zone();
    zone.set_service(
        "default",
        "out",
        service(Kind::External("Www.Example.com.".into()), &[]),
    );
    zone.set_service(
        "default",
        "ip",
        service(Kind::External("192.0.2.7".into()), &[]),
    );
    check(
        &zone,
        &[
            ("out.default.svc.cluster.local", A, "-> www.example.com"),
            ("out.default.svc.cluster.local", Other, "-> www.example.com"),
            ("x.out.default.svc.cluster.local", A, "NXDOMAIN"),
            ("ip.default.svc.cluster.local", A, "NXDOMAIN"),
        ],
    );
}

#[test]
fn pods_are_called_by_their_addresses() {
    check(
        &zone(),
        &[
            ("10-244-0-7.default.pod.cluster.local", A, "10.244.0.7"),
            ("10-244-0-7.default.pod.cluster.local", Aaaa, "NODATA"),
            ("fd00--7.default.pod.cluster.local", Aaaa, "fd00::7"),
            ("10-244-0-777.default.pod.cluster.local", A, "NXDOMAIN"),
            ("10-244-0-7.nowhere.pod.cluster.local", A, "NXDOMAIN"),
            ("web.default.pod.cluster.local", A, "NXDOMAIN"),
            ("a.10-244-0-7.default.pod.cluster.local", A, "NXDOMAIN"),
        ],
    );
}

#[test]
fn the_domain_and_what_only_leads_to_names() {
    check(
        &zone(),
        &[
            ("dns-version.cluster.local", Txt, "1.1.0"),
            ("dns-version.cluster.local", A, "NODATA"),
            ("cluster.local", Soa, "SOA"),
            ("cluster.local", Ns, "ns.dns.cluster.local"),
            ("cluster.local", A, "NODATA"),
            ("ns.dns.cluster.local", A, "10.96.0.10"),
            ("dns.cluster.local", A, "NODATA"),
            ("svc.cluster.local", A, "NODATA"),
            ("pod.cluster.local", A, "NODATA"),
            ("empty.svc.cluster.local", A, "NODATA"),
            ("nowhere.svc.cluster.local", A, "NXDOMAIN"),
            ("empty.pod.cluster.local", A, "NODATA"),
            ("x.cluster.local", A, "NXDOMAIN"),
        ],
    );
}

#[test]
fn what_search_paths_make_of_other_names_does_not_exist() {
    check(
        &stateful(),
        &[
            ("example.com.default.svc.cluster.local", A, "NXDOMAIN"),
            ("example.com.svc.cluster.local", A, "NXDOMAIN"),
            ("example.com.cluster.local", A, "NXDOMAIN"),
            (
                "www.example.com.mongo.default.svc.cluster.local",
                A,
                "NXDOMAIN",
            ),
            ("example.com", A, "elsewhere"),
            ("xcluster.local", A, "elsewhere"),
            ("local", A, "elsewhere"),
            ("", A, "elsewhere"),
            ("8.8.8.8.in-addr.arpa", Ptr, "elsewhere"),
        ],
    );
}

#[test]
fn nothing_is_denied_before_everything_is_known() {
    let mut zone = Zone::new(&ZoneConfig {
        domain: "cluster.local".into(),
        server: "10.96.0.10".parse().unwrap(),
        ranges: vec!["10.96.0.0/12".into()],
    })
    .unwrap();
    zone.complete(Part::Services);
    check(
        &zone,
        &[
            ("web.default.svc.cluster.local", A, "not yet"),
            ("1.0.96.10.in-addr.arpa", Ptr, "not yet"),
            ("example.com", A, "elsewhere"),
        ],
    );
}

#[test]
fn what_is_taken_out_leaves_nothing_behind() {
    let mut zone = stateful();
    zone.set_service("default", "web", service(cluster_ip("10.96.0.7"), &[]));
    zone.set_service("default", "web", service(cluster_ip("10.96.0.8"), &[]));
    check(
        &zone,
        &[
            ("7.0.96.10.in-addr.arpa", Ptr, "NXDOMAIN"),
            (
                "8.0.96.10.in-addr.arpa",
                Ptr,
                "web.default.svc.cluster.local",
            ),
        ],
    );
    let before = zone.serial();
    zone.remove_service("default", "web");
    zone.remove_slice("default", "mongo-x");
    zone.remove_slice("default", "mongo-x");
    zone.remove_service("default", "mongo");
    assert!(zone.serial() > before);
    assert!(zone.services.is_empty() && zone.pointers.is_empty());
}

#[test]
fn slices_find_their_service_in_either_order_and_may_leave_it() {
    let mut zone = zone();
    let slice = || Slice::new(vec![endpoint("10.244.0.7", Some("a"), true)], [].into());
    zone.set_slice("default", "s", "web", slice());
    check(&zone, &[("web.default.svc.cluster.local", A, "NXDOMAIN")]);
    zone.set_service("default", "web", service(Kind::Headless, &[]));
    check(&zone, &[("web.default.svc.cluster.local", A, "10.244.0.7")]);
    zone.set_service("default", "other", service(Kind::Headless, &[]));
    zone.set_slice("default", "s", "other", slice());
    check(
        &zone,
        &[
            ("web.default.svc.cluster.local", A, "NXDOMAIN"),
            ("a.other.default.svc.cluster.local", A, "10.244.0.7"),
            (
                "7.0.244.10.in-addr.arpa",
                Ptr,
                "a.other.default.svc.cluster.local",
            ),
        ],
    );
}
