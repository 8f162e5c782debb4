//! Sets of fields, and their form in `fieldsV1`: `f:name`, `k:{"name":"c"}`, `v:"x"`, `.`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step from an object to a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A member of a struct or map.
    Field(Box<str>),
    /// An item of a list known by the values of some fields, as compact JSON of them.
    Key(Box<str>),
    /// An item of a set, as JSON.
    Value(Box<str>),
}

impl Step {
    fn read(text: &str) -> Option<Step> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Step::Field(rest.into())),
            "k" => canonical(rest).map(Step::Key),
            "v" => canonical(rest).map(Step::Value),
            _ => None,
        }
    }

    pub(super) fn write(&self) -> String {
        match self {
            Step::Field(name) => format!("f:{name}"),
            Step::Key(keys) => format!("k:{keys}"),
            Step::Value(value) => format!("v:{value}"),
        }
    }
}

/// The same JSON always gets the same text, whoever wrote it.
fn canonical(text: &str) -> Option<Box<str>> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(key_text(&value))
}

/// Compact JSON with sorted members.
pub(super) fn key_text(value: &Value) -> Box<str> {
    match value.as_object() {
        Some(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            let parts: Vec<String> = sorted
                .iter()
                .map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())))
                .collect();
            format!("{{{}}}", parts.join(",")).into()
        }
        None => value.to_string().into(),
    }
}

impl fmt::Display for Step {
    /// As errors write it: `.spec`, `[name="c"]`, `[="x"]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Value(value) => write!(f, "[={value}]"),
            Step::Key(text) => {
                let keys: Value = serde_json::from_str(text).unwrap_or_default();
                let parts: Vec<String> = keys
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                write!(f, "[{}]", parts.join(","))
            }
        }
    }
}

/// A set of fields: this place itself, perhaps, and places below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    pub member: bool,
    pub children: BTreeMap<Step, Set>,
}

/// Deeper `fieldsV1` than any object has is refused.
const DEPTH: usize = 100;

impl Set {
    /// Only the place itself.
    pub fn leaf() -> Set {
        Set {
            member: true,
            children: BTreeMap::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Adds what lies below a step, unless it is nothing.
    pub fn insert(&mut self, step: Step, below: Set) {
        if !below.is_empty() {
            self.children.insert(step, below);
        }
    }

    /// Reads `fieldsV1`; `None` if it is not of that form.
    pub fn read(value: &Value) -> Option<Set> {
        Set::read_at(value, 0)
    }

    fn read_at(value: &Value, depth: usize) -> Option<Set> {
        let members = value.as_object().filter(|_| depth < DEPTH)?;
        let mut set = Set::default();
        for (key, below) in members {
            if key == "." {
                set.member = true;
                continue;
            }
            let mut below_set = Set::read_at(below, depth + 1)?;
            if below.as_object().is_some_and(Map::is_empty) {
                below_set.member = true;
            }
            set.children.insert(Step::read(key)?, below_set);
        }
        Some(set)
    }

    /// The form of `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut out = Map::new();
        if self.member && !self.children.is_empty() {
            out.insert(".".into(), Value::Object(Map::new()));
        }
        for (step, below) in &self.children {
            out.insert(step.write(), below.write());
        }
        Value::Object(out)
    }

    /// What is in either.
    pub fn union(&mut self, other: &Set) {
        self.member |= other.member;
        for (step, below) in &other.children {
            match self.children.get_mut(step) {
                Some(mine) => mine.union(below),
                None => {
                    self.children.insert(step.clone(), below.clone());
                }
            }
        }
    }

    /// What is in this and not in the other.
    pub fn subtract(&mut self, other: &Set) {
        self.member &= !other.member;
        self.children.retain(|step, mine| {
            if let Some(below) = other.children.get(step) {
                mine.subtract(below);
            }
            !mine.is_empty()
        });
    }

    /// What is in both.
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set {
            member: self.member && other.member,
            children: BTreeMap::new(),
        };
        for (step, below) in &self.children {
            if let Some(theirs) = other.children.get(step) {
                out.insert(step.clone(), below.intersection(theirs));
            }
        }
        out
    }

    /// Removes places that `other` has or that lie below one it has.
    pub fn subtract_below(&mut self, other: &Set) {
        if other.member {
            *self = Set::default();
            return;
        }
        self.children.retain(|step, mine| {
            if let Some(theirs) = other.children.get(step) {
                mine.subtract_below(theirs);
            }
            !mine.is_empty()
        });
    }

    /// Every place as errors write it, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(&mut String::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut String, out: &mut Vec<String>) {
        if self.member {
            out.push(path.clone());
        }
        let length = path.len();
        for (step, below) in &self.children {
            path.push_str(&step.to_string());
            below.collect(path, out);
            path.truncate(length);
        }
    }

    /// The set below a field.
    pub fn below(&self, field: &str) -> Option<&Set> {
        self.children.get(&Step::Field(field.into()))
    }

    /// Removes a field and all below it.
    pub fn remove(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let step = Step::Field((*first).into());
        if rest.is_empty() {
            self.children.remove(&step);
        } else if let Some(below) = self.children.get_mut(&step) {
            below.remove(rest);
            if below.is_empty() {
                self.children.remove(&step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: Value) -> Set {
        Set::read(&value).expect("fieldsV1")
    }

    #[test]
    fn sets_come_back_as_they_were_written() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:finalizers": {"v:\"a\"": {}},
                "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}});
        let read = set(fields.clone());
        assert_eq!(read.write(), fields);
        assert_eq!(
            read.paths(),
            [
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.finalizers[=\"a\"]",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port",
            ]
        );
        for bad in [
            json!({"x": {}}),
            json!({"k:{": {}}),
            json!([]),
            json!({"f:a": 1}),
        ] {
            assert_eq!(Set::read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn sets_add_up_and_subtract() {
        let mut a = set(json!({"f:a": {}, "f:b": {"f:c": {}, "f:d": {}}}));
        let b = set(json!({"f:b": {"f:c": {}}, "f:e": {}}));
        assert_eq!(a.intersection(&b), set(json!({"f:b": {"f:c": {}}})));
        a.subtract(&b);
        assert_eq!(a, set(json!({"f:a": {}, "f:b": {"f:d": {}}})));
        a.union(&b);
        assert_eq!(
            a,
            set(json!({"f:a": {}, "f:b": {"f:c": {}, "f:d": {}}, "f:e": {}}))
        );
        a.remove(&["b", "c"]);
        a.remove(&["e"]);
        assert_eq!(a, set(json!({"f:a": {}, "f:b": {"f:d": {}}})));
    }
}
