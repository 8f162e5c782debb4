//! How a learner's laptop knows the teacher: by the key in the certificate, and by its dates.
//!
//! There is no authority in a classroom, so names and chains prove nothing. The key is compared
//! with the pin of the join code, or, once joined, with the whole fingerprint; the handshake's
//! signature proves that the other end has it.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::code::PIN;
use crate::error::{ClassError, Result};
use crate::key::{fingerprint_of, pin_of};

/// What is known of the class's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Before joining: the pin of the join code.
    Pin([u8; PIN]),
    /// After: the fingerprint.
    Key([u8; 32]),
}

/// What was found at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The class itself; this is its fingerprint.
    Teacher([u8; 32]),
    /// Another key.
    Stranger,
    /// The right key, at the wrong time of this computer's clock.
    Date {
        from: String,
        until: String,
        now: String,
    },
}

/// A TLS configuration that trusts one class, and where it writes down what it found.
pub struct Pinned {
    /// For the HTTP client.
    pub config: rustls::ClientConfig,
    found: Arc<Mutex<Option<Verdict>>>,
}

impl Pinned {
    /// Trusts `trust` and nobody else.
    ///
    /// # Errors
    /// [`ClassError::Tls`].
    pub fn new(trust: Trust) -> Result<Self> {
        let found = Arc::new(Mutex::new(None));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier {
            trust,
            provider: provider.clone(),
            found: found.clone(),
        };
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| ClassError::Tls(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self { config, found })
    }

    /// What the last handshake found.
    pub fn seen(&self) -> Seen {
        Seen(self.found.clone())
    }
}

/// What handshakes find, for those who ask afterwards.
#[derive(Clone)]
pub struct Seen(Arc<Mutex<Option<Verdict>>>);

impl Seen {
    /// What the last one found.
    pub fn last(&self) -> Option<Verdict> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    found: Arc<Mutex<Option<Verdict>>>,
}

impl Verifier {
    /// The key was seen before: its pin need not be worked out again.
    fn knows(&self, key: &[u8; 32]) -> bool {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(&*found, Some(Verdict::Teacher(known)) if known == key)
    }

    fn judge(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Option<Verdict> {
        let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let key = fingerprint_of(read.tbs_certificate.subject_pki.raw);
        let known = match self.trust {
            Trust::Key(wanted) => key == wanted,
            Trust::Pin(wanted) => self.knows(&key) || pin_of(&key) == wanted,
        };
        if !known {
            return Some(Verdict::Stranger);
        }
        let validity = read.validity();
        let (from, until) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if (from..=until).contains(&now) {
            return Some(Verdict::Teacher(key));
        }
        Some(Verdict::Date {
            from: date(from),
            until: date(until),
            now: date(now),
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.judge(end_entity, now);
        let answer = match &verdict {
            Some(Verdict::Teacher(_)) => Ok(ServerCertVerified::assertion()),
            Some(Verdict::Date { .. }) => Err(CertificateError::Expired.into()),
            Some(Verdict::Stranger) => Err(CertificateError::UnknownIssuer.into()),
            None => Err(CertificateError::BadEncoding.into()),
        };
        // What cannot even be read is a stranger's as well.
        let verdict = verdict.unwrap_or(Verdict::Stranger);
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{ClassKey, LIFE};

    fn verdict(trust: Trust, key: &ClassKey, issued: OffsetDateTime) -> Option<Verdict> {
        let found = Arc::new(Mutex::new(None));
        let verifier = Verifier {
            trust,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            found: found.clone(),
        };
        let certificate = key.certificate(&[], issued, LIFE).unwrap();
        let name = ServerName::try_from("192.168.1.4").unwrap();
        let answer = verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
        let verdict = found.lock().unwrap().clone();
        assert_eq!(
            answer.is_ok(),
            matches!(verdict, Some(Verdict::Teacher(_))),
            "{verdict:?}"
        );
        verdict
    }

    #[test]
    fn the_key_is_known_by_its_pin_and_by_its_fingerprint() {
        let key = ClassKey::generate().unwrap();
        let now = OffsetDateTime::now_utc();
        let teacher = Some(Verdict::Teacher(key.fingerprint()));
        assert_eq!(verdict(Trust::Pin(key.pin()), &key, now), teacher);
        assert_eq!(verdict(Trust::Key(key.fingerprint()), &key, now), teacher);
        let other = ClassKey::generate().unwrap();
        let stranger = Some(Verdict::Stranger);
        assert_eq!(verdict(Trust::Pin(other.pin()), &key, now), stranger);
        assert_eq!(
            verdict(Trust::Key(other.fingerprint()), &key, now),
            stranger
        );
    }

    #[test]
    fn a_certificate_that_is_over_is_refused_with_its_dates() {
        let key = ClassKey::generate().unwrap();
        let long_ago = OffsetDateTime::now_utc() - time::Duration::days(90);
        let found = verdict(Trust::Pin(key.pin()), &key, long_ago);
        assert!(matches!(found, Some(Verdict::Date { .. })), "{found:?}");
        let ahead = OffsetDateTime::now_utc() + time::Duration::days(9);
        let found = verdict(Trust::Pin(key.pin()), &key, ahead);
        assert!(matches!(found, Some(Verdict::Date { .. })), "{found:?}");
    }
}
