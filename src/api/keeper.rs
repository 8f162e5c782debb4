//! What the laptop tells a machine through its serial port: the words of `cadet` and of the
//! keeper in the guest (`cadet-node keeper`). One JSON document a line; each request is answered
//! once, with its own number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The port's name, under which the guest finds it.
pub const PORT: &str = "cadet.keeper";

/// A line to the guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the laptop; an answer to an earlier one is passed over.
    pub id: u64,
    /// What is wanted.
    pub ask: Ask,
}

/// What is wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ask {
    /// Who is there?
    Hello,
    /// The guest was away, or is watched: this is the time.
    Wake(Wake),
    /// Write to the disk what is still in memory.
    Sync,
    /// Make ready to be a template: finish booting, close all doors, forget what tells one
    /// machine from another.
    Freeze,
    /// Be this machine. Only a template has not become one yet.
    Become(Box<Identity>),
    /// The administrator's kubeconfig, as soon as the server has made it.
    Credentials,
}

/// The present, which a machine that stood still cannot know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wake {
    /// Nanoseconds since 1970.
    pub now: u64,
    /// Random bytes: two machines from one state would otherwise throw the same dice.
    #[serde(default)]
    pub seed: Vec<u8>,
}

/// All that makes a machine this one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Time and dice, set before anything else is done.
    pub wake: Wake,
    /// Host name.
    pub hostname: String,
    /// Login name whose key is replaced.
    pub user: String,
    /// Public key line that may log in.
    pub authorized_key: String,
    /// OpenSSH private key document of the SSH server.
    pub host_key_private: String,
    /// Its public key line.
    pub host_key_public: String,
    /// `node.json`.
    pub node_config: String,
    /// PEM files by name, for an agent whose server is elsewhere; none where it is here.
    #[serde(default)]
    pub pki: BTreeMap<String, String>,
    /// Hardware address of the card between machines; a copy still has the template's.
    #[serde(default)]
    pub card: Option<Card>,
}

/// A card that gets another hardware address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its address now.
    pub from: String,
    /// Its address from now on.
    pub to: String,
}

/// A line from the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's.
    pub id: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was done.
    Done(Told),
    /// It was not, and why.
    Failed(String),
}

/// What the guest says of itself with every answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Told {
    /// Version of `cadet-node`.
    pub version: String,
    /// Whether it has become a machine.
    pub configured: bool,
    /// How often its clock was put right since it booted, or was copied.
    pub corrections: u64,
    /// By how much in all, in milliseconds: about as long as it stood still.
    pub corrected_ms: u64,
    /// By how much its clock was put back in all, in milliseconds.
    pub put_back_ms: u64,
    /// Which boot this is (random(4), `boot_id`); empty from a keeper that does not tell.
    pub boot_id: String,
    /// What [`Ask::Credentials`] asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_they_look_like() {
        let request = Request {
            id: 7,
            ask: Ask::Hello,
        };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"id":7,"ask":"hello"}"#
        );
        let wake = r#"{"id":8,"ask":{"wake":{"now":1795000000000000000}}}"#;
        let read: Request = serde_json::from_str(wake).unwrap();
        assert!(matches!(read.ask, Ask::Wake(w) if w.now == 1_795_000_000_000_000_000));
        let failed = Reply {
            id: 8,
            outcome: Outcome::Failed("no clock".into()),
        };
        let text = serde_json::to_string(&failed).unwrap();
        assert_eq!(text, r#"{"id":8,"failed":"no clock"}"#);
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), failed);
        // A keeper of another version may say less, or more.
        let done: Reply =
            serde_json::from_str(r#"{"id":9,"done":{"version":"9","moods":1}}"#).unwrap();
        let Outcome::Done(told) = done.outcome else {
            panic!("it was done");
        };
        assert_eq!((told.version.as_str(), told.configured), ("9", false));
    }
}
