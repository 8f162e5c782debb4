//! What a learner's laptop remembers of the class it joined, as JSON; the caller keeps it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::code::{JoinCode, TOKEN};
use crate::error::{ClassError, Result};
use crate::identity::Identity;
use crate::pin::Trust;

/// The version this program writes.
const FORMAT: u32 = 1;

/// One membership.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    format: u32,
    /// What the teacher calls the class.
    pub title: String,
    /// The name the learner chose, and the one on the board.
    pub name: String,
    /// They agreed to report.
    pub reports: bool,
    /// Where the class was last seen.
    pub address: SocketAddr,
    /// Its fingerprint.
    class: [u8; 32],
    token: [u8; TOKEN],
    /// The learner's key, as PKCS #8 in base64.
    key: String,
    /// Seconds since 1970.
    pub joined: u64,
    /// The lesson the class begins with.
    #[serde(default)]
    pub lesson: Option<String>,
    /// What `join` had to do was done.
    #[serde(default)]
    pub ready: bool,
    /// Lessons whose last report did not arrive.
    #[serde(default)]
    pub unsent: BTreeSet<String>,
}

impl Membership {
    /// A new one: `code` led to the class `fingerprint`.
    pub fn new(code: &JoinCode, fingerprint: [u8; 32], me: &Identity, now: u64) -> Self {
        Self {
            format: FORMAT,
            title: String::new(),
            name: String::new(),
            reports: false,
            address: code.address,
            class: fingerprint,
            token: code.token,
            key: BASE64.encode(me.to_bytes()),
            joined: now,
            lesson: None,
            ready: false,
            unsent: BTreeSet::new(),
        }
    }

    /// Reads what [`Membership::encode`] wrote.
    ///
    /// # Errors
    /// [`ClassError::Key`] when it cannot be read.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let read: Self = serde_json::from_slice(bytes).map_err(|e| damaged(&e))?;
        if read.format != FORMAT {
            return Err(damaged(&format!("it has format {}", read.format)));
        }
        Ok(read)
    }

    /// As JSON, with the key in it.
    ///
    /// # Errors
    /// Never in practice: strings and numbers are JSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| damaged(&e))
    }

    /// The learner's key.
    ///
    /// # Errors
    /// [`ClassError::Key`].
    pub fn me(&self) -> Result<Identity> {
        let key = BASE64.decode(&self.key).map_err(|e| damaged(&e))?;
        Identity::from_bytes(&key)
    }

    /// How the class is known.
    pub fn trust(&self) -> Trust {
        Trust::Key(self.class)
    }

    /// What lets this learner in.
    pub fn token(&self) -> &[u8; TOKEN] {
        &self.token
    }

    /// True if `fingerprint` is the class's.
    pub fn is_of(&self, fingerprint: &[u8; 32]) -> bool {
        self.class == *fingerprint
    }

    /// The class is elsewhere, or has a new token: what is typed now counts.
    pub fn moved(&mut self, code: &JoinCode) {
        self.address = code.address;
        self.token = code.token;
    }
}

/// Without what is secret.
impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Membership({} as {})", self.title, self.name)
    }
}

fn damaged(why: &impl ToString) -> ClassError {
    ClassError::Key {
        whose: "the membership",
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_outlives_the_program_and_says_no_secret() {
        let me = Identity::generate().unwrap();
        let code = JoinCode {
            address: "192.168.1.2:7433".parse().unwrap(),
            pin: [0; 8],
            token: [7; 5],
        };
        let mut kept = Membership::new(&code, [9; 32], &me, 5);
        kept.name = "Ada".into();
        let read = Membership::decode(&kept.encode().unwrap()).unwrap();
        assert_eq!(read, kept);
        assert_eq!(read.me().unwrap().public(), me.public());
        assert!(read.is_of(&[9; 32]) && !read.is_of(&[8; 32]));
        assert!(!format!("{read:?}").contains(&read.key));
        let later = String::from_utf8(kept.encode().unwrap()).unwrap();
        let later = later.replace("\"format\":1", "\"format\":2");
        assert!(Membership::decode(later.as_bytes()).is_err());
        assert!(Membership::decode(b"{}").is_err());
    }
}
