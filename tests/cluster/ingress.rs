//! Ingresses, visited with curl: hosts and paths, TLS, protocols, and what visitors read when
//! something is missing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use cadet_apiserver::User;
use cadet_ingress::{Config, Server};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::{Client, ResourceExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::process::Command;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::{Cluster, PATIENCE};

/// A cluster with its controller, and its visitors.
struct Site {
    cluster: Cluster,
    http: SocketAddr,
    https: SocketAddr,
    _stop: DropGuard,
}

impl Site {
    async fn start() -> Site {
        let cluster = Cluster::bare().await;
        let config = Config {
            address: Ipv4Addr::LOCALHOST.into(),
            http: Some(0),
            https: Some(0),
        };
        let server = Server::bind(&config).await.expect("bind");
        let addresses: Vec<_> = server.addresses().map(|(_, address)| address).collect();
        // What its role allows is all it may do.
        let user = User::new("system:cadet-ingress", &["system:authenticated"]);
        let client = Client::new(cluster.app.service(user), "default");
        let stop = CancellationToken::new();
        tokio::spawn(server.run(client.clone(), stop.clone()));
        tokio::spawn(cadet_ingress::status::run(client, stop.clone()));
        cluster
            .until_cluster::<IngressClass>("cadet", |class| class.is_some())
            .await;
        Site {
            cluster,
            http: addresses[0],
            https: addresses[1],
            _stop: stop.drop_guard(),
        }
    }

    /// A Service with these endpoints.
    async fn service(&self, name: &str, endpoints: &[SocketAddr]) {
        self.cluster
            .apply(&format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{name: http, port: 80}}]}}}}"
            ))
            .await;
        for (n, endpoint) in endpoints.iter().enumerate() {
            self.cluster
                .apply(&format!(
                    "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{n}
  labels: {{kubernetes.io/service-name: {name}, endpointslice.kubernetes.io/managed-by: test}}
addressType: IPv4
ports: [{{name: http, port: {}}}]
endpoints: [{{addresses: [{}]}}]",
                    endpoint.port(),
                    endpoint.ip()
                ))
                .await;
        }
    }

    /// What curl prints for a path of a host.
    async fn curl(&self, words: &str) -> String {
        let to = if words.contains("https://") {
            self.https
        } else {
            self.http
        };
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "120"]);
        command.args(["--connect-to", &format!("::{}:{}", to.ip(), to.port())]);
        let output = command
            .args(words.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .await;
        let output = output.expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    /// Waits until curl's answer fits: the watch brings the rules, and no answer tells when.
    async fn until(&self, words: &str, fits: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let waiting = async {
            loop {
                last = self.curl(words).await;
                if fits(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "curl {words}: {last}");
        last
    }
}

/// An address of this machine that validation lets endpoints have: no loopback.
async fn here() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .await
        .expect("socket");
    socket.connect(("192.0.2.1", 9)).await.expect("a route");
    socket.local_addr().expect("address").ip()
}

/// An address where nobody listens, and what keeps others from taking it.
async fn nowhere() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind((here().await, 0).into()).expect("bind");
    let address = socket.local_addr().expect("address");
    (socket, address)
}

/// A server that says its name and what it was asked.
async fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((here().await, 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let answer = move |request: Request| async move {
        let mut text = format!("{name} {} {}\n", request.method(), request.uri());
        for (header, value) in request.headers() {
            text.push_str(&format!(
                "{header}: {}\n",
                value.to_str().unwrap_or_default()
            ));
        }
        let body = axum::body::to_bytes(request.into_body(), 1 << 20)
            .await
            .expect("body");
        text.push_str(&format!("body of {}\n", body.len()));
        text
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

fn ingress(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n{spec}"
    )
}

fn rule(host: &str, path: &str, service: &str) -> String {
    format!(
        "  - host: {host:?}
    http:
      paths:
      - path: {path}
        pathType: Prefix
        backend: {{service: {{name: {service}, port: {{number: 80}}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_paths_lead_to_services() {
    let site = Site::start().await;
    site.service("web", &[backend("web").await]).await;
    site.service("cart", &[backend("cart").await]).await;
    let rules = rule("shop.example", "/", "web")
        + &rule("shop.example", "/cart", "cart")
        + &rule("*.shop.example", "/", "cart");
    site.cluster
        .apply(&ingress("shop", &format!("  rules:\n{rules}")))
        .await;
    site.until("http://shop.example/", |text| {
        text.starts_with("web GET /\n")
    })
    .await;
    for (words, begin) in [
        ("http://shop.example/cart/1?a=b", "cart GET /cart/1?a=b\n"),
        ("http://shop.example/cartoon", "web GET /cartoon\n"),
        ("http://eu.shop.example/x", "cart GET /x\n"),
        ("-X DELETE http://shop.example/cart", "cart DELETE /cart\n"),
    ] {
        let text = site.until(words, |text| text.starts_with(begin)).await;
        assert!(text.contains("x-forwarded-proto: http\n"), "{text}");
    }
    let text = site
        .curl("-H X-Forwarded-For:6.6.6.6 -H X-Real-IP:6.6.6.6 --data 12345 http://shop.example/")
        .await;
    for part in [
        "web POST /",
        "host: shop.example\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-host: shop.example\n",
        "x-real-ip: 127.0.0.1\n",
        "body of 5\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_read_what_is_missing() {
    let site = Site::start().await;
    let code = "-w :%{http_code}";
    let no_rule = "No Ingress has a rule for host \"shop.example\" and path \"/x\"";
    let words = format!("{code} http://shop.example/x");
    let text = site.until(&words, |text| text.contains(no_rule)).await;
    assert!(text.ends_with(":404"), "{text}");
    let rules = rule("shop.example", "/", "web");
    site.cluster
        .apply(&ingress("shop", &format!("  rules:\n{rules}")))
        .await;
    let words = format!("{code} http://shop.example/");
    let text = site
        .until(&words, |text| text.contains("which does not exist"))
        .await;
    assert!(text.ends_with(":503"), "{text}");
    assert!(
        text.contains("The Ingress default/shop leads to port 80 of the Service default/web"),
        "{text}"
    );
    site.service("web", &[]).await;
    site.until(&words, |text| text.contains("no endpoint that is ready"))
        .await;
    let (_held, nobody) = nowhere().await;
    site.service("web", &[nobody]).await;
    let text = site.until(&words, |text| text.ends_with(":502")).await;
    assert!(
        text.contains(&format!("whose endpoint {nobody} gave no answer")),
        "{text}"
    );
    // A default backend takes what no rule does.
    site.service("lost", &[backend("lost").await]).await;
    let default = "  defaultBackend: {service: {name: lost, port: {name: http}}}\n";
    site.cluster.apply(&ingress("all", default)).await;
    site.until("http://elsewhere.example/y", |text| {
        text.starts_with("lost GET /y")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_take_turns_and_dead_ones_are_passed_over() {
    let site = Site::start().await;
    let (_held, dead) = nowhere().await;
    site.service("web", &[backend("one").await, backend("two").await, dead])
        .await;
    let rules = rule("shop.example", "/", "web");
    site.cluster
        .apply(&ingress("shop", &format!("  rules:\n{rules}")))
        .await;
    site.until("http://shop.example/", |text| text.starts_with("one"))
        .await;
    site.until("http://shop.example/", |text| text.starts_with("two"))
        .await;
    // With a body as well: nobody has read of it when a connection fails.
    for words in ["http://shop.example/", "-d cart http://shop.example/"] {
        for _ in 0..6 {
            let text = site.curl(words).await;
            assert!(text.starts_with("one") || text.starts_with("two"), "{text}");
            assert!(
                !words.starts_with("-d") || text.contains("body of 4"),
                "{text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_served_with_the_certificate_of_the_host() {
    let site = Site::start().await;
    site.service("web", &[backend("web").await]).await;
    let key = rcgen::KeyPair::generate().expect("key");
    let names = vec!["shop.example".to_owned(), "*.shop.example".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).expect("names");
    let certificate = certificate.self_signed(&key).expect("certificate").pem();
    let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "shop-tls"},
        "stringData": {"tls.crt": certificate, "tls.key": key.serialize_pem()}});
    site.cluster.apply(&secret.to_string()).await;
    let rules = rule("shop.example", "/", "web")
        + &rule("eu.shop.example", "/", "web")
        + &rule("plain.example", "/", "web");
    let tls = "  tls: [{hosts: [shop.example, '*.shop.example'], secretName: shop-tls}]\n";
    site.cluster
        .apply(&ingress("shop", &format!("{tls}  rules:\n{rules}")))
        .await;
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), &certificate).expect("write");
    let trust = format!("--cacert {}", file.path().display());
    for host in ["shop.example", "eu.shop.example"] {
        let words = format!("{trust} https://{host}/");
        let text = site
            .until(&words, |text| text.starts_with("web GET /"))
            .await;
        assert!(text.contains("x-forwarded-proto: https\n"), "{text}");
        assert!(text.contains(&format!("host: {host}\n")), "{text}");
    }
    let text = site
        .curl(&format!(
            "{trust} --http2 -o /dev/null -w %{{http_version}} https://shop.example/"
        ))
        .await;
    assert_eq!(text, "2");
    // No Secret for it: a certificate nobody vouches for, which curl must be told to accept.
    let text = site.curl(&format!("{trust} https://plain.example/")).await;
    assert!(text.contains("certificate"), "{text}");
    site.until("-k https://plain.example/", |text| {
        text.starts_with("web GET /")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass_as_bytes() {
    let site = Site::start().await;
    let listener = TcpListener::bind((here().await, 0)).await.expect("bind");
    site.service("chat", &[listener.local_addr().expect("address")])
        .await;
    // The key and the answer to it are RFC 6455's own example.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = head(&mut stream).await;
                let upgrade = head.to_lowercase().contains("upgrade: websocket");
                let answer: &[u8] = match upgrade {
                    true => b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
                    false => b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nplain",
                };
                stream.write_all(answer).await.expect("answer");
                if !upgrade {
                    return;
                }
                let (mut from, mut to) = stream.split();
                // Whatever comes goes back.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    let rules = rule("chat.example", "/", "chat");
    site.cluster
        .apply(&ingress("chat", &format!("  rules:\n{rules}")))
        .await;
    site.until("http://chat.example/", |text| text == "plain")
        .await;
    let mut stream = TcpStream::connect(site.http).await.expect("connect");
    let request = b"GET /room HTTP/1.1\r\nHost: chat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(request).await.expect("request");
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"\x81\x05hello").await.expect("frame");
    let mut back = [0; 7];
    stream.read_exact(&mut back).await.expect("echo");
    assert_eq!(&back, b"\x81\x05hello");
}

/// The head of a message, up to its empty line.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_says_where_it_is_reached_and_others_are_left_alone() {
    let site = Site::start().await;
    site.service("web", &[backend("web").await]).await;
    site.cluster
        .apply("{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}")
        .await;
    let rules = format!("  rules:\n{}", rule("other.example", "/", "web"));
    site.cluster
        .apply(&ingress(
            "other",
            &format!("  ingressClassName: nginx\n{rules}"),
        ))
        .await;
    let rules = format!("  rules:\n{}", rule("shop.example", "/", "web"));
    let made = site.cluster.create(&ingress("shop", &rules)).await;
    assert_eq!(made.data["spec"]["ingressClassName"], "cadet");
    let address = |ingress: &Ingress| -> Option<String> {
        let status = ingress.status.as_ref()?.load_balancer.as_ref()?;
        status.ingress.as_ref()?.first()?.ip.clone()
    };
    let told = site
        .cluster
        .until::<Ingress>("default", "shop", |ingress| {
            ingress.is_some_and(|i| address(i).is_some())
        })
        .await
        .expect("it is there");
    // The API server's own address: it serves Ingresses as well.
    assert_eq!(address(&told).as_deref(), Some("10.0.2.15"));
    site.until("http://shop.example/", |text| text.starts_with("web"))
        .await;
    let text = site.curl("http://other.example/").await;
    assert!(text.contains("No Ingress has a rule"), "{text}");
    let other = site
        .cluster
        .api::<Ingress>()
        .get("other")
        .await
        .expect("it is there");
    assert_eq!(address(&other), None, "{}", other.name_any());
}
