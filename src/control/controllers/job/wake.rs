//! Which Jobs a change of a Job or a pod wakes, and how soon.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;

use super::Context;
use super::terms::tracked;
use crate::shared::{Key, PodInfo, Queue, selector};

/// So many active pods of a Job add a millisecond to the pause after which one of them is
/// looked at, so that a thousand that end are not counted a thousand times.
const PODS_PER_MILLISECOND: i32 = 20;
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// What the caches call holds the context weakly: the caches are part of it.
pub(super) fn listen(context: &Arc<Context>, orphans: &Queue) {
    context.jobs.subscribe({
        let (context, orphans) = (Arc::downgrade(context), orphans.clone());
        move |old: Option<&Job>, new| {
            let (Some(context), Some(job)) = (context.upgrade(), new.or(old)) else {
                return;
            };
            // Our own status comes back, too: that may wait.
            let pause = match (old, new) {
                (Some(old), Some(new)) if asks_the_same(old, new) => LONGEST_PAUSE,
                _ => Duration::ZERO,
            };
            context.queue.add_after(Key::of(job), pause);
            if new.is_none() {
                let uid = job.metadata.uid.as_deref().unwrap_or_default();
                context.forget(uid);
                for pod in context.pods.owned(uid) {
                    orphans.add(Key::of(&*pod));
                }
            }
        }
    });
    context.pods.subscribe({
        let (context, orphans) = (Arc::downgrade(context), orphans.clone());
        move |old: Option<&PodInfo>, new| {
            let Some(context) = context.upgrade() else {
                return;
            };
            for pod in [old, new].into_iter().flatten() {
                for key in context.interested(pod) {
                    let pause = context.pause(&key);
                    context.queue.add_after(key, pause);
                }
            }
            if let Some(pod) = new.filter(|pod| tracked(pod))
                && context.job_of(pod).is_none()
            {
                orphans.add(Key::of(pod));
            }
        }
    });
}

/// Whether a change touched nothing but the status.
fn asks_the_same(old: &Job, new: &Job) -> bool {
    let (old, new) = (&old.metadata, &new.metadata);
    (&old.uid, old.generation, &old.deletion_timestamp)
        == (&new.uid, new.generation, &new.deletion_timestamp)
}

impl Context {
    /// The Jobs to which a pod matters: its own, or those that may adopt it.
    fn interested(&self, pod: &PodInfo) -> Vec<Key> {
        if let Some(owner) = &pod.controller {
            let mine = pod.owned_by("Job").is_some();
            return match mine {
                true => vec![Key::new(&pod.namespace, &owner.name)],
                false => vec![],
            };
        }
        let jobs = self.jobs.in_namespace(&pod.namespace);
        let adopting = jobs.iter().filter(|job| {
            let wanted = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            selector(wanted).is_some_and(|selector| selector.matches(&pod.labels))
        });
        adopting.map(|job| Key::of(&**job)).collect()
    }

    /// How long a change of one of its pods may wait.
    fn pause(&self, key: &Key) -> Duration {
        let job = self.jobs.get(&key.namespace, &key.name);
        let active = job.and_then(|job| job.status.as_ref()?.active).unwrap_or(0);
        let pause = u64::try_from(active / PODS_PER_MILLISECOND).unwrap_or(0);
        Duration::from_millis(pause).min(LONGEST_PAUSE)
    }
}
