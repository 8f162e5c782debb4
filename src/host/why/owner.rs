//! Who owns whom: from a pod up to what a user made, and down to the pods.

use std::collections::BTreeMap;

use cadet_api::json::{bool_at, list_at, map_at, str_at};
use cadet_api::selector::LabelSelector;
use serde_json::Value;

use crate::facts::{Facts, name, ns};
use crate::kind::Kind;
use crate::words::kubectl;

/// Pod, ReplicaSet, Deployment, and two of other people's kinds.
const OWNERS: usize = 5;

/// Kind and name of the controller that an object names.
#[must_use]
pub fn controller(object: &Value) -> Option<(Kind, &str)> {
    let owners = list_at(object, "/metadata/ownerReferences");
    let owner = owners.iter().find(|owner| bool_at(owner, "/controller"))?;
    Some((
        Kind::of_word(str_at(owner, "/kind"))?,
        str_at(owner, "/name"),
    ))
}

/// What a user would change to change this pod: its Deployment, its CronJob, or itself.
#[must_use]
pub fn root(facts: &Facts, pod: &Value) -> (Kind, String) {
    let namespace = ns(pod);
    let mut found = (Kind::Pod, name(pod).to_owned());
    let mut above = controller(pod).map(|(kind, name)| (kind, name.to_owned()));
    // Nobody owns themselves, but nothing keeps an object from saying so.
    for _ in 0..OWNERS {
        let Some((kind, name)) = above else { break };
        above = facts
            .find(kind, namespace, &name)
            .and_then(controller)
            .map(|(kind, name)| (kind, name.to_owned()));
        found = (kind, name);
    }
    found
}

/// The objects of a kind that this one controls.
#[must_use]
pub fn children<'a>(facts: &'a Facts, kind: Kind, owner: &Value) -> Vec<&'a Value> {
    let uid = str_at(owner, "/metadata/uid");
    facts
        .all(kind)
        .filter(|object| ns(object) == ns(owner))
        .filter(|object| {
            list_at(object, "/metadata/ownerReferences")
                .iter()
                .any(|reference| {
                    bool_at(reference, "/controller")
                        && str_at(reference, "/name") == name(owner)
                        && str_at(reference, "/uid") == uid
                })
        })
        .collect()
}

/// Labels of an object.
#[must_use]
pub fn labels(object: &Value) -> BTreeMap<String, String> {
    map_at(object, "/metadata/labels")
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Whether a `metav1.LabelSelector` selects an object; one that cannot be read selects nothing.
#[must_use]
pub fn selects(selector: &Value, object: &Value) -> bool {
    LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches(&labels(object)))
}

/// A command that changes the pod's template, or the way to replace a pod of nobody's.
#[must_use]
pub fn edit(facts: &Facts, pod: &Value) -> String {
    match root(facts, pod) {
        (Kind::Pod, pod_name) => kubectl(
            ns(pod),
            &format!("get pod {pod_name} -o yaml > {pod_name}.yaml"),
        ),
        (kind, name) => kubectl(ns(pod), &format!("edit {}/{name}", kind.name())),
    }
}

/// What makes the changed file of [`edit`] the pod, which cannot be changed in place.
#[must_use]
pub fn replace(facts: &Facts, pod: &Value) -> Option<String> {
    let (kind, name) = root(facts, pod);
    (kind == Kind::Pod).then(|| kubectl(ns(pod), &format!("replace --force -f {name}.yaml")))
}
