//! The part of JSONPath that printer columns use: members, indices, `[*]`, `[?(@.a=="b")]`.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    Index(i64),
    All,
    /// Items whose member has this value.
    Where(Vec<String>, Value),
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads `.spec.x[0].y`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let (name, left) = name(after);
                if name.is_empty() {
                    return Err(format!("{text}: a member's name is missing"));
                }
                steps.push(match name.as_str() {
                    "*" => Step::All,
                    _ => Step::Member(name),
                });
                rest = left;
            } else if let Some(after) = rest.strip_prefix('[') {
                let end = closing(after).ok_or_else(|| format!("{text}: unterminated array"))?;
                steps.push(
                    bracket(&after[..end])
                        .ok_or_else(|| format!("{text}: [{}] is not understood", &after[..end]))?,
                );
                rest = &after[end + 1..];
            } else {
                return Err(format!("{text}: a path begins with a dot"));
            }
        }
        Ok(JsonPath(steps))
    }

    /// All values it leads to.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|v| step.from(v)).collect();
        }
        found
    }
}

impl Step {
    fn from<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Step::Member(name), Value::Object(members)) => members.get(name).into_iter().collect(),
            (Step::Index(at), Value::Array(items)) => {
                let at = if *at < 0 {
                    at + items.len() as i64
                } else {
                    *at
                };
                let at = usize::try_from(at).ok();
                at.and_then(|at| items.get(at)).into_iter().collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(members)) => members.values().collect(),
            (Step::Where(path, wanted), Value::Array(items)) => items
                .iter()
                .filter(|item| {
                    let found = path.iter().try_fold(*item, |v, name| v.get(name));
                    found == Some(wanted)
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// A member's name, in which a backslash takes a dot's meaning away; and what follows.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket closes, quotes and parentheses obeyed.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(c),
            ('(', None) => depth += 1,
            (')', None) => depth -= 1,
            (']', None) if depth <= 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn bracket(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::All);
    }
    if let Ok(at) = inside.parse() {
        return Some(Step::Index(at));
    }
    if let Some(name) = literal(inside).and_then(|v| v.as_str().map(str::to_owned)) {
        return Some(Step::Member(name));
    }
    let condition = inside.strip_prefix("?(")?.strip_suffix(')')?;
    let (left, right) = condition.split_once("==")?;
    let path = left.trim().strip_prefix("@.")?;
    let path = path.split('.').map(str::to_owned).collect();
    Some(Step::Where(path, literal(right.trim())?))
}

fn literal(text: &str) -> Option<Value> {
    let quoted = |q: char| text.strip_prefix(q)?.strip_suffix(q);
    if let Some(inner) = quoted('"').or_else(|| quoted('\'')) {
        return Some(inner.into());
    }
    serde_json::from_str(text)
        .ok()
        .filter(|v: &Value| !v.is_object())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_where_kubectls_lead() {
        let o = json!({"spec": {"n": 3, "list": [{"a": 1}, {"a": 2}]},
            "metadata": {"labels": {"x.io/y": "z"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        for (path, want) in [
            (".spec.n", vec![json!(3)]),
            (".spec.list[1].a", vec![json!(2)]),
            (".spec.list[-1].a", vec![json!(2)]),
            (".spec.list[*].a", vec![json!(1), json!(2)]),
            (".metadata.labels.x\\.io/y", vec![json!("z")]),
            (".metadata.labels['x.io/y']", vec![json!("z")]),
            (
                ".status.conditions[?(@.type==\"Ready\")].status",
                vec![json!("True")],
            ),
            (".spec.none", vec![]),
        ] {
            let path = JsonPath::parse(path).expect(path);
            let found: Vec<Value> = path.find(&o).into_iter().cloned().collect();
            assert_eq!(found, want);
        }
        for bad in ["spec", ".", ".a[", ".a[?(x)]"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
