//! The same change seen in the versions that entries speak of: a manager that wrote by
//! autoscaling/v1 owns `spec.targetCPUUtilizationPercentage`, whatever is stored.

use serde_json::Value;

use super::managed::strip;
use super::shaped::{Difference, compare, fields};
use crate::convert;
use crate::resource::{self, Resource};
use crate::schema::{self, Shape};

/// What a write changes, in every version that somebody asks for.
pub(super) struct Views<'a> {
    named: &'a Resource,
    old: Option<&'a Value>,
    new: &'a Value,
    own: Difference,
    others: Vec<(String, Difference)>,
}

impl<'a> Views<'a> {
    /// A change to objects in the version `named`; all of a new object is a change.
    pub fn new(named: &'a Resource, old: Option<&'a Value>, new: &'a Value) -> Views<'a> {
        Views {
            own: difference(schema::of(named).unwrap_or(&Shape::Any), old, new),
            named,
            old,
            new,
            others: vec![],
        }
    }

    /// The change in the version an entry names. Versions that are not served any more, or
    /// whose fields are read under today's names, are taken for the object's own.
    pub fn of(&mut self, api_version: &str) -> &Difference {
        let Some(row) = self.row(api_version) else {
            return &self.own;
        };
        let known = self.others.iter().position(|(v, _)| v == api_version);
        let at = match known {
            Some(at) => at,
            None => {
                let old = self.old.map(|o| self.converted(row, o));
                let shape = schema::of(row).unwrap_or(&Shape::Any);
                let seen = difference(shape, old.as_ref(), &self.converted(row, self.new));
                self.others.push((api_version.to_owned(), seen));
                self.others.len() - 1
            }
        };
        &self.others[at].1
    }

    /// The row of a version whose fields differ from the object's own.
    fn row(&self, api_version: &str) -> Option<&'static Resource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let own = self.named.gv;
        if (group, version) == (own.group, own.version) || self.named.custom.is_some() {
            return None;
        }
        let row = resource::find_kind(api_version, self.named.kind)?;
        let same_kind = row.storage == self.named.storage;
        let differs = |r: &Resource| r.is_converted() && !r.is_past();
        (same_kind && (differs(row) || differs(self.named))).then_some(row)
    }

    fn converted(&self, row: &'static Resource, object: &Value) -> Value {
        let mut object = object.clone();
        let named = resource::find_kind(&self.named.gv.api_version(), self.named.kind);
        if let Some(named) = named
            && convert::to_stored(named, &mut object).is_ok()
        {
            convert::from_stored(row, &mut object);
        }
        object
    }
}

fn difference(shape: &Shape, old: Option<&Value>, new: &Value) -> Difference {
    let mut seen = match old {
        Some(old) => compare(shape, old, new),
        None => Difference {
            changed: fields(shape, new, true),
            ..Difference::default()
        },
    };
    strip(&mut seen.changed);
    strip(&mut seen.removed);
    seen
}
