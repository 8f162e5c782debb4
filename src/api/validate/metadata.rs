//! Rules for `metadata`, the same for every kind but for what a name may be.

use serde_json::{Value, json};

use super::{all, labels, texts};
use crate::field::Error;
use crate::json::{list_at, map_at, str_at};
use crate::names;
use crate::resource::Resource;

/// Most bytes all annotations of an object may have together (upstream: 256 KiB).
const ANNOTATIONS_MAX: usize = 256 * 1024;
/// Finalizers that need no domain in their name.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

pub(super) fn create(res: &Resource, object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let name = str_at(object, "/metadata/name");
    let generate = str_at(object, "/metadata/generateName");
    if !generate.is_empty() {
        // The suffix to come may complete a base that ends in a dash.
        let probe = format!("{}x", generate.trim_end_matches('-'));
        let why = name_rule(res, &probe);
        texts(&mut errors, "metadata.generateName", generate, why);
    }
    if name.is_empty() {
        errors.push(Error::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        texts(&mut errors, "metadata.name", name, name_rule(res, name));
    }
    let namespace = str_at(object, "/metadata/namespace");
    if res.namespaced {
        if namespace.is_empty() {
            errors.push(Error::required("metadata.namespace", ""));
        } else {
            let why = names::dns_label(namespace);
            texts(&mut errors, "metadata.namespace", namespace, why);
        }
    } else if !namespace.is_empty() {
        errors.push(Error::forbidden(
            "metadata.namespace",
            "not allowed on this type",
        ));
    }
    common(res, &mut errors, object);
    errors
}

pub(super) fn update(res: &Resource, new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for key in ["name", "namespace"] {
        let pointer = format!("/metadata/{key}");
        let (now, before) = (str_at(new, &pointer), str_at(old, &pointer));
        if now != before && (key == "name" || res.namespaced) {
            errors.push(Error::invalid(
                &format!("metadata.{key}"),
                now,
                "field is immutable",
            ));
        }
    }
    common(res, &mut errors, new);
    if new.pointer("/metadata/deletionTimestamp").is_some() {
        let before = list_at(old, "/metadata/finalizers");
        let extra: Vec<Value> = list_at(new, "/metadata/finalizers")
            .iter()
            .filter(|f| !before.contains(f))
            .cloned()
            .collect();
        if !extra.is_empty() {
            errors.push(Error::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                    json!(extra)
                ),
            ));
        }
    }
    errors
}

/// Refuses an update that names another object's uid.
pub fn identity(new: &Value, old: &Value) -> Vec<Error> {
    let (now, before) = (str_at(new, "/metadata/uid"), str_at(old, "/metadata/uid"));
    if now.is_empty() || now == before {
        return Vec::new();
    }
    vec![Error::invalid("metadata.uid", now, "field is immutable")]
}

fn common(res: &Resource, errors: &mut Vec<Error>, object: &Value) {
    labels(errors, "metadata.labels", object, "/metadata/labels");
    let mut bytes = 0;
    for (key, value) in map_at(object, "/metadata/annotations")
        .into_iter()
        .flatten()
    {
        // Old annotations have upper-case prefixes; upstream compares in lower case.
        let why = names::qualified_name(&key.to_lowercase());
        texts(errors, "metadata.annotations", key, why);
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATIONS_MAX {
        errors.push(Error::too_long("metadata.annotations", ANNOTATIONS_MAX));
    }
    for (i, f) in list_at(object, "/metadata/finalizers").iter().enumerate() {
        let name = f.as_str().unwrap_or_default();
        let path = format!("metadata.finalizers[{i}]");
        all(errors, &path, f, names::qualified_name(name));
        // The core's own rule; definitions and custom kinds only want a qualified name.
        let core = res.custom.is_none() && res.gv.group != "apiextensions.k8s.io";
        if core && !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path, name, why));
        }
    }
    owners(errors, object);
}

fn owners(errors: &mut Vec<Error>, object: &Value) {
    let mut controllers = 0;
    for (i, o) in list_at(object, "/metadata/ownerReferences")
        .iter()
        .enumerate()
    {
        let path = format!("metadata.ownerReferences[{i}]");
        for (key, words) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if str_at(o, &format!("/{key}")).is_empty() {
                errors.push(Error::invalid(&format!("{path}.{key}"), "", words));
            }
        }
        controllers += usize::from(crate::json::bool_at(o, "/controller"));
    }
    if controllers > 1 {
        errors.push(Error::invalid(
            "metadata.ownerReferences",
            object
                .pointer("/metadata/ownerReferences")
                .cloned()
                .unwrap_or_default(),
            "Only one reference can have Controller set to true",
        ));
    }
}

/// What keeps `name` from naming an object of this kind.
fn name_rule(res: &Resource, name: &str) -> Vec<String> {
    match res.id() {
        ("", "Namespace") => names::dns_label(name),
        ("", "Service") => names::dns1035_label(name),
        ("rbac.authorization.k8s.io", _) => names::path_segment(name),
        // Room for the suffix of the Jobs it makes.
        ("batch", "CronJob") if name.len() > 52 => {
            vec!["must be no more than 52 characters".to_owned()]
        }
        ("apps", "StatefulSet") => names::dns_label(name),
        _ => names::dns_subdomain(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;

    fn words(errors: &[Error]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_required_and_checked_by_kind() {
        let pods = find("", "v1", "pods").unwrap();
        let e = create(pods, &json!({"metadata": {"namespace": "d"}}));
        assert_eq!(
            words(&e),
            ["metadata.name: Required value: name or generateName is required"]
        );
        let services = find("", "v1", "services").unwrap();
        let e = create(
            services,
            &json!({"metadata": {"namespace": "d", "name": "flask-kubernetes -service"}}),
        );
        assert!(words(&e)[0].starts_with(
            "metadata.name: Invalid value: \"flask-kubernetes -service\": a DNS-1035 label must"
        ));
        let ns = find("", "v1", "namespaces").unwrap();
        assert_eq!(
            create(ns, &json!({"metadata": {"name": "a.b"}}))[0].detail,
            "must not contain dots"
        );
        assert!(
            create(
                pods,
                &json!({"metadata": {"namespace": "d", "name": "a1", "generateName": "a-"}})
            )
            .is_empty()
        );
    }

    #[test]
    fn labels_annotations_finalizers_owners() {
        let o = json!({"metadata": {"labels": {"a b": "c", "ok": "-"}, "annotations": {"Example.COM/x": "y", "/": ""},
            "finalizers": ["kubernetes", "mine", "a.b/c"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}});
        let mut errors = Vec::new();
        let pods = find("", "v1", "pods").unwrap();
        common(pods, &mut errors, &o);
        let w = words(&errors).join("\n");
        assert!(w.contains("metadata.labels: Invalid value: \"a b\": name part must"));
        assert!(w.contains("metadata.labels: Invalid value: \"-\": a valid label"));
        assert!(
            w.contains("metadata.annotations: Invalid value: \"/\": prefix part must be non-empty")
        );
        assert!(w.contains("metadata.finalizers[1]: Invalid value: \"mine\": name is neither"));
        assert!(
            w.contains("metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty")
        );
        assert!(!w.contains("finalizers[0]") && !w.contains("Example"));
    }

    #[test]
    fn identity_cannot_change() {
        let pods = find("", "v1", "pods").unwrap();
        let old = json!({"metadata": {"name": "a", "namespace": "d", "uid": "1"}});
        let new = json!({"metadata": {"name": "b", "namespace": "d", "uid": "2",
            "deletionTimestamp": "x", "finalizers": ["a.b/c"]}});
        let w = words(&update(pods, &new, &old)).join("\n");
        assert!(w.contains("metadata.name: Invalid value: \"b\": field is immutable"));
        assert!(w.contains("no new finalizers can be added"));
        assert_eq!(identity(&new, &old).len(), 1);
    }
}
