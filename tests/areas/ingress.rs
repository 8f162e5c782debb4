//! Ingresses: hosts, paths and certificates, as visitors of the machine meet them.

use std::process::Command;

use serde_json::{Value, json};

use super::ask::{self, Check};
use super::{Cluster, Said, shell};

/// Three servers that say their name whatever they are asked for.
const SITE: &str = r#"cat > /answer <<'END'
#!/bin/sh
while read -r line && [ ${#line} -gt 1 ]; do :; done
printf "HTTP/1.1 200 OK\r\nContent-Length: ${#1}\r\nConnection: close\r\n\r\n$1"
END
chmod +x /answer
nc -ll -p 8080 -e /answer root &
nc -ll -p 8081 -e /answer shop &
nc -ll -p 8082 -e /answer cart &
trap 'exit 0' TERM
wait"#;
/// Name and port of each.
const SERVERS: [(&str, u16); 3] = [("root", 8080), ("shop", 8081), ("cart", 8082)];

/// Where the site is; a name that nobody knows but the Ingress.
const HOST: &str = "shop.example";

pub fn play(cluster: &dyn Cluster) {
    begin(cluster);
    let site = Site::of(cluster);
    site.hosts_and_paths_lead_to_services();
    site.what_is_missing_is_told();
    site.it_is_seen_with_kubectl();
    site.certificates_come_from_secrets();
    site.another_class_is_not_ours();
    site.a_default_takes_the_rest();
    cluster.forget(&[
        "ingress/site",
        "ingress/rest",
        "ingress/other",
        "service/root",
        "service/shop",
        "service/cart",
        "service/empty",
        "secret/site",
        "pod/site",
    ]);
}

fn begin(cluster: &dyn Cluster) {
    cluster.pod("site", json!({"containers": [shell("app", SITE)]}));
    let service = |name: &str, app: &str, port: u16| {
        cluster.create(
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": app},
                "ports": [{"name": "http", "port": 80, "targetPort": port}]}}),
        );
    };
    for (name, port) in SERVERS {
        service(name, "site", port);
    }
    service("empty", "nobody-at-all", 8080);
    ingress(
        cluster,
        "site",
        &json!({"rules": [
            rule(HOST, &[
                ("Prefix", "/", "root"),
                ("Prefix", "/aaa", "shop"),
                ("Prefix", "/aaa/bbb", "cart"),
                ("Exact", "/exact", "cart"),
                ("Prefix", "/empty", "empty"),
                ("Prefix", "/missing", "no-such-service"),
            ]),
            rule("*.wild.example", &[("Prefix", "/", "shop")]),
            rule("only.example", &[("Exact", "/only", "cart")]),
        ]}),
    );
    cluster.ready("site");
}

fn rule(host: &str, paths: &[(&str, &str, &str)]) -> Value {
    let path = |(kind, path, service): &(&str, &str, &str)| json!({"pathType": kind, "path": path, "backend": backend(service)});
    let paths: Vec<Value> = paths.iter().map(path).collect();
    json!({"host": host, "http": {"paths": paths}})
}

fn backend(service: &str) -> Value {
    json!({"service": {"name": service, "port": {"name": "http"}}})
}

#[track_caller]
fn ingress(cluster: &dyn Cluster, name: &str, spec: &Value) {
    cluster.apply(
        &json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name}, "spec": spec}),
    );
}

struct Site<'a> {
    cluster: &'a dyn Cluster,
    node: String,
}

impl<'a> Site<'a> {
    fn of(cluster: &'a dyn Cluster) -> Self {
        let node = cluster.field(
            &format!("node/{}", cluster.node()),
            ".status.addresses[?(@.type==\"InternalIP\")].address",
        );
        Self { cluster, node }
    }

    /// A visit of a host and path, and words of the page or of the refusal.
    fn visit(&self, host: &str, path: &str, words: &str) -> Check {
        let ask = format!(
            "timeout 5 wget -qO- --header \"Host: {host}\" http://{}{path}",
            self.node
        );
        match words {
            "root" | "shop" | "cart" => Check::is(&ask, words),
            words => Check::has(&ask, words),
        }
    }

    /// The machine is visited from a pod, which has wget.
    #[track_caller]
    fn visits(&self, all: &[(&str, &str, &str)]) {
        let visit = |(host, path, words): &(&str, &str, &str)| self.visit(host, path, words);
        let checks: Vec<Check> = all.iter().map(visit).collect();
        ask::come_true(self.cluster, "site", &checks);
    }

    /// The documentation's table, as far as it fits one Ingress.
    fn hosts_and_paths_lead_to_services(&self) {
        self.visits(&[
            (HOST, "/", "root"),
            (HOST, "/else", "root"),
            (HOST, "/aaa", "shop"),
            (HOST, "/aaa/", "shop"),
            (HOST, "/aaa/ccc", "shop"),
            // Whole elements, not letters.
            (HOST, "/aaaa", "root"),
            (HOST, "/aaa/bbbb", "shop"),
            // The longest wins.
            (HOST, "/aaa/bbb", "cart"),
            (HOST, "/aaa/bbb/", "cart"),
            (HOST, "/aaa/bbb/ccc", "cart"),
            (HOST, "/exact", "cart"),
            (HOST, "/exact/", "root"),
            (HOST, "/Exact", "root"),
            (HOST, "/aaa?exact=/exact", "shop"),
            ("shop.example:80", "/aaa", "shop"),
            // A star is one label.
            ("a.wild.example", "/any", "shop"),
            ("only.example", "/only", "cart"),
        ]);
    }

    fn what_is_missing_is_told(&self) {
        self.visits(&[
            ("unknown.example", "/", "404 Not Found"),
            ("a.b.wild.example", "/", "404 Not Found"),
            ("wild.example", "/", "404 Not Found"),
            ("only.example", "/else", "404 Not Found"),
            (self.node.as_str(), "/", "404 Not Found"),
            (HOST, "/empty", "503 Service Unavailable"),
            (HOST, "/missing", "503 Service Unavailable"),
        ]);
        // Endpoints come and go.
        let select = |app: &str| {
            let patch = json!({"spec": {"selector": {"app": app}}}).to_string();
            self.cluster
                .kubectl(&["patch", "service", "empty", "-p", &patch]);
        };
        select("site");
        self.visits(&[(HOST, "/empty", "root")]);
        select("nobody-at-all");
        self.visits(&[(HOST, "/empty", "503 Service Unavailable")]);
    }

    fn it_is_seen_with_kubectl(&self) {
        let class = self.cluster.row("ingressclass/cadet");
        let wanted = "cadet cadet.dev/ingress <none> ";
        assert!(class.starts_with(wanted), "{class}");
        // It named none, so it has the default one.
        let class = self.cluster.field("ingress/site", ".spec.ingressClassName");
        assert_eq!(class, "cadet");
        let path = ".status.loadBalancer.ingress[0].ip";
        self.cluster.until("ingress/site", path, &self.node);
        let row = self.cluster.row("ingress/site");
        let hosts = format!("{HOST},*.wild.example,only.example");
        let wanted = format!("site cadet {hosts} {} 80 ", self.node);
        assert!(row.starts_with(&wanted), "{row}");
        let ip = self.cluster.field("pod/site", ".status.podIP");
        let told = self.cluster.kubectl(&["describe", "ingress", "site"]);
        for (service, port) in SERVERS {
            let wanted = format!("{service}:http ({ip}:{port})");
            assert!(told.contains(&wanted), "{wanted}: {told}");
        }
    }

    /// Asked with curl on the node itself, which checks the certificate. The machine of
    /// `tests/e2e` has none, and busybox's TLS is too old for the server.
    #[allow(clippy::print_stdout)] // the test's own report
    fn certificates_come_from_secrets(&self) {
        let folder = tempfile::tempdir().expect("folder");
        let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]);
        make.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=shop"]);
        make.args(["-addext", "subjectAltName=DNS:shop.example"]);
        make.arg("-out").arg(&cert).arg("-keyout").arg(&key);
        let made = Said::of(&mut make);
        assert!(made.code == 0, "{made}");
        let (cert_flag, key_flag) = (
            format!("--cert={}", cert.display()),
            format!("--key={}", key.display()),
        );
        let secret = ["create", "secret", "tls", "site", &cert_flag, &key_flag];
        self.cluster.kubectl(&secret);
        let tls = json!({"spec": {"tls": [{"hosts": [HOST], "secretName": "site"}]}});
        self.cluster
            .kubectl(&["patch", "ingress", "site", "-p", &tls.to_string()]);
        let row = self.cluster.row("ingress/site");
        let wanted = format!(" {} 80, 443 ", self.node);
        assert!(row.contains(&wanted), "{row}");
        if self.cluster.on_node("command -v curl").code != 0 {
            println!("ingress: the node has no curl, so no certificate is looked at");
            return;
        }

        let pem = std::fs::read_to_string(&cert).expect("read");
        let visit = |host: &str, path: &str| {
            format!(
                "curl -sS --noproxy \"*\" --max-time 5 --cacert /tmp/areas-ingress.pem \
                 --resolve {host}:443:{} https://{host}{path}",
                self.node
            )
        };
        let checks = [
            Check::is(&visit(HOST, "/aaa"), "shop"),
            Check::is(&visit(HOST, "/aaa/bbb/c"), "cart"),
            // Another host is shown a certificate that nobody vouches for.
            Check::has(&visit("a.wild.example", "/"), "SSL certificate"),
            Check::is(&visit("a.wild.example", "/").replace("-sS", "-sSk"), "shop"),
        ];
        let keep = format!("printf %s \"{pem}\" > /tmp/areas-ingress.pem");
        let said = self
            .cluster
            .on_node(&format!("{keep}\n{}", ask::script(&checks)));
        self.cluster.node_says("rm -f /tmp/areas-ingress.pem");
        assert!(said.code == 0, "{said}");
    }

    fn another_class_is_not_ours(&self) {
        let spec = json!({"ingressClassName": "somebody-else",
            "rules": [rule("other.example", &[("Prefix", "/", "shop")])]});
        ingress(self.cluster, "other", &spec);
        // What was asked for after it is there, and it is not.
        ingress(
            self.cluster,
            "rest",
            &json!({"rules": [rule("rest.example", &[("Prefix", "/", "cart")])]}),
        );
        self.visits(&[
            ("rest.example", "/", "cart"),
            ("other.example", "/", "404 Not Found"),
        ]);
        let path = ".status.loadBalancer.ingress[0].ip";
        self.cluster.until("ingress/rest", path, &self.node);
        assert_eq!(self.cluster.field("ingress/other", path), "");
    }

    fn a_default_takes_the_rest(&self) {
        ingress(
            self.cluster,
            "rest",
            &json!({"defaultBackend": backend("cart")}),
        );
        self.visits(&[
            ("unknown.example", "/any", "cart"),
            (self.node.as_str(), "/", "cart"),
            (HOST, "/", "root"),
            ("only.example", "/else", "cart"),
        ]);
        let row = self.cluster.row("ingress/rest");
        assert!(row.starts_with("rest cadet * "), "{row}");
        self.cluster.kubectl(&["delete", "ingress", "rest", "site"]);
        self.visits(&[
            (HOST, "/", "404 Not Found"),
            ("unknown.example", "/any", "404 Not Found"),
        ]);
    }
}
