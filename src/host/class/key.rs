//! The class's own key, its certificate, and the pin that stands for the key in a join code.
//!
//! The key is made once and outlives restarts and changes of address; certificates are issued
//! from it whenever the addresses change, so that the join code of a class stays the same but
//! for its address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use ring::rand::SecureRandom as _;
use ring::{digest, pbkdf2};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::code::PIN;
use crate::error::{ClassError, Result};

/// The name by which machines know the class, whatever its address is.
pub const CLASS_NAME: &str = "class.cadet.internal";

/// How long a certificate lasts. It is issued anew at every start.
pub const LIFE: Duration = Duration::days(30);
/// How long machines of learners may trust the class: a term.
const AUTHORITY_LIFE: Duration = Duration::days(200);
/// How far a learner's clock may be behind.
const BACKDATED: Duration = Duration::days(2);

/// Rounds of PBKDF2 between the key and its pin. Eight bytes alone could be met by trying 2^64
/// keys; each try costs 2^17 hashes more.
const ROUNDS: NonZeroU32 = NonZeroU32::new(1 << 17).expect("it is not 0");
const SALT: &[u8] = b"cadet class pin 1";

/// The class's key.
pub struct ClassKey {
    pair: KeyPair,
}

impl ClassKey {
    /// A new one: ECDSA on P-256, which every browser speaks.
    ///
    /// # Errors
    /// [`ClassError::Key`].
    pub fn generate() -> Result<Self> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(bad)?;
        Ok(Self { pair })
    }

    /// The one that [`ClassKey::to_bytes`] gave.
    ///
    /// # Errors
    /// [`ClassError::Key`].
    pub fn from_bytes(pkcs8: &[u8]) -> Result<Self> {
        let der = PrivatePkcs8KeyDer::from(pkcs8.to_vec());
        let pair =
            KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(bad)?;
        Ok(Self { pair })
    }

    /// As PKCS #8, to be kept secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pair.serialize_der()
    }

    /// SHA-256 of the public key (its SubjectPublicKeyInfo): what a laptop that has joined knows
    /// the class by.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint_of(&self.pair.subject_public_key_info())
    }

    /// The pin of the join code.
    pub fn pin(&self) -> [u8; PIN] {
        pin_of(&self.fingerprint())
    }

    /// The authority that machines are to trust: the same key under a name of its own, so that it
    /// vouches for every certificate of this class, and for nothing else where it is put.
    ///
    /// # Errors
    /// [`ClassError::Tls`].
    pub fn authority(&self, now: OffsetDateTime) -> Result<CertificateDer<'static>> {
        let mut params = authority()?;
        params.not_before = now - BACKDATED;
        params.not_after = now + AUTHORITY_LIFE;
        let made = params.self_signed(&self.pair).map_err(tls)?;
        Ok(made.der().clone())
    }

    /// A certificate for the class's name and `addresses`, valid around `now` for `life`.
    ///
    /// # Errors
    /// [`ClassError::Tls`].
    pub fn certificate(
        &self,
        addresses: &[IpAddr],
        now: OffsetDateTime,
        life: Duration,
    ) -> Result<CertificateDer<'static>> {
        let mut names = vec![CLASS_NAME.to_owned(), "localhost".to_owned()];
        names.extend(addresses.iter().map(IpAddr::to_string));
        let mut params = CertificateParams::new(names).map_err(tls)?;
        let common = format!("Cadet class on {CLASS_NAME}");
        params.distinguished_name.push(DnType::CommonName, common);
        params.not_before = now - BACKDATED;
        params.not_after = now + life;
        params.use_authority_key_identifier_extension = true;
        let authority = authority()?;
        let issuer = Issuer::from_params(&authority, &self.pair);
        let certificate = params.signed_by(&self.pair, &issuer).map_err(tls)?;
        Ok(certificate.der().clone())
    }

    /// What a TLS server needs to be this class.
    ///
    /// # Errors
    /// [`ClassError::Tls`].
    pub fn server_config(
        &self,
        certificate: CertificateDer<'static>,
    ) -> Result<Arc<rustls::ServerConfig>> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.to_bytes()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .map_err(tls)?;
        Ok(Arc::new(config))
    }
}

/// What every authority of a class is called; which one it is, the key says.
fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(tls)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Cadet class authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn tls(e: impl ToString) -> ClassError {
    ClassError::Tls(e.to_string())
}

/// The certificate as PEM (RFC 7468), for machines that are to trust it.
pub fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for (i, c) in body.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            out.push('\n');
        }
        out.push(c);
    }
    out.push_str("\n-----END CERTIFICATE-----\n");
    out
}

/// SHA-256 of a SubjectPublicKeyInfo.
pub fn fingerprint_of(spki: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, spki).as_ref());
    out
}

/// The pin of a fingerprint; takes about a tenth of a second, which is its purpose.
pub fn pin_of(fingerprint: &[u8; 32]) -> [u8; PIN] {
    let mut out = [0; PIN];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ROUNDS,
        SALT,
        fingerprint,
        &mut out,
    );
    out
}

/// Bytes that nobody can guess.
///
/// # Errors
/// [`ClassError::Key`] when the system gives none.
pub fn secret<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    let filled = ring::rand::SystemRandom::new().fill(&mut out);
    filled.map_err(|_| bad("the system gives no random numbers"))?;
    Ok(out)
}

fn bad(why: impl ToString) -> ClassError {
    ClassError::Key {
        whose: "the class",
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_the_same_after_a_restart() {
        let key = ClassKey::generate().unwrap();
        let again = ClassKey::from_bytes(&key.to_bytes()).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        assert_eq!(again.pin(), key.pin());
        assert_ne!(ClassKey::generate().unwrap().pin(), key.pin());
        assert!(ClassKey::from_bytes(b"no key").is_err());
    }

    #[test]
    fn certificates_change_and_the_key_in_them_stays() {
        let key = ClassKey::generate().unwrap();
        let now = OffsetDateTime::now_utc();
        let of = |address: &str| {
            let certificate = key
                .certificate(&[address.parse().unwrap()], now, LIFE)
                .unwrap();
            let (_, read) = x509_parser::parse_x509_certificate(&certificate).unwrap();
            fingerprint_of(read.tbs_certificate.subject_pki.raw)
        };
        assert_eq!(of("192.168.1.4"), key.fingerprint());
        assert_eq!(of("fd00::4"), key.fingerprint());
    }

    #[test]
    fn pem_has_short_lines() {
        let text = pem(&CertificateDer::from(vec![7; 200]));
        assert!(text.lines().all(|line| line.len() <= 64));
        assert!(text.ends_with("-----END CERTIFICATE-----\n"));
    }
}
