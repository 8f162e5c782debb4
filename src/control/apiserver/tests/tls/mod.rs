//! A server on loopback with a certificate authority of its own.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::net::SocketAddr;

use cadet_apiserver::{App, serve, tls_config};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A client certificate and its key, in PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

pub struct Served {
    pub address: SocketAddr,
    authority: CertifiedIssuer<'static, KeyPair>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub async fn start(app: App) -> Served {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(DnType::CommonName, "test-ca");
        let key = KeyPair::generate().expect("key");
        let authority = CertifiedIssuer::self_signed(parameters, key).expect("authority");

        let mut server =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
                .expect("names");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_key = KeyPair::generate().expect("key");
        let certificate = server
            .signed_by(&server_key, &authority)
            .expect("certificate");
        let tls = tls_config(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(server_key.serialize_der()).expect("key"),
            authority.der().clone(),
        )
        .expect("tls");

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let stop = CancellationToken::new();
        let shutdown = stop.clone().cancelled_owned();
        let task = tokio::spawn(serve(listener, tls, app, shutdown));
        Served {
            address,
            authority,
            stop,
            task,
        }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("serve");
    }

    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// A certificate of this server's authority.
    pub fn identity(&self, user: &str, group: &str) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, group);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("key");
        let certificate = parameters
            .signed_by(&key, &self.authority)
            .expect("certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A kubeconfig with everything embedded.
    pub fn kubeconfig(&self, identity: &Identity) -> serde_json::Value {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority-data": encode(&self.authority_pem()),
            }}],
            "users": [{"name": "test", "user": {
                "client-certificate-data": encode(&identity.certificate),
                "client-key-data": encode(&identity.key),
            }}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        })
    }

    pub async fn kube(&self, user: &str, group: &str) -> kube::Client {
        self.kube_with(self.identity(user, group)).await
    }

    pub async fn kube_with(&self, identity: Identity) -> kube::Client {
        // Two providers may be compiled in by the test's own dependencies; ours is ring.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config: kube::config::Kubeconfig =
            serde_json::from_value(self.kubeconfig(&identity)).expect("kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(config, &Default::default())
            .await
            .expect("config");
        kube::Client::try_from(config).expect("client")
    }
}
