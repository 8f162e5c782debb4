//! `where` entries: a path into an object, an operator, a value.
//!
//! `spec.template.spec.containers[0].image == hello:2`, `metadata.labels["a.b/c"] exists`,
//! `status.conditions[*].type contains Ready`.

use std::cmp::Ordering;

use cadet_api::quantity::Quantity;
use serde_json::Value;

/// One parsed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where {
    /// As written, without surrounding space.
    pub text: String,
    /// The path as written, for words.
    pub path: String,
    pub steps: Vec<Segment>,
    pub op: Op,
    /// "" for `exists` and `missing`.
    pub value: String,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Key(String),
    Index(usize),
    /// Any element of a list, any value of a map.
    Any,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    Less,
    More,
    Contains,
    Exists,
    Missing,
}

/// Why an entry cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhereError {
    #[error("`{0}` has no path before the operator")]
    NoPath(String),
    #[error("the path `{0}` cannot be read: {1}")]
    BadPath(String, &'static str),
    #[error("`{0}` has no operator; there are == != >= <= > < contains exists missing")]
    NoOperator(String),
    #[error("`{0}` has no value after the operator")]
    NoValue(String),
    #[error("`{0}` goes on after the operator, which takes no value")]
    SuperfluousValue(String),
}

/// Longer operators first, so that `>=` is not taken for `>`.
const SIGNS: [(&str, Op); 6] = [
    ("==", Op::Equal),
    ("!=", Op::NotEqual),
    (">=", Op::AtLeast),
    ("<=", Op::AtMost),
    ("<", Op::Less),
    (">", Op::More),
];

impl Where {
    /// Parses `PATH OP VALUE`.
    ///
    /// # Errors
    /// See [`WhereError`].
    pub fn parse(text: &str) -> Result<Where, WhereError> {
        let text = text.trim();
        let (steps, rest) = segments(text)?;
        let path = text[..text.len() - rest.len()].trim_end().to_owned();
        if steps.is_empty() {
            return Err(WhereError::NoPath(text.to_owned()));
        }
        let rest = rest.trim_start();
        let made = |op: Op, value: &str| Where {
            text: text.to_owned(),
            path: path.clone(),
            steps: steps.clone(),
            op,
            value: unquoted(value.trim()),
        };
        for (sign, op) in SIGNS {
            if let Some(value) = rest.strip_prefix(sign) {
                if value.trim().is_empty() {
                    return Err(WhereError::NoValue(text.to_owned()));
                }
                return Ok(made(op, value));
            }
        }
        let (word, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match word {
            "contains" if value.trim().is_empty() => Err(WhereError::NoValue(text.to_owned())),
            "contains" => Ok(made(Op::Contains, value)),
            "exists" | "missing" if !value.trim().is_empty() => {
                Err(WhereError::SuperfluousValue(text.to_owned()))
            }
            "exists" => Ok(made(Op::Exists, "")),
            "missing" => Ok(made(Op::Missing, "")),
            _ => Err(WhereError::NoOperator(text.to_owned())),
        }
    }

    /// Whether `object` is as this says.
    pub fn fits(&self, object: &Value) -> bool {
        let found = self.found(object);
        match self.op {
            Op::Exists => !found.is_empty(),
            Op::Missing => found.is_empty(),
            Op::NotEqual if found.is_empty() => true,
            _ if found.is_empty() => self.zero_is_left_out() && self.compare(&Value::from(0)),
            _ => found.iter().any(|value| self.compare(value)),
        }
    }

    /// The values the path leads to; null counts as nothing, as it does in Kubernetes.
    pub fn found<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        let mut here = vec![object];
        for step in &self.steps {
            here = here
                .into_iter()
                .flat_map(|value| step.enter(value))
                .collect();
        }
        here.retain(|value| !value.is_null());
        here
    }

    /// Kubernetes leaves numbers of a status out when they are 0.
    fn zero_is_left_out(&self) -> bool {
        let in_status = self.steps.first() == Some(&Segment::Key("status".to_owned()));
        let number = self.value.parse::<i64>().is_ok();
        in_status && number && !self.steps.contains(&Segment::Any)
    }

    fn compare(&self, value: &Value) -> bool {
        match self.op {
            Op::Equal => self.equal(value),
            Op::NotEqual => !self.equal(value),
            Op::AtLeast => matches!(self.order(value), Some(Ordering::Greater | Ordering::Equal)),
            Op::AtMost => matches!(self.order(value), Some(Ordering::Less | Ordering::Equal)),
            Op::Less => self.order(value) == Some(Ordering::Less),
            Op::More => self.order(value) == Some(Ordering::Greater),
            Op::Contains => match value {
                Value::Array(items) => items.iter().any(|item| self.equal(item)),
                Value::Object(map) => map.contains_key(&self.value),
                other => plain(other).contains(&self.value),
            },
            Op::Exists => true,
            Op::Missing => false,
        }
    }

    fn equal(&self, value: &Value) -> bool {
        plain(value) == self.value || self.order(value) == Some(Ordering::Equal)
    }

    /// By number, or by quantity (`500m`, `1Gi`), where both are such.
    fn order(&self, value: &Value) -> Option<Ordering> {
        let have = plain(value);
        if let (Ok(have), Ok(want)) = (have.parse::<f64>(), self.value.parse::<f64>()) {
            return have.partial_cmp(&want);
        }
        let have = have.parse::<Quantity>().ok()?;
        let want = self.value.parse::<Quantity>().ok()?;
        Some(have.cmp(&want))
    }

    /// What is there now, in words: `spec.replicas is 2`.
    pub fn now(&self, object: &Value) -> String {
        let found = self.found(object);
        let shown: Vec<String> = found.iter().take(3).map(|value| short(value)).collect();
        match (found.len(), self.zero_is_left_out()) {
            (0, true) => format!("{} is 0", self.path),
            (0, false) => format!("{} is not there", self.path),
            (1..=3, _) => format!("{} is {}", self.path, shown.join(", ")),
            _ => format!("{} is {}, …", self.path, shown.join(", ")),
        }
    }

    /// What is wanted, in words that go on after "wanted": `== 4`, `contains x`.
    pub fn wanted(&self) -> String {
        match self.op {
            Op::Equal => self.value.clone(),
            Op::NotEqual => format!("anything but {}", self.value),
            Op::AtLeast => format!("{} or more", self.value),
            Op::AtMost => format!("{} or less", self.value),
            Op::Less => format!("less than {}", self.value),
            Op::More => format!("more than {}", self.value),
            Op::Contains => format!("something with {}", self.value),
            Op::Exists => "any value".to_owned(),
            Op::Missing => "none".to_owned(),
        }
    }
}

impl Segment {
    fn enter<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Segment::Key(key) => value.get(key.as_str()).into_iter().collect(),
            Segment::Index(index) => value.get(*index).into_iter().collect(),
            Segment::Any => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            },
        }
    }
}

/// Reads the path at the start of `text`; the rest begins at the operator.
fn segments(text: &str) -> Result<(Vec<Segment>, &str), WhereError> {
    let bad = |why| WhereError::BadPath(text.to_owned(), why);
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        if let Some(inside) = rest.strip_prefix('[') {
            if let Some(quoted) = inside.strip_prefix('"') {
                let (key, after) = quoted.split_once('"').ok_or(bad("a quote is open"))?;
                steps.push(Segment::Key(key.to_owned()));
                rest = after.strip_prefix(']').ok_or(bad("a ] is missing"))?;
            } else {
                let (index, after) = inside.split_once(']').ok_or(bad("a ] is missing"))?;
                steps.push(match index.trim() {
                    "*" => Segment::Any,
                    number => Segment::Index(
                        number
                            .parse()
                            .map_err(|_| bad("in [ ] stands a number, * or a key in quotes"))?,
                    ),
                });
                rest = after;
            }
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || ".[=!<>".contains(c))
                .unwrap_or(rest.len());
            if end == 0 {
                return match steps.is_empty() {
                    true => Err(WhereError::NoPath(text.to_owned())),
                    false => Err(bad("a name is missing after the dot")),
                };
            }
            steps.push(Segment::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        match rest.chars().next() {
            Some('.') => rest = &rest[1..],
            Some('[') => {}
            _ => return Ok((steps, rest)),
        }
    }
}

/// Without the double quotes around it, if there are any.
fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value).to_owned()
}

/// A value as one writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value for people: long ones are cut.
fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = match value {
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        other => plain(other),
    };
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fits(text: &str, object: &Value) -> bool {
        Where::parse(text).unwrap().fits(object)
    }

    fn deployment() -> Value {
        json!({
            "metadata": {"labels": {"a.b/c": "x", "app": "web"}},
            "spec": {"replicas": 4, "paused": true, "template": {"spec": {"containers": [
                {"name": "hello", "image": "hello:2", "resources": {"requests": {"cpu": "500m"}}},
                {"name": "side", "image": "side:1"}
            ]}}},
            "status": {"availableReplicas": 3, "conditions": [{"type": "Available"}]}
        })
    }

    #[test]
    fn every_operator_decides() {
        let object = deployment();
        for (text, want) in [
            ("spec.replicas == 4", true),
            ("spec.replicas==4", true),
            ("spec.replicas != 4", false),
            ("spec.replicas >= 4", true),
            ("spec.replicas > 4", false),
            ("spec.replicas <= 3", false),
            ("spec.replicas < 5", true),
            ("spec.paused == true", true),
            ("spec.template.spec.containers[0].image == hello:2", true),
            ("spec.template.spec.containers[1].image == hello:2", false),
            ("spec.template.spec.containers[*].image == side:1", true),
            ("spec.template.spec.containers[*].image contains side", true),
            ("spec.template.spec.containers[2].image exists", false),
            ("metadata.labels[\"a.b/c\"] == x", true),
            ("metadata.labels contains app", true),
            ("metadata.labels.app == \"web\"", true),
            ("spec.gone missing", true),
            ("spec.replicas missing", false),
            ("spec.gone == 0", false),
            ("spec.gone != 3", true),
            // Quantities are numbers too.
            (
                "spec.template.spec.containers[0].resources.requests.cpu == 0.5",
                true,
            ),
            (
                "spec.template.spec.containers[0].resources.requests.cpu < 1",
                true,
            ),
        ] {
            assert_eq!(fits(text, &object), want, "{text}");
        }
    }

    #[test]
    fn zeros_of_a_status_are_left_out_by_kubernetes() {
        let object = deployment();
        assert!(fits("status.readyReplicas == 0", &object));
        assert!(fits("status.readyReplicas < 1", &object));
        assert!(!fits("status.readyReplicas >= 1", &object));
        assert!(!fits("status.availableReplicas == 0", &object));
        assert!(!fits("status.phase == Running", &object));
        let now = Where::parse("status.readyReplicas >= 1")
            .unwrap()
            .now(&object);
        assert_eq!(now, "status.readyReplicas is 0");
    }

    #[test]
    fn what_is_there_is_told() {
        let object = deployment();
        let now = |text: &str| Where::parse(text).unwrap().now(&object);
        assert_eq!(now("spec.replicas == 5"), "spec.replicas is 4");
        assert_eq!(now("spec.gone exists"), "spec.gone is not there");
        assert_eq!(
            now("spec.template.spec.containers[*].image == x"),
            "spec.template.spec.containers[*].image is hello:2, side:1"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| Where::parse(text).unwrap_err();
        assert!(matches!(error("spec.replicas"), WhereError::NoOperator(_)));
        assert!(matches!(
            error("spec.replicas is 4"),
            WhereError::NoOperator(_)
        ));
        assert!(matches!(error("spec.replicas =="), WhereError::NoValue(_)));
        assert!(matches!(error("spec.x contains"), WhereError::NoValue(_)));
        assert!(matches!(
            error("spec.x exists 4"),
            WhereError::SuperfluousValue(_)
        ));
        assert!(matches!(error("== 4"), WhereError::NoPath(_)));
        assert!(matches!(error(""), WhereError::NoPath(_)));
        assert!(matches!(error("spec..x == 4"), WhereError::BadPath(..)));
        assert!(matches!(error("spec.x[ == 4"), WhereError::BadPath(..)));
        assert!(matches!(error("spec.x[a] == 4"), WhereError::BadPath(..)));
        assert!(matches!(error("spec.x[\"a] == 4"), WhereError::BadPath(..)));
    }
}
