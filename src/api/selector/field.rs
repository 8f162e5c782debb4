//! Field selectors: `spec.nodeName=n,status.phase!=Failed`.

use serde_json::Value;

use super::Error;
use crate::resource::{Field, Resource};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

/// A parsed field selector; the empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

impl FieldSelector {
    /// Parses the text of a `fieldSelector` query parameter.
    ///
    /// # Errors
    /// A term has no operator, or an escape is not `\\`, `\,` or `\=`.
    pub fn parse(text: &str) -> Result<FieldSelector, Error> {
        let mut terms = Vec::new();
        for term in split_terms(text).into_iter().filter(|t| !t.is_empty()) {
            let bad = || Error::FieldTerm {
                selector: text.to_owned(),
                term: term.clone(),
            };
            let (field, equal, value) = split_operator(&term).ok_or_else(bad)?;
            let value = unescape(value).ok_or_else(|| {
                Error::Syntax(format!(
                    "invalid field selector: invalid escape sequence in {value:?}"
                ))
            })?;
            terms.push(Term {
                field: field.to_owned(),
                value,
                equal,
            });
        }
        Ok(FieldSelector { terms })
    }

    /// Refuses fields that this kind cannot be selected by, and calls the others as the
    /// stored version of the kind does.
    ///
    /// # Errors
    /// [`Error::UnsupportedField`] or [`Error::UnknownField`] for the first such field.
    pub fn into_stored(mut self, res: &Resource) -> Result<FieldSelector, Error> {
        let stored = res.stored_as_or_self();
        for term in &mut self.terms {
            if term.field == "metadata.name" || term.field == "metadata.namespace" {
                continue;
            }
            let asked = res.fields.iter().find(|field| field.name == term.field);
            let found = asked.and_then(|asked| {
                let mut fields = stored.fields.iter();
                fields.find(|field| field.paths == asked.paths)
            });
            match found {
                Some(field) => field.name.clone_into(&mut term.field),
                None if res.fields.is_empty() && res.custom.is_none() => {
                    return Err(Error::UnknownField(term.field.clone()));
                }
                None => return Err(Error::UnsupportedField(term.field.clone())),
            }
        }
        Ok(self)
    }

    /// Whether this selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value `field` must have, if an equality term pins it. Lets a caller use an index.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|t| t.equal && t.field == field)
            .map(|t| t.value.as_str())
    }

    /// Whether an object is selected whose fields `lookup` tells; `None` counts as "".
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms
            .iter()
            .all(|t| (lookup(&t.field).unwrap_or("") == t.value) == t.equal)
    }

    /// Whether this object of kind `res` is selected.
    pub fn matches_object(&self, res: &Resource, object: &Value) -> bool {
        self.terms
            .iter()
            .all(|t| (value_of(res, object, &t.field) == t.value) == t.equal)
    }
}

/// The values of an object's selectable fields, in the order of [`Resource::fields`], to be
/// kept beside its bytes. Its name and namespace are not among them.
pub fn values(res: &Resource, object: &Value) -> impl Iterator<Item = String> {
    let value = |f: &Field| value_at(object, f.paths, f.absent);
    res.fields.iter().map(value)
}

fn value_of(res: &Resource, object: &Value, field: &str) -> String {
    let (paths, absent): (&[&str], &str) = match field {
        "metadata.name" => (&["/metadata/name"], ""),
        "metadata.namespace" => (&["/metadata/namespace"], ""),
        other => match res.fields.iter().find(|f| f.name == other) {
            Some(f) => (f.paths, f.absent),
            None => (&[], ""),
        },
    };
    value_at(object, paths, absent)
}

/// The first of `paths` that leads to a value.
fn value_at(object: &Value, paths: &[&str], absent: &str) -> String {
    for path in paths {
        match crate::json::at(object, path) {
            Some(Value::String(s)) if !s.is_empty() => return s.clone(),
            Some(Value::Bool(b)) => return b.to_string(),
            Some(Value::Number(n)) => return n.to_string(),
            _ => {}
        }
    }
    absent.to_owned()
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            out.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = out.last_mut() {
            last.push(c);
        }
    }
    out
}

fn split_operator(term: &str) -> Option<(&str, bool, &str)> {
    // The first operator in the text wins; `!=` and `==` before `=` at the same place.
    let at = term.find(['!', '='])?;
    let rest = &term[at..];
    let (equal, value) = if let Some(v) = rest.strip_prefix("!=") {
        (false, v)
    } else if let Some(v) = rest.strip_prefix("==") {
        (true, v)
    } else {
        (true, rest.strip_prefix('=')?)
    };
    Some((&term[..at], equal, value))
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c @ ('\\' | ',' | '=') => out.push(c),
                _ => return None,
            },
            // An unescaped operator sign inside a value is a mistake.
            ',' | '=' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;
    use serde_json::json;

    #[test]
    fn terms_in_any_order_and_form() {
        let pods = find("", "v1", "pods").unwrap();
        let pod = json!({"metadata": {"name": "a", "namespace": "d"},
            "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
        let m = |s: &str| FieldSelector::parse(s).unwrap().matches_object(pods, &pod);
        assert!(m(""));
        assert!(m("status.phase!=Failed,spec.nodeName=n,metadata.name==a"));
        assert!(!m("spec.nodeName="));
        assert!(m("spec.hostNetwork=false"));
        assert!(!m("status.phase!=Running"));
    }

    #[test]
    fn looking_up_kept_values_gives_the_same_answer() {
        let events = find("", "v1", "events").unwrap();
        let e = json!({"metadata": {"name": "a"}, "involvedObject": {"uid": "u"},
            "reportingComponent": "kubelet"});
        let kept: Vec<String> = values(events, &e).collect();
        let look = |f: &str| {
            let at = events.fields.iter().position(|field| field.name == f);
            at.and_then(|at| kept.get(at)).map(String::as_str)
        };
        let s = FieldSelector::parse("involvedObject.uid=u,source=kubelet").unwrap();
        assert!(s.matches(look) && s.matches_object(events, &e));
        assert_eq!(s.exact("involvedObject.uid"), Some("u"));
    }

    #[test]
    fn escapes_and_mistakes() {
        let s = FieldSelector::parse(r"metadata.name=a\,b\=c").unwrap();
        assert_eq!(s.exact("metadata.name"), Some("a,b=c"));
        assert_eq!(
            FieldSelector::parse("x").unwrap_err().to_string(),
            "invalid selector: 'x'; can't understand 'x'"
        );
        assert!(FieldSelector::parse(r"a=\x").is_err());
        let pods = find("", "v1", "pods").unwrap();
        let e = FieldSelector::parse("spec.color=red")
            .unwrap()
            .into_stored(pods)
            .unwrap_err();
        assert_eq!(e.to_string(), "field label not supported: spec.color");
        let e = FieldSelector::parse("data.a=b")
            .unwrap()
            .into_stored(find("", "v1", "configmaps").unwrap());
        assert_eq!(
            e.unwrap_err().to_string(),
            "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }

    #[test]
    fn newer_events_call_their_fields_otherwise() {
        let events = find("events.k8s.io", "v1", "events").unwrap();
        let s = FieldSelector::parse("regarding.name=a,reportingController=kubelet,reason=b");
        let s = s.unwrap().into_stored(events).unwrap();
        assert_eq!(s.exact("involvedObject.name"), Some("a"));
        assert_eq!(s.exact("reportingComponent"), Some("kubelet"));
        assert_eq!(s.exact("reason"), Some("b"));
        let s = FieldSelector::parse("involvedObject.name=a").unwrap();
        assert!(s.into_stored(events).is_err());
        for row in crate::resource::all() {
            for field in row.fields {
                let s = FieldSelector::parse(&format!("{}=x", field.name)).unwrap();
                assert!(s.into_stored(row).is_ok(), "{row:?} {}", field.name);
            }
        }
    }
}
