//! Ed25519 key pairs in OpenSSH's own formats.

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};

use crate::{Result, TunnelError};

/// One key pair, as text ready for a file or for cloud-init.
///
/// `Debug` never shows the private half.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// `-----BEGIN OPENSSH PRIVATE KEY-----` document, unencrypted, `\n` line ends.
    /// The caller stores it with mode 0600.
    pub private: String,
    /// One `ssh-ed25519 AAAA… comment` line without a line end.
    pub public: String,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// Makes a fresh ed25519 key pair from the system's random numbers.
///
/// `comment` goes into the public line; line ends in it are replaced by blanks.
///
/// # Errors
/// [`TunnelError::KeyGeneration`] if the key cannot be made or written as text.
pub fn generate(comment: &str) -> Result<KeyPair> {
    let failed = |e: &dyn std::fmt::Display| TunnelError::KeyGeneration(e.to_string());
    let comment: String = comment
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let pair = Ed25519Keypair::random(&mut russh::keys::key::safe_rng());
    let key = PrivateKey::new(KeypairData::from(pair), comment.trim()).map_err(|e| failed(&e))?;
    let private = key
        .to_openssh(LineEnding::LF)
        .map_err(|e| failed(&e))?
        .to_string();
    let public = key.public_key().to_openssh().map_err(|e| failed(&e))?;
    Ok(KeyPair { private, public })
}

/// SHA-256 fingerprint of a public key line, as `ssh-keygen -lf` prints it.
///
/// # Errors
/// [`TunnelError::BadKey`] if the line is no ed25519 public key.
pub fn fingerprint(public: &str) -> Result<String> {
    Ok(parse_public(public)?
        .fingerprint(HashAlg::Sha256)
        .to_string())
}

/// The public line of a private key document, if it can be used as it is.
///
/// # Errors
/// [`TunnelError::BadKey`] if it is none, not ed25519, or protected by a passphrase.
pub fn public_of(private: &str) -> Result<String> {
    let failed = |e: russh::keys::ssh_key::Error| TunnelError::BadKey {
        which: "client key",
        reason: e.to_string(),
    };
    parse_private(private)?
        .public_key()
        .to_openssh()
        .map_err(failed)
}

/// Reads a public key line; only ed25519 is accepted.
pub(crate) fn parse_public(line: &str) -> Result<PublicKey> {
    let bad = |reason: String| TunnelError::BadKey {
        which: "host key",
        reason,
    };
    let key = PublicKey::from_openssh(line.trim()).map_err(|e| bad(e.to_string()))?;
    match key.algorithm() {
        Algorithm::Ed25519 => Ok(key),
        other => Err(bad(format!("it is {other}"))),
    }
}

/// Reads a private key document; only unencrypted ed25519 is accepted.
pub(crate) fn parse_private(text: &str) -> Result<PrivateKey> {
    let bad = |reason: String| TunnelError::BadKey {
        which: "client key",
        reason,
    };
    let key = PrivateKey::from_openssh(text).map_err(|e| bad(e.to_string()))?;
    if key.is_encrypted() {
        return Err(bad("it is protected by a passphrase".into()));
    }
    match key.algorithm() {
        Algorithm::Ed25519 => Ok(key),
        other => Err(bad(format!("it is {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_reads_back_and_belongs_together() {
        let pair = generate("cadet\nprofile").unwrap();
        assert!(
            pair.private
                .starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        );
        assert!(
            pair.private
                .ends_with("-----END OPENSSH PRIVATE KEY-----\n")
        );
        assert!(pair.public.starts_with("ssh-ed25519 AAAA"));
        assert!(pair.public.ends_with(" cadet profile"));
        assert_eq!(public_of(&pair.private).unwrap(), pair.public);
        assert!(public_of(&pair.public).is_err());
        let private = parse_private(&pair.private).unwrap();
        let public = parse_public(&pair.public).unwrap();
        assert_eq!(private.public_key().key_data(), public.key_data());
    }

    #[test]
    fn two_pairs_differ_and_debug_keeps_the_secret() {
        let (a, b) = (generate("a").unwrap(), generate("a").unwrap());
        assert_ne!(a, b);
        assert!(!format!("{a:?}").contains("PRIVATE"));
    }

    #[test]
    fn fingerprints_are_those_of_ssh_keygen() {
        let line =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        assert_eq!(
            fingerprint(line).unwrap(),
            "SHA256:T7SvZ2cslqpPj6nKzitCBHHlpVF3r3MvLwmFL0fk0IE"
        );
    }

    #[test]
    fn other_key_kinds_are_refused() {
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";
        assert!(matches!(
            parse_public(ecdsa),
            Err(TunnelError::BadKey { .. })
        ));
        assert!(matches!(
            parse_public("rubbish"),
            Err(TunnelError::BadKey { .. })
        ));
        assert!(matches!(
            parse_private("rubbish"),
            Err(TunnelError::BadKey { .. })
        ));
    }
}
