//! Who gets in, and what they get.

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::testing::World;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority {
        pem,
        issuer: Issuer::new(params, key),
    }
}

impl Authority {
    fn issue(&self, hosts: &[&str], name: &str, group: &str) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// The whole answer to one request, or the TLS error.
async fn ask(
    address: SocketAddr,
    ours: &Authority,
    client: Option<(String, String)>,
    path: &str,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ours.pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await?;
    let name = "127.0.0.1".try_into().unwrap();
    let mut tls = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn serve_for(world: &World, ours: &Authority) -> (SocketAddr, CancellationToken) {
    let (certificate, key) = ours.issue(&["127.0.0.1"], "system:node:n", "system:nodes");
    let tls = ServerTls {
        client_ca: ours.pem.clone().into_bytes(),
        certificate: certificate.into_bytes(),
        key: key.into_bytes(),
    };
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(listen, &tls, world.runtime.clone(), PodTable::default());
    let server = server.await.unwrap();
    let address = server.address().unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(server.run(shutdown.clone()));
    (address, shutdown)
}

#[tokio::test]
async fn only_the_api_server_and_admins_get_in() {
    let (world, ours) = (World::new(), authority());
    let (address, shutdown) = serve_for(&world, &ours).await;
    let get = |client| ask(address, &ours, client, "/healthz");

    let api = ours.issue(&[], APISERVER, "nobody");
    assert!(get(Some(api)).await.unwrap().starts_with("HTTP/1.1 200"));
    let admin = ours.issue(&[], "me", ADMINS);
    assert!(get(Some(admin)).await.unwrap().ends_with("ok"));
    let node = ours.issue(&[], "system:node:other", "system:nodes");
    assert!(get(Some(node)).await.unwrap().starts_with("HTTP/1.1 403"));
    assert!(get(None).await.is_err(), "no certificate, no connection");
    let stranger = authority().issue(&[], APISERVER, ADMINS);
    assert!(get(Some(stranger)).await.is_err());
    shutdown.cancel();
}

#[tokio::test]
async fn logs_of_unknown_pods_and_bad_options_are_refused_in_words() {
    let (world, ours) = (World::new(), authority());
    let (address, _shutdown) = serve_for(&world, &ours).await;
    let admin = ours.issue(&[], "me", ADMINS);
    let get = |path: &'static str| ask(address, &ours, Some(admin.clone()), path);
    let answer = get("/containerLogs/shop/web/app").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("pod \"web\" not found"));
    let answer = get("/containerLogs/shop/web/app?tailLines=-5")
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = get("/pods").await.unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let list: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(list["kind"], json!("PodList"));
    let answer = get("/stats/summary").await.unwrap();
    assert!(answer.contains("\"usageCoreNanoSeconds\""), "{answer}");
    let answer = get("/metrics/resource").await.unwrap();
    assert!(answer.contains("node_memory_working_set_bytes"), "{answer}");
    assert!(get("/configz").await.unwrap().contains("\"evictionHard\""));
    assert!(get("/healthz/ping").await.unwrap().ends_with("ok"));
}
