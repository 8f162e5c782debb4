//! Label selectors: `a=b,c!=d,e in (f,g),!h,i>1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::Error;
use super::lex::{Token, tokens};
use crate::{json as place, names};

/// How one requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    In,
    NotIn,
    Exists,
    Absent,
    Greater,
    Less,
}

/// One clause. All clauses of a selector must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub op: Op,
    pub values: BTreeSet<String>,
}

/// A parsed label selector; the empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
}

/// In the form of the `labelSelector` parameter, sorted by key: `app=web,tier in (a,b)`.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clauses: Vec<String> = self.requirements.iter().map(clause).collect();
        clauses.sort_unstable();
        f.write_str(&clauses.join(","))
    }
}

fn clause(requirement: &Requirement) -> String {
    let Requirement { key, op, values } = requirement;
    let list = || {
        values
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(",")
    };
    match op {
        Op::In if values.len() == 1 => format!("{key}={}", list()),
        Op::In => format!("{key} in ({})", list()),
        Op::NotIn if values.len() == 1 => format!("{key}!={}", list()),
        Op::NotIn => format!("{key} notin ({})", list()),
        Op::Exists => key.clone(),
        Op::Absent => format!("!{key}"),
        Op::Greater => format!("{key}>{}", list()),
        Op::Less => format!("{key}<{}", list()),
    }
}

impl LabelSelector {
    /// Parses the text of a `labelSelector` query parameter.
    ///
    /// # Errors
    /// The text does not follow the grammar, or names an impossible label.
    pub fn parse(text: &str) -> Result<LabelSelector, Error> {
        Parser {
            tokens: tokens(text),
            at: 0,
        }
        .selector()
    }

    /// Reads a `metav1.LabelSelector` (`matchLabels`, `matchExpressions`).
    ///
    /// # Errors
    /// An operator is unknown or a label impossible.
    pub fn from_object(object: &Value) -> Result<LabelSelector, Error> {
        let mut requirements = Vec::new();
        if let Some(labels) = place::map_at(object, "/matchLabels") {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or_default().to_owned();
                requirements.push(requirement(key, Op::In, [value].into())?);
            }
        }
        for e in place::list_at(object, "/matchExpressions") {
            let op = match place::str_at(e, "/operator") {
                "In" => Op::In,
                "NotIn" => Op::NotIn,
                "Exists" => Op::Exists,
                "DoesNotExist" => Op::Absent,
                other => {
                    return Err(Error::Syntax(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            };
            let values = place::list_at(e, "/values")
                .iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect();
            requirements.push(requirement(place::str_at(e, "/key"), op, values)?);
        }
        Ok(LabelSelector { requirements })
    }

    /// Whether this selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_of(|key| labels.get(key).map(String::as_str))
    }

    /// Whether an object is selected whose labels `lookup` tells.
    pub fn matches_of<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| r.matches(lookup(&r.key)))
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let is_among = |v: &str| self.values.iter().any(|own| own == v);
        match self.op {
            Op::In => value.is_some_and(is_among),
            // A label that is not there is in no set.
            Op::NotIn => !value.is_some_and(is_among),
            Op::Exists => value.is_some(),
            Op::Absent => value.is_none(),
            Op::Greater | Op::Less => {
                let have = value.and_then(|v| v.parse::<i64>().ok());
                let want = self.values.first().and_then(|v| v.parse::<i64>().ok());
                match (have, want) {
                    (Some(have), Some(want)) if self.op == Op::Greater => have > want,
                    (Some(have), Some(want)) => have < want,
                    _ => false,
                }
            }
        }
    }
}

fn requirement(key: &str, op: Op, values: BTreeSet<String>) -> Result<Requirement, Error> {
    let wrong = |field: &str, value: &str, why: &[String]| {
        Err(Error::Requirement(format!(
            "{field}: Invalid value: {value:?}: {}",
            why.join("; ")
        )))
    };
    let why = names::qualified_name(key);
    if !why.is_empty() {
        return wrong("key", key, &why);
    }
    match op {
        Op::In | Op::NotIn if values.is_empty() => {
            return wrong(
                "values",
                "",
                &["for 'in', 'notin' operators, values set can't be empty".into()],
            );
        }
        Op::Greater | Op::Less => {
            if let Some(v) = values.iter().find(|v| v.parse::<i64>().is_err()) {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                return wrong("values[0]", v, &[why.into()]);
            }
        }
        _ => {}
    }
    for (i, v) in values.iter().enumerate() {
        let why = names::label_value(v);
        if !why.is_empty() {
            return wrong(&format!("values[{i}][{key}]"), v, &why);
        }
    }
    Ok(Requirement {
        key: key.to_owned(),
        op,
        values,
    })
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let t = self.peek().clone();
        self.at += 1;
        t
    }

    fn selector(mut self) -> Result<LabelSelector, Error> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) | Token::Symbol("!") => {
                    requirements.push(self.requirement()?);
                    let t = self.next();
                    match t {
                        Token::End => break,
                        Token::Symbol(",") => match self.peek() {
                            Token::Word(_) | Token::Symbol("!") => {}
                            t => {
                                return Err(Error::Syntax(format!(
                                    "found '{}', expected: identifier after ','",
                                    t.text()
                                )));
                            }
                        },
                        t => {
                            return Err(Error::Syntax(format!(
                                "found '{}', expected: ',' or 'end of string'",
                                t.text()
                            )));
                        }
                    }
                }
                Token::End => break,
                t => {
                    return Err(Error::Syntax(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        t.text()
                    )));
                }
            }
        }
        Ok(LabelSelector { requirements })
    }

    fn requirement(&mut self) -> Result<Requirement, Error> {
        let negated = *self.peek() == Token::Symbol("!");
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(w) => w,
            t => {
                return Err(Error::Requirement(format!(
                    "found '{}', expected: identifier",
                    t.text()
                )));
            }
        };
        if negated {
            return requirement(&key, Op::Absent, BTreeSet::new());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return requirement(&key, Op::Exists, BTreeSet::new());
        }
        match self.next() {
            Token::Symbol("=" | "==") => requirement(&key, Op::In, [self.value()?].into()),
            Token::Symbol("!=") => requirement(&key, Op::NotIn, [self.value()?].into()),
            Token::Symbol(">") => requirement(&key, Op::Greater, [self.value()?].into()),
            Token::Symbol("<") => requirement(&key, Op::Less, [self.value()?].into()),
            Token::Word(w) if w == "in" => requirement(&key, Op::In, self.set()?),
            Token::Word(w) if w == "notin" => requirement(&key, Op::NotIn, self.set()?),
            t => Err(Error::Requirement(format!(
                "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                t.text()
            ))),
        }
    }

    /// One value; absent means the empty string (`a=`).
    fn value(&mut self) -> Result<String, Error> {
        match self.peek() {
            Token::End | Token::Symbol(",") => Ok(String::new()),
            Token::Word(_) => Ok(self.next().text().to_owned()),
            t => Err(Error::Requirement(format!(
                "found '{}', expected: identifier",
                t.text()
            ))),
        }
    }

    fn set(&mut self) -> Result<BTreeSet<String>, Error> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(Error::Requirement(format!(
                "found '{}' expected: '('",
                open.text()
            )));
        }
        let mut values = BTreeSet::new();
        // `(,b)` and `(a,)` hold the empty string besides.
        let mut expect_value = true;
        loop {
            match self.next() {
                Token::Word(w) if expect_value => {
                    values.insert(w);
                    expect_value = false;
                }
                Token::Symbol(",") => {
                    if expect_value {
                        values.insert(String::new());
                    }
                    expect_value = true;
                }
                Token::Symbol(")") => {
                    if expect_value {
                        values.insert(String::new());
                    }
                    return Ok(values);
                }
                t => {
                    return Err(Error::Requirement(format!(
                        "found '{}', expected: ',', or ')'",
                        t.text()
                    )));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        LabelSelector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn every_form_selects_what_it_says() {
        let l = [("app", "web"), ("n", "5"), ("in", "x")];
        for (selector, want) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , n", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web,db)", true),
            ("app in(db)", false),
            ("app notin (db)", true),
            ("other notin (db)", true),
            ("n>4", true),
            ("n<5", false),
            ("app>1", false),
            ("in in (x)", true),
            ("in", true),
            ("other=", false),
            ("app in (web),n=5,!z", true),
        ] {
            assert_eq!(matches(selector, &l), want, "{selector}");
        }
        assert!(matches("e=", &[("e", "")]));
        assert!(matches("e in (,a)", &[("e", "")]));
    }

    #[test]
    fn errors_are_upstreams() {
        let err = |s: &str| LabelSelector::parse(s).unwrap_err().to_string();
        assert_eq!(
            err("a b"),
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
        );
        assert_eq!(err("a,"), "found '', expected: identifier after ','");
        assert_eq!(
            err("=a"),
            "found '=', expected: !, identifier, or 'end of string'"
        );
        assert_eq!(
            err("a in b"),
            "unable to parse requirement: found 'b' expected: '('"
        );
        assert!(err("a=b!").contains("found '!', expected: ',' or 'end of string'"));
        assert!(err("-a=b").starts_with(
            "unable to parse requirement: key: Invalid value: \"-a\": name part must"
        ));
        assert!(err("a=b$").contains("a valid label must be"));
        assert!(err("a>x").contains("must be an integer"));
        assert!(err("a in (b").contains("expected: ',', or ')'"));
    }

    #[test]
    fn label_selector_objects_are_understood() {
        let s = LabelSelector::from_object(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]},
                                 {"key": "x", "operator": "DoesNotExist"}]
        }))
        .unwrap();
        let labels = |l: &[(&str, &str)]| {
            l.iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect()
        };
        assert!(s.matches(&labels(&[("app", "web")])));
        assert!(!s.matches(&labels(&[("app", "web"), ("tier", "db")])));
        assert!(
            LabelSelector::from_object(
                &json!({"matchExpressions": [{"key": "a", "operator": "Is"}]})
            )
            .is_err()
        );
    }
}
