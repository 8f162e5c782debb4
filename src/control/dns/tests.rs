//! The server as its clients see it: other people's `dig` and `host`, long answers, other
//! servers behind it. The cluster is filled in by hand; tests/cluster has one with an API.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::*;
use crate::records::{Endpoint, Kind, Part, Port, Protocol, Service, Slice};

/// A running server, and the folder with its resolv.conf.
struct Running {
    address: SocketAddr,
    desk: Desk,
    folder: tempfile::TempDir,
    _stop: tokio_util::sync::DropGuard,
}

impl Running {
    /// A server for `domain` that asks `upstream` about everything else.
    async fn start(domain: &str, upstream: &[SocketAddr]) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let resolv_conf = folder.path().join("resolv.conf");
        write_servers(&resolv_conf, upstream);
        let config = Config {
            listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
            address: "10.96.0.10".parse().unwrap(),
            domain: domain.into(),
            ranges: vec!["10.96.0.0/12".into(), "10.244.0.0/16".into()],
            resolv_conf,
        };
        // A port that is free for TCP may be somebody's for UDP.
        let mut tries = 0..20;
        let server = loop {
            match Server::bind(&config).await {
                Ok(server) => break server,
                Err(error) => assert!(tries.next().is_some(), "{error}"),
            }
        };
        let address = server.addresses().unwrap()[0];
        let desk = server.desk.clone();
        let stop = CancellationToken::new();
        for door in server.doors {
            tokio::spawn(door.serve(desk.clone(), stop.clone()));
        }
        fill(&mut desk.zone.write().unwrap());
        Running {
            address,
            desk,
            folder,
            _stop: stop.drop_guard(),
        }
    }

    async fn run(&self, program: &str, words: &str) -> String {
        let mut command = Command::new(program);
        match program {
            "dig" => command.arg(format!("@{}", self.address.ip())),
            _ => &mut command,
        };
        command.args(["-p", &self.address.port().to_string()]);
        command.args(words.split_whitespace());
        if program == "host" {
            command.arg(self.address.ip().to_string());
        }
        let output = command.stdin(Stdio::null()).output().await;
        let output = output.unwrap_or_else(|e| panic!("{program} ({e}): scripts/test installs it"));
        String::from_utf8(output.stdout).unwrap()
    }

    async fn dig(&self, words: &str) -> String {
        self.run("dig", words).await
    }

    /// The answer's records alone, one a line.
    async fn short(&self, words: &str) -> String {
        let text = self.dig(&format!("+short {words}")).await;
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

fn write_servers(file: &Path, servers: &[SocketAddr]) {
    let lines = servers
        .iter()
        .map(|s| format!("nameserver [{}]:{}\n", s.ip(), s.port()));
    std::fs::write(file, lines.collect::<String>()).unwrap();
}

fn port(name: &str, number: u16) -> Port {
    let protocol = Protocol::Tcp;
    Port {
        name: name.into(),
        protocol,
        number,
    }
}

fn fill(zone: &mut Zone) {
    for part in [Part::Namespaces, Part::Services, Part::Slices] {
        zone.complete(part);
    }
    zone.set_namespace("default");
    let mut set = |name: &str, kind| {
        let service = Service {
            kind,
            ports: [port("http", 80)].into(),
            publish_not_ready: false,
        };
        zone.set_service("default", name, service);
    };
    set("web", Kind::ClusterIp(vec!["10.96.7.7".parse().unwrap()]));
    set("pets", Kind::Headless);
    set("many", Kind::Headless);
    set(
        "inner",
        Kind::External("web.default.svc.cluster.local".into()),
    );
    set("outer", Kind::External("pets.default.svc.example".into()));
    set("lost", Kind::External("nobody.default.svc.example".into()));
    let endpoints = |count: u8, hosts: bool| {
        let endpoints = (0..count).map(|n| Endpoint {
            address: Ipv4Addr::new(10, 244, 1, n).into(),
            hostname: hosts.then(|| format!("pet-{n}").into()),
            ready: true,
        });
        Slice::new(endpoints.collect(), [port("http", 8080)].into())
    };
    zone.set_slice("default", "pets-1", "pets", endpoints(2, true));
    zone.set_slice("default", "many-1", "many", endpoints(200, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn dig_sees_the_records_as_any_server_gives_them() {
    let dns = Running::start("cluster.local", &[]).await;
    let text = dns.dig("web.default.svc.cluster.local").await;
    for part in [
        "status: NOERROR",
        "flags: qr aa rd ra;",
        "EDNS: version: 0, flags:; udp: 1232",
        "web.default.svc.cluster.local. 30 IN",
    ] {
        let seen = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(seen.contains(part), "{part}: {text}");
    }
    assert_eq!(
        dns.short("web.default.svc.cluster.local").await,
        "10.96.7.7"
    );
    assert_eq!(
        dns.short("pets.default.svc.cluster.local").await,
        "10.244.1.0\n10.244.1.1"
    );
    assert_eq!(
        dns.short("-t SRV _http._tcp.pets.default.svc.cluster.local")
            .await,
        "0 50 8080 pet-0.pets.default.svc.cluster.local.\n0 50 8080 pet-1.pets.default.svc.cluster.local."
    );
    assert_eq!(
        dns.short("-x 10.96.7.7").await,
        "web.default.svc.cluster.local."
    );
    assert_eq!(
        dns.short("-x 10.244.1.1").await,
        "pet-1.pets.default.svc.cluster.local."
    );
    assert_eq!(
        dns.short("-t TXT dns-version.cluster.local").await,
        "\"1.1.0\""
    );
    assert_eq!(
        dns.short("-t NS cluster.local").await,
        "ns.dns.cluster.local."
    );
    assert_eq!(
        dns.short("+tcp web.default.svc.cluster.local").await,
        "10.96.7.7"
    );
    let soa = dns.short("-t SOA cluster.local").await;
    assert!(
        soa.starts_with("ns.dns.cluster.local. hostmaster.cluster.local. "),
        "{soa}"
    );
    assert!(soa.ends_with(" 7200 1800 86400 30"), "{soa}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_comes_with_the_zone_that_says_so() {
    let dns = Running::start("cluster.local", &[]).await;
    let text = dns.dig("nobody.default.svc.cluster.local").await;
    assert!(text.contains("status: NXDOMAIN"), "{text}");
    assert!(text.contains("SOA\tns.dns.cluster.local."), "{text}");
    let text = dns.dig("-t AAAA web.default.svc.cluster.local").await;
    assert!(
        text.contains("status: NOERROR") && text.contains("ANSWER: 0, AUTHORITY: 1"),
        "{text}"
    );
    let text = dns.dig("-x 10.244.9.9").await;
    assert!(
        text.contains("status: NXDOMAIN") && text.contains("in-addr.arpa."),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn capitals_come_back_as_they_were_sent() {
    let dns = Running::start("cluster.local", &[]).await;
    let text = dns
        .dig("+noall +answer WeB.Default.svc.CLUSTER.local")
        .await;
    assert!(text.starts_with("WeB.Default.svc.CLUSTER.local."), "{text}");
    assert!(text.trim_end().ends_with("10.96.7.7"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_cut_for_udp_and_whole_over_tcp() {
    let dns = Running::start("cluster.local", &[]).await;
    let text = dns.dig("+ignore many.default.svc.cluster.local").await;
    assert!(text.contains("flags: qr aa tc rd ra;"), "{text}");
    let size = |text: &str| -> usize {
        let line = text.lines().find(|line| line.contains("MSG SIZE")).unwrap();
        line.split_whitespace().last().unwrap().parse().unwrap()
    };
    assert!(size(&text) <= 1232, "{text}");
    let text = dns
        .dig("+ignore +noedns many.default.svc.cluster.local")
        .await;
    assert!(size(&text) <= 512 && text.contains(" tc "), "{text}");
    // By itself dig asks again over TCP.
    let whole = dns.short("many.default.svc.cluster.local").await;
    assert_eq!(whole.lines().count(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_host_finds_names_by_the_pods_search_path() {
    let dns = Running::start("cluster.local", &[]).await;
    let text = dns.run("host", "-t A web.default.svc.cluster.local").await;
    assert!(
        text.contains("web.default.svc.cluster.local has address 10.96.7.7"),
        "{text}"
    );
    let text = dns
        .run("host", "-t A nobody.default.svc.cluster.local")
        .await;
    assert!(text.contains("not found: 3(NXDOMAIN)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_are_asked_of_other_servers() {
    let other = Running::start("example", &[]).await;
    let dns = Running::start("cluster.local", &[other.address]).await;
    let text = dns.dig("Web.default.svc.example").await;
    assert!(
        text.contains("status: NOERROR") && text.contains("flags: qr rd ra;"),
        "{text}"
    );
    assert!(text.contains("Web.default.svc.example."), "{text}");
    assert!(text.contains("10.96.7.7"), "{text}");
    let text = dns.dig("nobody.default.svc.example").await;
    assert!(
        text.contains("status: NXDOMAIN") && text.contains("ns.dns.example."),
        "{text}"
    );
    // Too long for a packet between the two servers as well.
    let whole = dns.short("many.default.svc.example").await;
    assert_eq!(whole.lines().count(), 200);
    let text = dns.dig("+ignore many.default.svc.example").await;
    assert!(text.contains(" tc "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_others_are_kept_until_the_servers_change() {
    let other = Running::start("example", &[]).await;
    let dns = Running::start("cluster.local", &[other.address]).await;
    assert_eq!(dns.short("web.default.svc.example").await, "10.96.7.7");
    other
        .desk
        .zone
        .write()
        .unwrap()
        .remove_service("default", "web");
    assert_eq!(dns.short("web.default.svc.example").await, "10.96.7.7");
    assert_eq!(dns.short("WEB.default.svc.example").await, "10.96.7.7");
    assert_eq!(other.short("web.default.svc.example").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_are_followed_to_their_end() {
    let other = Running::start("example", &[]).await;
    let dns = Running::start("cluster.local", &[other.address]).await;
    assert_eq!(
        dns.short("inner.default.svc.cluster.local").await,
        "10.96.7.7\nweb.default.svc.cluster.local."
    );
    assert_eq!(
        dns.short("outer.default.svc.cluster.local").await,
        "10.244.1.0\n10.244.1.1\npets.default.svc.example."
    );
    let text = dns.dig("lost.default.svc.cluster.local").await;
    assert!(
        text.contains("status: NXDOMAIN") && text.contains("CNAME"),
        "{text}"
    );
    assert_eq!(
        dns.short("-t CNAME outer.default.svc.cluster.local").await,
        "pets.default.svc.example."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_other_servers_the_cluster_still_has_its_names() {
    let dns = Running::start("cluster.local", &[]).await;
    let text = dns.dig("www.example.com").await;
    assert!(text.contains("status: SERVFAIL"), "{text}");
    assert_eq!(
        dns.short("web.default.svc.cluster.local").await,
        "10.96.7.7"
    );
    assert_eq!(
        dns.short("-t CNAME outer.default.svc.cluster.local").await,
        "pets.default.svc.example."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_us_in_turn_is_left_out() {
    let dns = Running::start("cluster.local", &[]).await;
    let mirror = Running::start("example", &[dns.address]).await;
    write_servers(&dns.folder.path().join("resolv.conf"), &[mirror.address]);
    // However long the first question goes round, at its end the circle is known.
    let text = dns.dig("+tries=1 +time=60 www.example.com").await;
    assert!(
        text.contains("status: SERVFAIL") || text.contains("status: REFUSED"),
        "{text}"
    );
    let outside = forward::Outside {
        name: message::name("www.example.org").unwrap(),
        rtype: domain::base::iana::Rtype::A,
        flags: message::Flags {
            edns: true,
            dnssec_ok: false,
            checking_disabled: false,
        },
    };
    // Either of the two may have seen it first, and then has nobody left to ask.
    let after = dns.desk.forwarder.resolve(&outside).await;
    let servfail = |message: &[u8]| message.get(3).is_some_and(|flags| flags & 0x0f == 2);
    assert!(
        match &after {
            Err(failed) => matches!(failed, forward::Unresolved::NoServers(_)),
            Ok(fetched) => servfail(&fetched.message),
        },
        "{after:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_or_passed_over() {
    let dns = Running::start("cluster.local", &[]).await;
    for (words, status) in [
        ("-c CH -t TXT version.bind", "REFUSED"),
        ("+opcode=STATUS cluster.local", "NOTIMP"),
        ("+edns=1 +noednsnegotiation cluster.local", "BADVERS"),
    ] {
        let text = dns.dig(words).await;
        assert!(
            text.contains(&format!("status: {status}")),
            "{words}: {text}"
        );
    }
    // Nobody needs all of the zone at once.
    let text = dns.dig("-t AXFR cluster.local").await;
    assert!(text.contains("Transfer failed"), "{text}");
    for packet in [&b""[..], b"x", &[0; 12], &[0xff; 512]] {
        let _ = dns.desk.look(packet, desk::Road::Udp);
        let _ = dns.desk.ask(packet, desk::Road::Udp).await;
    }
}
