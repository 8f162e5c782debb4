//! Claims without volumes.

use cadet_why::Kind;
use serde_json::{Value, json};

use crate::world::{World, meta, sentence, unplaced};

fn claim(spec: Value) -> Value {
    json!({"metadata": meta("data"), "spec": spec, "status": {"phase": "Pending"}})
}

fn class(name: &str, maker: &str, mode: &str) -> Value {
    json!({"metadata": {"name": name}, "provisioner": maker, "volumeBindingMode": mode})
}

fn ours() -> Value {
    class("standard", "cadet.dev/local-path", "WaitForFirstConsumer")
}

fn world(claim: Value, classes: &[Value], volumes: &[Value]) -> World {
    World::about(Kind::Claim, "data")
        .node()
        .with(Kind::Claim, claim)
        .all(Kind::StorageClass, classes)
        .all(Kind::Volume, volumes)
}

fn asking(class: &str, size: &str, mode: &str) -> Value {
    json!({"storageClassName": class, "accessModes": [mode], "resources": {"requests": {"storage": size}}})
}

fn volume(class: &str, size: &str, mode: &str) -> Value {
    json!({"metadata": {"name": "disk"}, "spec": {"storageClassName": class, "capacity": {"storage": size}, "accessModes": [mode]}})
}

#[test]
fn a_class_that_does_not_exist() {
    let told = world(
        claim(asking("standart", "1Gi", "ReadWriteOnce")),
        &[ours()],
        &[],
    )
    .event(
        Kind::Claim,
        "data",
        "ProvisioningFailed",
        "storageclass.storage.k8s.io \"standart\" not found",
    );
    told.says(
        "STORAGE_CLASS_MISSING",
        &[
            "there is no StorageClass standart",
            "there is a StorageClass standard",
        ],
    );
}

#[test]
fn no_class_at_all() {
    let mut spec = asking("", "1Gi", "ReadWriteOnce");
    let said = "no persistent volumes available for this claim and no storage class is set";
    world(claim(spec.clone()), &[ours()], &[])
        .event(Kind::Claim, "data", "FailedBinding", said)
        .says("STORAGE_CLASS_UNSET", &["made by hand"]);
    spec.as_object_mut()
        .expect("spec")
        .remove("storageClassName");
    world(claim(spec), &[], &[])
        .event(Kind::Claim, "data", "FailedBinding", said)
        .says("STORAGE_CLASS_UNSET", &["no default one"]);
}

#[test]
fn a_volume_made_by_hand_that_does_not_fit() {
    let small = world(
        claim(asking("", "10Gi", "ReadWriteOnce")),
        &[],
        &[volume("", "1Gi", "ReadWriteOnce")],
    );
    small.says(
        "VOLUME_TOO_SMALL",
        &["volume disk: has 1Gi, and the claim wants 10Gi"],
    );
    let other = world(
        claim(asking("", "1Gi", "ReadWriteMany")),
        &[],
        &[volume("", "1Gi", "ReadWriteOnce")],
    );
    other.says(
        "ACCESS_MODE",
        &["gives ReadWriteOnce, and the claim wants ReadWriteMany"],
    );
}

#[test]
fn waiting_for_a_pod_is_no_fault() {
    let told = world(
        claim(asking("standard", "1Gi", "ReadWriteOnce")),
        &[ours()],
        &[],
    )
    .event(
        Kind::Claim,
        "data",
        "WaitForFirstConsumer",
        "waiting for first consumer to be created before binding",
    );
    told.says("CLAIM_WAITS_FOR_POD", &["waits, as it should"]);
    assert!(!told.answer().is_fault());
}

#[test]
fn the_pod_it_waits_for_may_be_the_matter() {
    let pod = unplaced(
        "web",
        json!({"nodeSelector": {"disk": "ssd"}, "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}),
        &sentence("node(s) didn't match Pod's node affinity/selector"),
    );
    let told = world(
        claim(asking("standard", "1Gi", "ReadWriteOnce")),
        &[ours()],
        &[],
    )
    .with(Kind::Pod, pod);
    told.says(
        "NODE_SELECTOR",
        &[
            "pvc/data waits for pod/web, which has no node yet",
            "disk=ssd",
        ],
    );
}

#[test]
fn two_that_wait_for_each_other_come_to_an_end() {
    let pod = unplaced(
        "web",
        json!({"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}),
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
    );
    let told = world(
        claim(asking("standard", "1Gi", "ReadWriteOnce")),
        &[ours()],
        &[],
    )
    .with(Kind::Pod, pod);
    told.says("CLAIM_WAITS_FOR_POD", &[]);
}

#[test]
fn the_maker_says_no() {
    let mut spec = claim(asking("standard", "1Gi", "ReadWriteMany"));
    spec["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "cadet"});
    let told = world(spec.clone(), &[ours()], &[])
        .event(Kind::Claim, "data", "ProvisioningFailed", "failed to provision volume with StorageClass \"standard\": NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes");
    told.says("ACCESS_MODE", &["only ReadWriteOnce"]);
    let told = world(spec, &[ours()], &[]).event(
        Kind::Claim,
        "data",
        "ProvisioningFailed",
        "failed to provision volume with StorageClass \"standard\": no node was found for it",
    );
    told.says("PROVISIONING_FAILED", &["no node was found for it"]);
}

#[test]
fn a_maker_that_does_not_speak_is_only_possible() {
    let told = world(
        claim(asking("fast", "1Gi", "ReadWriteOnce")),
        &[class("fast", "ebs.csi.example.com", "Immediate")],
        &[],
    );
    told.may_say(
        "PROVISIONING_FAILED",
        &["ebs.csi.example.com", "may not be running"],
    );
    assert!(!told.answer().confident);
}

#[test]
fn a_volume_by_name() {
    let mut spec = asking("", "1Gi", "ReadWriteOnce");
    spec["volumeName"] = json!("disk");
    world(claim(spec.clone()), &[], &[]).says("CLAIM_LOST", &["disk, does not exist"]);
    let mut taken = volume("", "1Gi", "ReadWriteOnce");
    taken["spec"]["claimRef"] = json!({"namespace": "shop", "name": "other"});
    world(claim(spec), &[], &[taken]).says("VOLUME_TAKEN", &["is for shop/other"]);
}

#[test]
fn a_claim_in_use_does_not_go() {
    let mut one = claim(asking("standard", "1Gi", "ReadWriteOnce"));
    one["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:09:00Z");
    one["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
    one["status"]["phase"] = json!("Bound");
    let mut user = crate::world::pod("web", json!([crate::world::app()]));
    user["spec"]["volumes"] =
        json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]);
    world(one, &[ours()], &[]).with(Kind::Pod, user).says(
        "CLAIM_IN_USE",
        &[
            "when pod/web no longer uses it",
            "kubectl delete pod/web -n shop",
        ],
    );
}

#[test]
fn a_pod_tells_of_its_claims() {
    let using = |sentence: &str| {
        unplaced(
            "web",
            json!({"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}),
            sentence,
        )
    };
    let none = "0/1 nodes are available: persistentvolumeclaim \"data\" not found. not found";
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, using(none))
        .says("CLAIM_MISSING", &["its claim data does not exist"]);
    let leaves =
        "0/1 nodes are available: persistentvolumeclaim \"data\" is being deleted. not found";
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, using(leaves))
        .says("CLAIM_BEING_DELETED", &["data is being deleted"]);
    let unbound =
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found";
    let told = World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, using(unbound))
        .with(
            Kind::Claim,
            claim(asking("standart", "1Gi", "ReadWriteOnce")),
        )
        .all(Kind::StorageClass, &[ours()]);
    told.says(
        "STORAGE_CLASS_MISSING",
        &[
            "pod/web is Pending because of its claim",
            "no StorageClass standart",
        ],
    );
}
