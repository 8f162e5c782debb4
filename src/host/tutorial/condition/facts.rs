//! What is known of the world when conditions are judged.

use std::collections::{BTreeMap, BTreeSet};

use cadet_api::json::str_at;
use serde_json::Value;

use super::{KindName, Need, Probe};
use crate::world::{Asked, Change, Ended, HttpAnswer};

/// Everything conditions are judged by.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What was told of each need.
    pub(crate) objects: Vec<(Need, Vec<Value>)>,
    /// Uids that were there when the step began; None where that is not known yet.
    pub before: Option<BTreeSet<String>>,
    /// The learner's requests since the step began.
    pub asked: Vec<Asked>,
    /// What the last asking brought.
    pub fetched: BTreeMap<Probe, Fetched>,
    /// What the step shows was done here, and ended as it should.
    pub ran: bool,
    /// What of it ended as it should not, in words.
    pub failed: Option<String>,
    /// The learner said `next`.
    pub said: bool,
}

/// An answer to a [`Probe`]; `Err` is what stood in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    Http(Result<HttpAnswer, String>),
    Output(Result<Ended, String>),
    /// None where there is no such file.
    File(Result<Option<String>, String>),
}

impl Facts {
    /// All objects of a kind in a place; None until the cluster has told them.
    pub fn list(&self, kind: &KindName, namespace: &Option<String>) -> Option<&[Value]> {
        let wanted = Need::new(kind, namespace);
        let known = self.objects.iter().find(|(need, _)| need.same(&wanted));
        known.map(|(_, objects)| objects.as_slice())
    }

    /// Whether the cluster has told the objects of every one of `needs`.
    pub fn know(&self, needs: &[Need]) -> bool {
        needs
            .iter()
            .all(|need| self.list(&need.kind, &need.namespace).is_some())
    }

    /// Takes news of watched objects in. True when something changed.
    pub fn take(&mut self, need: &Need, change: Change) -> bool {
        let index = match self.objects.iter().position(|(known, _)| known.same(need)) {
            Some(index) => index,
            None => match change {
                Change::All(objects) => {
                    self.objects.push((need.clone(), objects));
                    return true;
                }
                // News before the whole: it will be in the whole.
                _ => return false,
            },
        };
        let known = &mut self.objects[index].1;
        match change {
            Change::All(objects) => {
                let changed = *known != objects;
                *known = objects;
                changed
            }
            Change::Set(object) => match known.iter_mut().find(|old| same(old, &object)) {
                Some(old) if *old == object => false,
                Some(old) => {
                    *old = object;
                    true
                }
                None => {
                    known.push(object);
                    true
                }
            },
            Change::Gone(object) => {
                let count = known.len();
                known.retain(|old| !same(old, &object));
                known.len() != count
            }
            Change::Lost(_) => false,
        }
    }

    /// The uids of all watched objects, sorted.
    pub fn uids(&self) -> BTreeSet<String> {
        let objects = self.objects.iter().flat_map(|(_, objects)| objects);
        objects
            .map(|object| str_at(object, "/metadata/uid").to_owned())
            .filter(|uid| !uid.is_empty())
            .collect()
    }

    /// Whether an object was made after the step began.
    pub fn is_new(&self, object: &Value) -> bool {
        let uid = str_at(object, "/metadata/uid");
        self.before
            .as_ref()
            .is_some_and(|before| !before.contains(uid))
    }

    /// For tests and tools: sets all objects of a kind in a place.
    pub fn with(mut self, kind: &str, namespace: Option<&str>, objects: Vec<Value>) -> Facts {
        let need = Need {
            kind: KindName::built_in(kind),
            namespace: namespace.map(str::to_owned),
        };
        self.take(&need, Change::All(objects));
        self
    }
}

/// One name is one object, whatever its uid: a watch may skip the end of the old one.
fn same(a: &Value, b: &Value) -> bool {
    ["/metadata/name", "/metadata/namespace"]
        .into_iter()
        .all(|path| str_at(a, path) == str_at(b, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, uid: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "default", "uid": uid}})
    }

    fn need() -> Need {
        Need {
            kind: KindName::built_in("pod"),
            namespace: Some("default".into()),
        }
    }

    #[test]
    fn news_are_taken_in_order() {
        let mut facts = Facts::default();
        assert!(!facts.take(&need(), Change::Set(pod("early", "0"))));
        assert!(facts.list(&need().kind, &need().namespace).is_none());
        assert!(facts.take(&need(), Change::All(vec![pod("a", "1")])));
        assert!(facts.take(&need(), Change::Set(pod("b", "2"))));
        assert!(!facts.take(&need(), Change::Set(pod("b", "2"))));
        assert!(facts.take(&need(), Change::Set(pod("b", "3"))));
        assert!(facts.take(&need(), Change::Gone(pod("a", "1"))));
        assert!(!facts.take(&need(), Change::Gone(pod("a", "1"))));
        assert!(!facts.take(&need(), Change::Lost("gone".into())));
        // Another name of the same kind leads to the same objects.
        let plural = KindName::built_in("pods");
        let list = facts.list(&plural, &need().namespace).unwrap();
        assert_eq!(list, [pod("b", "3")]);
        assert!(facts.know(&[need()]));
    }

    #[test]
    fn new_objects_are_those_with_new_uids() {
        let mut facts = Facts::default().with("pod", Some("default"), vec![pod("a", "1")]);
        assert!(
            !facts.is_new(&pod("a", "1")),
            "nothing is new before the step began"
        );
        facts.before = Some(facts.uids());
        assert!(!facts.is_new(&pod("a", "1")));
        assert!(facts.is_new(&pod("a", "2")));
    }
}
