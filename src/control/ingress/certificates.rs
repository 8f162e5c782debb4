//! Certificates from TLS Secrets, and the one that is shown where there is none.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("make a certificate of our own: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    #[error("{what} cannot be read: {source}")]
    Pem {
        what: &'static str,
        source: rustls::pki_types::pem::Error,
    },
    #[error("{0} holds no certificate")]
    Empty(&'static str),
    #[error("certificate and key cannot be used: {0}")]
    Use(#[from] rustls::Error),
}

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// A certificate that nobody vouches for; new with every start.
///
/// # Errors
/// [`CertificateError::Make`].
pub fn self_signed() -> Result<Arc<CertifiedKey>, CertificateError> {
    let key = rcgen::KeyPair::generate()?;
    let mut wanted = rcgen::CertificateParams::new(vec!["ingress.local".to_owned()])?;
    let name = "Cadet Ingress Controller Fake Certificate";
    wanted
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let certificate = wanted.self_signed(&key)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = any_supported_type(&PrivateKeyDer::Pkcs8(key))?;
    let chain = vec![certificate.der().clone()];
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// The certificate and key of a Secret of type `kubernetes.io/tls`.
///
/// # Errors
/// [`CertificateError`].
pub fn of_secret(secret: &Secret) -> Result<Arc<CertifiedKey>, CertificateError> {
    let part = |name: &'static str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        data.map(|bytes| bytes.0.as_slice())
            .ok_or(CertificateError::Missing(name))
    };
    let pem = |what| move |source| CertificateError::Pem { what, source };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(part(CERTIFICATE)?).collect();
    let chain = chain.map_err(pem(CERTIFICATE))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty(CERTIFICATE));
    }
    let key = PrivateKeyDer::from_pem_slice(part(KEY)?).map_err(pem(KEY))?;
    let pair = CertifiedKey::new(chain, any_supported_type(&key)?);
    match pair.keys_match() {
        // Some keys cannot say; then the handshake will.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(pair))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let wanted = rcgen::CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
        (wanted.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn secret(parts: &[(&str, &str)]) -> Secret {
        let parts = parts
            .iter()
            .map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec())));
        Secret {
            data: Some(parts.collect()),
            ..Secret::default()
        }
    }

    #[test]
    fn a_secret_must_hold_what_belongs_together() {
        let (certificate, key) = pair();
        assert!(of_secret(&secret(&[(CERTIFICATE, &certificate), (KEY, &key)])).is_ok());
        let refused = |parts: &[(&str, &str)]| of_secret(&secret(parts)).unwrap_err().to_string();
        assert_eq!(refused(&[(KEY, &key)]), "the Secret has no tls.crt");
        assert_eq!(
            refused(&[(CERTIFICATE, "x"), (KEY, &key)]),
            "tls.crt holds no certificate"
        );
        let (_, other) = pair();
        let words = refused(&[(CERTIFICATE, &certificate), (KEY, &other)]);
        assert!(
            words.starts_with("certificate and key cannot be used"),
            "{words}"
        );
    }

    #[test]
    fn there_is_always_a_certificate() {
        assert_eq!(self_signed().unwrap().cert.len(), 1);
    }
}
