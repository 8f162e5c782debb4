//! Which volume a claim gets, and what becomes of a volume whose claim is gone. Pure.
//!
//! ```text
//!   claim:  Pending ──bind──▶ Bound ──volume gone or taken──▶ Lost
//!   volume: Available ──bind──▶ Bound ──claim gone──▶ Released ──▶ kept, deleted, Failed
//! ```

use cadet_api::selector::LabelSelector;

use super::model::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, Claim, Class, PROVISIONED_BY, SELECTED_NODE, Volume,
};

/// What a user is told: reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

fn normal(reason: &'static str, message: impl Into<String>) -> Told {
    Told {
        warning: false,
        reason,
        message: message.into(),
    }
}

fn warning(reason: &'static str, message: impl Into<String>) -> Told {
    Told {
        warning: true,
        reason,
        message: message.into(),
    }
}

/// What is to be done about a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimAct {
    /// It and the volume of this name belong together.
    Bind(String),
    /// A volume of its class is to be made.
    Provision,
    /// Nothing can be done yet.
    Wait(Option<Told>),
    /// What it was bound to is lost.
    Lose(Told),
}

/// What is known besides the claim itself.
pub struct Around<'a> {
    pub class: Option<&'a Class>,
    /// The volume the claim names, if it is there.
    pub named: Option<&'a Volume>,
    /// All volumes; only those that may fit need to be among them.
    pub volumes: &'a [&'a Volume],
    /// Pods that use the claim and wait for a node.
    pub waiting_pods: &'a [String],
    /// A node that a pod using the claim has been put on without asking.
    pub forced_node: Option<&'a str>,
}

/// Decides about a claim.
pub fn claim_act(claim: &Claim, around: &Around<'_>) -> ClaimAct {
    if claim.metadata.has(BIND_COMPLETED) {
        return bound(claim, around.named);
    }
    if claim.spec.volume_name.is_empty() {
        return match_or_make(claim, around);
    }
    let Some(volume) = around.named else {
        return ClaimAct::Wait(None);
    };
    let name = &volume.metadata.name;
    if volume.spec.claim_ref.is_none() {
        return match mismatch(volume, claim) {
            Some(why) => ClaimAct::Wait(Some(warning(
                "VolumeMismatch",
                format!("Cannot bind to requested volume {name:?}: {why}"),
            ))),
            None => ClaimAct::Bind(name.clone()),
        };
    }
    match volume.is_for(claim) {
        true => ClaimAct::Bind(name.clone()),
        false => ClaimAct::Wait(Some(warning(
            "FailedBinding",
            format!("volume {name:?} already bound to a different claim."),
        ))),
    }
}

fn bound(claim: &Claim, named: Option<&Volume>) -> ClaimAct {
    let lose = |reason, message: &str| ClaimAct::Lose(warning(reason, message));
    if claim.spec.volume_name.is_empty() {
        return lose(
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        );
    }
    let Some(volume) = named else {
        return lose(
            "ClaimLost",
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        );
    };
    match &volume.spec.claim_ref {
        None => ClaimAct::Bind(volume.metadata.name.clone()),
        Some(to) if to.uid == claim.metadata.uid => ClaimAct::Bind(volume.metadata.name.clone()),
        Some(_) => lose(
            "ClaimMisbound",
            "Two claims are bound to the same volume, this one is bound incorrectly",
        ),
    }
}

fn match_or_make(claim: &Claim, around: &Around<'_>) -> ClaimAct {
    let waits = around.class.is_some_and(Class::waits);
    if let Some(volume) = best(claim, around.volumes, waits) {
        return ClaimAct::Bind(volume.metadata.name.clone());
    }
    let placed = claim.metadata.has(SELECTED_NODE) || around.forced_node.is_some();
    if waits && !placed {
        return ClaimAct::Wait(Some(match around.waiting_pods {
            [] => normal(
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding",
            ),
            [pod] => normal(
                "WaitForPodScheduled",
                format!("waiting for pod {pod} to be scheduled"),
            ),
            pods => normal(
                "WaitForPodScheduled",
                format!(
                    "waiting for at least one of pods {} to be scheduled",
                    pods.join(",")
                ),
            ),
        }));
    }
    if claim.class().is_empty() {
        return ClaimAct::Wait(Some(normal(
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        )));
    }
    match around.class {
        // Those of upstream's own tree; none is left that makes volumes.
        Some(class) if class.provisioner.starts_with("kubernetes.io/") => {
            ClaimAct::Wait(Some(warning(
                "ProvisioningFailed",
                format!("no volume plugin matched name: {}", class.provisioner),
            )))
        }
        Some(_) => ClaimAct::Provision,
        None => ClaimAct::Wait(Some(warning(
            "ProvisioningFailed",
            format!("storageclass.storage.k8s.io {:?} not found", claim.class()),
        ))),
    }
}

/// Why a volume that the claim names is not for it, in upstream's words.
fn mismatch(volume: &Volume, claim: &Claim) -> Option<&'static str> {
    if volume.capacity() < claim.wants() {
        return Some("requested PV is too small");
    }
    if volume.class() != claim.class() {
        return Some("storageClassName does not match");
    }
    if volume.mode() != claim.mode() {
        return Some("incompatible volumeMode");
    }
    (!gives(volume, &claim.spec.access_modes)).then_some("incompatible accessMode")
}

fn gives(volume: &Volume, modes: &[String]) -> bool {
    modes
        .iter()
        .all(|mode| volume.spec.access_modes.contains(mode))
}

/// The volume that fits best: one meant for the claim; else, unless the claim waits for its
/// pod, the smallest of those with the fewest access modes.
fn best<'a>(claim: &Claim, volumes: &[&'a Volume], waits: bool) -> Option<&'a Volume> {
    let fits = volumes.iter().copied().filter(|volume| {
        !volume.metadata.is_deleting()
            && volume.mode() == claim.mode()
            && gives(volume, &claim.spec.access_modes)
            && volume.capacity() >= claim.wants()
    });
    if let Some(meant) = fits.clone().find(|volume| volume.is_for(claim)) {
        return Some(meant);
    }
    if waits {
        return None;
    }
    let selector = match claim.spec.selector.is_null() {
        true => None,
        // What cannot be read selects nothing.
        false => Some(LabelSelector::from_object(&claim.spec.selector).ok()?),
    };
    fits.filter(|volume| {
        volume.status.phase == "Available"
            && volume.spec.claim_ref.is_none()
            && volume.class() == claim.class()
            && selector
                .as_ref()
                .is_none_or(|s| s.matches(&volume.metadata.labels))
    })
    .min_by_key(|volume| {
        let modes = volume.spec.access_modes.len();
        (modes, volume.capacity(), volume.metadata.name.clone())
    })
}

/// What is to be done about a volume.
#[derive(Debug, Clone, PartialEq)]
pub enum VolumeAct {
    /// Its phase is to be this.
    Phase(&'static str),
    /// Its claim decides.
    AskClaim,
    /// Its claim is bound to another volume: it is free again. True if we had bound it, so
    /// that the reference goes as a whole.
    Unbind(bool),
    /// Its claim is gone.
    Reclaim(Reclaim),
}

/// How a volume without a claim ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Reclaim {
    /// It stays for somebody to look after.
    Retain,
    /// Whoever made it takes it away.
    Delete(String),
    /// It goes; what is in its folder stays where it is.
    Forget,
    /// Its folder is emptied, then it is free again.
    Recycle,
    /// It cannot be done.
    Fail(Told),
}

/// Decides about a volume; `claim` is the one its reference names, if it is there.
pub fn volume_act(volume: &Volume, claim: Option<&Claim>) -> VolumeAct {
    let Some(to) = volume
        .spec
        .claim_ref
        .as_ref()
        .filter(|to| !to.uid.is_empty())
    else {
        return VolumeAct::Phase("Available");
    };
    let Some(claim) = claim.filter(|claim| claim.metadata.uid == to.uid) else {
        return VolumeAct::Reclaim(reclaim(volume));
    };
    match claim.spec.volume_name.as_str() {
        "" => VolumeAct::AskClaim,
        name if name == volume.metadata.name => VolumeAct::Phase("Bound"),
        _ if volume.metadata.has(PROVISIONED_BY)
            && volume.spec.persistent_volume_reclaim_policy == "Delete" =>
        {
            VolumeAct::Reclaim(reclaim(volume))
        }
        _ => VolumeAct::Unbind(volume.metadata.has(BOUND_BY_CONTROLLER)),
    }
}

/// A folder that somebody chose is not ours to remove. Upstream does it below `/tmp`, as far as
/// its controller can see that of a node, which it cannot from its own container: the volume goes
/// and the folder stays.
fn of_folder(path: &str) -> Reclaim {
    let below = path.split_once("/tmp/").map(|(_, below)| below);
    match below.is_some_and(|below| !below.is_empty()) {
        true => Reclaim::Forget,
        false => Reclaim::Fail(warning(
            "VolumeFailedDelete",
            format!("host_path deleter only supports /tmp/.+ but received provided {path}"),
        )),
    }
}

fn reclaim(volume: &Volume) -> Reclaim {
    match volume.spec.persistent_volume_reclaim_policy.as_str() {
        "Delete" => match volume.metadata.annotation(PROVISIONED_BY) {
            "" => match &volume.spec.host_path {
                Some(folder) => of_folder(&folder.path),
                None => Reclaim::Fail(warning(
                    "VolumeFailedDelete",
                    format!(
                        "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
                        volume.metadata.name
                    ),
                )),
            },
            provisioner => Reclaim::Delete(provisioner.to_owned()),
        },
        "Recycle" if volume.spec.host_path.is_some() => Reclaim::Recycle,
        "Recycle" => Reclaim::Fail(warning(
            "VolumeFailedRecycle",
            "No recycler plugin found for the volume!",
        )),
        _ => Reclaim::Retain,
    }
}

#[cfg(test)]
#[path = "binder_tests.rs"]
mod tests;
