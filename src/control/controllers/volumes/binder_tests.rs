//! Claims and volumes that find each other, and those that part.

use super::*;
use crate::volumes::model::HostPath;
use serde_json::{Value, json};

fn claim(change: impl FnOnce(&mut Value)) -> Claim {
    let mut claim = json!({
        "metadata": {"namespace": "d", "name": "data", "uid": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}},
            "storageClassName": "slow"},
    });
    change(&mut claim);
    serde_json::from_value(claim).unwrap()
}

fn volume(name: &str, size: &str, change: impl FnOnce(&mut Value)) -> Volume {
    let mut volume = json!({
        "metadata": {"name": name, "uid": name, "labels": {"disk": name}},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size},
            "storageClassName": "slow", "persistentVolumeReclaimPolicy": "Retain"},
        "status": {"phase": "Available"},
    });
    change(&mut volume);
    serde_json::from_value(volume).unwrap()
}

fn class(mode: &str, provisioner: &str) -> Class {
    serde_json::from_value(
        json!({"metadata": {"name": "slow"}, "provisioner": provisioner,
        "volumeBindingMode": mode}),
    )
    .unwrap()
}

fn act(claim: &Claim, class: Option<&Class>, volumes: &[&Volume]) -> ClaimAct {
    let named = volumes
        .iter()
        .find(|v| v.metadata.name == claim.spec.volume_name);
    claim_act(
        claim,
        &Around {
            class,
            named: named.copied(),
            volumes,
            waiting_pods: &[],
            forced_node: None,
        },
    )
}

fn told(act: ClaimAct) -> (&'static str, String) {
    match act {
        ClaimAct::Wait(Some(told)) | ClaimAct::Lose(told) => (told.reason, told.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_smallest_that_fits_is_taken() {
    let small = volume("small", "1Gi", |_| {});
    let right = volume("right", "3Gi", |_| {});
    let large = volume("large", "10Gi", |_| {});
    let shared = volume("shared", "2Gi", |v| {
        v["spec"]["accessModes"] = json!(["ReadWriteOnce", "ReadWriteMany"]);
    });
    let other = volume("other", "2Gi", |v| {
        v["spec"]["storageClassName"] = json!("fast")
    });
    let taken = volume("taken", "2Gi", |v| {
        v["spec"]["claimRef"] = json!({"namespace": "d", "name": "else", "uid": "e"});
    });
    let new = volume("new", "2Gi", |v| v["status"]["phase"] = json!("Pending"));
    let all = [&small, &large, &shared, &other, &taken, &new, &right];
    let bind = |name: &str| ClaimAct::Bind(name.to_owned());
    assert_eq!(act(&claim(|_| {}), None, &all), bind("right"));
    let many = claim(|c| c["spec"]["accessModes"] = json!(["ReadWriteMany"]));
    assert_eq!(act(&many, None, &all), bind("shared"));
    let picky = claim(|c| c["spec"]["selector"] = json!({"matchLabels": {"disk": "large"}}));
    assert_eq!(act(&picky, None, &all), bind("large"));
    // One that is meant for the claim comes first, also where claims wait.
    let meant = volume("meant", "20Gi", |v| {
        v["spec"]["claimRef"] = json!({"namespace": "d", "name": "data"});
    });
    let waiting = class("WaitForFirstConsumer", "x/y");
    assert_eq!(
        act(&claim(|_| {}), Some(&waiting), &[&right, &meant]),
        bind("meant")
    );
}

#[test]
fn without_a_volume_it_is_said_why() {
    let plain = claim(|_| {});
    let none = claim(|c| c["spec"]["storageClassName"] = json!(""));
    assert_eq!(told(act(&none, None, &[])).0, "FailedBinding");
    let (reason, message) = told(act(&plain, None, &[]));
    assert_eq!(reason, "ProvisioningFailed");
    assert_eq!(message, "storageclass.storage.k8s.io \"slow\" not found");
    let now = class("Immediate", "x/y");
    assert_eq!(act(&plain, Some(&now), &[]), ClaimAct::Provision);
    let later = class("WaitForFirstConsumer", "x/y");
    assert_eq!(
        told(act(&plain, Some(&later), &[])).0,
        "WaitForFirstConsumer"
    );
    let right = volume("right", "3Gi", |_| {});
    assert_eq!(
        told(act(&plain, Some(&later), &[&right])).0,
        "WaitForFirstConsumer"
    );
    let placed = claim(|c| c["metadata"]["annotations"] = json!({SELECTED_NODE: "n1"}));
    assert_eq!(act(&placed, Some(&later), &[]), ClaimAct::Provision);
    let around = Around {
        class: Some(&later),
        named: None,
        volumes: &[],
        waiting_pods: &["web-0".to_owned()],
        forced_node: None,
    };
    assert_eq!(
        told(claim_act(&plain, &around)),
        (
            "WaitForPodScheduled",
            "waiting for pod web-0 to be scheduled".to_owned()
        )
    );
}

#[test]
fn a_volume_asked_for_by_name_must_fit() {
    let named = claim(|c| c["spec"]["volumeName"] = json!("v"));
    let of = |v: &Volume| act(&named, None, &[v]);
    assert_eq!(of(&volume("v", "2Gi", |_| {})), ClaimAct::Bind("v".into()));
    assert_eq!(act(&named, None, &[]), ClaimAct::Wait(None));
    let small = volume("v", "1Gi", |_| {});
    assert_eq!(
        told(of(&small)),
        (
            "VolumeMismatch",
            "Cannot bind to requested volume \"v\": requested PV is too small".into()
        )
    );
    let taken = volume("v", "2Gi", |v| {
        v["spec"]["claimRef"] = json!({"namespace": "d", "name": "else", "uid": "e"});
    });
    assert_eq!(
        told(of(&taken)).1,
        "volume \"v\" already bound to a different claim."
    );
}

#[test]
fn a_bound_claim_loses_what_is_gone_or_taken() {
    let bound = claim(|c| {
        c["spec"]["volumeName"] = json!("v");
        c["metadata"]["annotations"] = json!({BIND_COMPLETED: "yes"});
    });
    assert_eq!(told(act(&bound, None, &[])).0, "ClaimLost");
    let to = |uid: &str| {
        volume("v", "2Gi", |v| {
            v["spec"]["claimRef"] = json!({"namespace": "d", "name": "data", "uid": uid});
        })
    };
    assert_eq!(act(&bound, None, &[&to("c")]), ClaimAct::Bind("v".into()));
    assert_eq!(told(act(&bound, None, &[&to("other")])).0, "ClaimMisbound");
}

#[test]
fn a_volume_follows_its_claim() {
    let free = volume("v", "2Gi", |_| {});
    assert_eq!(volume_act(&free, None), VolumeAct::Phase("Available"));
    let of = |policy: &str, made_by: Option<&str>| {
        volume("v", "2Gi", |v| {
            v["spec"]["claimRef"] = json!({"namespace": "d", "name": "data", "uid": "c"});
            v["spec"]["persistentVolumeReclaimPolicy"] = json!(policy);
            if let Some(by) = made_by {
                v["metadata"]["annotations"] = json!({PROVISIONED_BY: by});
            }
        })
    };
    let kept = of("Retain", None);
    assert_eq!(volume_act(&kept, None), VolumeAct::Reclaim(Reclaim::Retain));
    let made = of("Delete", Some("x/y"));
    assert_eq!(
        volume_act(&made, None),
        VolumeAct::Reclaim(Reclaim::Delete("x/y".into()))
    );
    let odd = volume_act(&of("Delete", None), None);
    assert!(
        matches!(odd, VolumeAct::Reclaim(Reclaim::Fail(t)) if t.reason == "VolumeFailedDelete")
    );
    let reclaim = |policy: &str, path: &str| {
        let mut volume = of(policy, None);
        volume.spec.host_path = Some(HostPath {
            path: path.to_owned(),
        });
        volume_act(&volume, None)
    };
    let VolumeAct::Reclaim(Reclaim::Fail(told)) = reclaim("Delete", "/mnt/data") else {
        panic!("a folder that is somebody's");
    };
    assert_eq!(
        (told.reason, told.message.as_str()),
        (
            "VolumeFailedDelete",
            "host_path deleter only supports /tmp/.+ but received provided /mnt/data"
        )
    );
    assert_eq!(
        reclaim("Delete", "/tmp/data"),
        VolumeAct::Reclaim(Reclaim::Forget),
        "it is in nobody's way"
    );
    let swept = VolumeAct::Reclaim(Reclaim::Recycle);
    assert_eq!(reclaim("Recycle", "/data"), swept);
    let unswept = volume_act(&of("Recycle", None), None);
    assert!(
        matches!(unswept, VolumeAct::Reclaim(Reclaim::Fail(t)) if t.reason == "VolumeFailedRecycle")
    );
    let unbound = claim(|_| {});
    assert_eq!(volume_act(&kept, Some(&unbound)), VolumeAct::AskClaim);
    let ours = claim(|c| c["spec"]["volumeName"] = json!("v"));
    assert_eq!(volume_act(&kept, Some(&ours)), VolumeAct::Phase("Bound"));
    let elsewhere = claim(|c| c["spec"]["volumeName"] = json!("w"));
    assert_eq!(
        volume_act(&kept, Some(&elsewhere)),
        VolumeAct::Unbind(false)
    );
    // Another claim of the same name is not its claim.
    let newer = claim(|c| c["metadata"]["uid"] = json!("c2"));
    assert_eq!(
        volume_act(&kept, Some(&newer)),
        VolumeAct::Reclaim(Reclaim::Retain)
    );
}
