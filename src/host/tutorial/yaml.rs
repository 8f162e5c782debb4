//! YAML with line numbers: small pieces of it, read so that every mistake can be told at once.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::finding::Findings;

/// A value and the line it stands in, counted in the whole file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub line: u32,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map with its value; `line` is the key's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub line: u32,
    pub node: Node,
}

/// Reads one document whose first line is line `first` of the file. A mistake of syntax is
/// reported and gives None.
pub(crate) fn parse(text: &str, first: u32, findings: &mut Findings) -> Option<Node> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => {
            let mut node = node(raw);
            let lines: Vec<&str> = text.lines().collect();
            place(&mut node, &lines, first);
            Some(node)
        }
        Err(error) => {
            let line = error.location().map_or(1, |at| small(at.line())).max(1);
            let said = error.to_string();
            let said = said.split(" at line ").next().unwrap_or_default();
            findings.error(
                first + line - 1,
                format!("this is not YAML: {said}"),
                "look at indentation, quotes and colons in this line and the one before",
            );
            None
        }
    }
}

/// Deserializes into a [`Value`]; a type of its own, so that only this file can.
struct Raw(Value);

fn node(raw: Spanned<Raw>) -> Node {
    Node {
        line: small(raw.referenced.line()),
        value: raw.value.0,
    }
}

fn small(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor).map(Raw)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // Larger numbers mean nothing here; as text they fail where a number is wanted.
        Ok(i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Raw>>()? {
            out.push(node(item));
        }
        Ok(Value::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let node = node(map.next_value::<Spanned<Raw>>()?);
            let line = node.line;
            out.push(Entry { key, line, node });
        }
        Ok(Value::Map(out))
    }
}

/// Finds the lines of keys (the parser tells those of values only: a block below its key starts
/// a line later) and counts all lines from the start of the file.
fn place(node: &mut Node, lines: &[&str], first: u32) {
    match &mut node.value {
        Value::List(items) => {
            for item in items {
                place(item, lines, first);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                entry.line = key_line(lines, entry.node.line, &entry.key) + first - 1;
                place(&mut entry.node, lines, first);
            }
        }
        _ => {}
    }
    node.line = node.line.max(1) + first - 1;
}

/// The nearest line at or above `from` that has `key:`.
fn key_line(lines: &[&str], from: u32, key: &str) -> u32 {
    let from = (from.max(1) as usize).min(lines.len());
    let wanted = [
        format!("{key}:"),
        format!("\"{key}\":"),
        format!("'{key}':"),
    ];
    let has = |line: &str| wanted.iter().any(|wanted| line.contains(wanted.as_str()));
    let found = lines[..from].iter().rposition(|line| has(line));
    found.map_or(from, |index| index + 1) as u32
}

/// The entries of a map, each taken once; what is left over at the end is unknown.
pub(crate) struct Fields<'a> {
    pub line: u32,
    entries: &'a [Entry],
    taken: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// None, and a finding, where `node` is no map.
    pub fn of(node: &'a Node, what: &str, findings: &mut Findings) -> Option<Fields<'a>> {
        match &node.value {
            Value::Map(entries) => Some(Fields {
                line: node.line,
                entries,
                taken: Vec::new(),
            }),
            _ => {
                findings.error(
                    node.line,
                    format!("{what} is written as `key: value` lines, and this is not"),
                    "see tutorials/README.md for the keys there are",
                );
                None
            }
        }
    }

    /// The value of `key`, if it is there.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.taken.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether `key` is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Reports every key nobody took.
    pub fn finish(self, what: &str, findings: &mut Findings) {
        for entry in self.entries {
            if self.taken.contains(&entry.key.as_str()) {
                continue;
            }
            let near = nearest(&entry.key, self.taken.iter().copied());
            let fix = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", self.taken.join(", ")),
            };
            let text = format!("{what} has no key `{}`", entry.key);
            findings.error(entry.line, text, fix);
        }
    }
}

impl Entry {
    /// A text; whole numbers and truth values are taken as they are written.
    pub fn text(&self, findings: &mut Findings) -> Option<String> {
        self.node.text(&self.key, findings)
    }

    pub fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            _ => {
                let text = format!("`{}` is neither true nor false", self.key);
                findings.error(self.line, text, "write true or false");
                None
            }
        }
    }

    /// A whole number in a range.
    pub fn number(&self, least: i64, most: i64, findings: &mut Findings) -> Option<i64> {
        match self.node.value {
            Value::Int(value) if (least..=most).contains(&value) => Some(value),
            _ => {
                let text = format!("`{}` is no whole number from {least} to {most}", self.key);
                findings.error(self.line, text, "write such a number");
                None
            }
        }
    }

    /// A text or a list of texts.
    pub fn texts(&self, findings: &mut Findings) -> Vec<(String, u32)> {
        match &self.node.value {
            Value::List(items) => {
                let texts = items.iter();
                texts
                    .filter_map(|item| Some((item.text(&self.key, findings)?, item.line)))
                    .collect()
            }
            Value::Null => Vec::new(),
            _ => self
                .text(findings)
                .map(|text| (text, self.node.line))
                .into_iter()
                .collect(),
        }
    }
}

impl Node {
    pub fn text(&self, key: &str, findings: &mut Findings) -> Option<String> {
        match &self.value {
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Float(_) => {
                let text = format!("`{key}` is a number with a fraction where a text is wanted");
                findings.error(self.line, text, "put it in quotes");
                None
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                let text = format!("`{key}` is no text");
                findings.error(self.line, text, "write a text, in quotes if need be");
                None
            }
        }
    }
}

/// The known word that `word` most likely means.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2_usize.min(candidate.chars().count() / 2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance with a swap of neighbours as one mistake (optimal string alignment).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Findings) {
        let mut findings = Findings::new("l");
        let node = parse(text, 10, &mut findings);
        (node, findings)
    }

    #[test]
    fn values_and_keys_know_their_lines() {
        let (node, findings) = read("a: 1\nb:\n  - x\n  - c:\n      d: yes\n");
        assert!(findings.all.is_empty());
        let Some(Node {
            value: Value::Map(map),
            line: 10,
        }) = node
        else {
            panic!("{node:?}");
        };
        assert_eq!((map[0].line, &map[0].node.value), (10, &Value::Int(1)));
        assert_eq!(map[1].line, 11);
        let Value::List(list) = &map[1].node.value else {
            panic!("{map:?}");
        };
        assert_eq!(
            list[0],
            Node {
                line: 12,
                value: Value::Text("x".into())
            }
        );
        let Value::Map(inner) = &list[1].value else {
            panic!("{list:?}");
        };
        assert_eq!(inner[0].line, 13);
        let Value::Map(inner) = &inner[0].node.value else {
            panic!("{inner:?}");
        };
        assert_eq!(inner[0].line, 14);
        // `yes` is a word, not a truth value.
        assert_eq!(inner[0].node.value, Value::Text("yes".into()));
    }

    #[test]
    fn mistakes_of_syntax_have_their_line() {
        let (node, findings) = read("a: 1\nb: [1,\n");
        assert!(node.is_none());
        assert!(findings.all[0].line >= 10, "{:?}", findings.all);
        assert!(findings.all[0].text.starts_with("this is not YAML"));
        let (node, findings) = read("a: 1\na: 2\n");
        assert!(node.is_none());
        assert_eq!(findings.all.len(), 1);
    }

    #[test]
    fn unknown_keys_are_told_with_what_was_meant() {
        let (node, mut findings) = read("titel: x\nother: y\n");
        let node = node.unwrap();
        let mut fields = Fields::of(&node, "the front matter", &mut findings).unwrap();
        assert!(fields.take("title").is_none());
        fields.finish("the front matter", &mut findings);
        let told: Vec<(u32, &str)> = findings
            .all
            .iter()
            .map(|f| (f.line, f.fix.as_deref().unwrap()))
            .collect();
        assert_eq!(
            told,
            [(10, "did you mean `title`?"), (11, "known keys: title")]
        );
    }

    #[test]
    fn near_words_are_near() {
        assert_eq!(distance("web", "wbe"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("telescope", "telescop"), 1);
        assert_eq!(
            nearest("contians", ["matches", "contains"].into_iter()),
            Some("contains")
        );
        assert_eq!(nearest("x", ["matches"].into_iter()), None);
    }
}
