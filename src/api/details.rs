//! The wire form of a Status: what it is about, its causes, and the order of its members.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::status::Status;

/// What a Status is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Plural resource name, or the kind where upstream says the kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero32")]
    pub retry_after_seconds: u32,
}

/// One reason of several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn is_zero32(n: &u32) -> bool {
    *n == 0
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut m = s.serialize_map(None)?;
        m.serialize_entry("kind", "Status")?;
        m.serialize_entry("apiVersion", "v1")?;
        let mut metadata = Map::<String, Value>::new();
        if !self.continue_token.is_empty() {
            metadata.insert("continue".into(), self.continue_token.as_str().into());
        }
        m.serialize_entry("metadata", &metadata)?;
        m.serialize_entry("status", &self.status)?;
        for (key, text) in [("message", &self.message), ("reason", &self.reason)] {
            if !text.is_empty() {
                m.serialize_entry(key, text)?;
            }
        }
        if let Some(details) = &self.details {
            m.serialize_entry("details", details)?;
        }
        if self.code != 0 {
            m.serialize_entry("code", &self.code)?;
        }
        m.end()
    }
}
