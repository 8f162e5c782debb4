//! Claims that wait for a volume and volumes that wait for a claim, by class, kept as
//! changes come in.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::model::{Claim, Volume};
use crate::shared::Key;

#[derive(Default)]
pub struct Indexes {
    claims: Mutex<HashMap<String, BTreeSet<Key>>>,
    volumes: Mutex<HashMap<String, BTreeSet<String>>>,
}

/// Whether a claim may still take its first volume.
fn waits(claim: &Claim) -> bool {
    !matches!(claim.status.phase.as_str(), "Bound" | "Lost")
}

/// Whether a claim may still take this volume.
fn is_open(volume: &Volume) -> bool {
    !matches!(
        volume.status.phase.as_str(),
        "Bound" | "Released" | "Failed"
    )
}

impl Indexes {
    pub fn claim_changed(&self, old: Option<&Claim>, new: Option<&Claim>) {
        let mut claims = lock(&self.claims);
        if let Some(claim) = old {
            withdraw(&mut claims, claim.class(), &Key::of(claim));
        }
        if let Some(claim) = new.filter(|claim| waits(claim)) {
            let of_class = claims.entry(claim.class().to_owned()).or_default();
            of_class.insert(Key::of(claim));
        }
    }

    /// Names the claims that may take the volume now.
    pub fn volume_changed(&self, old: Option<&Volume>, new: Option<&Volume>) -> Vec<Key> {
        let mut volumes = lock(&self.volumes);
        if let Some(volume) = old {
            withdraw(&mut volumes, volume.class(), &volume.metadata.name);
        }
        let Some(volume) = new.filter(|volume| is_open(volume)) else {
            return vec![];
        };
        let of_class = volumes.entry(volume.class().to_owned()).or_default();
        of_class.insert(volume.metadata.name.clone());
        drop(volumes);
        let free = volume.status.phase == "Available" && volume.spec.claim_ref.is_none();
        let mut out = match free {
            true => self.waiting_for(volume.class()),
            false => vec![],
        };
        // Claims that name it.
        if old.is_none() {
            out.extend(self.waiting_for(volume.class()));
            out.dedup();
        }
        out
    }

    /// Claims of a class that have no volume yet.
    pub fn waiting_for(&self, class: &str) -> Vec<Key> {
        let claims = lock(&self.claims);
        claims.get(class).into_iter().flatten().cloned().collect()
    }

    /// Volumes of a class that a claim may take.
    pub fn open(&self, class: &str) -> Vec<String> {
        let volumes = lock(&self.volumes);
        volumes.get(class).into_iter().flatten().cloned().collect()
    }
}

fn withdraw<T: Ord>(index: &mut HashMap<String, BTreeSet<T>>, class: &str, key: &T) {
    if let Some(of_class) = index.get_mut(class) {
        of_class.remove(key);
        if of_class.is_empty() {
            index.remove(class);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Changed in single steps, so a poisoned lock is still sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_bound_waits_no_more() {
        let claim = |phase: &str| -> Claim {
            serde_json::from_value(json!({"metadata": {"namespace": "d", "name": "c"},
                "spec": {"storageClassName": "slow"}, "status": {"phase": phase}}))
            .unwrap()
        };
        let volume = |phase: &str| -> Volume {
            serde_json::from_value(json!({"metadata": {"name": "v"},
                "spec": {"storageClassName": "slow"}, "status": {"phase": phase}}))
            .unwrap()
        };
        let indexes = Indexes::default();
        indexes.claim_changed(None, Some(&claim("Pending")));
        let waiting = [Key::new("d", "c")];
        assert_eq!(
            indexes.volume_changed(None, Some(&volume("Pending"))),
            waiting
        );
        let free = volume("Available");
        assert_eq!(
            indexes.volume_changed(Some(&volume("Pending")), Some(&free)),
            waiting
        );
        assert_eq!(indexes.open("slow"), ["v"]);
        indexes.volume_changed(Some(&free), Some(&volume("Bound")));
        indexes.claim_changed(Some(&claim("Pending")), Some(&claim("Bound")));
        assert!(indexes.open("slow").is_empty() && indexes.waiting_for("slow").is_empty());
    }
}
