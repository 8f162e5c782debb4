//! Labels and what selects by them. Unlike the API's types these can be compared and
//! hashed, which is what pods of one template are recognised and counted by.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
    /// An operator this version does not know: nothing fulfils it.
    Unknown,
}

impl Op {
    fn of(text: &str) -> Op {
        match text {
            "In" => Op::In,
            "NotIn" => Op::NotIn,
            "Exists" => Op::Exists,
            "DoesNotExist" => Op::DoesNotExist,
            "Gt" => Op::Gt,
            "Lt" => Op::Lt,
            _ => Op::Unknown,
        }
    }
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    pub key: String,
    pub op: Op,
    pub values: Vec<String>,
}

impl Requirement {
    /// That the label has this very value.
    pub fn equals(key: &str, value: &str) -> Requirement {
        Requirement {
            key: key.to_owned(),
            op: Op::In,
            values: vec![value.to_owned()],
        }
    }

    /// Whether a label's value (`None`: there is no such label) is as required.
    pub fn admits(&self, have: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|x| x == v);
        match self.op {
            Op::In => have.is_some_and(listed),
            Op::NotIn => !have.is_some_and(listed),
            Op::Exists => have.is_some(),
            Op::DoesNotExist => have.is_none(),
            Op::Gt | Op::Lt => {
                let number = |v: &str| v.parse::<i64>().ok();
                let want = self.values.first().and_then(|v| number(v));
                match (have.and_then(number), want) {
                    (Some(have), Some(want)) if self.op == Op::Gt => have > want,
                    (Some(have), Some(want)) => have < want,
                    _ => false,
                }
            }
            Op::Unknown => false,
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        self.admits(labels.get(&self.key).map(String::as_str))
    }
}

/// A label selector. An empty one selects everything, one that is not given nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    nothing: bool,
    all: Vec<Requirement>,
}

impl Selector {
    /// Every one of these requirements; in whatever order, the same selector.
    pub fn all_of(mut all: Vec<Requirement>) -> Selector {
        all.sort_unstable();
        all.dedup();
        Selector {
            nothing: false,
            all,
        }
    }

    /// As the API has it.
    pub fn of(given: Option<&LabelSelector>) -> Selector {
        let Some(given) = given else {
            return Selector {
                nothing: true,
                all: vec![],
            };
        };
        let equal = given.match_labels.iter().flatten();
        let mut all: Vec<Requirement> = equal.map(|(k, v)| Requirement::equals(k, v)).collect();
        all.extend(
            given
                .match_expressions
                .iter()
                .flatten()
                .map(|e| Requirement {
                    key: e.key.clone(),
                    op: Op::of(&e.operator),
                    values: e.values.clone().unwrap_or_default(),
                }),
        );
        Selector::all_of(all)
    }

    /// A map of labels, as Services and ReplicationControllers select.
    pub fn of_map(map: &Labels) -> Selector {
        Selector::all_of(map.iter().map(|(k, v)| Requirement::equals(k, v)).collect())
    }

    /// This one and that one.
    pub fn and(&self, other: &Selector) -> Selector {
        let both = self.all.iter().chain(&other.all).cloned().collect();
        Selector {
            nothing: self.nothing || other.nothing,
            ..Selector::all_of(both)
        }
    }

    /// With more requirements.
    pub fn with(&self, more: impl IntoIterator<Item = Requirement>) -> Selector {
        let all = self.all.iter().cloned().chain(more).collect();
        Selector {
            nothing: self.nothing,
            ..Selector::all_of(all)
        }
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.all.is_empty()
    }

    /// Whether it selects an object of these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        !self.nothing && self.all.iter().all(|r| r.holds(labels))
    }
}

/// A term of a node selector: all its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeTerm {
    labels: Vec<Requirement>,
    /// Conditions on the node's name.
    names: Vec<Requirement>,
    /// Something in it no node can fulfil: an unknown field, or no condition at all.
    impossible: bool,
}

impl NodeTerm {
    pub fn of(term: &NodeSelectorTerm) -> NodeTerm {
        let requirement = |r: &NodeSelectorRequirement| Requirement {
            key: r.key.clone(),
            op: Op::of(&r.operator),
            values: r.values.clone().unwrap_or_default(),
        };
        let labels: Vec<Requirement> = term
            .match_expressions
            .iter()
            .flatten()
            .map(requirement)
            .collect();
        let names: Vec<Requirement> = term
            .match_fields
            .iter()
            .flatten()
            .map(requirement)
            .collect();
        NodeTerm {
            impossible: (labels.is_empty() && names.is_empty())
                || names.iter().any(|r| r.key != "metadata.name"),
            labels,
            names,
        }
    }

    /// Whether a node fulfils every condition.
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        !self.impossible
            && self.names.iter().all(|r| r.admits(Some(name)))
            && self.labels.iter().all(|r| r.holds(labels))
    }

    /// The names of the only nodes it can match, if it names them.
    pub fn only_names(&self) -> Option<&[String]> {
        let named = self.names.iter().find(|r| r.op == Op::In)?;
        Some(&named.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn term(v: Value) -> NodeTerm {
        NodeTerm::of(&serde_json::from_value(v).unwrap())
    }

    #[test]
    fn operators_of_node_terms() {
        let l = Labels::from([("disk".into(), "ssd".into()), ("n".into(), "5".into())]);
        let ok = |key: &str, op: &str, values: Value| {
            term(json!({"matchExpressions": [{"key": key, "operator": op, "values": values}]}))
                .matches("node-1", &l)
        };
        assert!(ok("disk", "In", json!(["ssd", "nvme"])));
        assert!(!ok("disk", "NotIn", json!(["ssd"])));
        assert!(ok("zone", "NotIn", json!(["a"])));
        assert!(ok("zone", "DoesNotExist", json!([])));
        assert!(ok("n", "Gt", json!(["4"])));
        assert!(!ok("disk", "Lt", json!(["4"])));
        assert!(!ok("disk", "Resembles", json!(["ssd"])));
        assert!(!term(json!({})).matches("node-1", &l));
        let named = term(
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}),
        );
        assert!(named.matches("node-1", &l) && !named.matches("node-2", &l));
        assert_eq!(named.only_names().unwrap(), ["node-1"]);
    }

    #[test]
    fn selectors_are_equal_in_any_order_and_none_selects_nothing() {
        let s = |v: Value| Selector::of(Some(&serde_json::from_value(v).unwrap()));
        let a = s(json!({"matchLabels": {"a": "1", "b": "2"}}));
        let b = s(json!({"matchLabels": {"b": "2"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}));
        assert_eq!(a, b);
        let l = Labels::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert!(a.matches(&l) && !a.matches(&Labels::new()));
        assert!(s(json!({})).is_everything() && s(json!({})).matches(&l));
        assert!(!Selector::of(None).matches(&l));
        assert!(!a.and(&Selector::of(None)).matches(&l));
        assert!(!a.with([Requirement::equals("c", "3")]).matches(&l));
    }
}
