//! Says how many pods of each PodDisruptionBudget may be missing; evictions obey it.
//!
//! ```text
//!   pods that a budget selects ─▶ expected (their controllers' scale) ─▶ desired healthy
//!        └──▶ healthy: ready, not going, not just evicted ─▶ disruptions allowed
//! ```

mod figures;
mod scale;

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::errors::Error;
use crate::eviction::about;
use crate::go_selector::go_selector;
use crate::shared::{
    Complete, Events, Key, Merge, PodInfo, Queue, Shared, Store, difference, patch, regarding,
    selector, work,
};
use scale::{Scales, Unscaled};

/// Budgets looked after at a time.
const WORKERS: usize = 2;
/// A budget waits this long after a change of one of its pods, so that many make one count.
const CALM: Duration = Duration::from_millis(50);

struct Context {
    shared: Shared,
    budgets: Store<PodDisruptionBudget>,
    pods: Store<PodInfo>,
    scales: Scales,
    queue: Queue,
    events: Events,
}

/// Looks after budgets until the shutdown.
pub async fn run(shared: Shared) {
    let context = Context {
        budgets: shared.store::<PodDisruptionBudget>(),
        pods: shared.store::<PodInfo>(),
        scales: Scales::new(&shared),
        queue: Queue::default(),
        events: shared.events("controllermanager"),
        shared,
    };
    context
        .budgets
        .feed(&context.queue, |budget| Some(Key::of(budget)));
    let (budgets, queue) = (context.budgets.clone(), context.queue.clone());
    context.pods.subscribe(move |old, new| {
        if let (Some(old), Some(new)) = (old, new)
            && !figures::differ(old, new)
        {
            return;
        }
        let Some(pod) = new.or(old) else { return };
        for budget in budgets.in_namespace(&pod.namespace) {
            let seen = [old, new].into_iter().flatten();
            if seen.into_iter().any(|pod| selects(&budget, pod)) {
                queue.add_after(Key::of(&*budget), CALM);
            }
        }
    });
    // A scale is what is expected.
    wake_on::<ReplicaSet>(&context);
    wake_on::<ReplicationController>(&context);
    wake_on::<Deployment>(&context);
    wake_on::<StatefulSet>(&context);
    let scales = &context.scales;
    let caches: [&dyn Complete; 6] = [
        &context.budgets,
        &context.pods,
        &scales.sets,
        &scales.controllers,
        &scales.deployments,
        &scales.stateful,
    ];
    let reconcile = |key| reconcile(&context, key);
    work(&context.shared, &context.queue, &caches, WORKERS, reconcile).await;
}

/// Wakes the budgets of a namespace when something that scales there wants another number.
fn wake_on<K: scale::Scaled>(context: &Context) {
    let (budgets, queue) = (context.budgets.clone(), context.queue.clone());
    context.shared.store::<K>().subscribe(move |old, new| {
        if old.map(scale::Scaled::replicas) == new.map(scale::Scaled::replicas) {
            return;
        }
        let Some(object) = new.or(old) else { return };
        for budget in budgets.in_namespace(object.meta().namespace) {
            queue.add_after(Key::of(&*budget), CALM);
        }
    });
}

fn selects(budget: &PodDisruptionBudget, pod: &PodInfo) -> bool {
    let wanted = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector(wanted).is_some_and(|selector| selector.matches(&pod.labels))
}

async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    let Some(budget) = context.budgets.get(&key.namespace, &key.name) else {
        return Ok(());
    };
    let wanted = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let mut pods = match selector(wanted) {
        Some(_) => context.pods.in_namespace(&key.namespace),
        None => Vec::new(),
    };
    if let Some(selector) = selector(wanted) {
        pods.retain(|pod| selector.matches(&pod.labels));
    }
    if pods.is_empty() {
        let message = "No matching pods found".to_owned();
        context
            .events
            .normal(regarding(&*budget), "NoPods", message);
    }
    let now = Timestamp::now();
    let (expected, unmanaged) = match context.scales.expected(&budget, &pods).await {
        Ok(expected) => expected,
        Err(Unscaled::Failed(source)) => {
            let what = format!("scale of what budget {key} guards");
            return Err(Error::Read { what, source });
        }
        Err(Unscaled::Lost(why)) => {
            let about = regarding(&*budget);
            context.events.warning(about, "NoControllers", why.clone());
            return unknown(context, &budget, &why, now).await;
        }
        Err(Unscaled::Unknown(why)) => return unknown(context, &budget, &why, now).await,
    };
    if unmanaged {
        let about = regarding(&*budget);
        let message = unmanaged_words(&budget);
        context.events.warning(about, "UnmanagedPods", message);
    }
    let disrupted = figures::disrupted(&budget, &pods, now);
    for pod in disrupted.overdue {
        let message = format!(
            "Pod was expected by PDB {}/{} to be deleted but it wasn't",
            key.namespace, key.name
        );
        context.events.warning(about(pod), "NotDeleted", message);
    }
    if let Some(seconds) = disrupted.recheck {
        let pause = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        context.queue.add_after(key.clone(), pause);
    }
    let status = figures::status(&budget, &pods, expected, disrupted.pending, now);
    write(context, &budget, status).await
}

/// Nobody can tell how many pods there should be: nothing is allowed, and it is said why.
async fn unknown(
    context: &Context,
    budget: &PodDisruptionBudget,
    why: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let message = format!("Failed to calculate the number of expected pods: {why}");
    let reason = "CalculateExpectedPodCountFailed";
    context.events.warning(regarding(budget), reason, message);
    write(context, budget, figures::failed(budget, why, now)).await
}

fn unmanaged_words(budget: &PodDisruptionBudget) -> String {
    let wanted = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let wanted = wanted.map(|selector| json!(selector));
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. \
         As a result, the status of the PDB cannot be calculated correctly, which may result in \
         undefined behavior. To account for these pods please set \".spec.minAvailable\" field \
         of the PDB to an integer value.",
        go_selector(wanted.as_ref())
    )
}

async fn write(
    context: &Context,
    budget: &PodDisruptionBudget,
    new: k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus,
) -> Result<(), Error> {
    let failed = |source| Error::Write {
        what: format!("status of budget {}", Key::of(budget)),
        source,
    };
    let json =
        |status| serde_json::to_value(status).map_err(|e| failed(kube::Error::SerdeError(e)));
    let old = json(budget.status.clone().unwrap_or_default())?;
    let Some(change) = difference(&old, &json(new)?) else {
        return Ok(());
    };
    // An eviction may have used up a disruption meanwhile: then this count is out of date.
    let version = budget.metadata.resource_version.clone();
    let change = json!({"metadata": {"resourceVersion": version}, "status": change});
    let (client, store) = (context.shared.client(), &context.budgets);
    match patch(client, store, budget, "/status", Merge::Plain, &change).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(failed(source)),
    }
}
