//! Rules for pod templates, and for the selectors that must choose the pods made of them.

use serde_json::{Value, json};

use super::selector::{label_selector, selects_all};
use super::{labels, pod, under};
use crate::field::{Error, pointer};
use crate::json::{list_at, str_at};
use crate::meta::string_map;
use crate::selector::LabelSelector;

/// The pod template at `path` (`spec.template`): the rules of a pod.
pub(super) fn pod_template(e: &mut Vec<Error>, object: &Value, path: &str) {
    match object.pointer(&pointer(path)) {
        None => e.push(Error::required(path, "")),
        Some(template) => content(e, template, path),
    }
}

fn content(e: &mut Vec<Error>, template: &Value, path: &str) {
    // Upstream leaves "metadata" out of this path, and so must the message.
    labels(e, &format!("{path}.labels"), template, "/metadata/labels");
    e.extend(under(path, pod::spec(template)));
    if !list_at(template, "/spec/ephemeralContainers").is_empty() {
        e.push(Error::forbidden(
            &format!("{path}.spec.ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

/// `spec.template` of what keeps pods running: they restart for ever.
pub(super) fn lasting(e: &mut Vec<Error>, object: &Value, kind: &str) {
    let path = "spec.template";
    let Some(template) = object.pointer("/spec/template") else {
        e.push(Error::required(path, ""));
        return;
    };
    match with_claims(template, list_at(object, "/spec/volumeClaimTemplates")) {
        Some(whole) => content(e, &whole, path),
        None => content(e, template, path),
    }
    let policy = str_at(template, "/spec/restartPolicy");
    if policy != "Always" {
        e.push(Error::not_supported(
            "spec.template.spec.restartPolicy",
            policy,
            &["Always"],
        ));
    }
    if template.pointer("/spec/activeDeadlineSeconds").is_some() {
        e.push(Error::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        ));
    }
}

/// The template as a StatefulSet's pods will have it: each claim is a volume too, and
/// takes the place of a volume of its name.
fn with_claims(template: &Value, claims: &[Value]) -> Option<Value> {
    if claims.is_empty() {
        return None;
    }
    let names: Vec<&str> = claims.iter().map(|c| str_at(c, "/metadata/name")).collect();
    let own = list_at(template, "/spec/volumes").iter();
    let kept = own.filter(|volume| !names.contains(&str_at(volume, "/name")));
    let claimed = names
        .iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    let volumes: Vec<Value> = kept.cloned().chain(claimed).collect();
    let mut whole = template.clone();
    whole
        .pointer_mut("/spec")?
        .as_object_mut()?
        .insert("volumes".into(), Value::Array(volumes));
    Some(whole)
}

/// `spec.selector`: it is there, chooses something, and chooses the template's pods.
pub(super) fn selector(e: &mut Vec<Error>, object: &Value, kind: &str) {
    match object.pointer("/spec/selector") {
        None => e.push(Error::required("spec.selector", "")),
        Some(found) => {
            label_selector(e, "spec.selector", object, "/spec/selector");
            if selects_all(Some(found)) {
                let why = format!("empty selector is invalid for {kind}");
                e.push(Error::invalid("spec.selector", found.clone(), why));
            }
        }
    }
    chooses_template(e, object);
}

/// The selector holds for the template's labels. None at all chooses no pod, these neither.
pub(super) fn chooses_template(e: &mut Vec<Error>, object: &Value) {
    let own = string_map(object.pointer("/spec/template/metadata/labels"));
    let chosen = match object.pointer("/spec/selector") {
        None => false,
        Some(found) => match LabelSelector::from_object(found) {
            Ok(selector) => selector.matches(&own),
            // What is wrong with it has been said.
            Err(_) => return,
        },
    };
    if !chosen {
        e.push(mismatch(object));
    }
}

pub(super) fn mismatch(object: &Value) -> Error {
    Error::invalid(
        "spec.template.metadata.labels",
        template_labels(object),
        "`selector` does not match template `labels`",
    )
}

/// The template's labels as messages show them: in order, null for none.
pub(super) fn template_labels(object: &Value) -> Value {
    let own = string_map(object.pointer("/spec/template/metadata/labels"));
    match own.is_empty() {
        true => Value::Null,
        false => json!(own),
    }
}
