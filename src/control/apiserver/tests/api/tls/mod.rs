//! A server on loopback with a certificate authority of its own.

// Each test binary uses its own part of this.

use std::net::SocketAddr;
use std::sync::Arc;

use cadet_apiserver::{App, kubelet_tls_config, serve, tls_config};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A client certificate and its key, in PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// Signs every certificate of one test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Authority {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(DnType::CommonName, "test-ca");
        let key = KeyPair::generate().expect("key");
        Authority(CertifiedIssuer::self_signed(parameters, key).expect("authority"))
    }

    /// Authority, certificate and key of a server on loopback, in PEM.
    pub fn server_pem(&self) -> (String, Identity) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut server = CertificateParams::new(names).expect("names");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("key");
        let identity = Identity {
            certificate: server.signed_by(&key, &self.0).expect("certificate").pem(),
            key: key.serialize_pem(),
        };
        (self.0.pem(), identity)
    }

    /// The authority itself, for who signs with it.
    pub fn pair(&self) -> Identity {
        Identity {
            certificate: self.0.pem(),
            key: self.0.key().serialize_pem(),
        }
    }

    /// TLS for a server on loopback that asks for certificates of this authority.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut server = CertificateParams::new(names).expect("names");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("key");
        let certificate = server.signed_by(&key, &self.0).expect("certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        tls_config(vec![certificate.der().clone()], key, self.0.der().clone()).expect("tls")
    }

    pub fn identity(&self, user: &str, group: &str) -> Identity {
        self.sign(CertificateParams::default(), user, group)
    }

    /// One whose time is over.
    pub fn expired_identity(&self, user: &str, group: &str) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(parameters, user, group)
    }

    fn sign(&self, mut parameters: CertificateParams, user: &str, group: &str) -> Identity {
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, group);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("key");
        let certificate = parameters.signed_by(&key, &self.0).expect("certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// How the API server reaches agents under this authority.
    pub fn towards_agents(&self) -> Arc<rustls::ClientConfig> {
        let identity = self.identity("kube-apiserver-kubelet-client", "system:masters");
        let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("pem");
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("pem");
        kubelet_tls_config(self.0.der().clone(), vec![chain], key).expect("tls")
    }
}

pub struct Served {
    pub address: SocketAddr,
    authority: Authority,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub async fn start(app: App) -> Served {
        Served::start_under(Authority::new(), app).await
    }

    pub async fn start_under(authority: Authority, app: App) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let stop = CancellationToken::new();
        let shutdown = stop.clone().cancelled_owned();
        let task = tokio::spawn(serve(listener, authority.server(), app, shutdown));
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

    /// A certificate of this server's authority.
    pub fn identity(&self, user: &str, group: &str) -> Identity {
        self.authority.identity(user, group)
    }

    pub fn expired_identity(&self, user: &str, group: &str) -> Identity {
        self.authority.expired_identity(user, group)
    }

    pub fn authority_pem(&self) -> String {
        self.authority.0.pem()
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
                "certificate-authority-data": encode(&self.authority.0.pem()),
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
