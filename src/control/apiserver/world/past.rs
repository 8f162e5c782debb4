//! The recent past: what stories are told from. It reaches as far back as watches may resume.

use std::collections::HashSet;
use std::sync::Arc;

use cadet_store::Revision;
use tokio::sync::futures::Notified;

use super::World;
use super::change::Change;
use crate::object::Object;

impl World {
    /// The changes after a revision that are remembered, oldest first.
    pub fn changes(&self, after: Revision) -> Vec<Arc<Change>> {
        self.read().hub.after(after)
    }

    /// Ends with the next change. Enable it before looking, so that none slips in between.
    pub fn next_change(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// Everything there is now that the object with this uid owns, and what that owns.
    pub fn descendants(&self, uid: &str) -> Vec<Arc<Object>> {
        let state = self.read();
        let mut known = HashSet::from([uid.to_owned()]);
        let mut found = Vec::new();
        loop {
            let before = found.len();
            for object in state.kinds.values().flat_map(super::all) {
                let mut owners = object.owner_references().iter();
                if owners.any(|owner| known.contains(&owner.uid))
                    && known.insert(object.uid().to_owned())
                {
                    found.push(Arc::clone(object));
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }
}
