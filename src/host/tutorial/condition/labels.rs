//! Why a selector finds nothing: what is there instead, in words.

use std::collections::{BTreeMap, BTreeSet};

use cadet_api::json::{map_at, str_at};
use cadet_api::selector::LabelSelector;
use serde_json::Value;

/// The labels of an object.
pub fn of(object: &Value) -> BTreeMap<String, String> {
    let labels = map_at(object, "/metadata/labels").into_iter().flatten();
    labels
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// `no pod matches app=web; pods there are labelled app=wbe`: said when `selector` finds none of
/// `objects`.
pub fn nothing_matches(
    singular: &str,
    plural: &str,
    selector: &LabelSelector,
    text: &str,
    objects: &[Value],
) -> String {
    let begin = format!("no {singular} matches {text}");
    if objects.is_empty() {
        return format!("{begin}; there are no {plural} at all");
    }
    let keys: BTreeSet<&str> = selector
        .requirements
        .iter()
        .map(|r| r.key.as_str())
        .collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for object in objects {
        let labels = of(object);
        let pairs = labels.iter().filter(|(key, _)| keys.contains(key.as_str()));
        let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
        if !pairs.is_empty() {
            seen.insert(pairs.join(","));
        }
    }
    if seen.is_empty() {
        let keys: Vec<&str> = keys.into_iter().collect();
        let names = some(
            objects
                .iter()
                .map(|object| str_at(object, "/metadata/name")),
        );
        return format!(
            "{begin}; {plural} there have no label {} ({names})",
            keys.join(", ")
        );
    }
    let seen = some(seen.iter().map(String::as_str));
    format!("{begin}; {plural} there are labelled {seen}")
}

/// The first three, and that there are more.
pub fn some<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut words: Vec<&str> = words.take(4).collect();
    if words.len() == 4 {
        words[3] = "…";
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(selector: &str, objects: &[Value]) -> String {
        let parsed = LabelSelector::parse(selector).unwrap();
        nothing_matches("pod", "pods", &parsed, selector, objects)
    }

    fn labelled(name: &str, labels: Value) -> Value {
        json!({"metadata": {"name": name, "labels": labels}})
    }

    #[test]
    fn near_misses_are_shown() {
        assert_eq!(
            told("app=web", &[labelled("a", json!({"app": "wbe", "x": "y"}))]),
            "no pod matches app=web; pods there are labelled app=wbe"
        );
        assert_eq!(
            told(
                "app=web,tier=front",
                &[labelled("a", json!({"app": "web"}))]
            ),
            "no pod matches app=web,tier=front; pods there are labelled app=web"
        );
        assert_eq!(
            told("app=web", &[labelled("a", json!({"run": "web"}))]),
            "no pod matches app=web; pods there have no label app (a)"
        );
        assert_eq!(
            told("app=web", &[]),
            "no pod matches app=web; there are no pods at all"
        );
        let many: Vec<Value> = (0..9)
            .map(|n| labelled("p", json!({"app": format!("w{n}")})))
            .collect();
        assert_eq!(
            told("app=web", &many),
            "no pod matches app=web; pods there are labelled app=w0, app=w1, app=w2, …"
        );
    }
}
