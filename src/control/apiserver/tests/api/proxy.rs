//! proxy of pods, Services and nodes: what the backend sees, and what comes back.

use std::net::{IpAddr, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use crate::agent::Cluster;
use crate::program::{Kubectl, has, kubectls};
use crate::support::PODS;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// An address of this machine that is not loopback, which the proxy refuses.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("socket");
    socket
        .connect("192.0.2.1:9")
        .expect("this test needs a route");
    socket.local_addr().expect("address").ip()
}

/// Tells what it was asked.
async fn tell(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/redirect" {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::FOUND;
        let to = "/elsewhere?x=1".parse().expect("value");
        response.headers_mut().insert("location", to);
        return response;
    }
    let body = body.collect().await.expect("body").to_bytes();
    let header = |name: &str| {
        let value = parts.headers.get(name);
        value.map(|value| value.to_str().expect("text").to_owned())
    };
    let told = json!({
        "method": parts.method.as_str(),
        "target": parts.uri.to_string(),
        "body": String::from_utf8_lossy(&body),
        "authorization": header("authorization"),
        "accept": header("accept"),
        "forwarded": header("x-forwarded-uri"),
    });
    let mut response = Response::new(Body::from(told.to_string()));
    let kept = "kept".parse().expect("value");
    response.headers_mut().insert("x-own", kept);
    response
}

async fn backend() -> (IpAddr, u16) {
    let address = own_address();
    let listener = TcpListener::bind((address, 0)).await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        axum::serve(listener, Router::new().fallback(tell))
            .await
            .expect("serve");
    });
    (address, port)
}

/// A pod and a Service whose backend is this test.
async fn cluster() -> (Cluster, u16) {
    let cluster = Cluster::start().await;
    let (address, port) = backend().await;
    let spec = json!({"containers": [{"name": "c", "image": "x",
        "ports": [{"name": "web", "containerPort": port}]}]});
    cluster.pod("web", spec).await;
    let status = json!({"status": {"podIP": address}});
    let client = &cluster.client;
    let path = format!("{PODS}/web/status");
    client.patch(&path, "merge", &status).await.expect(200);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": port},
                           {"name": "other", "port": 81, "targetPort": 1}]}});
    client.post(SERVICES, &service).await.expect(201);
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "http", "port": port}]}]});
    let all = "/api/v1/namespaces/default/endpoints";
    client.post(all, &endpoints).await.expect(201);
    (cluster, port)
}

#[tokio::test]
async fn requests_reach_the_backend_as_they_were_sent() {
    let (cluster, port) = cluster().await;
    let client = &cluster.client;
    for name in [
        "pods/web".to_owned(),
        format!("pods/web:{port}"),
        "pods/http:web:web".to_owned(),
        "services/web:80".to_owned(),
        "services/web:http".to_owned(),
        "services/http:web:http".to_owned(),
    ] {
        let path = format!("/api/v1/namespaces/default/{name}/proxy/a%2Fb//c/?q=1&watch=1");
        let headers = [("accept", "text/x"), ("authorization", "Bearer secret")];
        let answer = client.send(Method::GET, &path, &headers, "").await;
        assert_eq!(answer.headers["x-own"], "kept");
        let told = answer.expect(200);
        assert_eq!(told["target"], "/a%2Fb//c/?q=1&watch=1", "{name}");
        assert_eq!(told["accept"], "text/x");
        assert_eq!(told["authorization"], Value::Null, "credentials stay here");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let method: Method = method.parse().expect("method");
        let path = format!("{PODS}/web/proxy/x");
        let told = client
            .send(method.clone(), &path, &[], "sent")
            .await
            .expect(200);
        assert_eq!(
            (&told["method"], &told["body"]),
            (&json!(method.as_str()), &json!("sent"))
        );
    }
    cluster.stop().await;
}

#[tokio::test]
async fn redirects_lead_through_the_proxy_and_a_bare_proxy_gets_its_slash() {
    let (cluster, _) = cluster().await;
    let client = &cluster.client;
    let proxy = format!("{PODS}/web/proxy");
    let bare = client.get(&format!("{proxy}?a=b")).await;
    assert_eq!(bare.code, 301);
    assert_eq!(bare.headers["location"], format!("{proxy}/?a=b"));
    let moved = client.get(&format!("{proxy}/redirect")).await;
    assert_eq!(moved.code, 302);
    assert_eq!(moved.headers["location"], format!("{proxy}/elsewhere?x=1"));
    cluster.stop().await;
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_in_upstreams_words() {
    let (cluster, _) = cluster().await;
    let client = &cluster.client;
    for (path, code, says) in [
        (
            format!("{PODS}/none/proxy/"),
            404,
            "pods \"none\" not found",
        ),
        (
            format!("{PODS}/ftp:web:1/proxy/"),
            400,
            "invalid pod request \"ftp:web:1\"",
        ),
        (
            format!("{PODS}/web:1/proxy/"),
            503,
            "error trying to reach service: dial tcp",
        ),
        (
            format!("{SERVICES}/none/proxy/"),
            404,
            "services \"none\" not found",
        ),
        (
            format!("{SERVICES}/web:99/proxy/"),
            503,
            "no service port 99 found for service \"web\"",
        ),
        (
            format!("{SERVICES}/web:other/proxy/"),
            503,
            "no endpoints available for service \"web:other\"",
        ),
    ] {
        let message = client.get(&path).await.refused(code);
        assert!(message.contains(says), "{path}: {message}");
    }
    let inside = json!({"status": {"podIP": "127.0.0.1"}});
    let path = format!("{PODS}/web/status");
    client.patch(&path, "merge", &inside).await.expect(200);
    let message = client.get(&format!("{PODS}/web/proxy/")).await.refused(400);
    assert_eq!(message, "address not allowed");
    cluster.stop().await;
}

#[tokio::test]
async fn endpoint_slices_will_do_where_there_are_no_endpoints() {
    let (cluster, port) = cluster().await;
    let client = &cluster.client;
    let endpoints = "/api/v1/namespaces/default/endpoints/web";
    client.delete(endpoints, &json!({})).await.expect(200);
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["192.0.2.9"], "conditions": {"ready": false}},
                      {"addresses": [own_address()]}]});
    let all = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    client.post(all, &slice).await.expect(201);
    let path = format!("{SERVICES}/web:http/proxy/ok");
    assert_eq!(client.get(&path).await.expect(200)["target"], "/ok");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_gets_raw_and_proxies() {
    let (cluster, _) = cluster().await;
    for program in kubectls().into_iter().rev().take(1) {
        let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
        let said = kubectl
            .run(&format!("get --raw {PODS}/web/proxy/hello"))
            .await;
        has(&said, &["\"target\":\"/hello\""]);
        let said = kubectl
            .run("get --raw /api/v1/nodes/n1/proxy/healthz")
            .await;
        assert_eq!(said, "ok");
        let mut child = tokio::process::Command::from(kubectl.command("proxy --port=0"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("spawn");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let first = tokio::time::timeout(Duration::from_secs(180), lines.next_line()).await;
        let first = first.expect("it starts").expect("text").expect("a line");
        let address = first.rsplit(' ').next().expect("address").to_owned();
        let url = format!("http://{address}{SERVICES}/web:http/proxy/page/");
        let curl = tokio::process::Command::new("curl")
            .args(["-sS", &url])
            .output();
        let page = curl.await.expect("curl").stdout;
        has(&String::from_utf8_lossy(&page), &["\"target\":\"/page/\""]);
        child.kill().await.expect("kill");
    }
    cluster.stop().await;
}
