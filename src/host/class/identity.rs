//! Who a learner is: an ed25519 key made when they join, and a signature on all they send.
//!
//! A name can be claimed by anybody; a key cannot. What is signed names the request's method,
//! path (with the class's token in it), number and body, so that nothing can be repeated or sent
//! to another class. Numbers only grow: they are microseconds since 1970, or the last one plus 1.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::error::{ClassError, Result};
use crate::text;

/// Header with the public key, in base64url.
pub const KEY: &str = "cadet-key";
/// Header with the request's number.
pub const NUMBER: &str = "cadet-number";
/// Header with the signature, in base64url.
pub const SIGNATURE: &str = "cadet-signature";

/// A learner's key.
pub struct Identity {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// [`ClassError::Key`].
    pub fn generate() -> Result<Self> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(bad)?;
        Self::from_bytes(made.as_ref())
    }

    /// The one that [`Identity::to_bytes`] gave.
    ///
    /// # Errors
    /// [`ClassError::Key`].
    pub fn from_bytes(pkcs8: &[u8]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(bad)?;
        Ok(Self {
            pair,
            pkcs8: pkcs8.to_vec(),
        })
    }

    /// As PKCS #8, to be kept secret.
    pub fn to_bytes(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key, as [`KEY`] carries it.
    pub fn public(&self) -> String {
        BASE64.encode(self.pair.public_key())
    }

    /// The signature of a request, as [`SIGNATURE`] carries it.
    pub fn sign(&self, method: &str, path: &str, number: u64, body: &[u8]) -> String {
        let said = said(method, path, number, body);
        BASE64.encode(self.pair.sign(said.as_bytes()))
    }
}

/// A learner's public key as it came, well formed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads what [`Identity::public`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// What the board and the rows call this learner: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        let digest = digest::digest(&digest::SHA256, &self.0);
        text::hex(&digest.as_ref()[..8])
    }

    /// As [`PublicKey::parse`] reads it.
    pub fn text(&self) -> String {
        BASE64.encode(self.0)
    }

    /// True if the owner of this key signed the request.
    pub fn signed(
        &self,
        signature: &str,
        method: &str,
        path: &str,
        number: u64,
        body: &[u8],
    ) -> bool {
        let Ok(signature) = BASE64.decode(signature) else {
            return false;
        };
        let said = said(method, path, number, body);
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(said.as_bytes(), &signature)
            .is_ok()
    }
}

fn said(method: &str, path: &str, number: u64, body: &[u8]) -> String {
    let body = text::hex(digest::digest(&digest::SHA256, body).as_ref());
    format!("cadet class 1\n{method}\n{path}\n{number}\n{body}\n")
}

fn bad(why: impl ToString) -> ClassError {
    ClassError::Key {
        whose: "the learner",
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_is_taken() {
        let me = Identity::generate().unwrap();
        let me = Identity::from_bytes(me.to_bytes()).unwrap();
        let key = PublicKey::parse(&me.public()).unwrap();
        let signature = me.sign("POST", "/class/T/report", 7, b"{}");
        assert!(key.signed(&signature, "POST", "/class/T/report", 7, b"{}"));
        assert!(!key.signed(&signature, "GET", "/class/T/report", 7, b"{}"));
        assert!(!key.signed(&signature, "POST", "/class/U/report", 7, b"{}"));
        assert!(!key.signed(&signature, "POST", "/class/T/report", 8, b"{}"));
        assert!(!key.signed(&signature, "POST", "/class/T/report", 7, b"{ }"));
        assert!(!key.signed("", "POST", "/class/T/report", 7, b"{}"));
        let other = Identity::generate().unwrap();
        let forged = other.sign("POST", "/class/T/report", 7, b"{}");
        assert!(!key.signed(&forged, "POST", "/class/T/report", 7, b"{}"));
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for bad in ["", "AAAA", "not base64!", &"A".repeat(500)] {
            assert!(PublicKey::parse(bad).is_none(), "{bad}");
        }
        let key = PublicKey::parse(&Identity::generate().unwrap().public()).unwrap();
        assert_eq!(key.id().len(), 16);
        assert_eq!(PublicKey::parse(&key.text()), Some(key));
    }
}
