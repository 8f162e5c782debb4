//! The pod's conditions. Those of other authors are carried over untouched.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::manifest::is_sidecar;
use crate::status::{Inputs, is_wired};

/// Conditions the kubelet writes; all others belong to somebody else.
pub(crate) const OWN_CONDITIONS: [&str; 6] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    PENDING_RESIZE,
];

/// There only while a running pod does not get what it asks for.
const PENDING_RESIZE: &str = "PodResizePending";

/// Said of pods that were ended although they did nothing wrong; never taken back.
const DISRUPTED: &str = "DisruptionTarget";

/// What one condition should say.
struct Verdict {
    type_: &'static str,
    /// Reason and message of what is wrong; `None` means the condition holds.
    wrong: Option<(&'static str, String)>,
    /// Reason shown although the condition holds.
    note: Option<&'static str>,
}

impl Verdict {
    fn new(type_: &'static str, wrong: Option<(&'static str, String)>) -> Self {
        Self {
            type_,
            wrong,
            note: None,
        }
    }
}

/// The conditions for `status`; times of change are kept from `old`.
pub(crate) fn compute(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    status: &PodStatus,
    old: &PodStatus,
    is_initialized: bool,
) -> Vec<PodCondition> {
    let phase = status.phase.as_deref().unwrap_or_default();
    let sandbox = (!is_wired(inputs, spec, old)).then(|| {
        let message = inputs.memory.sandbox_trouble().map(|t| t.message.clone());
        ("", message.unwrap_or_default())
    });
    let containers = readiness(spec, status, phase, is_initialized);
    let mut ready = containers.clone();
    if ready.is_none() {
        ready = missing_gates(spec, old);
    }
    let mut initialized = Verdict::new("Initialized", None);
    if phase == "Succeeded" {
        initialized.note = Some("PodCompleted");
    } else if !is_initialized {
        initialized.wrong = Some((
            "ContainersNotInitialized",
            format!(
                "containers with incomplete status: [{}]",
                incomplete(spec, status)
            ),
        ));
    }
    let verdicts = [
        Verdict::new("PodReadyToStartContainers", sandbox),
        initialized,
        Verdict::new("Ready", ready),
        Verdict::new("ContainersReady", containers),
        Verdict::new("PodScheduled", None),
    ];
    let mut conditions: Vec<PodCondition> = old
        .conditions
        .iter()
        .flatten()
        .filter(|condition| {
            condition.type_ != PENDING_RESIZE
                && verdicts
                    .iter()
                    .all(|verdict| verdict.type_ != condition.type_)
        })
        .cloned()
        .collect();
    conditions.extend(
        verdicts
            .into_iter()
            .map(|verdict| condition(inputs, verdict, old)),
    );
    let terminal = matches!(phase, "Succeeded" | "Failed");
    if let Some(pending) = inputs.memory.pending.as_ref().filter(|_| !terminal) {
        let before = old.conditions.iter().flatten();
        let mut before = before.filter(|known| known.type_ == PENDING_RESIZE);
        let since = before
            .next()
            .and_then(|known| known.last_transition_time.clone());
        conditions.push(PodCondition {
            type_: PENDING_RESIZE.into(),
            status: "True".into(),
            reason: Some(pending.reason.into()),
            message: Some(pending.message.clone()),
            last_transition_time: since.or(Some(Time(inputs.now))),
            observed_generation: inputs.pod.metadata.generation,
            last_probe_time: None,
        });
    }
    let over = inputs.memory.over.as_ref().filter(|_| terminal);
    if let Some(over) = over.filter(|over| over.disruption)
        && conditions.iter().all(|known| known.type_ != DISRUPTED)
    {
        conditions.push(PodCondition {
            type_: DISRUPTED.into(),
            status: "True".into(),
            reason: Some("TerminationByKubelet".into()),
            message: Some(over.message.clone()),
            last_transition_time: Some(Time(inputs.now)),
            observed_generation: inputs.pod.metadata.generation,
            last_probe_time: None,
        });
    }
    conditions
}

fn condition(inputs: &Inputs<'_>, verdict: Verdict, old: &PodStatus) -> PodCondition {
    let value = if verdict.wrong.is_none() {
        "True"
    } else {
        "False"
    };
    let before = old
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == verdict.type_);
    let since = before
        .filter(|condition| condition.status == value)
        .and_then(|condition| condition.last_transition_time.clone())
        .unwrap_or(Time(inputs.now));
    let (reason, message) = match verdict.wrong {
        Some((reason, message)) => (Some(reason), Some(message)),
        None => (verdict.note, None),
    };
    PodCondition {
        type_: verdict.type_.into(),
        status: value.into(),
        reason: reason.filter(|text| !text.is_empty()).map(str::to_owned),
        message: message.filter(|text| !text.is_empty()),
        last_transition_time: Some(since),
        observed_generation: inputs.pod.metadata.generation,
        last_probe_time: None,
    }
}

fn readiness(
    spec: &PodSpec,
    status: &PodStatus,
    phase: &str,
    is_initialized: bool,
) -> Option<(&'static str, String)> {
    match phase {
        "Succeeded" => return Some(("PodCompleted", String::new())),
        "Failed" => return Some(("PodFailed", String::new())),
        _ => {}
    }
    let is_ready = |list: &Option<Vec<ContainerStatus>>, name: &str| {
        let mut all = list.iter().flatten();
        all.any(|status| status.name == name && status.ready)
    };
    let init = spec.init_containers.iter().flatten();
    let sidecars = init
        .filter(|container| is_sidecar(container))
        .filter(|container| !is_ready(&status.init_container_statuses, &container.name));
    let apps = spec
        .containers
        .iter()
        .filter(|container| !is_ready(&status.container_statuses, &container.name));
    // In the order of the manifest.
    let unready: Vec<&str> = sidecars
        .chain(apps)
        .map(|container| container.name.as_str())
        .collect();
    if unready.is_empty() && is_initialized {
        return None;
    }
    Some((
        "ContainersNotReady",
        format!("containers with unready status: [{}]", unready.join(" ")),
    ))
}

fn incomplete(spec: &PodSpec, status: &PodStatus) -> String {
    let names: Vec<&str> = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter(|status| {
            let sidecar = spec
                .init_containers
                .iter()
                .flatten()
                .any(|container| container.name == status.name && is_sidecar(container));
            if sidecar {
                status.started != Some(true)
            } else {
                !status.ready
            }
        })
        .map(|status| status.name.as_str())
        .collect();
    names.join(" ")
}

fn missing_gates(spec: &PodSpec, old: &PodStatus) -> Option<(&'static str, String)> {
    let missing: Vec<String> = spec
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| {
            let type_ = &gate.condition_type;
            let mut known = old.conditions.iter().flatten();
            match known.find(|condition| condition.type_ == *type_) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{type_}\" does not exist."
                )),
                Some(condition) if condition.status == "True" => None,
                Some(condition) => Some(format!(
                    "the status of pod readiness gate \"{type_}\" is not \"True\", but {}",
                    condition.status
                )),
            }
        })
        .collect();
    (!missing.is_empty()).then(|| ("ReadinessGatesNotReady", missing.join(", ")))
}
