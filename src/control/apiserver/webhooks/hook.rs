//! One webhook as its configuration has it, ready to be matched and called.

use std::sync::Arc;
use std::time::Duration;

use cadet_api::cel::Program;
use cadet_api::json::{int_at, list_at, str_at};
use cadet_api::selector::LabelSelector;
use cadet_api::validate::CONDITION_VARIABLES;
use serde_json::{Value, json};

use super::address::Address;
use super::trust;

/// Seconds a webhook may take unless it says; upstream's default.
const DEFAULT_TIMEOUT: i64 = 10;

/// See the module's opening.
#[derive(Debug)]
pub struct Hook {
    pub name: String,
    /// Tells hooks of one kind apart: configuration and place in it.
    pub key: (String, usize),
    pub rules: Vec<Rule>,
    /// Asked about other versions of a kind as well, in the version its rules name.
    pub equivalent: bool,
    pub namespaces: LabelSelector,
    pub objects: LabelSelector,
    pub conditions: Vec<Condition>,
    pub ignores_failure: bool,
    /// Asked again when others have changed the object since.
    pub reinvocable: bool,
    /// Can be asked about what will not happen.
    pub takes_dry_runs: bool,
    pub timeout: Duration,
    /// The first version of AdmissionReview it names that we speak.
    pub review: &'static str,
    pub address: Address,
    /// How it is trusted, or why it cannot be called at all.
    pub tls: Result<Arc<rustls::ClientConfig>, String>,
}

/// Which requests a webhook is for.
#[derive(Debug)]
pub struct Rule {
    pub operations: Vec<String>,
    pub groups: Vec<String>,
    pub versions: Vec<String>,
    /// `pods`, `pods/status`, `*`, `*/scale`.
    pub resources: Vec<(String, String)>,
    /// `*`, `Cluster` or `Namespaced`.
    pub scope: String,
}

/// One of `matchConditions`.
#[derive(Debug)]
pub struct Condition {
    pub expression: String,
    pub program: Result<Program, String>,
}

impl Hook {
    /// Reads a validated webhook; what could not be read makes its calls fail.
    pub fn read(configuration: &str, at: usize, hook: &Value) -> Hook {
        let (namespaces, first) = selector(hook, "/namespaceSelector");
        let (objects, second) = selector(hook, "/objectSelector");
        let bundle = str_at(hook, "/clientConfig/caBundle");
        let tls = match first.or(second) {
            Some(why) => Err(why),
            None => trust::config(bundle),
        };
        let seconds = int_at(hook, "/timeoutSeconds").unwrap_or(DEFAULT_TIMEOUT);
        Hook {
            name: str_at(hook, "/name").to_owned(),
            key: (configuration.to_owned(), at),
            rules: list_at(hook, "/rules").iter().map(Rule::read).collect(),
            equivalent: str_at(hook, "/matchPolicy") != "Exact",
            namespaces,
            objects,
            conditions: list_at(hook, "/matchConditions")
                .iter()
                .map(Condition::read)
                .collect(),
            ignores_failure: str_at(hook, "/failurePolicy") == "Ignore",
            reinvocable: str_at(hook, "/reinvocationPolicy") == "IfNeeded",
            takes_dry_runs: matches!(str_at(hook, "/sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(seconds.clamp(1, 30).unsigned_abs()),
            review: review_of(hook),
            address: Address::read(hook.pointer("/clientConfig").unwrap_or(&Value::Null)),
            tls,
        }
    }
}

fn review_of(hook: &Value) -> &'static str {
    let versions = list_at(hook, "/admissionReviewVersions").iter();
    let mut known = versions.filter_map(|version| match version.as_str() {
        Some("v1") => Some("v1"),
        Some("v1beta1") => Some("v1beta1"),
        _ => None,
    });
    known.next().unwrap_or("v1")
}

/// A selector, and why it could not be read.
fn selector(hook: &Value, pointer: &str) -> (LabelSelector, Option<String>) {
    let everything = json!({});
    let found = hook.pointer(pointer).unwrap_or(&everything);
    match LabelSelector::from_object(found) {
        Ok(selector) => (selector, None),
        Err(error) => (LabelSelector::default(), Some(error.to_string())),
    }
}

impl Rule {
    fn read(rule: &Value) -> Rule {
        let list = |key: &str| -> Vec<String> {
            let values = list_at(rule, key).iter();
            values
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect()
        };
        let split = |text: String| match text.split_once('/') {
            Some((resource, part)) => (resource.to_owned(), part.to_owned()),
            None => (text, String::new()),
        };
        Rule {
            operations: list("/operations"),
            groups: list("/apiGroups"),
            versions: list("/apiVersions"),
            resources: list("/resources").into_iter().map(split).collect(),
            scope: str_at(rule, "/scope").to_owned(),
        }
    }
}

impl Condition {
    fn read(condition: &Value) -> Condition {
        let expression = str_at(condition, "/expression").trim().to_owned();
        Condition {
            program: Program::compile_with(&expression, CONDITION_VARIABLES),
            expression,
        }
    }
}
