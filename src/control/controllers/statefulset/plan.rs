//! What a StatefulSet's pods ask for, in order.
//!
//! Ordered sets make progress by one pod at a time, from the lowest ordinal up, and shrink
//! and roll from the highest down; each step waits until all below are running, ready and
//! available. Parallel sets do not wait.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::jiff::Timestamp;

use super::wishes::{Wishes, revision};
use crate::shared::{Phase, PodInfo};

/// A pod as the cache gave it out.
pub type Pod = Arc<PodInfo>;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// By the current revision if `old`, else by the newest.
    Create {
        ordinal: i32,
        old: bool,
    },
    /// Its claims must be there and belong to whom they should, its labels must be right.
    Check {
        ordinal: i32,
        pod: Pod,
    },
    Delete(Pod),
}

/// See the module's opening.
#[derive(Debug)]
pub struct Plan {
    /// To be done one after the other in ordered sets, else in any order.
    pub steps: Vec<Step>,
    /// Seconds until a pod will have been ready for long enough.
    pub again: Option<i64>,
}

/// The names of the two revisions of interest: the one most pods are of, and the newest.
#[derive(Debug, Clone, Copy)]
pub struct Revisions<'a> {
    pub current: &'a str,
    pub update: &'a str,
}

/// Plans what follows from the pods there are.
pub fn plan(set: &StatefulSet, pods: &[Pod], revisions: Revisions<'_>, now: Timestamp) -> Plan {
    let wishes = Wishes::of(set);
    let sorted = Sorted::of(&wishes, pods);
    let mut plan = Plan {
        steps: Vec::new(),
        again: sorted.next_available(&wishes, now),
    };
    if set.metadata.deletion_timestamp.is_none()
        && plan.grow(&wishes, &sorted, now)
        && plan.shrink(&wishes, &sorted, now)
        && wishes.rolling
    {
        plan.roll(&wishes, &sorted, revisions, now);
    }
    plan
}

/// Pods by ordinal: those wanted, and those too many.
struct Sorted<'a> {
    wanted: BTreeMap<i32, &'a Pod>,
    /// Highest ordinal first.
    surplus: Vec<(i32, &'a Pod)>,
}

impl<'a> Sorted<'a> {
    fn of(wishes: &Wishes<'_>, pods: &'a [Pod]) -> Sorted<'a> {
        let known = pods
            .iter()
            .filter_map(|pod| Some((wishes.ordinal(pod)?, pod)));
        let (wanted, surplus): (BTreeMap<_, _>, BTreeMap<_, _>) =
            known.partition(|(ordinal, _)| wishes.has(*ordinal));
        let mut surplus: Vec<_> = surplus.into_iter().collect();
        surplus.sort_by_key(|(ordinal, _)| Reverse(*ordinal));
        Sorted { wanted, surplus }
    }

    fn all(&self) -> impl Iterator<Item = &'a Pod> {
        let surplus = self.surplus.iter().map(|(_, pod)| *pod);
        self.wanted.values().copied().chain(surplus)
    }

    fn next_available(&self, wishes: &Wishes<'_>, now: Timestamp) -> Option<i64> {
        let missing = self.all().filter_map(|pod| {
            let available = pod.is_available(wishes.min_ready_seconds, now);
            available.err().flatten()
        });
        missing.min()
    }
}

impl Plan {
    /// Makes and mends what is wanted; false if nothing else may happen in this round.
    fn grow(&mut self, wishes: &Wishes<'_>, sorted: &Sorted<'_>, now: Timestamp) -> bool {
        let end = wishes.start.saturating_add(wishes.replicas);
        for ordinal in wishes.start..end {
            let Some(pod) = sorted.wanted.get(&ordinal) else {
                let old = ordinal < wishes.start.saturating_add(wishes.current_below);
                self.steps.push(Step::Create { ordinal, old });
                if wishes.ordered {
                    return false;
                }
                continue;
            };
            if pod.has_ended() {
                // However it ended: it was evicted, or its node was shut down.
                if pod.deletion.is_none() {
                    self.steps.push(Step::Delete(Pod::clone(pod)));
                }
                if wishes.ordered {
                    return false;
                }
                continue;
            }
            self.steps.push(Step::Check {
                ordinal,
                pod: Pod::clone(pod),
            });
            let waits = pod.deletion.is_some() || !is_available(pod, wishes, now);
            if waits && wishes.ordered {
                return false;
            }
        }
        true
    }

    /// Removes what is too many; false if nothing else may happen in this round.
    fn shrink(&mut self, wishes: &Wishes<'_>, sorted: &Sorted<'_>, now: Timestamp) -> bool {
        for (ordinal, pod) in &sorted.surplus {
            self.steps.push(Step::Check {
                ordinal: *ordinal,
                pod: Pod::clone(pod),
            });
        }
        let healthy = |pod: &Pod| is_running(pod) && pod.deletion.is_none();
        let wanted = usize::try_from(wishes.replicas).unwrap_or(0);
        let whole = sorted.wanted.len() == wanted && sorted.wanted.values().all(|p| healthy(p));
        // The unhealthy pod at the bottom may always go: it holds up all others.
        let mut rising = sorted.surplus.iter().rev().map(|(_, pod)| *pod);
        let bottom = rising.find(|pod| !healthy(pod)).filter(|_| whole);
        for (_, pod) in &sorted.surplus {
            if pod.deletion.is_some() {
                if wishes.ordered {
                    return false;
                }
                continue;
            }
            let is_bottom = bottom.is_some_and(|bottom| bottom.uid == pod.uid);
            if wishes.ordered && !is_available(pod, wishes, now) && !is_bottom {
                return false;
            }
            self.steps.push(Step::Delete(Pod::clone(pod)));
            if wishes.ordered {
                return false;
            }
        }
        true
    }

    /// Removes pods of old revisions, so that they come back new.
    fn roll(
        &mut self,
        wishes: &Wishes<'_>,
        sorted: &Sorted<'_>,
        revisions: Revisions<'_>,
        now: Timestamp,
    ) {
        let first = wishes.start.saturating_add(wishes.partition);
        let falling = || sorted.wanted.range(first..).rev().map(|(_, pod)| *pod);
        let is_old = |pod: &Pod| revision(pod) != revisions.update && pod.deletion.is_none();
        let is_usable = |pod: &Pod| pod.deletion.is_none() && is_available(pod, wishes, now);
        let delete = |pod: &Pod| Step::Delete(Pod::clone(pod));
        let Some(most) = wishes.max_unavailable else {
            // One by one; what was replaced must be usable before the next goes.
            for pod in falling() {
                if is_old(pod) {
                    return self.steps.push(delete(pod));
                }
                if !is_usable(pod) {
                    return;
                }
            }
            return;
        };
        let unusable =
            wishes.replicas - super::count(sorted.wanted.values().filter(|pod| is_usable(pod)));
        let left = usize::try_from(most - unusable).unwrap_or(0);
        if wishes.ordered {
            let old = falling().filter(|pod| is_old(pod)).take(left);
            return self.steps.extend(old.map(delete));
        }
        // What is of no use anyway goes first, and costs nothing.
        let (usable, useless): (Vec<_>, Vec<_>) = falling()
            .filter(|pod| is_old(pod))
            .partition(|pod| is_usable(pod));
        self.steps.extend(useless.into_iter().map(delete));
        self.steps.extend(usable.into_iter().take(left).map(delete));
    }
}

fn is_running(pod: &PodInfo) -> bool {
    pod.phase == Phase::Running && pod.is_ready()
}

fn is_available(pod: &PodInfo, wishes: &Wishes<'_>, now: Timestamp) -> bool {
    is_running(pod) && pod.is_available(wishes.min_ready_seconds, now).is_ok()
}

/// The status that the pods make.
pub fn status(
    set: &StatefulSet,
    pods: &[Pod],
    revisions: Revisions<'_>,
    collisions: i32,
    now: Timestamp,
) -> StatefulSetStatus {
    let wishes = Wishes::of(set);
    let sorted = Sorted::of(&wishes, pods);
    let count =
        |fits: &dyn Fn(&PodInfo) -> bool| super::count(sorted.all().filter(|pod| fits(pod)));
    let of = |name: &str| {
        let name = name.to_owned();
        move |pod: &PodInfo| pod.deletion.is_none() && revision(pod) == name
    };
    let replicas = count(&|_| true);
    let ready = count(&is_running);
    let updated = count(&of(revisions.update));
    let mut current = (revisions.current, count(&of(revisions.current)));
    let all = |number| number == wishes.replicas;
    if wishes.rolling && all(updated) && all(ready) && all(replicas) {
        current = (revisions.update, updated);
    }
    let some = |number: i32| Some(number).filter(|number| *number > 0);
    StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas,
        ready_replicas: some(ready),
        available_replicas: Some(count(&|pod| is_available(pod, &wishes, now))),
        current_replicas: some(current.1),
        updated_replicas: some(updated),
        current_revision: Some(current.0.to_owned()),
        update_revision: Some(revisions.update.to_owned()),
        collision_count: Some(collisions),
        conditions: set
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone()),
    }
}
