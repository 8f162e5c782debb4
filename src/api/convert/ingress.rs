//! Ingress of extensions/v1beta1 and networking.k8s.io/v1beta1: backends were flat.

use serde_json::{Map, Value, json};

use super::Rename;
use crate::json::list_mut;

pub(super) fn to_v1(object: &mut Value) -> Vec<Rename> {
    let mut done = Vec::new();
    let mut say = |rename: Rename| {
        if !done.contains(&rename) {
            done.push(rename);
        }
    };
    if let Some(Value::Object(spec)) = object.get_mut("spec")
        && let Some(backend) = spec.remove("backend")
    {
        let backend = new_backend(backend);
        spec.entry("defaultBackend").or_insert(backend);
        say(Rename::called("spec.backend", "spec.defaultBackend"));
    }
    for rule in list_mut(object, "/spec/rules").into_iter().flatten() {
        for path in list_mut(rule, "/http/paths").into_iter().flatten() {
            let Some(path) = path.as_object_mut() else {
                continue;
            };
            if !path.contains_key("pathType") {
                path.insert("pathType".into(), json!("ImplementationSpecific"));
                say(Rename::Told(
                    "a path must have a pathType today; ImplementationSpecific is what its absence meant",
                ));
            }
            if let Some(backend) = path.remove("backend") {
                if backend.get("serviceName").is_some() {
                    say(Rename::called(
                        "backend.serviceName",
                        "backend.service.name",
                    ));
                    say(Rename::called(
                        "backend.servicePort",
                        "backend.service.port",
                    ));
                }
                path.insert("backend".into(), new_backend(backend));
            }
        }
    }
    done
}

pub(super) fn from_v1(object: &mut Value) {
    if let Some(Value::Object(spec)) = object.get_mut("spec")
        && let Some(backend) = spec.remove("defaultBackend")
    {
        spec.insert("backend".into(), old_backend(backend));
    }
    for rule in list_mut(object, "/spec/rules").into_iter().flatten() {
        for path in list_mut(rule, "/http/paths").into_iter().flatten() {
            if let Some(path) = path.as_object_mut()
                && let Some(backend) = path.remove("backend")
            {
                path.insert("backend".into(), old_backend(backend));
            }
        }
    }
}

fn new_backend(backend: Value) -> Value {
    let Value::Object(mut old) = backend else {
        return backend;
    };
    let name = old.remove("serviceName");
    let port = old.remove("servicePort");
    if name.is_none() && port.is_none() {
        return Value::Object(old);
    }
    let mut service = Map::new();
    if let Some(name) = name {
        service.insert("name".into(), name);
    }
    match port {
        Some(Value::String(name)) => {
            service.insert("port".into(), json!({"name": name}));
        }
        Some(number) => {
            service.insert("port".into(), json!({"number": number}));
        }
        None => {}
    }
    old.insert("service".into(), Value::Object(service));
    Value::Object(old)
}

fn old_backend(backend: Value) -> Value {
    let Value::Object(mut new) = backend else {
        return backend;
    };
    if let Some(service) = new.remove("service") {
        if let Some(name) = service.get("name") {
            new.insert("serviceName".into(), name.clone());
        }
        let port = service.get("port");
        let port = port.and_then(|p| p.get("number").or_else(|| p.get("name")));
        if let Some(port) = port {
            new.insert("servicePort".into(), port.clone());
        }
    }
    Value::Object(new)
}
