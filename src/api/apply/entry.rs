//! One entry of `metadata.managedFields`: who owns which fields, by which kind of write.

use serde_json::{Map, Value, json};

use super::Writer;
use super::fieldset::Set;
use crate::json::str_at;
use crate::meta;

/// Most entries of updates an object keeps; older ones are folded into one, as upstream.
pub(super) const MAX_UPDATES: usize = 10;
const ANCIENT: &str = "ancient-changes";

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub manager: String,
    pub apply: bool,
    pub api_version: String,
    pub subresource: String,
    pub time: Option<String>,
    pub set: Set,
}

impl Entry {
    pub fn read(value: &Value) -> Option<Entry> {
        Some(Entry {
            manager: str_at(value, "/manager").to_owned(),
            apply: str_at(value, "/operation") == "Apply",
            api_version: str_at(value, "/apiVersion").to_owned(),
            subresource: str_at(value, "/subresource").to_owned(),
            time: value.get("time").and_then(Value::as_str).map(str::to_owned),
            set: Set::read(value.get("fieldsV1")?)?,
        })
    }

    /// Reads an entry that a client sent, all of which must be right to count.
    pub fn sent(value: &Value) -> Option<Entry> {
        let right = matches!(str_at(value, "/operation"), "Apply" | "Update")
            && !str_at(value, "/apiVersion").is_empty()
            && str_at(value, "/fieldsType") == "FieldsV1";
        if !right {
            return None;
        }
        let mut whole = value.as_object()?.clone();
        whole
            .entry("fieldsV1")
            .or_insert_with(|| Value::Object(Map::new()));
        Entry::read(&Value::Object(whole))
    }

    pub fn write(&self) -> Value {
        let writer = (self.manager.as_str(), self.api_version.as_str());
        let time = self.time.as_deref();
        document(
            self.apply,
            writer,
            time,
            self.set.write(),
            &self.subresource,
        )
    }

    /// Whether this entry is about the writer's own fields. An applier's version may change.
    pub fn is_of(&self, writer: &Writer<'_>, apply: bool) -> bool {
        self.apply == apply
            && self.manager == writer.manager
            && self.subresource == writer.subresource
            && (apply || self.api_version == writer.api_version)
    }

    /// As errors name it.
    pub fn words(&self) -> String {
        let mut words = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            words = format!("{words} with subresource {:?}", self.subresource);
        }
        if !self.apply {
            words = format!("{words} using {}", self.api_version);
        }
        words
    }
}

/// An entry as it stands in the object; `writer` is the manager and the version it wrote.
fn document(
    apply: bool,
    writer: (&str, &str),
    time: Option<&str>,
    fields: Value,
    subresource: &str,
) -> Value {
    let mut out = Map::new();
    out.insert("manager".into(), json!(writer.0));
    let operation = if apply { "Apply" } else { "Update" };
    out.insert("operation".into(), json!(operation));
    out.insert("apiVersion".into(), json!(writer.1));
    if let Some(time) = time {
        out.insert("time".into(), json!(time));
    }
    out.insert("fieldsType".into(), json!("FieldsV1"));
    out.insert("fieldsV1".into(), fields);
    if !subresource.is_empty() {
        out.insert("subresource".into(), json!(subresource));
    }
    Value::Object(out)
}

/// The record of an object that one writer has just made: these fields, all his.
pub(super) fn first(writer: &Writer<'_>, time: &str, fields: Map<String, Value>) -> Value {
    let by = (writer.manager, writer.api_version);
    let fields = Value::Object(fields);
    let entry = document(false, by, Some(time), fields, writer.subresource);
    // Not by the macro, which copies what it is given.
    Value::Array(vec![entry])
}

pub(super) fn read(object: &Value) -> Vec<Entry> {
    crate::json::list_at(object, "/metadata/managedFields")
        .iter()
        .filter_map(Entry::read)
        .collect()
}

pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.set.is_empty());
    fold_ancient(&mut entries);
    // Appliers first, then updates by time, as upstream sorts them.
    entries.sort_by(|a, b| (!a.apply, &a.time, &a.manager).cmp(&(!b.apply, &b.time, &b.manager)));
    let list: Vec<Value> = entries.iter().map(Entry::write).collect();
    let value = if list.is_empty() {
        Value::Null
    } else {
        Value::Array(list)
    };
    meta::set(object, "managedFields", value);
}

fn fold_ancient(entries: &mut Vec<Entry>) {
    let updates = entries.iter().filter(|e| !e.apply).count();
    if updates <= MAX_UPDATES {
        return;
    }
    entries.sort_by(|a, b| (a.apply, &a.time).cmp(&(b.apply, &b.time)));
    let old: Vec<Entry> = entries.drain(..=updates - MAX_UPDATES).collect();
    let mut folded: Option<Entry> = None;
    for entry in old {
        match &mut folded {
            Some(into) => {
                into.set.union(&entry.set);
                into.time = entry.time;
            }
            None => {
                folded = Some(Entry {
                    manager: ANCIENT.to_owned(),
                    subresource: String::new(),
                    ..entry
                });
            }
        }
    }
    entries.extend(folded);
}
