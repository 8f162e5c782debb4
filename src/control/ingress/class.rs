//! Which Ingresses are ours. Pure.

use std::collections::HashMap;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use crate::CONTROLLER;

/// How Ingresses named their class before they had a field for it.
const ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Marks the class of Ingresses that name none.
pub const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// The cluster's classes, as far as they matter.
#[derive(Debug, Default)]
pub struct Classes {
    /// By name: whether it is ours, and whether it is the default.
    known: HashMap<String, (bool, bool)>,
}

impl Classes {
    pub fn set(&mut self, name: String, class: &IngressClass) {
        let controller = class
            .spec
            .as_ref()
            .and_then(|spec| spec.controller.as_deref());
        let marks = class.metadata.annotations.as_ref();
        let default = marks
            .and_then(|marks| marks.get(DEFAULT))
            .map(String::as_str);
        let known = (controller == Some(CONTROLLER), default == Some("true"));
        self.known.insert(name, known);
    }

    pub fn remove(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// Forgets those that are no more.
    pub fn keep(&mut self, there: impl Fn(&str) -> bool) {
        self.known.retain(|name, _| there(name));
    }

    /// Whether this controller serves Ingresses of a class, or those that name none.
    pub fn own(&self, class: Option<&str>) -> bool {
        match class {
            Some(name) => self.known.get(name).is_some_and(|(ours, _)| *ours),
            // Older than the default class, which creation would have filled in.
            None => self.known.values().any(|(ours, default)| *ours && *default),
        }
    }
}

/// The class an Ingress names.
pub fn of(ingress: &Ingress) -> Option<&str> {
    let field = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_deref());
    let annotations = ingress.metadata.annotations.as_ref();
    let annotation = annotations
        .and_then(|a| a.get(ANNOTATION))
        .map(String::as_str);
    field.or(annotation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn class(controller: &str, default: &str) -> IngressClass {
        serde_json::from_value(json!({"metadata": {"annotations": {DEFAULT: default}},
            "spec": {"controller": controller}}))
        .unwrap()
    }

    #[test]
    fn an_ingress_is_ours_by_the_controller_of_its_class() {
        let mut classes = Classes::default();
        let own = |classes: &Classes, metadata: Value, spec: Value| {
            let ingress = serde_json::from_value(json!({"metadata": metadata, "spec": spec}));
            classes.own(of(&ingress.unwrap()))
        };
        assert!(!own(&classes, json!({}), json!({})));
        classes.set("mine".into(), &class(CONTROLLER, "false"));
        classes.set("nginx".into(), &class("k8s.io/ingress-nginx", "true"));
        assert!(own(
            &classes,
            json!({}),
            json!({"ingressClassName": "mine"})
        ));
        assert!(!own(
            &classes,
            json!({}),
            json!({"ingressClassName": "nginx"})
        ));
        assert!(!own(
            &classes,
            json!({}),
            json!({"ingressClassName": "unknown"})
        ));
        let old = |name: &str| json!({"annotations": {ANNOTATION: name}});
        assert!(own(&classes, old("mine"), json!({})));
        assert!(!own(&classes, old("nginx"), json!({})));
        assert!(!own(&classes, json!({}), json!({})));
        classes.set("mine".into(), &class(CONTROLLER, "true"));
        assert!(own(&classes, json!({}), json!({})));
    }
}
