//! Rules for claims, volumes and what provides them.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::pod_scheduling::node_selector;
use super::pod_update::difference;
use super::pod_volumes::{details, no_backsteps};
use super::selector::{immutable, label_selector};
use super::{all, one_of, text, texts};
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

fn access_modes(e: &mut Vec<Error>, o: &Value, why: &str) {
    let modes = list_at(o, "/spec/accessModes");
    if modes.is_empty() {
        e.push(Error::required("spec.accessModes", why));
    }
    for mode in modes {
        let mode = mode.as_str().unwrap_or_default();
        if !MODES.contains(&mode) {
            e.push(Error::not_supported("spec.accessModes", mode, MODES));
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
    access_modes(e, o, "at least 1 access mode is required");
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
    data_sources(e, o);
    errors
}

/// What a claim's volume is filled from (KEP-1495).
fn data_sources(e: &mut Vec<Error>, o: &Value) {
    for field in ["dataSource", "dataSourceRef"] {
        let Some(source) = o.pointer(&format!("/spec/{field}")) else {
            continue;
        };
        let path = format!("spec.{field}");
        for key in ["name", "kind"] {
            if str_at(source, &format!("/{key}")).is_empty() {
                e.push(Error::required(&format!("{path}.{key}"), ""));
            }
        }
        let (group, kind) = (str_at(source, "/apiGroup"), str_at(source, "/kind"));
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            e.push(Error::invalid(&path, kind, why));
        }
        if !group.is_empty() {
            text(e, &path, "apiGroup", group, names::dns_subdomain(group));
        }
    }
    let (source, reference) = (
        o.pointer("/spec/dataSource"),
        o.pointer("/spec/dataSourceRef"),
    );
    if let (Some(source), Some(reference)) = (source, reference)
        && ["apiGroup", "kind", "name"]
            .iter()
            .any(|key| source.get(key) != reference.get(key))
    {
        let why = "must match dataSourceRef";
        e.push(Error::invalid("spec", "spec.dataSource", why));
    }
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
    let (mut now, mut before) = (fixed(new), fixed(old));
    // The binder sets the volume, and the class may be filled in once.
    for key in ["volumeName", "storageClassName"] {
        let unset = |spec: &Map<String, Value>| match key {
            // An empty name is none; an empty class is one.
            "volumeName" => spec.get(key).is_none_or(|name| name == ""),
            key => !spec.contains_key(key),
        };
        if unset(&before) {
            now.remove(key);
            before.remove(key);
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
        let spec = |o: &Value| o.get("spec").cloned().unwrap_or_default();
        let change = difference("spec", &spec(old), &spec(new));
        errors.push(Error::forbidden("spec", format!("{CLAIM_WORDS}\n{change}")));
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
    access_modes(e, o, "");
    let capacity = map_at(o, "/spec/capacity");
    if capacity.is_none_or(serde_json::Map::is_empty) {
        e.push(Error::required("spec.capacity", ""));
    }
    if capacity.is_none_or(|m| m.len() > 1 || !m.contains_key("storage")) {
        let value = o.pointer("/spec/capacity").cloned().unwrap_or_default();
        e.push(Error::not_supported("spec.capacity", value, &["storage"]));
    }
    for (name, value) in capacity.into_iter().flatten() {
        amount(e, &crate::field::key("spec.capacity", name), Some(value));
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
            source(e, first, &o["spec"][first.as_str()]);
            if first == "local" && o.pointer("/spec/nodeAffinity/required").is_none() {
                e.push(Error::required(
                    "spec.nodeAffinity",
                    "Local volume requires node affinity",
                ));
            }
        }
    }
    if let Some(affinity) = o.pointer("/spec/nodeAffinity") {
        match affinity.get("required") {
            None => e.push(Error::required(
                "spec.nodeAffinity.required",
                "must specify required node constraints",
            )),
            Some(required) => node_selector(e, "spec.nodeAffinity.required", required),
        }
    }
    let folder = str_at(o, "/spec/hostPath/path");
    let is_root = folder.starts_with('/') && folder.split('/').all(|s| matches!(s, "" | "."));
    if is_root && str_at(o, "/spec/persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        e.push(Error::forbidden("spec.persistentVolumeReclaimPolicy", why));
    }
    class_name(e, o);
    volume_mode(e, o);
    errors
}

/// What a cluster's volume needs; most kinds of source are those of pods.
fn source(e: &mut Vec<Error>, kind: &str, s: &Value) {
    let needed: &[&str] = match kind {
        "hostPath" | "local" => &["path"],
        "nfs" => &["server", "path"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "glusterfs" => &["endpoints", "path"],
        "iscsi" => &["targetPortal", "iqn"],
        "rbd" => &["image"],
        "azureFile" => &["secretName", "shareName"],
        "azureDisk" => &["diskName", "diskURI"],
        "vsphereVolume" => &["volumePath"],
        "csi" => &["driver", "volumeHandle"],
        "flexVolume" => &["driver"],
        _ => &[],
    };
    let path = format!("spec.{kind}");
    for field in needed {
        if s.get(*field)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            e.push(Error::required(&format!("{path}.{field}"), ""));
        }
    }
    match kind {
        "local" => no_backsteps(e, &path, "path", str_at(s, "/path")),
        _ => details(e, &path, kind, s),
    }
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
        let spec = |o: &Value| o.get("spec").cloned().unwrap_or_default();
        let change = difference("spec", &spec(old), &spec(new));
        let why = format!("spec.persistentvolumesource is immutable after creation\n{change}");
        errors.push(Error::forbidden("spec.persistentvolumesource", why));
    }
    let at = |o: &Value, key: &str| o.pointer(&format!("/spec/{key}")).cloned();
    if at(new, "volumeMode") != at(old, "volumeMode") {
        // Upstream leaves "spec" out of both paths.
        let value = at(new, "volumeMode").unwrap_or_default();
        errors.push(Error::invalid("volumeMode", value, "field is immutable"));
    }
    let before = at(old, "nodeAffinity");
    if before.is_some() && at(new, "nodeAffinity") != before {
        let value = at(new, "nodeAffinity").unwrap_or_default();
        let why = "field is immutable, except for updating from beta label to GA";
        errors.push(Error::invalid("nodeAffinity", value, why));
    }
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
    let parameters = map_at(o, "/parameters");
    let count = parameters.map_or(0, serde_json::Map::len);
    if count > PARAMETERS {
        let why = format!("must have at most {PARAMETERS} items");
        e.push(Error::invalid("parameters", "Provisioner Parameters", why));
    }
    for (key, value) in parameters.into_iter().flatten() {
        if key.is_empty() {
            let why = format!("field can not be empty. Value: {value}");
            e.push(Error::invalid("parameters", key.as_str(), why));
        }
    }
    topologies(e, o);
    errors
}

/// Most parameters of a class.
const PARAMETERS: usize = 512;

/// Where volumes of the class may be (KEP-3194).
fn topologies(e: &mut Vec<Error>, o: &Value) {
    for (i, term) in list_at(o, "/allowedTopologies").iter().enumerate() {
        let mut keys = HashSet::new();
        for (j, rule) in list_at(term, "/matchLabelExpressions").iter().enumerate() {
            let path = format!("allowedTopologies[{i}].matchLabelExpressions[{j}]");
            let values = list_at(rule, "/values");
            if values.is_empty() {
                e.push(Error::required(&format!("{path}.values"), ""));
            }
            for (k, value) in values.iter().enumerate() {
                if values.iter().take(k).any(|other| other == value) {
                    e.push(Error::duplicate(
                        &format!("{path}.values[{k}]"),
                        value.clone(),
                    ));
                }
            }
            let key = str_at(rule, "/key");
            text(e, &path, "key", key, names::qualified_name(key));
            if !keys.insert(key) {
                e.push(Error::duplicate(&format!("{path}.key"), key));
            }
        }
    }
}

pub(super) fn driver(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let name = str_at(o, "/metadata/name");
    texts(e, "metadata.name", name, driver_name(name));
    let policy = str_at(o, "/spec/fsGroupPolicy");
    let known = ["File", "None", "ReadWriteOnceWithFSType"];
    one_of(e, "spec.fsGroupPolicy", policy, &known);
    for mode in list_at(o, "/spec/volumeLifecycleModes") {
        let mode = mode.as_str().unwrap_or_default();
        let known = ["Ephemeral", "Persistent"];
        if !known.contains(&mode) {
            e.push(Error::not_supported(
                "spec.volumeLifecycleModes",
                mode,
                &known,
            ));
        }
    }
    let mut audiences = HashSet::new();
    for (i, token) in list_at(o, "/spec/tokenRequests").iter().enumerate() {
        let path = index("spec.tokenRequests", i);
        let audience = str_at(token, "/audience");
        if !audiences.insert(audience) {
            e.push(Error::duplicate(&format!("{path}.audience"), audience));
        }
        let Some(n) = token.get("expirationSeconds").and_then(Value::as_i64) else {
            continue;
        };
        let at = format!("{path}.expirationSeconds");
        if n < 600 {
            let why = "may not specify a duration less than 10 minutes";
            e.push(Error::invalid(&at, n, why));
        } else if n > 1 << 32 {
            let why = "may not specify a duration larger than 2^32 seconds";
            e.push(Error::invalid(&at, n, why));
        }
    }
    errors
}

pub(super) fn driver_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    // Upstream's names for two of these fields.
    for (field, shown) in [
        ("attachRequired", "attachedRequired"),
        ("volumeLifecycleModes", "volumeLifecycleModes"),
    ] {
        let at = |o: &Value| o.pointer(&format!("/spec/{field}")).cloned();
        if at(new) != at(old) {
            let value = at(new).unwrap_or_default();
            errors.push(Error::invalid(
                &format!("spec.{shown}"),
                value,
                "field is immutable",
            ));
        }
    }
    errors
}

/// Longest name a driver gives a node (the CSI specification's `NodeGetInfo`).
const NODE_ID: usize = 192;

/// A CSINode: the drivers of one node.
pub(super) fn node(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let mut drivers = HashSet::new();
    for (i, driver) in list_at(o, "/spec/drivers").iter().enumerate() {
        let path = index("spec.drivers", i);
        let name = str_at(driver, "/name");
        match name {
            "" => e.push(Error::required(&format!("{path}.name"), "")),
            name => text(e, &path, "name", name, driver_name(name)),
        }
        if !drivers.insert(name) {
            e.push(Error::duplicate(&format!("{path}.name"), name));
        }
        let id = str_at(driver, "/nodeID");
        if id.is_empty() {
            e.push(Error::required(&format!("{path}.nodeID"), ""));
        } else if id.len() > NODE_ID {
            let why = format!("must be {NODE_ID} characters or less");
            e.push(Error::invalid(&format!("{path}.nodeID"), id, why));
        }
        if let Some(n) = driver.pointer("/allocatable/count").and_then(Value::as_i64)
            && n < 0
        {
            let why = "must be greater than or equal to 0";
            e.push(Error::invalid(&format!("{path}.allocatable.count"), n, why));
        }
        let mut keys = HashSet::new();
        for (j, key) in list_at(driver, "/topologyKeys").iter().enumerate() {
            let key = key.as_str().unwrap_or_default();
            let at = format!("{path}.topologyKeys");
            if !keys.insert(key) {
                e.push(Error::duplicate(&at, key));
            }
            texts(e, &index(&at, j), key, names::qualified_name(key));
        }
    }
    errors
}

/// What a node's driver said at its registration stays.
pub(super) fn node_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for (i, driver) in list_at(new, "/spec/drivers").iter().enumerate() {
        let same = |d: &&Value| d.get("name") == driver.get("name");
        let strip = |driver: &Value| {
            let mut driver = driver.clone();
            if let Some(members) = driver.as_object_mut() {
                members.remove("allocatable");
            }
            driver
        };
        let before = list_at(old, "/spec/drivers").iter().find(same);
        if before.is_some_and(|before| strip(before) != strip(driver)) {
            let at = index("spec.drivers", i);
            errors.push(Error::invalid(&at, driver.clone(), "field is immutable"));
        }
    }
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
    let attacher = str_at(o, "/spec/attacher");
    if !attacher.is_empty() {
        texts(
            &mut errors,
            "spec.attacher",
            attacher,
            driver_name(attacher),
        );
    }
    for (field, pointer) in [
        ("spec.attacher", "/spec/attacher"),
        ("spec.nodeName", "/spec/nodeName"),
    ] {
        if str_at(o, pointer).is_empty() {
            errors.push(Error::required(field, ""));
        }
    }
    let path = "spec.source";
    let named = o.pointer("/spec/source/persistentVolumeName");
    let inline = o.pointer("/spec/source/inlineVolumeSpec");
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (named, inline) {
        (None, None) => errors.push(Error::required(path, why)),
        (Some(_), Some(_)) => errors.push(Error::forbidden(path, why)),
        (Some(name), None) if name == "" => {
            let at = "spec.source.persistentVolumeName";
            errors.push(Error::required(
                at,
                "must specify non empty persistentVolumeName",
            ));
        }
        _ => {}
    }
    errors
}

pub(super) fn attachment_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    immutable(&mut errors, "spec", new, old);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(errors: &[Error]) -> String {
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn volumes_say_what_they_lack() {
        let volume = |more: Value| {
            let mut v = json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain"}});
            for (key, value) in more.as_object().expect("members") {
                v["spec"][key] = value.clone();
            }
            words(&super::volume(&v))
        };
        assert_eq!(volume(json!({"hostPath": {"path": "/x"}})), "");
        for (more, want) in [
            (
                json!({}),
                "spec: Required value: must specify a volume type",
            ),
            (
                json!({"hostPath": {"path": "/a/.."}}),
                "spec.hostPath.path: Invalid value: \"/a/..\": must not contain '..'",
            ),
            (
                json!({"local": {"path": "/x"}}),
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ),
            (
                json!({"local": {"path": "/x"}, "nodeAffinity": {"required": {"nodeSelectorTerms": []}}}),
                "spec.nodeAffinity.required.nodeSelectorTerms: Required value",
            ),
            (
                json!({"csi": {"driver": "a.b"}}),
                "spec.csi.volumeHandle: Required value",
            ),
            (
                json!({"nfs": {"server": "s", "path": "x"}}),
                "spec.nfs.path: Invalid value: \"x\": must be an absolute path",
            ),
            (
                json!({"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"}),
                "may not be 'recycle' for a hostPath mount of '/'",
            ),
            (
                json!({"hostPath": {"path": "//."}, "persistentVolumeReclaimPolicy": "Recycle"}),
                "may not be 'recycle' for a hostPath mount of '/'",
            ),
            (
                json!({"hostPath": {"path": "/x"}, "capacity": {"storage": "1Gi", "cpu": "1"}}),
                "spec.capacity: Unsupported value: {\"cpu\":\"1\",\"storage\":\"1Gi\"}: supported values: \"storage\"",
            ),
        ] {
            let found = volume(more);
            // The order of members is nobody's promise.
            let found = found.replace(
                "{\"storage\":\"1Gi\",\"cpu\":\"1\"}",
                "{\"cpu\":\"1\",\"storage\":\"1Gi\"}",
            );
            assert!(found.contains(want), "{want}\n--\n{found}");
        }
    }

    #[test]
    fn claims_drivers_and_classes() {
        let claim = json!({"spec": {"accessModes": ["Once"], "resources": {"requests": {"storage": "0"}}, "dataSource": {"kind": "X", "name": "n"}}});
        let found = words(&super::claim(&claim));
        for want in [
            "spec.accessModes: Unsupported value: \"Once\"",
            "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            "spec.dataSource: Invalid value: \"X\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ] {
            assert!(found.contains(want), "{want}\n--\n{found}");
        }
        let driver = json!({"metadata": {"name": "a.b"}, "spec": {"fsGroupPolicy": "Some", "volumeLifecycleModes": ["Long"], "tokenRequests": [{"audience": "a"}, {"audience": "a"}]}});
        assert_eq!(super::driver(&driver).len(), 3);
        let node = json!({"spec": {"drivers": [{"name": "d", "nodeID": ""}, {"name": "d", "nodeID": "n"}]}});
        assert_eq!(
            words(&super::node(&node)),
            "spec.drivers[0].nodeID: Required value\nspec.drivers[1].name: Duplicate value: \"d\""
        );
        let class = json!({"provisioner": "a/b", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
            "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": []}]}]});
        assert_eq!(
            words(&super::class(&class)),
            "allowedTopologies[0].matchLabelExpressions[0].values: Required value"
        );
    }
}
