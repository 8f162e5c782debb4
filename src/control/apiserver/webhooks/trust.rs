//! TLS towards webhooks: their `caBundle`, or else what the system trusts.

use std::sync::{Arc, OnceLock};

use cadet_api::json;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Trust in the certificates of a base64 PEM bundle; in those of the system if it is "".
///
/// # Errors
/// Nothing in the bundle can be trusted, in upstream's words.
pub fn config(bundle: &str) -> Result<Arc<ClientConfig>, String> {
    if bundle.is_empty() {
        return of_the_system();
    }
    let unreadable =
        "unable to load root certificates: unable to parse bytes as PEM block".to_owned();
    let pem = json::base64_decode(bundle).map_err(|_| unreadable.clone())?;
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&pem).flatten().collect();
    if certificates.is_empty() {
        return Err(unreadable);
    }
    build(certificates)
}

/// Read once: the file is large, and most webhooks bring a bundle of their own.
fn of_the_system() -> Result<Arc<ClientConfig>, String> {
    static SYSTEM: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let system = SYSTEM.get_or_init(|| build(rustls_native_certs::load_native_certs().certs));
    system.clone()
}

fn build(certificates: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    let chain = match roots.is_empty() {
        true => None,
        false => Some(
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|error| error.to_string())?,
        ),
    };
    let verifier = Bundle {
        provider: provider.clone(),
        chain,
        certificates,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Believes what a certificate of the bundle has signed, and the certificates of the
/// bundle themselves: webhooks often show the self-signed one that is their own
/// authority, which Go's TLS takes and webpki alone does not.
#[derive(Debug)]
struct Bundle {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Bundle {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.iter().any(|known| known == shown) {
            verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
            return in_its_time(shown, now);
        }
        match &self.chain {
            Some(chain) => chain.verify_server_cert(shown, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}

fn in_its_time(shown: &CertificateDer<'_>, now: UnixTime) -> Result<ServerCertVerified, Error> {
    let (_, certificate) =
        X509Certificate::from_der(shown).map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(ServerCertVerified::assertion())
}

/// A failed handshake as Go programs word it, which is what learners search for.
pub fn words(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(why)) = inner else {
        return error.to_string();
    };
    let why = match why {
        // Another authority of the same name, in the second case.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => wrong_name(&expected.to_str(), presented),
        other => return format!("tls: failed to verify certificate: {other}"),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// `presented` are names as rustls prints them: `DnsName("a.b")`, `IpAddress(127.0.0.1)`.
fn wrong_name(expected: &str, presented: &[String]) -> String {
    let names: Vec<&str> = presented
        .iter()
        .map(|name| {
            let inside = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest);
            inside.trim_end_matches(')').trim_matches('"')
        })
        .collect();
    match names.is_empty() {
        true => format!("certificate is not valid for any names, but wanted to match {expected}"),
        false => format!(
            "certificate is valid for {}, not {expected}",
            names.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    fn check(config: &str, shown: &CertificateDer<'_>, name: &str) -> Result<(), String> {
        let pem = base64::engine::general_purpose::STANDARD
            .decode(config)
            .expect("base64");
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
        let bundle = Bundle {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            chain: None,
            certificates,
        };
        let name = ServerName::try_from(name.to_owned()).expect("name");
        let verified = bundle.verify_server_cert(shown, &[], &name, &[], UnixTime::now());
        verified
            .map(drop)
            .map_err(|error| words(&std::io::Error::other(error)))
    }

    #[test]
    fn a_self_signed_certificate_that_is_its_own_bundle_is_believed_for_its_names() {
        let mut parameters = CertificateParams::new(vec!["s.n.svc".to_owned()]).expect("names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let certificate = parameters.self_signed(&key).expect("certificate");
        let bundle = base64::engine::general_purpose::STANDARD.encode(certificate.pem());
        assert_eq!(check(&bundle, certificate.der(), "s.n.svc"), Ok(()));
        assert_eq!(
            check(&bundle, certificate.der(), "x.n.svc"),
            Err("tls: failed to verify certificate: x509: certificate is valid for s.n.svc, not x.n.svc".to_owned())
        );
        let stranger = parameters.self_signed(&KeyPair::generate().expect("key"));
        assert_eq!(
            check(&bundle, stranger.expect("certificate").der(), "s.n.svc"),
            Err(
                "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        for bad in ["!", "aGVsbG8="] {
            assert_eq!(
                config(bad).map(drop),
                Err(
                    "unable to load root certificates: unable to parse bytes as PEM block"
                        .to_owned()
                )
            );
        }
    }
}
