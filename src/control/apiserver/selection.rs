//! Which objects of a kind a list or watch is about.

use cadet_api::selector::{FieldSelector, LabelSelector};

use crate::object::Object;
use crate::query::ListOptions;

/// Namespace, labels and fields together.
#[derive(Debug, Clone)]
pub struct Selection {
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub fn new(options: &ListOptions, namespace: Option<&str>) -> Selection {
        Selection {
            namespace: namespace.map(str::to_owned),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
        }
    }

    pub fn holds(&self, object: &Object) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| !object.resource.namespaced || object.namespace() == *namespace)
            && self.labels.matches_of(|key| object.label(key))
            && (self.fields.is_empty() || self.fields.matches(|field| object.field(field)))
    }
}
