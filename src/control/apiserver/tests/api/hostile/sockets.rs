//! What a client can do to a connection before and after it says anything sensible.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cadet_apiserver::{App, Config};
use cadet_store::{LocalStore, MemoryDisk, Options};
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::config;
use crate::tls::{Authority, Identity, Served};

async fn served() -> (App, Served) {
    served_with(config()).await
}

/// One with little patience, yet enough for those who do what they can on a busy machine.
async fn hasty() -> (App, Served) {
    let head_timeout = Duration::from_secs(4);
    served_with(Config {
        head_timeout,
        ..config()
    })
    .await
}

async fn served_with(config: Config) -> (App, Served) {
    let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
    let app = App::start(config, Arc::new(store)).await.expect("start");
    let served = Served::start(app.clone()).await;
    (app, served)
}

async fn secured(
    served: &Served,
    identity: &Identity,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(served.authority_pem().as_bytes()).expect("pem");
    roots.add(authority).expect("root");
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("pem")];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("pem");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("client");
    client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(served.address).await?;
    let name = ServerName::try_from("localhost").expect("name");
    TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
}

/// What the server says until it hangs up; a reset is an end as well.
async fn until_the_end(mut stream: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut heard = vec![];
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        heard.extend_from_slice(&piece[..count]);
    }
    heard
}

/// Somebody else who uses the server all the while.
async fn others_are_served(served: &Served) {
    let maps: Api<ConfigMap> =
        Api::default_namespaced(served.kube("other", "system:masters").await);
    maps.list(&ListParams::default()).await.expect("list");
}

#[tokio::test]
async fn plain_http_on_the_port_is_told_so() {
    let (_app, served) = served().await;
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /api HTTP/1.0\r\n\r\n{}",
        "OPTIONS * HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(served.address).await.expect("connect");
        stream.write_all(request.as_bytes()).await.expect("write");
        stream.shutdown().await.expect("shutdown");
        assert_eq!(
            String::from_utf8(until_the_end(stream).await).expect("text"),
            "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
        );
    }
    others_are_served(&served).await;
    served.stop().await;
}

#[tokio::test]
async fn garbage_instead_of_tls_is_hung_up_on() {
    let (_app, served) = hasty().await;
    let server = &served;
    let all = [
        &b"\0\0\0\0\0\0\0\0"[..],
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\xff\xff\x01\xff\xff\xff",
        b"\x16\x03\x01\0\x05hello",
        b"\x80\x2e\x01\0\x02",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .map(|garbage| async move {
        let mut stream = TcpStream::connect(server.address).await.expect("connect");
        stream.write_all(garbage).await.expect("write");
        let heard = until_the_end(stream).await;
        assert!(!heard.starts_with(b"HTTP/"), "{garbage:?}");
    });
    futures::future::join_all(all).await;
    others_are_served(&served).await;
    served.stop().await;
}

/// Who says nothing, or its head forever, is hung up on; a watch that waits is not.
#[tokio::test]
async fn the_slow_are_hung_up_on_and_watches_are_not() {
    let (_app, served) = hasty().await;
    let maps: Api<ConfigMap> =
        Api::default_namespaced(served.kube("watcher", "system:masters").await);
    let events = maps
        .watch(&WatchParams::default(), "0")
        .await
        .expect("watch");
    let mut events = Box::pin(events);
    let identity = served.identity("slow", "system:masters");
    // No handshake at all, and half of one.
    let (server, door) = (&served, &identity);
    let speechless = [&b""[..], b"\x16\x03\x01"].map(|beginning| async move {
        let mut stream = TcpStream::connect(server.address).await.expect("connect");
        stream.write_all(beginning).await.expect("write");
        until_the_end(stream).await;
    });
    // A handshake, and then no word, half a preface, or half a head.
    let unfinished = [
        ("http/1.1", ""),
        ("h2", ""),
        ("h2", "PRI * HTTP"),
        ("h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("http/1.1", "GET /version HTTP/1.1\r\nhost: localhost\r\n"),
    ]
    .map(|(protocol, beginning)| async move {
        let mut stream = secured(server, door, protocol).await.expect("handshake");
        stream.write_all(beginning.as_bytes()).await.expect("write");
        until_the_end(stream).await;
    });
    // A head that comes letter by letter is not saved by being always on its way.
    let stream = secured(&served, &identity, "http/1.1")
        .await
        .expect("handshake");
    let (hear, mut speak) = tokio::io::split(stream);
    let trickle = tokio::spawn(async move {
        let head = b"GET /version HTTP/1.1\r\nx: "
            .iter()
            .chain(std::iter::repeat(&b'x'));
        for letter in head {
            if speak.write_all(&[*letter]).await.is_err() || speak.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    tokio::join!(
        futures::future::join_all(speechless),
        futures::future::join_all(unfinished),
        until_the_end(hear),
    );
    trickle.abort();
    let new = serde_json::from_value(crate::support::config_map("m", "1")).expect("typed");
    maps.create(&Default::default(), &new)
        .await
        .expect("create");
    while let Some(event) = futures::StreamExt::next(&mut events).await {
        if let WatchEvent::Added(map) = event.expect("event")
            && map.metadata.name.as_deref() == Some("m")
        {
            served.stop().await;
            return;
        }
    }
    panic!("the watch was cut");
}

#[tokio::test]
async fn certificates_of_others_and_of_the_past_open_nothing() {
    let (_app, served) = served().await;
    let foreign = Authority::new().identity("cadet-admin", "system:masters");
    let expired = served.expired_identity("cadet-admin", "system:masters");
    for identity in [foreign, expired] {
        // In TLS 1.3 the client learns it only when it listens.
        let Ok(mut stream) = secured(&served, &identity, "http/1.1").await else {
            continue;
        };
        let asked = b"GET /api/v1/secrets HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(asked).await;
        let heard = until_the_end(stream).await;
        assert!(
            heard.is_empty() || heard.starts_with(b"HTTP/1.1 401"),
            "{}",
            String::from_utf8_lossy(&heard)
        );
    }
    others_are_served(&served).await;
    served.stop().await;
}

/// Requests opened and taken back at once, thousands of them, on one connection.
#[tokio::test]
async fn rapid_resets_end_the_connection_not_the_server() {
    let (_app, served) = served().await;
    let before = super::resident();
    let identity = served.identity("flood", "system:masters");
    let stream = secured(&served, &identity, "h2").await.expect("handshake");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("h2");
    let connection = tokio::spawn(connection);
    let request = || {
        let uri = "https://localhost/api/v1/pods?watch=true";
        Request::get(uri)
            .body(Empty::<Bytes>::new())
            .expect("request")
    };
    for _ in 0..20_000 {
        if sender.ready().await.is_err() {
            break;
        }
        drop(sender.send_request(request()));
        tokio::task::yield_now().await;
    }
    drop(sender);
    connection.abort();
    others_are_served(&served).await;
    assert!(super::resident() < before + (200 << 20));
    served.stop().await;
}

const H2_HEADERS: u8 = 1;
const H2_RESET: u8 = 3;

/// A GET as HTTP/2 frames (RFC 9113), with what no client library would send: any path.
fn h2_request(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x01, 9];
    block.extend_from_slice(b"localhost");
    block.push(0x04);
    // RFC 7541, 5.1: an integer with a prefix of seven bits.
    block.push(0x7f);
    let mut rest = path.len() - 0x7f;
    while rest >= 0x80 {
        block.push((rest % 0x80) as u8 | 0x80);
        rest /= 0x80;
    }
    block.push(rest as u8);
    block.extend_from_slice(path.as_bytes());
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let pieces: Vec<&[u8]> = block.chunks(16_384).collect();
    for (n, piece) in pieces.iter().enumerate() {
        let (kind, end_stream) = if n == 0 { (H2_HEADERS, 1) } else { (9, 0) };
        let end_headers = if n + 1 == pieces.len() { 4 } else { 0 };
        out.extend_from_slice(&(piece.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[kind, end_stream | end_headers, 0, 0, 0, 1]);
        out.extend_from_slice(piece);
    }
    out
}

/// Kind and payload of the first frame that is about the request.
async fn h2_answer(stream: &mut TlsStream<TcpStream>) -> (u8, Vec<u8>) {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.expect("its payload");
        if head[8] == 1 {
            return (head[3], payload);
        }
    }
}

/// Heads up to a megabyte are read, as upstream reads them; beyond it there is an answer too.
#[tokio::test]
async fn long_heads_have_an_answer() {
    let (_app, served) = served().await;
    let identity = served.identity("long", "system:masters");
    for (length, allowed) in [(30_000, true), (100_000, false)] {
        let mut stream = secured(&served, &identity, "http/1.1")
            .await
            .expect("handshake");
        let path = format!("/version?x={}", "x".repeat(length));
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        // The answer may come before all of it was read.
        let _ = stream.write_all(head.as_bytes()).await;
        let heard = String::from_utf8_lossy(&until_the_end(stream).await).into_owned();
        let expected = if allowed {
            "HTTP/1.1 200"
        } else {
            "HTTP/1.1 414"
        };
        assert!(heard.starts_with(expected), "{length}: {heard}");

        let mut stream = secured(&served, &identity, "h2").await.expect("handshake");
        stream
            .write_all(&h2_request(&path))
            .await
            .expect("the whole head");
        let (kind, payload) = h2_answer(&mut stream).await;
        match allowed {
            // The static table's entry 8 is ":status: 200".
            true => assert_eq!((kind, payload.first()), (H2_HEADERS, Some(&0x88))),
            // Such a path is no request at all: the stream is reset as malformed.
            false => assert_eq!((kind, payload), (H2_RESET, vec![0, 0, 0, 1])),
        }
    }
    others_are_served(&served).await;
    served.stop().await;
}
