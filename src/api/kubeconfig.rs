//! One cluster's entries in a kubeconfig: put in, found, taken out. Other contexts, users,
//! clusters and unknown fields stay as they are. Laptop and server share this; reading and
//! writing files is theirs.

use serde_json::{Map, Value, json};

/// A kubeconfig as it was read.
pub type Document = Map<String, Value>;

const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

/// What must be a list is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a list")]
pub struct NotAList(pub String);

/// Credentials and address of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Context, cluster and user name.
    pub name: String,
    /// `https://127.0.0.1:PORT`.
    pub server: String,
    /// Base64 of the PEM of the cluster's authority.
    pub ca: String,
    /// Base64 of the PEM of the client certificate.
    pub cert: String,
    /// Base64 of the PEM of the client key.
    pub key: String,
}

impl Access {
    /// The rows of the three lists.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, Value); 3] {
        [
            (
                "clusters",
                json!({"name": self.name, "cluster": {
                    "server": self.server, "certificate-authority-data": self.ca}}),
            ),
            (
                "users",
                json!({"name": self.name, "user": {
                    "client-certificate-data": self.cert, "client-key-data": self.key}}),
            ),
            (
                "contexts",
                json!({"name": self.name, "context": {"cluster": self.name, "user": self.name}}),
            ),
        ]
    }

    /// What `cadet-node kubeconfig` prints, as `name` at `server`.
    ///
    /// # Errors
    /// The JSON pointer of what is missing.
    pub fn from_document(
        doc: &Value,
        name: &str,
        server: String,
    ) -> std::result::Result<Self, &'static str> {
        let field = |pointer: &'static str| {
            let text = doc.pointer(pointer).and_then(Value::as_str);
            text.map(str::to_string).ok_or(pointer)
        };
        Ok(Self {
            name: name.into(),
            server,
            ca: field("/clusters/0/cluster/certificate-authority-data")?,
            cert: field("/users/0/user/client-certificate-data")?,
            key: field("/users/0/user/client-key-data")?,
        })
    }
}

/// A kubeconfig without clusters.
#[must_use]
pub fn skeleton() -> Document {
    let mut doc = Map::new();
    doc.insert("apiVersion".into(), json!("v1"));
    doc.insert("kind".into(), json!("Config"));
    doc.insert("preferences".into(), json!({}));
    doc
}

/// Whether nobody's cluster is in `doc`.
#[must_use]
pub fn is_empty(doc: &Document) -> bool {
    LISTS.iter().all(|list| match doc.get(*list) {
        Some(Value::Array(rows)) => rows.is_empty(),
        Some(Value::Null) | None => true,
        Some(_) => false,
    })
}

/// Puts `access` in and makes it current unless `keep_context`.
///
/// # Errors
/// [`NotAList`]; the document may then be half changed.
pub fn merge(doc: &mut Document, access: &Access, keep_context: bool) -> Result<(), NotAList> {
    for (list, entry) in access.entries() {
        let rows = rows(doc, list)?;
        match rows
            .iter_mut()
            .find(|row| row["name"] == access.name.as_str())
        {
            // A namespace the user chose for our context is theirs to keep.
            Some(old) if list == "contexts" && old["context"].is_object() => {
                old["context"]["cluster"] = json!(access.name);
                old["context"]["user"] = json!(access.name);
            }
            Some(old) => *old = entry,
            None => rows.push(entry),
        }
    }
    if !keep_context {
        doc.insert("current-context".into(), json!(access.name));
    }
    Ok(())
}

/// True if `doc` holds `access` as it is, and its context is current or need not be.
#[must_use]
pub fn holds(doc: &Document, access: &Access, keep_context: bool) -> bool {
    let rows = |list: &str| doc.get(list).and_then(Value::as_array);
    let current = keep_context || doc.get("current-context") == Some(&json!(access.name));
    current
        && access
            .entries()
            .iter()
            .filter(|(list, _)| *list != "contexts")
            .all(|(list, entry)| rows(list).is_some_and(|rows| rows.contains(entry)))
        && rows("contexts")
            .is_some_and(|rows| rows.iter().any(|row| row["name"] == access.name.as_str()))
}

/// Takes context, cluster and user `name` out; if it was current, none is.
///
/// # Errors
/// [`NotAList`]; the document may then be half changed.
pub fn remove(doc: &mut Document, name: &str) -> Result<(), NotAList> {
    for list in LISTS {
        if doc.get(list).is_some_and(|rows| !rows.is_null()) {
            rows(doc, list)?.retain(|row| row["name"] != name);
        }
    }
    if doc.get("current-context") == Some(&json!(name)) {
        doc.insert("current-context".into(), json!(""));
    }
    Ok(())
}

fn rows<'a>(doc: &'a mut Document, list: &str) -> Result<&'a mut Vec<Value>, NotAList> {
    let value = doc.entry(list).or_insert_with(|| json!([]));
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| NotAList(list.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access {
            name: "cadet".into(),
            server: "https://127.0.0.1:6443".into(),
            ca: "Y2E=".into(),
            cert: "Y2VydA==".into(),
            key: "a2V5".into(),
        }
    }

    #[test]
    fn an_entry_comes_and_goes_without_a_trace() {
        let mut doc = skeleton();
        doc.insert("x-future".into(), json!({"a": 1}));
        let before = doc.clone();
        merge(&mut doc, &access(), false).unwrap();
        assert!(holds(&doc, &access(), false) && !is_empty(&doc));
        merge(&mut doc, &access(), false).unwrap();
        assert_eq!(doc["users"].as_array().unwrap().len(), 1);
        remove(&mut doc, "cadet").unwrap();
        assert!(is_empty(&doc) && !holds(&doc, &access(), true));
        assert_eq!(doc["current-context"], "");
        assert_eq!(doc["x-future"], before["x-future"]);
        remove(&mut doc, "cadet").unwrap();
    }

    #[test]
    fn what_is_no_list_is_named() {
        let mut doc = skeleton();
        doc.insert("users".into(), json!(7));
        let error = merge(&mut doc, &access(), false).unwrap_err();
        assert_eq!(error.to_string(), "`users` is not a list");
    }
}
