//! DefaultStorageClass and DefaultIngressClass: claims and ingresses that name no class
//! get the newest one that is marked as default.

use cadet_api::json::{child, str_at};
use cadet_api::resource::Resource;
use serde_json::{Value, json};

use super::{Operation, Request, find_in, is_marked};
use crate::object::Object;

const STORAGE: &[&str] = &[
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const INGRESS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];

pub(super) fn of_claim(request: &Request<'_>, claim: &mut Value) {
    if !request.is(Operation::Create, "", "PersistentVolumeClaim")
        || claim.pointer("/spec/storageClassName").is_some()
        || claim
            .pointer("/metadata/annotations/volume.beta.kubernetes.io~1storage-class")
            .is_some()
    {
        return;
    }
    let Ok(classes) = find_in("storage.k8s.io", "storageclasses") else {
        return;
    };
    set(request, claim, "storageClassName", classes, STORAGE);
}

pub(super) fn of_ingress(request: &Request<'_>, ingress: &mut Value) {
    if !request.is(Operation::Create, "networking.k8s.io", "Ingress")
        || ingress.pointer("/spec/ingressClassName").is_some()
        || ingress
            .pointer("/metadata/annotations/kubernetes.io~1ingress.class")
            .is_some()
    {
        return;
    }
    let Ok(classes) = find_in("networking.k8s.io", "ingressclasses") else {
        return;
    };
    set(request, ingress, "ingressClassName", classes, INGRESS);
}

fn set(
    request: &Request<'_>,
    object: &mut Value,
    field: &str,
    classes: &'static Resource,
    marks: &[&str],
) {
    let marked = request
        .list(classes)
        .into_iter()
        .filter(|class| marks.iter().any(|mark| is_marked(class.known(), mark)));
    // The newest wins; among equals the first name.
    let newest = marked.reduce(|best, one| {
        let time = "/metadata/creationTimestamp";
        let born = |class: &Object| str_at(class.known(), time).to_owned();
        if born(&one) > born(&best) { one } else { best }
    });
    if let (Some(class), Some(members)) = (newest, object.as_object_mut()) {
        child(members, "spec").insert(field.into(), json!(class.name()));
    }
}
