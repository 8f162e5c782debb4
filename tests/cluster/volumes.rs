//! Claims and volumes: found, made, held while in use, and what is left of them.

use crate::cluster::Cluster;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

fn claim(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}{more}}}"
    )
}

fn volume(name: &str, size: &str) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: {size}}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  hostPath: {{path: /data/{name}}}"
    )
}

fn user(claim: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: user}}
spec:
  containers: [{{name: c, image: web, volumeMounts: [{{name: d, mountPath: /d}}]}}]
  volumes: [{{name: d, persistentVolumeClaim: {{claimName: {claim}}}}}]"
    )
}

fn is_bound(claim: Option<&PersistentVolumeClaim>) -> bool {
    let status = claim.and_then(|claim| claim.status.as_ref());
    status.is_some_and(|status| status.phase.as_deref() == Some("Bound"))
}

fn phase(volume: Option<&PersistentVolume>) -> String {
    let status = volume.and_then(|volume| volume.status.as_ref());
    status
        .and_then(|status| status.phase.clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_claim_takes_the_smallest_volume_that_fits_and_leaves_it_released() {
    let cluster = Cluster::start().await;
    for (name, size) in [("large", "10Gi"), ("right", "2Gi"), ("small", "500Mi")] {
        cluster.create(&volume(name, size)).await;
        cluster
            .until_cluster::<PersistentVolume>(name, |v| phase(v) == "Available")
            .await;
    }
    cluster
        .create(&claim("data", ", storageClassName: ''"))
        .await;
    let bound = cluster
        .until::<PersistentVolumeClaim>("default", "data", is_bound)
        .await
        .expect("the claim");
    let spec = bound.spec.as_ref().expect("spec");
    assert_eq!(spec.volume_name.as_deref(), Some("right"));
    assert_eq!(
        bound.annotations()["pv.kubernetes.io/bind-completed"],
        "yes"
    );
    let capacity = bound
        .status
        .as_ref()
        .and_then(|s| s.capacity.as_ref())
        .expect("capacity");
    assert_eq!(capacity["storage"].0, "2Gi");
    assert_eq!(bound.finalizers(), ["kubernetes.io/pvc-protection"]);

    // In use it stays, although deleted.
    cluster.create(&user("data")).await;
    cluster
        .until::<Pod>("default", "user", |pod| pod.is_some_and(Cluster::is_ready))
        .await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    claims
        .delete("data", &DeleteParams::default())
        .await
        .expect("deleted");
    let held = claims.get("data").await.expect("held");
    assert!(held.metadata.deletion_timestamp.is_some());
    let pods = cluster.api::<Pod>();
    pods.delete("user", &DeleteParams::default())
        .await
        .expect("deleted");
    cluster
        .until::<PersistentVolumeClaim>("default", "data", |claim| claim.is_none())
        .await;
    cluster
        .until_cluster::<PersistentVolume>("right", |v| phase(v) == "Released")
        .await;
}

#[tokio::test]
async fn a_recycled_volume_is_free_again_and_a_folder_is_not_deleted() {
    let cluster = Cluster::start().await;
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    for (name, policy) in [("old", "Recycle"), ("mine", "Delete")] {
        let volume = volume(name, "2Gi").replace("Policy: Retain", &format!("Policy: {policy}"));
        cluster.create(&volume).await;
        let data = format!("{name}-data");
        let more = format!(", storageClassName: '', volumeName: {name}");
        cluster.create(&claim(&data, &more)).await;
        cluster
            .until::<PersistentVolumeClaim>("default", &data, is_bound)
            .await;
        let claims = cluster.api::<PersistentVolumeClaim>();
        let params = DeleteParams::default();
        claims.delete(&data, &params).await.expect("deleted");
    }
    // The test is what sweeps.
    cluster
        .until::<Pod>("default", "recycler-for-old", |pod| {
            pod.is_some_and(Cluster::is_ready)
        })
        .await;
    let done = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    let pods = cluster.api::<Pod>();
    let params = PatchParams::default();
    let swept = pods.patch_status("recycler-for-old", &params, &done).await;
    swept.expect("swept");
    cluster
        .until_cluster::<PersistentVolume>("old", |v| phase(v) == "Available")
        .await;
    cluster
        .until_event("old", "VolumeRecycled: Volume recycled")
        .await;
    let free = volumes.get("old").await.expect("the volume");
    assert_eq!(free.spec.and_then(|spec| spec.claim_ref), None);
    cluster
        .until::<Pod>("default", "recycler-for-old", |pod| pod.is_none())
        .await;

    let told = "VolumeFailedDelete: host_path deleter only supports /tmp/.+ but received provided \
        /data/mine";
    cluster.until_event("mine", told).await;
    cluster
        .until_cluster::<PersistentVolume>("mine", |v| phase(v) == "Failed")
        .await;
}

#[tokio::test]
async fn the_default_class_makes_a_folder_where_the_pod_runs_and_removes_it() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent("node-1").await;
    cluster
        .until_cluster::<StorageClass>("standard", |class| class.is_some())
        .await;
    cluster.create(&claim("data", "")).await;
    let waiting = "WaitForFirstConsumer: waiting for first consumer to be created before binding";
    cluster.until_event("data", waiting).await;
    cluster.create(&user("data")).await;
    let bound = cluster
        .until::<PersistentVolumeClaim>("default", "data", is_bound)
        .await
        .expect("the claim");
    let spec = bound.spec.as_ref().expect("spec");
    assert_eq!(spec.storage_class_name.as_deref(), Some("standard"));
    let name = spec.volume_name.clone().expect("a volume");
    assert_eq!(name, format!("pvc-{}", bound.uid().expect("uid")));
    cluster
        .until_event(
            "data",
            "ProvisioningSucceeded: Successfully provisioned volume pvc-",
        )
        .await;
    let volume = cluster
        .until_cluster::<PersistentVolume>(&name, |v| phase(v) == "Bound")
        .await
        .expect("the volume");
    let spec = volume.spec.as_ref().expect("spec");
    let path = spec
        .host_path
        .as_ref()
        .map(|host| host.path.clone())
        .expect("a folder");
    assert_eq!(path, format!("/var/lib/cadet/volumes/{name}_default_data"));
    assert_eq!(
        spec.persistent_volume_reclaim_policy.as_deref(),
        Some("Delete")
    );
    let affinity = serde_json::to_string(&spec.node_affinity).expect("json");
    assert!(affinity.contains("node-1"), "{affinity}");

    let pods = cluster.api::<Pod>();
    pods.delete("user", &DeleteParams::default())
        .await
        .expect("deleted");
    let claims = cluster.api::<PersistentVolumeClaim>();
    claims
        .delete("data", &DeleteParams::default())
        .await
        .expect("deleted");
    cluster
        .until_cluster::<PersistentVolume>(&name, |v| v.is_none())
        .await;
    // Asked once or more: who is not sure asks again.
    let mut removed = agent.removed();
    removed.dedup();
    assert_eq!(removed, [format!("/volumes/{name}_default_data")]);
}

#[tokio::test]
async fn a_claim_grows_where_its_class_lets_it() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: elastic}
provisioner: cadet.dev/local-path
allowVolumeExpansion: true",
        )
        .await;
    cluster
        .create(&claim("data", ", storageClassName: elastic"))
        .await;
    let bound = cluster
        .until::<PersistentVolumeClaim>("default", "data", is_bound)
        .await
        .expect("the claim");
    let claims = cluster.api::<PersistentVolumeClaim>();
    let more = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
    claims
        .patch("data", &PatchParams::default(), &Patch::Merge(more))
        .await
        .expect("it may grow");
    let grown = cluster
        .until::<PersistentVolumeClaim>("default", "data", |claim| {
            let status = claim.and_then(|claim| claim.status.as_ref());
            let capacity = status.and_then(|status| status.capacity.as_ref());
            capacity.is_some_and(|capacity| capacity["storage"].0 == "3Gi")
        })
        .await
        .expect("the claim");
    let status = grown.status.expect("status");
    assert_eq!(status.conditions, None);
    assert_eq!(status.allocated_resource_statuses, None);
    let name = bound.spec.and_then(|spec| spec.volume_name);
    let volume = Api::<PersistentVolume>::all(cluster.client.clone())
        .get(&name.expect("a volume"))
        .await
        .expect("the volume");
    let capacity = volume.spec.and_then(|spec| spec.capacity).expect("a size");
    assert_eq!(capacity["storage"].0, "3Gi");
    cluster
        .until_event("data", "VolumeResizeSuccessful: Resize volume succeeded")
        .await;
}

#[tokio::test]
async fn what_cannot_be_had_is_said() {
    let cluster = Cluster::start().await;
    cluster
        .create(&claim("none", ", storageClassName: fast"))
        .await;
    cluster
        .until_event(
            "none",
            "ProvisioningFailed: storageclass.storage.k8s.io \"fast\" not found",
        )
        .await;
    cluster
        .create(&claim("bare", ", storageClassName: ''"))
        .await;
    let why =
        "FailedBinding: no persistent volumes available for this claim and no storage class is set";
    cluster.until_event("bare", why).await;
    cluster.create(&volume("late", "1Gi")).await;
    cluster
        .until::<PersistentVolumeClaim>("default", "bare", is_bound)
        .await;
    // The volume goes under its claim: it is lost, and says so.
    use k8s_openapi::api::core::v1::PersistentVolume as Volume;
    let volumes: kube::Api<Volume> = kube::Api::all(cluster.client.clone());
    volumes
        .delete("late", &DeleteParams::default())
        .await
        .expect("deleted");
    assert!(volumes.get("late").await.is_ok(), "bound, so it stays");
}

#[tokio::test]
async fn a_pod_can_have_a_claim_of_its_own() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  containers: [{name: c, image: web}]
  volumes:
  - name: tmp
    ephemeral:
      volumeClaimTemplate:
        spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}",
        )
        .await;
    let claim = cluster
        .until::<PersistentVolumeClaim>("default", "own-tmp", |claim| claim.is_some())
        .await
        .expect("the claim");
    assert_eq!(claim.owner_references()[0].kind, "Pod");
    let pods = cluster.api::<Pod>();
    pods.delete("own", &DeleteParams::default())
        .await
        .expect("deleted");
    cluster
        .until::<PersistentVolumeClaim>("default", "own-tmp", |claim| claim.is_none())
        .await;
}
