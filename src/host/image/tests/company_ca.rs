//! A network whose traffic is signed by a company's own authority.

use std::sync::Arc;
use std::time::Duration;

use cadet_image::{ImageError, Network, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Serves `answer` to every request; returns the port and the authority's certificate.
async fn tls_server(answer: String) -> (u16, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_cert = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us hangs up in the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0u8; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, authority_cert.pem())
}

#[tokio::test]
async fn trusted_only_with_the_companys_certificate() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let (port, pem) = tls_server(answer.into()).await;
    let url = format!("https://localhost:{port}/SHA256SUMS");

    let plain = http::client(&Network::default()).unwrap();
    let error = http::text(&plain, &url, 100).await.unwrap_err();
    assert!(matches!(error, ImageError::Untrusted { .. }), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let network = Network {
        ca_file: Some(ca_file),
        connect_timeout: Duration::from_secs(30),
        ..Network::default()
    };
    let client = http::client(&network).unwrap();
    assert_eq!(http::text(&client, &url, 100).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_redirect_may_not_drop_encryption() {
    let answer = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (port, pem) = tls_server(answer.into()).await;
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let network = Network {
        ca_file: Some(ca_file),
        ..Network::default()
    };
    let client = http::client(&network).unwrap();
    let url = format!("https://localhost:{port}/x");
    let error = http::text(&client, &url, 100).await.unwrap_err();
    assert!(error.to_string().contains("https to http"), "{error}");
}
