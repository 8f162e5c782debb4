//! Selectors: what can be read is printed so that it reads the same.

use std::collections::BTreeMap;

use super::material::Choices;
use crate::resource;
use crate::selector::{FieldSelector, LabelSelector};

const WORDS: &[&str] = &[
    "a",
    "app",
    "a.b/c",
    "in",
    "notin",
    "v1",
    "",
    "-",
    "1",
    "99999999999999999999",
    "=",
    "==",
    "!=",
    "!",
    "(",
    ")",
    ",",
    ">",
    "<",
    " ",
    "\t",
    "\n",
    "é",
    "\0",
    "x_y",
    "/",
    "metadata.name",
    "status.phase",
    "spec.nodeName",
    "\\,",
    "\\=",
    "\\\\",
    "\\",
];

fn text(choices: &mut Choices<'_>) -> String {
    let mut text = String::new();
    while choices.more() && text.len() < 300 {
        match choices.below(10) {
            0 => text.push_str(&choices.text()),
            _ => text.push_str(WORDS[choices.below(WORDS.len())]),
        }
    }
    text
}

fn labels(choices: &mut Choices<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for _ in 0..choices.below(4) {
        let key = WORDS[choices.below(8)].to_owned();
        labels.insert(key, WORDS[choices.below(10)].to_owned());
    }
    labels
}

#[test]
fn label_selector() {
    bolero::check!()
        .with_iterations(5_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let labels = labels(&mut choices);
            let text = text(&mut choices);
            let Ok(read) = LabelSelector::parse(&text) else {
                return;
            };
            let printed = read.to_string();
            let again = LabelSelector::parse(&printed);
            let again = again.unwrap_or_else(|error| panic!("{text:?} as {printed:?}: {error}"));
            assert_eq!(again.to_string(), printed, "{text:?}");
            assert_eq!(
                again.matches(&labels),
                read.matches(&labels),
                "{text:?} as {printed:?}"
            );
            // All clauses must hold: one more can only select less.
            let more = LabelSelector::parse(&format!("{printed},app"))
                .or_else(|_| LabelSelector::parse("app"));
            let more = more.expect("reads");
            assert!(!more.matches(&labels) || labels.contains_key("app"));
        });
}

#[test]
fn field_selector() {
    let pods = resource::find("", "v1", "pods").expect("pods");
    bolero::check!()
        .with_iterations(5_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let text = text(&mut choices);
            let Ok(read) = FieldSelector::parse(&text) else {
                return;
            };
            if read.clone().into_stored(pods).is_err() {
                return;
            }
            // Two ways to match: by what was kept of an object, and by the object.
            let object = serde_json::json!({"metadata": {"name": "a"}, "spec": {"nodeName": "v1"},
            "status": {"phase": "1"}});
            let kept: Vec<String> = crate::selector::field_values(pods, &object).collect();
            let lookup = |field: &str| match field {
                "metadata.name" => Some("a"),
                "metadata.namespace" => None,
                other => pods
                    .fields
                    .iter()
                    .position(|f| f.name == other)
                    .and_then(|at| kept.get(at))
                    .map(String::as_str),
            };
            assert_eq!(
                read.matches(lookup),
                read.matches_object(pods, &object),
                "{text:?}"
            );
            if let Some(name) = read.exact("metadata.name")
                && read.matches_object(pods, &object)
            {
                assert_eq!(name, "a", "{text:?}");
            }
        });
}
