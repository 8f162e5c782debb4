//! The kinds this server serves: the built-in table, and what definitions have added to it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use cadet_api::resource::{self, Resource, Rows};
use cadet_api::{crd, json};
use serde_json::Value;

/// Where a definition's objects lie in the store: `crontabs.stable.example.com`.
type Qualified = String;

#[derive(Default)]
struct Added {
    /// Rows by the name of their definition, which is their qualified name.
    definitions: HashMap<Qualified, Rows>,
    /// Rows made before, by definition: a definition that comes back gets its old rows,
    /// because rows are never freed.
    made: HashMap<String, Rows>,
    /// All rows, built-in ones first.
    rows: Arc<Rows>,
}

/// See the module's opening. One for each server; tests run several in one process.
pub struct Kinds(RwLock<Added>);

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds(RwLock::new(Added {
            rows: Arc::new(resource::built_in()),
            ..Added::default()
        }))
    }
}

impl Kinds {
    /// The row at `/apis/<group>/<version>/<plural>`.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        if let Some(found) = resource::find(group, version, plural) {
            return Some(found);
        }
        let added = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let rows = added.definitions.get(&format!("{plural}.{group}"))?;
        rows.iter()
            .copied()
            .find(|r| r.gv.version == version && !r.verbs.is_empty())
    }

    /// The stored row of a kind, by the name its objects lie under.
    pub fn stored(&self, qualified: &str) -> Option<&'static Resource> {
        let (plural, group) = qualified.split_once('.').unwrap_or((qualified, ""));
        let built_in = resource::all()
            .iter()
            .find(|r| r.plural == plural && r.gv.group == group && !r.is_converted());
        built_in.or_else(|| {
            let added = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let rows = added.definitions.get(qualified)?;
            rows.iter().copied().find(|r| !r.is_converted())
        })
    }

    /// Every row, in discovery order.
    pub fn rows(&self) -> Arc<Rows> {
        let added = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&added.rows)
    }

    /// Takes in a definition as it is now.
    pub fn define(&self, definition: &Value) {
        let name = json::str_at(definition, "/metadata/name").to_owned();
        let mut added = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = crd::key(definition);
        let rows = match added.made.get(&key) {
            Some(rows) => rows.clone(),
            None => {
                let rows = crd::rows(definition);
                added.made.insert(key, rows.clone());
                rows
            }
        };
        added.definitions.insert(name, rows);
        added.refresh();
    }

    /// Forgets the definitions whose name is not wanted any more.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        let mut added = self.0.write().unwrap_or_else(PoisonError::into_inner);
        added.definitions.retain(|name, _| wanted(name));
        added.refresh();
    }

    /// Forgets a definition.
    pub fn forget(&self, name: &str) {
        let mut added = self.0.write().unwrap_or_else(PoisonError::into_inner);
        added.definitions.remove(name);
        added.refresh();
    }
}

impl Added {
    fn refresh(&mut self) {
        let mut rows = resource::built_in();
        let mut names: Vec<&Qualified> = self.definitions.keys().collect();
        names.sort_unstable();
        for name in names {
            let mut of_one = self.definitions[name].clone();
            of_one.sort_by_key(|r| std::cmp::Reverse(cadet_api::names::version_rank(r.gv.version)));
            rows.extend(of_one);
        }
        self.rows = Arc::new(rows);
    }
}
