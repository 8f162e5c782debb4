//! Rules for the webhooks of admission, with upstream's words
//! (k8s.io/kubernetes/pkg/apis/admissionregistration/validation).

use serde_json::{Value, json};

use super::selector::label_selector;
use super::{all, one_of};
use crate::cel::Program;
use crate::field::{Error, index};
use crate::json::{int_at, list_at, str_at};
use crate::names;

/// Versions of AdmissionReview that upstream speaks.
const REVIEWS: &[&str] = &["v1", "v1beta1"];
const EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
/// Most conditions one webhook may have.
const MAX_CONDITIONS: usize = 64;
/// What a condition may speak of.
pub const CONDITION_VARIABLES: &[&str] = &["object", "oldObject", "request"];
/// What upstream adds to a URL's refusal.
const URL_FORM: &str = "; desired format: https://host[/path]";

/// A MutatingWebhookConfiguration or a ValidatingWebhookConfiguration.
pub(super) fn configuration(o: &Value, kind: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let mut seen: Vec<&str> = Vec::new();
    for (i, hook) in list_at(o, "/webhooks").iter().enumerate() {
        let path = index("webhooks", i);
        webhook(e, &path, hook, kind);
        review_versions(e, &format!("{path}.admissionReviewVersions"), hook);
        let name = str_at(hook, "/name");
        if seen.contains(&name) {
            e.push(Error::duplicate(&format!("{path}.name"), name));
        }
        seen.push(name);
    }
    errors
}

fn webhook(e: &mut Vec<Error>, path: &str, hook: &Value, kind: &str) {
    qualified(e, &format!("{path}.name"), str_at(hook, "/name"));
    for (i, found) in list_at(hook, "/rules").iter().enumerate() {
        rule(e, &index(&format!("{path}.rules"), i), found);
    }
    let choice = |e: &mut Vec<Error>, key: &str, known: &[&str]| {
        one_of(
            e,
            &format!("{path}.{key}"),
            str_at(hook, &format!("/{key}")),
            known,
        );
    };
    choice(e, "failurePolicy", &["Fail", "Ignore"]);
    choice(e, "matchPolicy", &["Equivalent", "Exact"]);
    let at = format!("{path}.sideEffects");
    match str_at(hook, "/sideEffects") {
        "" => e.push(Error::required(
            &at,
            "must specify one of None, NoneOnDryRun",
        )),
        known if EFFECTS.contains(&known) => {}
        other => e.push(Error::not_supported(&at, other, EFFECTS)),
    }
    if let Some(seconds) = int_at(hook, "/timeoutSeconds")
        && !(1..=30).contains(&seconds)
    {
        e.push(Error::invalid(
            &format!("{path}.timeoutSeconds"),
            seconds,
            "the timeout value must be between 1 and 30 seconds",
        ));
    }
    for key in ["namespaceSelector", "objectSelector"] {
        label_selector(e, &format!("{path}.{key}"), hook, &format!("/{key}"));
    }
    if kind == "MutatingWebhookConfiguration" {
        choice(e, "reinvocationPolicy", &["IfNeeded", "Never"]);
    }
    client(e, &format!("{path}.clientConfig"), hook);
    conditions(e, &format!("{path}.matchConditions"), hook);
}

/// Names of webhooks are domains of at least three parts.
fn qualified(e: &mut Vec<Error>, path: &str, name: &str) {
    if name.is_empty() {
        e.push(Error::required(path, ""));
        return;
    }
    let why = names::dns_subdomain(name);
    if !why.is_empty() {
        e.push(Error::invalid(path, name, why.join(",")));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        e.push(Error::invalid(path, name, why));
    }
}

fn review_versions(e: &mut Vec<Error>, path: &str, hook: &Value) {
    let versions = list_at(hook, "/admissionReviewVersions");
    if versions.is_empty() {
        e.push(Error::required(path, "must specify one of v1, v1beta1"));
        return;
    }
    for (i, version) in versions.iter().enumerate() {
        let at = index(path, i);
        if versions[..i].contains(version) {
            e.push(Error::invalid(&at, version.clone(), "duplicate version"));
            continue;
        }
        let why = names::dns1035_label(version.as_str().unwrap_or_default());
        all(e, &at, version, why);
    }
    let known = |version: &Value| version.as_str().is_some_and(|v| REVIEWS.contains(&v));
    if !versions.iter().any(known) {
        let why = "must include at least one of v1, v1beta1";
        e.push(Error::invalid(path, versions.to_vec(), why));
    }
}

fn rule(e: &mut Vec<Error>, path: &str, rule: &Value) {
    let at = |key: &str| format!("{path}.{key}");
    let list = |key: &str| list_at(rule, &format!("/{key}"));
    for (key, others) in [
        ("operations", "operations"),
        ("apiGroups", "API groups"),
        ("apiVersions", "API versions"),
    ] {
        let values = list(key);
        if values.is_empty() {
            e.push(Error::required(&at(key), ""));
        }
        if values.len() > 1 && values.contains(&json!("*")) {
            let why = format!("if '*' is present, must not specify other {others}");
            e.push(Error::invalid(&at(key), values.to_vec(), why));
        }
        for (i, value) in values.iter().enumerate() {
            let text = value.as_str().unwrap_or_default();
            let at = index(&at(key), i);
            match key {
                "operations" if !OPERATIONS.contains(&text) => {
                    e.push(Error::not_supported(&at, text, OPERATIONS));
                }
                "apiVersions" if text.is_empty() => e.push(Error::required(&at, "")),
                _ => {}
            }
        }
    }
    resources(e, &at("resources"), list("resources"));
    one_of(e, &at("scope"), str_at(rule, "/scope"), SCOPES);
}

/// `pods`, `pods/log`, `*`, `*/scale`, `pods/*`, `*/*`: none may lie within another.
fn resources(e: &mut Vec<Error>, path: &str, listed: &[Value]) {
    if listed.is_empty() {
        e.push(Error::required(path, ""));
    }
    let (mut all_parts_of, mut part_of_all): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
    let mut whole = false;
    for (i, value) in listed.iter().enumerate() {
        let at = index(path, i);
        let text = value.as_str().unwrap_or_default();
        if text.is_empty() {
            e.push(Error::required(&at, ""));
            continue;
        }
        let Some((resource, part)) = text.split_once('/') else {
            whole = text != "*";
            continue;
        };
        if all_parts_of.contains(&resource) {
            let why = format!("if '{resource}/*' is present, must not specify {text}");
            e.push(Error::invalid(&at, text, why));
        }
        if part_of_all.contains(&part) {
            let why = format!("if '*/{part}' is present, must not specify {text}");
            e.push(Error::invalid(&at, text, why));
        }
        if part == "*" {
            all_parts_of.push(resource);
        }
        if resource == "*" {
            part_of_all.push(part);
        }
    }
    if listed.len() > 1 && listed.contains(&json!("*/*")) {
        let why = "if '*/*' is present, must not specify other resources";
        e.push(Error::invalid(path, listed.to_vec(), why));
    }
    if whole && listed.contains(&json!("*")) {
        let why = "if '*' is present, must not specify other resources without subresources";
        e.push(Error::invalid(path, listed.to_vec(), why));
    }
}

fn client(e: &mut Vec<Error>, path: &str, hook: &Value) {
    let found = |key: &str| hook.pointer(&format!("/clientConfig/{key}"));
    match (found("url"), found("service")) {
        (Some(address), None) => {
            url(
                e,
                &format!("{path}.url"),
                address.as_str().unwrap_or_default(),
            );
        }
        (None, Some(named)) => service(e, &format!("{path}.service"), named),
        _ => e.push(Error::required(
            path,
            "exactly one of url or service is required",
        )),
    }
}

fn url(e: &mut Vec<Error>, path: &str, url: &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{URL_FORM}");
        e.push(Error::invalid(path, scheme, why));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.is_empty() {
        let why = format!("host must be specified{URL_FORM}");
        e.push(Error::invalid(path, host, why));
    }
    for (found, why) in [
        (
            user.unwrap_or_default(),
            "user information is not permitted in the URL",
        ),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !found.is_empty() {
            e.push(Error::invalid(path, found, why));
        }
    }
}

fn service(e: &mut Vec<Error>, path: &str, service: &Value) {
    for key in ["name", "namespace"] {
        if str_at(service, &format!("/{key}")).is_empty() {
            let why = format!("service {key} is required");
            e.push(Error::required(&format!("{path}.{key}"), &why));
        }
    }
    let port = int_at(service, "/port").unwrap_or(0);
    let why = names::port_number(port);
    if !why.is_empty() {
        let why = format!("port is not valid: {}", why.join(","));
        e.push(Error::invalid(&format!("{path}.port"), port, why));
    }
    url_path(e, &format!("{path}.path"), str_at(service, "/path"));
}

fn url_path(e: &mut Vec<Error>, path: &str, text: &str) {
    match text {
        "" | "/" => return,
        "//" => {
            e.push(Error::invalid(path, text, "segment[0] may not be empty"));
            return;
        }
        _ => {}
    }
    if !text.starts_with('/') {
        e.push(Error::invalid(path, text, "must start with a '/'"));
    }
    let steps = text.strip_prefix('/').unwrap_or(text);
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (i, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{i}] may not be empty");
            e.push(Error::invalid(path, text, why));
            continue;
        }
        for why in names::dns_subdomain(step) {
            e.push(Error::invalid(path, text, format!("segment[{i}]: {why}")));
        }
    }
}

fn conditions(e: &mut Vec<Error>, path: &str, hook: &Value) {
    let conditions = list_at(hook, "/matchConditions");
    if conditions.len() > MAX_CONDITIONS {
        e.push(Error::too_many(path, conditions.len(), MAX_CONDITIONS));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = index(path, i);
        let at = format!("{path}.expression");
        let expression = str_at(condition, "/expression").trim();
        if expression.is_empty() {
            e.push(Error::required(&at, ""));
        } else if let Err(why) = Program::compile_with(expression, CONDITION_VARIABLES) {
            e.push(Error::invalid(&at, expression, why));
        }
        let at = format!("{path}.name");
        let name = str_at(condition, "/name");
        if name.is_empty() {
            e.push(Error::required(&at, ""));
        } else {
            all(e, &at, &json!(name), names::qualified_name(name));
        }
        if !name.is_empty() && seen.contains(&name) {
            e.push(Error::duplicate(&at, name));
        }
        seen.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;
    use super::*;

    fn hook(more: Value) -> Value {
        let mut hook = json!({"name": "a.b.io", "clientConfig": {"url": "https://x/y"},
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            hook[key] = value.clone();
        }
        hook
    }

    fn messages(hooks: &[Value]) -> Vec<String> {
        refused(json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration", "webhooks": hooks}))
    }

    #[test]
    fn each_wrong_field_of_a_webhook_is_named_in_upstreams_words() {
        let rule = |key: &str, value: Value| {
            let mut rule = hook(json!({}))["rules"][0].clone();
            rule[key] = value;
            json!({"rules": [rule]})
        };
        let service = |key: &str, value: Value| {
            let mut service = json!({"name": "s", "namespace": "n"});
            service[key] = value;
            json!({"clientConfig": {"service": service}})
        };
        for (change, wanted) in [
            (json!({"name": ""}), "name: Required value"),
            (
                json!({"name": "a.b"}),
                "name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
            ),
            (
                json!({"sideEffects": "Some"}),
                "sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                json!({"sideEffects": null}),
                "sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (
                json!({"timeoutSeconds": 31}),
                "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ),
            (
                json!({"failurePolicy": "Perhaps"}),
                "failurePolicy: Unsupported value: \"Perhaps\": supported values: \"Fail\", \"Ignore\"",
            ),
            (
                json!({"reinvocationPolicy": "Always"}),
                "reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
            ),
            (
                json!({"admissionReviewVersions": []}),
                "admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            ),
            (
                json!({"admissionReviewVersions": ["v2"]}),
                "admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
            ),
            (
                json!({"admissionReviewVersions": ["v1", "v1"]}),
                "admissionReviewVersions[1]: Invalid value: \"v1\": duplicate version",
            ),
            (
                json!({"clientConfig": {}}),
                "clientConfig: Required value: exactly one of url or service is required",
            ),
            (
                json!({"clientConfig": {"url": "http://x"}}),
                "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            ),
            (
                json!({"clientConfig": {"url": "https:///x"}}),
                "clientConfig.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
            ),
            (
                json!({"clientConfig": {"url": "https://u:p@x/?a=b#c"}}),
                "clientConfig.url: Invalid value: \"u:p\": user information is not permitted in the URL",
            ),
            (
                service("name", json!("")),
                "clientConfig.service.name: Required value: service name is required",
            ),
            (
                service("port", json!(0)),
                "clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            ),
            (
                service("path", json!("a")),
                "clientConfig.service.path: Invalid value: \"a\": must start with a '/'",
            ),
            (
                service("path", json!("/a//b")),
                "clientConfig.service.path: Invalid value: \"/a//b\": segment[1] may not be empty",
            ),
            (
                rule("operations", json!(["*", "CREATE"])),
                "rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
            ),
            (
                rule("operations", json!(["GET"])),
                "rules[0].operations[0]: Unsupported value: \"GET\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
            ),
            (
                rule("apiGroups", json!([])),
                "rules[0].apiGroups: Required value",
            ),
            (
                rule("apiVersions", json!([""])),
                "rules[0].apiVersions[0]: Required value",
            ),
            (
                rule("resources", json!(["*/*", "pods"])),
                "rules[0].resources: Invalid value: [\"*/*\",\"pods\"]: if '*/*' is present, must not specify other resources",
            ),
            (
                rule("resources", json!(["*", "pods"])),
                "rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources",
            ),
            (
                rule("resources", json!(["pods/*", "pods/log"])),
                "rules[0].resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log",
            ),
            (
                rule("scope", json!("World")),
                "rules[0].scope: Unsupported value: \"World\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            ),
            (
                json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}),
                "namespaceSelector.matchExpressions[0].operator: Invalid value: \"Like\": not a valid selector operator",
            ),
            (
                json!({"matchConditions": [{"name": "a"}]}),
                "matchConditions[0].expression: Required value",
            ),
            (
                json!({"matchConditions": [{"name": "a b", "expression": "true"}]}),
                "matchConditions[0].name: Invalid value: \"a b\": name part must",
            ),
        ] {
            let found = messages(&[hook(change.clone())]);
            assert!(
                found
                    .first()
                    .is_some_and(|message| message.starts_with(&format!("webhooks[0].{wanted}"))),
                "{change}: {found:#?}"
            );
        }
    }

    #[test]
    fn conditions_must_compile_and_names_must_differ() {
        let good = json!({"matchConditions": [
            {"name": "a", "expression": "object.metadata.labels.all(k, k != 'x') && request.operation == 'CREATE'"},
            {"name": "b.io/c", "expression": "!has(oldObject.spec)"}]});
        assert_eq!(messages(&[hook(good)]), Vec::<String>::new());
        for bad in [
            "object.",
            "self.spec",
            "authorizer.group('').resource('pods')",
        ] {
            let bad = json!({"matchConditions": [{"name": "a", "expression": bad}]});
            let found = messages(&[hook(bad.clone())]);
            assert!(
                found.len() == 1 && found[0].contains("compilation failed"),
                "{bad}: {found:#?}"
            );
        }
        assert_eq!(
            messages(&[hook(json!({})), hook(json!({}))]),
            ["webhooks[1].name: Duplicate value: \"a.b.io\""]
        );
    }
}
