//! Pods that have a node but not yet their volumes. The claims are told the node; when all
//! are bound the pod is.

use std::time::{Duration, Instant};

use tracing::warn;

use crate::cycle::Choice;
use crate::filter::Bindings;
use crate::requests;
use crate::scheduler::{Outcome, Scheduler};
use crate::storage::Claim;

/// How long claims may take to be bound; upstream's figure.
const PATIENCE: Duration = Duration::from_secs(600);

/// A pod whose claims are being bound.
pub(crate) struct Held {
    slot: usize,
    choice: Choice,
    bindings: Bindings,
    pub(crate) until: Instant,
    /// The node was seen on every claim that needs a volume made.
    seen: bool,
}

/// How far the claims of a pod are.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Bound,
    /// The node has arrived at all claims; from now on its absence is a word.
    Seen,
    Waiting,
    /// Whoever makes volumes could not make one there, and said so by taking the node from
    /// the claim; a claim that is gone comes to the same.
    Refused,
}

fn progress<'a>(
    bindings: &Bindings,
    seen: bool,
    claim: impl Fn(&str) -> Option<&'a Claim>,
) -> Progress {
    if bindings.claims().any(|name| claim(name).is_none()) {
        return Progress::Refused;
    }
    let is_bound = |name: &String| claim(name).is_some_and(|c| c.is_bound);
    if bindings.claims().all(is_bound) {
        return Progress::Bound;
    }
    let knows =
        |name: &String| is_bound(name) || claim(name).is_some_and(|c| c.selected_node.is_some());
    match (bindings.provisioned.iter().all(knows), seen) {
        (true, false) => Progress::Seen,
        (false, true) => Progress::Refused,
        _ => Progress::Waiting,
    }
}

impl Scheduler {
    /// Asks for the pod's volumes; it is bound when they are.
    pub(crate) fn hold(
        &mut self,
        key: usize,
        slot: usize,
        choice: Choice,
        bindings: Bindings,
        now: Instant,
    ) {
        let Some(pod) = self.target(key) else { return };
        let storage = &mut self.cache.storage;
        let claims: Vec<Claim> = bindings
            .claims()
            .filter_map(|name| storage.claims.get(name).cloned())
            .collect();
        for (name, volume) in &bindings.matched {
            if let Some(claim) = claims.iter().find(|claim| claim.full_name() == *name) {
                storage.promise(volume, claim);
            }
        }
        let held = Held {
            slot,
            choice,
            bindings: bindings.clone(),
            until: now + PATIENCE,
            seen: false,
        };
        self.held.insert(key, held);
        let (client, node) = (self.client.clone(), self.node_name(slot));
        let uid = pod.uid.clone();
        self.spawn(&uid, async move {
            match requests::bind_claims(&client, &claims, &bindings, &node).await {
                Ok(()) => Outcome::ClaimsAsked(pod.uid),
                Err(error) => {
                    warn!(pod = pod.full_name(), %error, "claims not bound");
                    Outcome::ClaimsNotAsked(pod.uid)
                }
            }
        });
    }

    /// A claim changed: pods that wait for it may be bound, or must look elsewhere.
    pub(crate) fn look_at_held(&mut self, claim: &str, now: Instant) {
        let concerned = self
            .held
            .iter()
            .filter(|(_, held)| held.bindings.claims().any(|name| name == claim));
        let keys: Vec<usize> = concerned.map(|(key, _)| *key).collect();
        for key in keys {
            self.look(key, now);
        }
    }

    pub(crate) fn look(&mut self, key: usize, now: Instant) {
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        let claims = &self.cache.storage.claims;
        match progress(&held.bindings, held.seen, |name| claims.get(name)) {
            Progress::Bound => {
                let (slot, choice) = (held.slot, held.choice);
                self.held.remove(&key);
                self.bind(key, slot, choice);
            }
            Progress::Refused => self.release(key, now),
            Progress::Seen => held.seen = true,
            Progress::Waiting => {}
        }
    }

    /// The pod must look for another node.
    pub(crate) fn release(&mut self, key: usize, now: Instant) {
        self.drop_held(key);
        if self.cache.forget(key) {
            self.queue.failed(key, now);
        }
    }

    pub(crate) fn give_up(&mut self, now: Instant) {
        let late = self.held.iter().filter(|(_, held)| held.until <= now);
        for key in late.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.release(key, now);
            self.complain(key, "binding volumes: context deadline exceeded".to_owned());
        }
    }

    /// The pod needs its volumes no more, or not there.
    pub(crate) fn drop_held(&mut self, key: usize) {
        if let Some(held) = self.held.remove(&key) {
            for claim in held.bindings.claims() {
                self.cache.storage.withdraw(claim);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_on_their_way() {
        let bindings = Bindings {
            matched: vec![("d/a".into(), "v".into())],
            provisioned: vec!["d/b".into()],
        };
        let claim = |is_bound, node: Option<&str>| Claim {
            is_bound,
            selected_node: node.map(str::to_owned),
            ..Claim::default()
        };
        let at = |seen, a: Option<Claim>, b: Option<Claim>| {
            progress(&bindings, seen, |name| {
                if name == "d/a" {
                    a.as_ref()
                } else {
                    b.as_ref()
                }
            })
        };
        let (bound, open) = (claim(true, None), claim(false, None));
        let told = claim(false, Some("n"));
        let some = |c: &Claim| Some(c.clone());
        assert_eq!(at(false, some(&open), some(&open)), Progress::Waiting);
        assert_eq!(at(false, some(&open), some(&told)), Progress::Seen);
        assert_eq!(at(true, some(&open), some(&told)), Progress::Waiting);
        assert_eq!(at(true, some(&bound), some(&open)), Progress::Refused);
        assert_eq!(at(true, some(&bound), some(&bound)), Progress::Bound);
        assert_eq!(at(false, None, some(&told)), Progress::Refused);
    }
}
