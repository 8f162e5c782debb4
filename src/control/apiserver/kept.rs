//! What is kept of an object beside its bytes: what the server acts on without reading them.
//!
//! Most of it are texts that stand in the bytes as well, so only their places are kept. Of each
//! object there is one of these: what a text costs, it costs some hundred thousand times.

use std::collections::BTreeMap;

use cadet_api::meta::{Meta, OwnerReference};
use cadet_api::resource::Resource;
use cadet_api::selector;
use memchr::memmem;
use serde_json::Value;

/// The texts every object has come first, in this order; keys and values of its labels follow,
/// then its selectable fields.
pub const NAME: usize = 0;
pub const NAMESPACE: usize = 1;
pub const UID: usize = 2;
const LABELS: usize = 3;

/// What is to be kept, read from a decoded object: by its writer, or from a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    texts: Vec<String>,
    labels: u16,
    deleting: bool,
    rest: Option<Box<Rest>>,
}

/// What few objects have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rest {
    finalizers: Box<[String]>,
    owner_references: Box<[OwnerReference]>,
}

impl Parts {
    /// Of an object that is at hand in decoded form.
    ///
    /// # Errors
    /// Its metadata is not what metadata must be.
    pub fn of(resource: &Resource, value: &Value) -> serde_json::Result<Parts> {
        let meta = Meta::of(value)?;
        let deleting = meta.is_deleting();
        // No object has so many: a label takes some bytes of the record's 1.5 MiB.
        let labels = u16::try_from(meta.labels.len()).unwrap_or(u16::MAX);
        let mut texts = vec![meta.name, meta.namespace, meta.uid];
        let pairs = meta.labels.into_iter().take(labels.into());
        texts.extend(pairs.flat_map(|(key, value)| [key, value]));
        texts.extend(selector::field_values(resource, value));
        let is_plain = meta.finalizers.is_empty() && meta.owner_references.is_empty();
        let rest = (!is_plain).then(|| {
            Box::new(Rest {
                finalizers: meta.finalizers.into(),
                owner_references: meta.owner_references.into(),
            })
        });
        Ok(Parts {
            texts,
            labels,
            deleting,
            rest,
        })
    }

    /// How many selectable fields there are.
    pub fn fields(&self) -> usize {
        self.texts.len() - first_field(self.labels)
    }

    /// The same with another value of one selectable field.
    pub fn with_field(mut self, at: usize, value: &str) -> Parts {
        if let Some(own) = self.texts.get_mut(first_field(self.labels) + at) {
            value.clone_into(own);
        }
        self
    }
}

/// Where the selectable fields begin, after so many labels.
fn first_field(labels: u16) -> usize {
    LABELS + 2 * usize::from(labels)
}

/// See the file's head.
#[derive(Debug)]
pub struct Kept {
    /// For each text its length, doubled, and one more if the text is not in the object's
    /// bytes; then its place there, or else the text itself. Numbers are in LEB128.
    places: Box<[u8]>,
    rest: Option<Box<Rest>>,
    labels: u16,
    deleting: bool,
}

impl Kept {
    /// `bytes` are the object's own, and every other call gets the same.
    pub fn new(parts: Parts, bytes: &[u8]) -> Kept {
        let mut places = Vec::with_capacity(4 * parts.texts.len());
        for text in &parts.texts {
            // Wherever the same bytes stand, they are this text; names and labels stand early.
            let place = match text.is_empty() {
                true => Some(0),
                false => memmem::find(bytes, text.as_bytes()),
            };
            number(&mut places, 2 * text.len() + usize::from(place.is_none()));
            match place {
                Some(place) => number(&mut places, place),
                None => places.extend_from_slice(text.as_bytes()),
            }
        }
        Kept {
            // Copied, because an allocator may leave what it shrinks in the room it has.
            places: places.as_slice().into(),
            rest: parts.rest,
            labels: parts.labels,
            deleting: parts.deleting,
        }
    }

    /// As it was put in.
    pub fn parts(&self, bytes: &[u8]) -> Parts {
        Parts {
            texts: self.texts(bytes).map(str::to_owned).collect(),
            labels: self.labels,
            deleting: self.deleting,
            rest: self.rest.clone(),
        }
    }

    /// One of the texts; "" if there are not so many.
    pub fn text<'a>(&'a self, at: usize, bytes: &'a [u8]) -> &'a str {
        self.texts(bytes).nth(at).unwrap_or_default()
    }

    /// The value of the selectable field that is the kind's `at`th.
    pub fn field<'a>(&'a self, at: usize, bytes: &'a [u8]) -> &'a str {
        self.text(first_field(self.labels) + at, bytes)
    }

    /// The value of a label.
    pub fn label<'a>(&'a self, key: &str, bytes: &'a [u8]) -> Option<&'a str> {
        let mut pairs = self.pairs(bytes);
        pairs.find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// All labels.
    pub fn labels(&self, bytes: &[u8]) -> BTreeMap<String, String> {
        let pairs = self.pairs(bytes);
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// True once deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.deleting
    }

    pub fn finalizers(&self) -> &[String] {
        self.rest.as_ref().map_or(&[], |rest| &rest.finalizers)
    }

    pub fn owner_references(&self) -> &[OwnerReference] {
        self.rest
            .as_ref()
            .map_or(&[], |rest| &rest.owner_references)
    }

    fn texts<'a>(&'a self, bytes: &'a [u8]) -> Places<'a> {
        Places {
            places: &self.places,
            bytes,
        }
    }

    fn pairs<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut texts = self.texts(bytes).skip(LABELS);
        (0..self.labels).map_while(move |_| Some((texts.next()?, texts.next()?)))
    }
}

/// The texts, one after the other.
struct Places<'a> {
    places: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Iterator for Places<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let said = take(&mut self.places)?;
        let length = said / 2;
        let text = if said % 2 == 1 {
            let (own, rest) = self.places.split_at_checked(length)?;
            self.places = rest;
            own
        } else {
            let place = take(&mut self.places)?;
            self.bytes.get(place..place + length)?
        };
        // They were the bytes of a text when their place was noted.
        std::str::from_utf8(text).ok()
    }
}

/// Appends a number, seven bits to a byte, the lowest first.
fn number(to: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Takes a number off the front.
fn take(from: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_api::resource;
    use serde_json::json;

    fn pods() -> &'static Resource {
        resource::find("", "v1", "pods").expect("pods")
    }

    fn kept(value: &Value) -> (Kept, Parts, Vec<u8>) {
        let parts = Parts::of(pods(), value).expect("parts");
        let bytes = value.to_string().into_bytes();
        (Kept::new(parts.clone(), &bytes), parts, bytes)
    }

    #[test]
    fn texts_are_found_again_wherever_they_stand() {
        let long = "x".repeat(300);
        let (kept, parts, bytes) = kept(&json!({
            "metadata": {"name": "a", "namespace": "größe", "uid": long,
                "labels": {"app": "a", "tier": "", "quoted": "\"\\"},
                "finalizers": ["f/g"]},
            "spec": {"nodeName": "n1"}, "status": {}}));
        assert_eq!(kept.parts(&bytes), parts);
        assert_eq!(kept.text(NAME, &bytes), "a");
        assert_eq!(kept.text(NAMESPACE, &bytes), "größe");
        assert_eq!(kept.text(UID, &bytes), long);
        assert_eq!(kept.label("quoted", &bytes), Some("\"\\"));
        assert_eq!(kept.label("tier", &bytes), Some(""));
        assert_eq!(kept.label("none", &bytes), None);
        assert_eq!(kept.labels(&bytes).len(), 3);
        assert_eq!(kept.finalizers(), ["f/g"]);
        assert!(kept.owner_references().is_empty() && !kept.is_deleting());
        let node = pods().fields.iter().position(|f| f.name == "spec.nodeName");
        let node = node.expect("a field of pods");
        assert_eq!(kept.field(node, &bytes), "n1");
        let moved = parts.clone().with_field(node, "n2");
        assert_eq!(Kept::new(moved, &bytes).field(node, &bytes), "n2");
        assert_eq!(parts.clone().with_field(pods().fields.len(), "no"), parts);
    }

    #[test]
    fn an_object_with_nothing_in_it() {
        let (kept, parts, bytes) = kept(&json!({}));
        assert_eq!(kept.parts(&bytes), parts);
        assert_eq!(kept.text(NAME, &bytes), "");
        assert_eq!(kept.text(1000, &bytes), "");
        assert_eq!(kept.label("a", &bytes), None);
    }

    /// The places of a pod's texts take less than the shortest of its names would.
    #[test]
    fn places_are_short() {
        let (kept, ..) = kept(&json!({
            "metadata": {"name": "web-7d4b9c6f5-abcde", "namespace": "default",
                "uid": "0b6c6ab0-8a1f-4f1e-9d55-3a1f0a4b7c11", "labels": {"app": "web"}},
            "spec": {"nodeName": "cadet-2", "schedulerName": "default-scheduler",
                "restartPolicy": "Always", "serviceAccountName": "default"},
            "status": {"phase": "Running", "podIP": "10.244.1.7"}}));
        assert!(kept.places.len() <= 64, "{}", kept.places.len());
    }

    #[test]
    fn numbers_of_every_length() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, usize::MAX] {
            let mut bytes = vec![];
            number(&mut bytes, value);
            let mut rest = &bytes[..];
            assert_eq!((take(&mut rest), rest.len()), (Some(value), 0));
        }
        assert_eq!(take(&mut &[0x80][..]), None);
    }
}
