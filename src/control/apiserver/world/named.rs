//! An object among others of its kind and namespace, found by the name that stands in it: with
//! hundreds of thousands of them a copy of each name is much.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

use crate::object::Object;

/// See the file's head. Two of the same name are the same.
pub(super) struct Named(pub(super) Arc<Object>);

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        self.0.name()
    }
}

impl Ord for Named {
    fn cmp(&self, other: &Named) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Named) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Named) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Named {}
