//! What is known: API objects by kind, logs, answers to questions, and what is not there.

use std::collections::BTreeMap;

use cadet_api::json::{at, str_at};
use serde_json::Value;
use time::OffsetDateTime;

use crate::kind::{Kind, Target};
use crate::want::{Access, Found, Want};

/// Everything an explanation stands on.
#[derive(Debug, Clone)]
pub struct Facts {
    pub target: Target,
    /// The moment the facts are from.
    pub now: OffsetDateTime,
    objects: BTreeMap<Kind, Vec<Value>>,
    /// What was asked for, and what came of it where that is no object.
    asked: BTreeMap<Want, Outcome>,
}

#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Known,
    Text(String),
    Absent,
    Unread(String),
    /// Of a review.
    May(bool),
}

impl Facts {
    #[must_use]
    pub fn new(target: Target, now: OffsetDateTime) -> Facts {
        Facts {
            target,
            now,
            objects: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Takes in what came of a want.
    pub fn learn(&mut self, want: Want, found: Found) {
        let outcome = match (found, &want) {
            (Found::Object(review), Want::Access(_)) => {
                Outcome::May(at(&review, "/status/allowed") == Some(&Value::Bool(true)))
            }
            (Found::Object(object), Want::Object { kind, .. }) => {
                self.put(*kind, object);
                Outcome::Known
            }
            (Found::Object(mut list), Want::List { kind, .. }) => {
                self.put_all(*kind, &mut list);
                Outcome::Known
            }
            (Found::Object(mut list), Want::PodsOn { .. }) => {
                self.put_all(Kind::Pod, &mut list);
                Outcome::Known
            }
            (Found::Object(_), _) => Outcome::Known,
            (Found::Text(text), _) => Outcome::Text(text),
            (Found::Absent, _) => Outcome::Absent,
            (Found::Unread(why), _) => Outcome::Unread(why),
        };
        self.asked.insert(want, outcome);
    }

    fn put_all(&mut self, kind: Kind, list: &mut Value) {
        if let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) {
            for item in items {
                self.put(kind, item);
            }
        }
    }

    /// Adds an object, or replaces the one of the same name.
    pub fn put(&mut self, kind: Kind, object: Value) {
        let all = self.objects.entry(kind).or_default();
        let place = all
            .iter()
            .position(|known| name(known) == name(&object) && ns(known) == ns(&object));
        match place {
            Some(place) => all[place] = object,
            None => all.push(object),
        }
    }

    /// Whether this has been asked for, whatever came of it.
    #[must_use]
    pub fn has_asked(&self, want: &Want) -> bool {
        self.asked.contains_key(want)
    }

    /// Whether all objects of a kind are known here, so that one that is missing does not exist.
    #[must_use]
    pub fn has_all(&self, kind: Kind, namespace: &str) -> bool {
        let whole = [Want::list(kind, namespace), Want::list(kind, "")];
        whole
            .iter()
            .any(|want| self.asked.get(want) == Some(&Outcome::Known))
    }

    /// Whether it is certain that there is no such object.
    #[must_use]
    pub fn is_absent(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        if self.find(kind, namespace, name).is_some() {
            return false;
        }
        let want = Want::object(kind, namespace, name);
        self.asked.get(&want) == Some(&Outcome::Absent) || self.has_all(kind, namespace)
    }

    /// All objects of a kind, of all namespaces that were looked at.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        self.objects.get(&kind).into_iter().flatten()
    }

    /// The objects of a kind in a namespace.
    pub fn within<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Value> + 'a {
        self.all(kind).filter(move |object| ns(object) == namespace)
    }

    #[must_use]
    pub fn find(&self, kind: Kind, namespace: &str, wanted: &str) -> Option<&Value> {
        self.all(kind).find(|object| {
            name(object) == wanted && (!kind.is_namespaced() || ns(object) == namespace)
        })
    }

    /// The object that is asked about.
    #[must_use]
    pub fn subject(&self) -> Option<&Value> {
        let Target {
            kind,
            namespace,
            name,
        } = &self.target;
        self.find(*kind, namespace, name)
    }

    /// The last lines of a container, if they were read.
    #[must_use]
    pub fn log(&self, pod: &Value, container: &str, previous: bool) -> Option<&str> {
        let want = Want::Log {
            namespace: ns(pod).to_owned(),
            pod: name(pod).to_owned(),
            container: container.to_owned(),
            previous,
        };
        match self.asked.get(&want) {
            Some(Outcome::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Why nobody answered at a port, if that was tried and nobody did; `Some("")` if somebody
    /// listens there.
    #[must_use]
    pub fn dialled(&self, pod: &Value, port: u16) -> Option<&str> {
        let want = Want::Dial {
            namespace: ns(pod).to_owned(),
            pod: name(pod).to_owned(),
            port,
        };
        match self.asked.get(&want)? {
            Outcome::Unread(why) => Some(why),
            _ => Some(""),
        }
    }

    /// Whether somebody may do something, if that was asked and answered.
    #[must_use]
    pub fn may(&self, access: &Access) -> Option<bool> {
        match self.asked.get(&Want::Access(access.clone()))? {
            Outcome::May(may) => Some(*may),
            _ => None,
        }
    }
}

/// Name of an object.
#[must_use]
pub fn name(object: &Value) -> &str {
    str_at(object, "/metadata/name")
}

/// Namespace of an object.
#[must_use]
pub fn ns(object: &Value) -> &str {
    str_at(object, "/metadata/namespace")
}

/// The condition of a type in an object's status.
#[must_use]
pub fn condition<'a>(object: &'a Value, wanted: &str) -> Option<&'a Value> {
    cadet_api::json::list_at(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == wanted)
}

/// Whether a condition has this status: `True`, `False` or `Unknown`.
#[must_use]
pub fn is_condition(object: &Value, wanted: &str, status: &str) -> bool {
    condition(object, wanted).is_some_and(|condition| condition["status"] == status)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_absent_is_told_from_what_was_not_looked_at() {
        let target = Target::new(Kind::Pod, "shop", "web");
        let mut facts = Facts::new(target, OffsetDateTime::UNIX_EPOCH);
        assert!(!facts.is_absent(Kind::Claim, "shop", "data"));
        facts.learn(Want::object(Kind::Claim, "shop", "data"), Found::Absent);
        assert!(facts.is_absent(Kind::Claim, "shop", "data"));
        assert!(!facts.is_absent(Kind::Claim, "shop", "other"));
        let list = json!({"items": [{"metadata": {"name": "a", "namespace": "shop"}}]});
        facts.learn(Want::list(Kind::Service, "shop"), Found::Object(list));
        assert!(facts.is_absent(Kind::Service, "shop", "b"));
        assert!(!facts.is_absent(Kind::Service, "shop", "a"));
        assert!(!facts.is_absent(Kind::Service, "elsewhere", "b"));
        facts.learn(
            Want::list(Kind::Ingress, "shop"),
            Found::Unread("forbidden".into()),
        );
        assert!(!facts.is_absent(Kind::Ingress, "shop", "x"));
    }
}
