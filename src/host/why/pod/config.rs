//! What a container needs of ConfigMaps, Secrets and users before it can be made.

use cadet_api::json::str_at;
use serde_json::Value;

use super::{Case, Part};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::facts::ns;
use crate::owner;
use crate::words::{between, short};

/// A container that could not be configured.
pub fn explain(case: &Case<'_>, part: &Part<'_>) -> Option<Answer> {
    if part.waiting() != "CreateContainerConfigError" {
        return None;
    }
    let text = str_at(part.status, "/state/waiting/message");
    let answer = missing(case, text)
        .or_else(|| as_root(case, part, text))
        .unwrap_or_else(|| {
            let headline = format!(
                "{} does not start because its {} cannot be configured: {}.",
                case.subject(),
                part.title(),
                short(text, 120).trim_end_matches('.')
            );
            Answer::new(Cause::ContainerConfig, headline).then(owner::edit(case.facts, case.pod))
        });
    Some(
        answer
            .with(part.name(), short(text, 200))
            .since(case.since_created()),
    )
}

/// A ConfigMap, Secret or key that a message says is not there.
pub fn missing(case: &Case<'_>, text: &str) -> Option<Answer> {
    let subject = case.subject();
    for (word, title, cause, plural) in [
        (
            "configmap",
            "ConfigMap",
            Cause::ConfigMapMissing,
            "configmaps",
        ),
        ("secret", "Secret", Cause::SecretMissing, "secrets"),
    ] {
        let quoted = between(text, &format!("{word} \""), "\"")
            .or_else(|| between(text, &format!("{word}s \""), "\""));
        if let Some(object) = quoted.filter(|_| text.contains("not found")) {
            let headline =
                format!("{subject} does not start because {title} {object} does not exist.");
            let create = match word {
                "secret" => format!("create secret generic {object} --from-literal=KEY=VALUE"),
                _ => format!("create configmap {object} --from-literal=KEY=VALUE"),
            };
            return Some(
                Answer::new(cause, headline)
                    .with("evidence", used_by(case.pod, title, object))
                    .then(case.kubectl(&format!("get {plural}")))
                    .then(case.kubectl(&create)),
            );
        }
    }
    // couldn't find key KEY in ConfigMap NAMESPACE/NAME
    if let Some(rest) = text.split("couldn't find key ").nth(1) {
        let (key, place) = rest.split_once(" in ").unwrap_or((rest, ""));
        let (kind, path) = place.split_once(' ').unwrap_or((place, ""));
        let object = path.rsplit('/').next().unwrap_or_default();
        return Some(no_key(case, key, kind, object.trim_end_matches([',', '.'])));
    }
    // references non-existent config key: KEY, as volumes have it.
    if let Some(rest) = text.split("references non-existent ").nth(1) {
        let (kind, key) = rest.split_once(" key: ").unwrap_or(("", rest));
        let kind = if kind == "secret" {
            "Secret"
        } else {
            "ConfigMap"
        };
        let key = key.split_whitespace().next().unwrap_or_default();
        return Some(no_key(case, key, kind, ""));
    }
    None
}

fn no_key(case: &Case<'_>, key: &str, kind: &str, object: &str) -> Answer {
    let named = match object {
        "" => format!("a {kind} of it"),
        _ => format!("{kind} {object}"),
    };
    let headline = format!(
        "{} does not start because {named} has no key {key}.",
        case.subject()
    );
    let plural = if kind == "Secret" {
        "secret"
    } else {
        "configmap"
    };
    let see = match object {
        "" => format!("get {plural}s"),
        _ => format!("describe {plural} {object}"),
    };
    Answer::new(Cause::KeyMissing, headline)
        .with("evidence", format!("namespace {}", ns(case.pod)))
        .then(case.kubectl(&see))
        .then(owner::edit(case.facts, case.pod))
}

/// Where the pod's manifest names it.
fn used_by(pod: &Value, title: &str, object: &str) -> String {
    let (volume, each, all) = match title {
        "Secret" => ("secretName", "secretKeyRef", "secretRef"),
        _ => ("name", "configMapKeyRef", "configMapRef"),
    };
    let kind = if title == "Secret" {
        "secret"
    } else {
        "configMap"
    };
    let list = cadet_api::json::list_at;
    for one in list(pod, "/spec/volumes") {
        if one[kind][volume] == object {
            return format!(
                "volume {} of the pod is {title} {object}",
                str_at(one, "/name")
            );
        }
    }
    for path in ["/spec/initContainers", "/spec/containers"] {
        for container in list(pod, path) {
            for one in list(container, "/env") {
                if one["valueFrom"][each]["name"] == object {
                    let (container, variable) = (str_at(container, "/name"), str_at(one, "/name"));
                    return format!(
                        "variable {variable} of container {container} comes from {title} {object}"
                    );
                }
            }
            let whole = list(container, "/envFrom")
                .iter()
                .any(|one| one[all]["name"] == object);
            if whole {
                let container = str_at(container, "/name");
                return format!("variables of container {container} come from {title} {object}");
            }
        }
    }
    String::new()
}

fn as_root(case: &Case<'_>, part: &Part<'_>, text: &str) -> Option<Answer> {
    let words = if text.contains("image will run as root") {
        "its image runs as root"
    } else if text.contains("breaks non-root policy") {
        "runAsUser is 0"
    } else if text.contains("cannot verify user is non-root") {
        "its image names its user by a word, which cannot be checked"
    } else {
        return None;
    };
    let headline = format!(
        "{} does not start because it says runAsNonRoot, and {words}.",
        case.subject()
    );
    Some(
        Answer::new(Cause::RunAsRoot, headline)
            .with(
                "evidence",
                format!("{}, image {}", part.title(), str_at(part.spec, "/image")),
            )
            .then(owner::edit(case.facts, case.pod)),
    )
}
