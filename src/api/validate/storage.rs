//! Rules for claims, volumes and what provides them.

use serde_json::{Value, json};

use super::selector::{immutable, label_selector};
use super::{all, one_of};
use crate::field::{Error, index};
use crate::json::{list_at, map_at, str_at};
use crate::names;
use crate::quantity::Quantity;

const MODES: &[&str] = &[
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

fn access_modes(e: &mut Vec<Error>, o: &Value) {
    let modes = list_at(o, "/spec/accessModes");
    if modes.is_empty() {
        e.push(Error::required(
            "spec.accessModes",
            "at least 1 access mode is required",
        ));
    }
    for (i, mode) in modes.iter().enumerate() {
        let mode = mode.as_str().unwrap_or_default();
        if !MODES.contains(&mode) {
            e.push(Error::not_supported(
                &index("spec.accessModes", i),
                mode,
                MODES,
            ));
        }
    }
    if modes.len() > 1 && modes.contains(&json!("ReadWriteOncePod")) {
        e.push(Error::forbidden(
            "spec.accessModes",
            "may not use ReadWriteOncePod with other access modes",
        ));
    }
}

/// A storage amount that must be there and more than nothing.
fn amount(e: &mut Vec<Error>, at: &str, value: Option<&Value>) {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    match text.parse::<Quantity>() {
        Ok(n) if n.is_zero() || n.is_negative() => {
            e.push(Error::invalid(at, text, "must be greater than zero"));
        }
        Ok(_) => {}
        Err(_) => e.push(Error::required(at, "")),
    }
}

pub(super) fn claim(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    access_modes(e, o);
    if o.pointer("/spec/selector").is_some() {
        label_selector(e, "spec.selector", o, "/spec/selector");
    }
    let requests = map_at(o, "/spec/resources/requests");
    amount(
        e,
        "spec.resources[storage]",
        requests.and_then(|m| m.get("storage")),
    );
    class_name(e, o);
    volume_mode(e, o);
    errors
}

/// What keeps a text from being the name of a CSI driver (the CSI specification's
/// `GetPluginInfo`).
pub(super) fn driver_name(name: &str) -> Vec<String> {
    match name.len() {
        64.. => vec!["must be no more than 63 characters".to_owned()],
        _ => names::dns_subdomain(&name.to_lowercase()),
    }
}

fn class_name(e: &mut Vec<Error>, o: &Value) {
    let class = str_at(o, "/spec/storageClassName");
    if !class.is_empty() {
        all(
            e,
            "spec.storageClassName",
            &json!(class),
            names::dns_subdomain(class),
        );
    }
}

fn volume_mode(e: &mut Vec<Error>, o: &Value) {
    let mode = str_at(o, "/spec/volumeMode");
    if !mode.is_empty() && !VOLUME_MODES.contains(&mode) {
        e.push(Error::not_supported("spec.volumeMode", mode, VOLUME_MODES));
    }
}

const CLAIM_WORDS: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

pub(super) fn claim_update(new: &Value, old: &Value) -> Vec<Error> {
    let fixed = |o: &Value| {
        let mut spec = map_at(o, "/spec").cloned().unwrap_or_default();
        spec.remove("resources");
        spec.remove("volumeAttributesClassName");
        spec
    };
    let (mut now, before) = (fixed(new), fixed(old));
    // The binder sets the volume, and the class may be filled in once.
    for key in ["volumeName", "storageClassName"] {
        if !before.contains_key(key) {
            now.remove(key);
        }
    }
    let storage = |o: &Value| {
        str_at(o, "/spec/resources/requests/storage")
            .parse::<Quantity>()
            .ok()
    };
    let mut errors = Vec::new();
    let grown = storage(new) != storage(old);
    if now != before || (grown && str_at(old, "/status/phase") != "Bound") {
        errors.push(Error::forbidden("spec", CLAIM_WORDS));
    } else if let (Some(now), Some(before)) = (storage(new), storage(old))
        && now < before
    {
        errors.push(Error::forbidden(
            "spec.resources.requests.storage",
            "field can not be less than status.capacity",
        ));
    }
    errors
}

pub(super) fn volume(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    access_modes(e, o);
    let capacity = map_at(o, "/spec/capacity");
    if capacity.is_none_or(serde_json::Map::is_empty) {
        e.push(Error::required("spec.capacity", ""));
    } else {
        amount(
            e,
            "spec.capacity[storage]",
            capacity.and_then(|m| m.get("storage")),
        );
    }
    one_of(
        e,
        "spec.persistentVolumeReclaimPolicy",
        str_at(o, "/spec/persistentVolumeReclaimPolicy"),
        &["Delete", "Recycle", "Retain"],
    );
    let sources = sources(o);
    match sources.as_slice() {
        [] => e.push(Error::required("spec", "must specify a volume type")),
        [first, rest @ ..] => {
            for extra in rest {
                e.push(Error::forbidden(
                    &format!("spec.{extra}"),
                    "may not specify more than 1 volume type",
                ));
            }
            for (source, key) in [("hostPath", "path"), ("local", "path"), ("nfs", "server")] {
                if first == source && str_at(o, &format!("/spec/{source}/{key}")).is_empty() {
                    e.push(Error::required(&format!("spec.{source}.{key}"), ""));
                }
            }
            if first == "local" && o.pointer("/spec/nodeAffinity").is_none() {
                e.push(Error::required(
                    "spec.nodeAffinity",
                    "Local volume requires node affinity",
                ));
            }
        }
    }
    class_name(e, o);
    volume_mode(e, o);
    errors
}

/// What of a volume's spec is no source.
const VOLUME_FIELDS: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn sources(o: &Value) -> Vec<String> {
    map_at(o, "/spec")
        .into_iter()
        .flatten()
        .map(|(key, _)| key.clone())
        .filter(|key| !VOLUME_FIELDS.contains(&key.as_str()))
        .collect()
}

pub(super) fn volume_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let of = |o: &Value| -> Vec<Option<Value>> {
        sources(o)
            .iter()
            .map(|key| o.pointer(&format!("/spec/{key}")).cloned())
            .collect()
    };
    if of(new) != of(old) {
        errors.push(Error::forbidden(
            "spec.persistentvolumesource",
            "spec.persistentvolumesource is immutable after creation",
        ));
    }
    immutable(&mut errors, "spec.volumeMode", new, old);
    errors
}

pub(super) fn class(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let provisioner = str_at(o, "/provisioner");
    if provisioner.is_empty() {
        e.push(Error::required("provisioner", ""));
    } else {
        let why = names::qualified_name(&provisioner.to_lowercase());
        all(e, "provisioner", &json!(provisioner), why);
    }
    one_of(
        e,
        "reclaimPolicy",
        str_at(o, "/reclaimPolicy"),
        &["Delete", "Retain"],
    );
    one_of(
        e,
        "volumeBindingMode",
        str_at(o, "/volumeBindingMode"),
        &["Immediate", "WaitForFirstConsumer"],
    );
    errors
}

pub(super) fn class_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for (field, words) in [
        ("parameters", "updates to parameters are forbidden."),
        ("provisioner", "updates to provisioner are forbidden."),
        ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
    ] {
        if new.get(field) != old.get(field) {
            errors.push(Error::forbidden(field, words));
        }
    }
    immutable(&mut errors, "volumeBindingMode", new, old);
    errors
}

pub(super) fn attachment(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for (field, pointer) in [
        ("spec.attacher", "/spec/attacher"),
        ("spec.nodeName", "/spec/nodeName"),
    ] {
        if str_at(o, pointer).is_empty() {
            errors.push(Error::required(field, ""));
        }
    }
    if o.pointer("/spec/source/persistentVolumeName").is_none()
        && o.pointer("/spec/source/inlineVolumeSpec").is_none()
    {
        errors.push(Error::required(
            "spec.source",
            "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ));
    }
    errors
}
