//! The cluster's certificate authority at work: a request's names and key, signed.
//!
//! Written in DER by hand, because a subject may name several organisations (they become a
//! user's groups) and must come out byte for byte as it was asked for.

use rcgen::{KeyPair, SigningKey};
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};
use yasna::models::{GeneralizedTime, ObjectIdentifier, UTCTime};
use yasna::{DERWriter, Tag};

use super::request::{Request, pem};

/// Clocks differ; as upstream.
const BACKDATE: Duration = Duration::minutes(5);
/// Shorter lives than this are not shortened by [`BACKDATE`], as upstream.
const SHORT: Duration = Duration::hours(8);
/// Longest life (upstream's `--cluster-signing-duration`), and what who does not ask gets.
const LONGEST: Duration = Duration::days(365);
/// Shortest life a signer gives, whatever is asked.
const SHORTEST: Duration = Duration::minutes(10);

const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY: &[u64] = &[2, 5, 29, 35];
const EXTENDED_USAGE: &[u64] = &[2, 5, 29, 37];
const SERVER_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];

/// Why an authority cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("the authority's certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the authority's key cannot be used")]
    Key(#[from] rcgen::Error),
    #[error("keys of the authority's algorithm cannot sign")]
    Algorithm,
    #[error("no random number for a certificate")]
    Random(#[from] getrandom::Error),
}

/// Certificate and key of the cluster's authority.
pub struct Authority {
    pem: String,
    key: KeyPair,
    algorithm: &'static [u64],
    /// Name of the authority, in DER.
    name: Vec<u8>,
    key_id: Option<Vec<u8>>,
    ends: OffsetDateTime,
}

impl Authority {
    /// An authority by its certificate and its key, both PEM.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn new(certificate: String, key: &str) -> Result<Authority, Unusable> {
        let unreadable = |error: String| Unusable::Certificate(error);
        let (_, block) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
            .map_err(|error| unreadable(error.to_string()))?;
        let (_, parsed) = X509Certificate::from_der(&block.contents)
            .map_err(|error| unreadable(error.to_string()))?;
        let key_id =
            parsed
                .extensions()
                .iter()
                .find_map(|extension| match extension.parsed_extension() {
                    ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                    _ => None,
                });
        let (name, ends) = (
            parsed.subject().as_raw().to_vec(),
            parsed.validity().not_after.to_datetime(),
        );
        let key = KeyPair::from_pem(key)?;
        let algorithm = algorithm(&key).ok_or(Unusable::Algorithm)?;
        Ok(Authority {
            pem: certificate,
            key,
            algorithm,
            name,
            key_id,
            ends,
        })
    }

    /// The certificate that vouches for the others, PEM.
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// The certificate a request asks for, PEM, with a life of `seconds` if it asks for one.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn sign(
        &self,
        request: &Request<'_>,
        usages: &[String],
        seconds: Option<i32>,
        now: OffsetDateTime,
    ) -> Result<String, Unusable> {
        let mut serial = [0_u8; 16];
        getrandom::fill(&mut serial)?;
        // Positive, and never shorter than it looks.
        serial[0] = serial[0] & 0x7f | 0x40;
        let (from, until) = life(seconds, now, self.ends);
        let body = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                let version = Tag::context(0);
                writer
                    .next()
                    .write_tagged(version, |writer| writer.write_u8(2));
                writer.next().write_bigint_bytes(&serial, true);
                self.write_algorithm(writer.next());
                writer.next().write_der(&self.name);
                writer.next().write_sequence(|writer| {
                    write_time(writer.next(), from);
                    write_time(writer.next(), until);
                });
                writer.next().write_der(request.subject());
                writer.next().write_der(request.public_key());
                writer.next().write_tagged(Tag::context(3), |writer| {
                    writer.write_sequence(|writer| {
                        for (id, critical, content) in self.extensions(request, usages) {
                            writer.next().write_sequence(|writer| {
                                writer.next().write_oid(&ObjectIdentifier::from_slice(id));
                                if critical {
                                    writer.next().write_bool(true);
                                }
                                writer.next().write_bytes(&content);
                            });
                        }
                    });
                });
            });
        });
        let signature = self.key.sign(&body)?;
        let signed = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&body);
                self.write_algorithm(writer.next());
                let bits = signature.len() * 8;
                writer.next().write_bitvec_bytes(&signature, bits);
            });
        });
        Ok(pem("CERTIFICATE", &signed))
    }

    fn write_algorithm(&self, writer: DERWriter<'_>) {
        writer.write_sequence(|writer| {
            let id = ObjectIdentifier::from_slice(self.algorithm);
            writer.next().write_oid(&id);
            if self.algorithm == RSA {
                writer.next().write_null();
            }
        });
    }

    fn extensions(
        &self,
        request: &Request<'_>,
        usages: &[String],
    ) -> Vec<(&'static [u64], bool, Vec<u8>)> {
        let asks = |usage: &str| usages.iter().any(|u| u == usage);
        let mut all = Vec::new();
        // Bit 0 is digital signature, bit 2 key encipherment, from the left.
        let bits = match (asks("digital signature"), asks("key encipherment")) {
            (false, false) => None,
            (true, false) => Some((0x80, 1)),
            (false, true) => Some((0x20, 3)),
            (true, true) => Some((0xa0, 3)),
        };
        if let Some((byte, count)) = bits {
            let content = yasna::construct_der(|w| w.write_bitvec_bytes(&[byte], count));
            all.push((KEY_USAGE, true, content));
        }
        let purposes = [("client auth", CLIENT_AUTH), ("server auth", SERVER_AUTH)];
        let content = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for (usage, id) in purposes {
                    if asks(usage) {
                        writer.next().write_oid(&ObjectIdentifier::from_slice(id));
                    }
                }
            });
        });
        all.push((EXTENDED_USAGE, false, content));
        let nothing = yasna::construct_der(|writer| writer.write_sequence(|_| {}));
        all.push((BASIC_CONSTRAINTS, true, nothing));
        if let Some(id) = &self.key_id {
            let content = yasna::construct_der(|writer| {
                writer.write_sequence(|writer| {
                    let tag = Tag::context(0);
                    writer
                        .next()
                        .write_tagged_implicit(tag, |w| w.write_bytes(id));
                });
            });
            all.push((AUTHORITY_KEY, false, content));
        }
        if let Some(names) = request.alternative_names() {
            all.push((SUBJECT_ALT_NAME, false, names.to_vec()));
        }
        all
    }
}

const RSA: &[u64] = &[1, 2, 840, 113549, 1, 1, 11];

/// The signature algorithm of a key.
fn algorithm(key: &KeyPair) -> Option<&'static [u64]> {
    let known: [(_, &'static [u64]); 4] = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, &[1, 2, 840, 10045, 4, 3, 2]),
        (&rcgen::PKCS_ECDSA_P384_SHA384, &[1, 2, 840, 10045, 4, 3, 3]),
        (&rcgen::PKCS_ED25519, &[1, 3, 101, 112]),
        (&rcgen::PKCS_RSA_SHA256, RSA),
    ];
    known
        .into_iter()
        .find(|(algorithm, _)| key.is_compatible(algorithm))
        .map(|(_, id)| id)
}

/// From when and until when a certificate holds.
fn life(
    seconds: Option<i32>,
    now: OffsetDateTime,
    ends: OffsetDateTime,
) -> (OffsetDateTime, OffsetDateTime) {
    let asked = seconds.map_or(LONGEST, |n| Duration::seconds(n.into()));
    let span = asked.clamp(SHORTEST, LONGEST);
    let until = match span < SHORT {
        true => now + span,
        false => now + span - BACKDATE,
    };
    (now - BACKDATE, until.min(ends))
}

/// RFC 5280: two digits for the year up to 2049, four after.
fn write_time(writer: DERWriter<'_>, at: OffsetDateTime) {
    let at = at - Duration::nanoseconds(at.nanosecond().into());
    match at.year() < 2050 {
        true => writer.write_utctime(&UTCTime::from_datetime(at)),
        false => writer.write_generalized_time(&GeneralizedTime::from_datetime(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_life_is_as_long_as_asked_within_bounds() {
        let now = datetime!(2026-01-01 00:00 UTC);
        let far = datetime!(2036-01-01 00:00 UTC);
        let until = |seconds, ends| life(seconds, now, ends).1;
        assert_eq!(until(None, far), now + LONGEST - BACKDATE);
        assert_eq!(until(Some(i32::MAX), far), now + LONGEST - BACKDATE);
        assert_eq!(until(Some(1), far), now + SHORTEST);
        assert_eq!(until(Some(3600), far), now + Duration::hours(1));
        let day = Duration::days(1);
        assert_eq!(until(Some(86400), far), now + day - BACKDATE);
        assert_eq!(until(None, now + day), now + day);
        assert_eq!(life(None, now, far).0, now - BACKDATE);
    }
}
