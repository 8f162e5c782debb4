//! Keys that stand twice in one object of a JSON text, which decoding does not show.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::field;
use crate::fieldcheck::MOST;

/// Sentences for keys that stand twice in one object (`duplicate field "metadata.name"`).
/// The last of them counts, as everywhere in JSON. Text that is no JSON has none.
pub fn duplicates(text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(text);
    let walk = Walk {
        at: &Step::Root,
        found: &mut found,
    };
    // A syntax error is reported by whoever decodes the body for its content.
    if walk.deserialize(&mut reader).is_err() {
        return Vec::new();
    }
    found
        .into_iter()
        .map(|f| format!("duplicate field {f:?}"))
        .collect()
}

/// Whether a key stands twice in one object of a JSON text; `value` is what the text says.
/// Of a key that stands twice decoding keeps one, so it is enough to count.
pub fn repeats(text: &[u8], value: &Value) -> bool {
    pairs(text) != members(value)
}

/// How many keys with values a JSON text has: as many as colons outside of strings.
fn pairs(text: &[u8]) -> usize {
    let mut count = 0;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => count += 1,
            b'"' => {
                while let Some(inside) = bytes.next() {
                    match inside {
                        b'"' => break,
                        // What it escapes may be a quote.
                        b'\\' => {
                            bytes.next();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    count
}

fn members(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
        Value::Array(items) => items.iter().map(members).sum(),
        _ => 0,
    }
}

/// Where the walk is. Nearly every text has no duplicates, so the path is only written out
/// for one.
enum Step<'a> {
    Root,
    Member(&'a Step<'a>, &'a str),
    Item(&'a Step<'a>, usize),
}

impl Step<'_> {
    fn path(&self) -> String {
        match self {
            Step::Root => String::new(),
            Step::Member(parent, name) => field::member(&parent.path(), name),
            Step::Item(parent, index) => field::index(&parent.path(), *index),
        }
    }
}

/// A key, without a copy unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The keys of one object so far. A few are found faster by looking at each.
#[derive(Default)]
struct Seen<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

const FEW: usize = 24;

impl<'de> Seen<'de> {
    fn has(&self, key: &str) -> bool {
        self.few.iter().any(|seen| seen == key) || self.many.contains(key)
    }

    fn add(&mut self, key: Cow<'de, str>) {
        if self.few.len() < FEW {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
    }
}

struct Walk<'a> {
    at: &'a Step<'a>,
    found: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        while let Some(Key(key)) = map.next_key()? {
            let at = Step::Member(self.at, &key);
            if seen.has(&key) && self.found.len() < MOST {
                let path = at.path();
                if !self.found.contains(&path) {
                    self.found.push(path);
                }
            }
            map.next_value_seed(Walk {
                at: &at,
                found: self.found,
            })?;
            seen.add(key);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let walk = Walk {
                at: &Step::Item(self.at, index),
                found: self.found,
            };
            if seq.next_element_seed(walk)?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
