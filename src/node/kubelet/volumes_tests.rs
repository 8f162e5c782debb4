//! Volumes on a real file system, memory ones excepted (they need root).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;
use crate::testing::{World, pod};

async fn places(world: &World, pod: &Pod) -> Result<Places, String> {
    let facts = world.shared.facts("10.244.0.2".into());
    let made = world
        .shared
        .volumes
        .prepare(pod, &facts, world.api.as_ref());
    made.await.map_err(|problems| {
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        words.join("; ")
    })
}

fn config_map(color: &str) -> ConfigMap {
    ConfigMap {
        data: Some(BTreeMap::from([
            ("color".into(), color.into()),
            ("b".into(), "2".into()),
        ])),
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn the_token_of_the_account_is_a_file_beside_authority_and_namespace() {
    let world = World::new();
    let authority = BTreeMap::from([("ca.crt".to_owned(), "PEM".to_owned())]);
    world.api.config_maps.lock().unwrap().insert(
        "kube-root-ca.crt".into(),
        ConfigMap {
            data: Some(authority),
            ..ConfigMap::default()
        },
    );
    let pod = pod(json!({"containers": [], "volumes": [
        {"name": "kube-api-access-abcde", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"serviceAccountToken": {"path": "vault", "audience": "vault"}},
            {"configMap": {"name": "kube-root-ca.crt",
                "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}]}));
    let found = places(&world, &pod).await.unwrap();
    let read =
        |file: &str| std::fs::read_to_string(found["kube-api-access-abcde"].join(file)).unwrap();
    assert_eq!(read("token"), "web to the server");
    assert_eq!(read("vault"), "web to vault");
    assert_eq!(read("ca.crt"), "PEM");
    assert!(!read("namespace").is_empty());
}

#[tokio::test]
async fn config_maps_become_files_and_follow_changes() {
    let world = World::new();
    world
        .api
        .config_maps
        .lock()
        .unwrap()
        .insert("settings".into(), config_map("red"));
    let pod = pod(json!({"containers": [], "volumes": [
        {"name": "all", "configMap": {"name": "settings", "defaultMode": 0o400}},
        {"name": "some", "configMap": {"name": "settings", "items": [{"key": "color", "path": "x/y"}]}},
        {"name": "down", "downwardAPI": {"items": [
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "none", "configMap": {"name": "nowhere", "optional": true}},
    ]}));
    let found = places(&world, &pod).await.unwrap();
    let read =
        |volume: &str, file: &str| std::fs::read_to_string(found[volume].join(file)).unwrap();
    assert_eq!(
        (read("all", "color"), read("all", "b")),
        ("red".into(), "2".into())
    );
    assert_eq!(read("some", "x/y"), "red");
    assert_eq!(read("down", "name"), "web");
    let mode = std::fs::metadata(found["all"].join("color"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o400);
    world
        .api
        .config_maps
        .lock()
        .unwrap()
        .insert("settings".into(), config_map("blue"));
    places(&world, &pod).await.unwrap();
    assert_eq!(read("all", "color"), "blue");
}

#[tokio::test]
async fn empty_dirs_are_open_to_all_and_survive_a_second_look() {
    let world = World::new();
    let pod = pod(json!({"containers": [], "volumes": [{"name": "tmp", "emptyDir": {}}]}));
    let dir = places(&world, &pod).await.unwrap()["tmp"].clone();
    assert_eq!(
        std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o777
    );
    std::fs::write(dir.join("kept"), "x").unwrap();
    places(&world, &pod).await.unwrap();
    assert!(dir.join("kept").exists());
    world.shared.volumes.remove("u-1").unwrap();
    assert!(!dir.exists());
    assert_eq!(world.shared.volumes.uids().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn host_paths_are_checked_by_type() {
    let world = World::new();
    let home = world.home.path();
    let volume = |path: &str, type_: &str| {
        let path = home.join(path).display().to_string();
        pod(
            json!({"containers": [], "volumes": [{"name": "h", "hostPath": {"path": path, "type": type_}}]}),
        )
    };
    assert!(
        places(&world, &volume("nowhere", "Directory"))
            .await
            .is_err()
    );
    assert!(
        places(&world, &volume("cadet-node", "Directory"))
            .await
            .is_err()
    );
    places(&world, &volume("cadet-node", "File")).await.unwrap();
    places(&world, &volume("made", "DirectoryOrCreate"))
        .await
        .unwrap();
    assert!(home.join("made").is_dir());
}

#[tokio::test]
async fn what_we_do_not_serve_is_named() {
    let world = World::new();
    let pod = pod(
        json!({"containers": [], "volumes": [{"name": "v", "nfs": {"path": "/", "server": "x"}}]}),
    );
    let error = places(&world, &pod).await.unwrap_err().to_string();
    assert!(error.contains("\"v\"") && error.contains("nfs"), "{error}");
}

#[tokio::test]
async fn a_trust_bundle_is_refused_by_name_unless_it_may_be_missing() {
    let world = World::new();
    let with = |optional: bool| {
        pod(
            json!({"containers": [], "volumes": [{"name": "v", "projected": {"sources": [
            {"clusterTrustBundle": {"name": "b", "path": "ca.pem", "optional": optional}}]}}]}),
        )
    };
    let error = places(&world, &with(false)).await.unwrap_err();
    assert!(
        error.starts_with("MountVolume.SetUp failed for volume \"v\" : ")
            && error.contains("clusterTrustBundle"),
        "{error}"
    );
    let found = places(&world, &with(true)).await.unwrap();
    assert_eq!(std::fs::read(found["v"].join("ca.pem")).unwrap(), b"");
}

#[test]
fn a_folder_is_given_to_its_group_once_if_the_pod_says_so() {
    let home = tempfile::tempdir().unwrap();
    let group = std::fs::metadata(home.path()).unwrap().gid();
    let policy = |policy: &str| {
        pod(json!({"containers": [], "securityContext":
            {"fsGroup": group, "fsGroupChangePolicy": policy}}))
    };
    let (once, always) = (policy("OnRootMismatch"), policy("Always"));
    set_mode(home.path(), 0o755).unwrap();
    assert!(!is_owned(&once, home.path(), group), "others' rights");
    own(home.path(), group).unwrap();
    assert!(is_owned(&once, home.path(), group));
    assert!(!is_owned(&once, home.path(), group + 1));
    assert!(!is_owned(&always, home.path(), group));
}

#[test]
fn sub_paths_stay_in_their_volume() {
    let home = tempfile::tempdir().unwrap();
    let volume = home.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    assert!(below(&volume, "a/b").unwrap().ends_with("volume/a/b"));
    assert!(matches!(
        below(&volume, "../x"),
        Err(VolumeError::Escapes(_))
    ));
    std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
    assert!(matches!(
        below(&volume, "out"),
        Err(VolumeError::Escapes(_))
    ));
    assert!(matches!(
        below(&volume, "out/new"),
        Err(VolumeError::Escapes(_))
    ));
    assert!(!Path::new("/etc/new").exists());
}

#[test]
fn mounts_name_undeclared_volumes_and_keep_their_options() {
    let container: Container = serde_json::from_value(json!({"name": "c", "volumeMounts": [
        {"name": "v", "mountPath": "/data", "readOnly": true, "mountPropagation": "HostToContainer"}]}))
    .unwrap();
    let places = HashMap::from([("v".to_owned(), PathBuf::from("/pods/v"))]);
    let pod = Pod::default();
    let found = mounts(&pod, &container, &places, &Variables::default()).unwrap();
    assert_eq!(found[0].host_path, "/pods/v");
    assert_eq!(
        (found[0].read_only, found[0].propagation),
        (true, Some("rslave"))
    );
    let error = mounts(&pod, &container, &HashMap::new(), &Variables::default()).unwrap_err();
    assert!(matches!(error, VolumeError::Undeclared(name) if name == "v"));
}

#[test]
fn what_shows_objects_or_is_claimed_for_reading_is_never_writable() {
    let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "volumes": [
        {"name": "map", "configMap": {"name": "m"}}, {"name": "secret", "secret": {}},
        {"name": "downward", "downwardAPI": {}}, {"name": "all", "projected": {}},
        {"name": "archive", "persistentVolumeClaim": {"claimName": "a", "readOnly": true}},
        {"name": "scratch", "emptyDir": {}}]}}))
    .unwrap();
    let names = ["map", "secret", "downward", "all", "archive", "scratch"];
    let wanted = names.map(|name| json!({"name": name, "mountPath": format!("/{name}")}));
    let container: Container =
        serde_json::from_value(json!({"name": "c", "volumeMounts": wanted})).unwrap();
    let places = names.map(|name| (name.to_owned(), PathBuf::from("/v").join(name)));
    let places = HashMap::from(places);
    let found = mounts(&pod, &container, &places, &Variables::default()).unwrap();
    let read_only: Vec<bool> = found.iter().map(|mount| mount.read_only).collect();
    assert_eq!(read_only, [true, true, true, true, true, false]);
}

#[test]
fn a_uid_cannot_name_another_directory() {
    let volumes = Volumes::new(PathBuf::from("/var/lib/cadet/pods"));
    for uid in ["", "..", "a/b", "a\0b"] {
        assert!(volumes.pod_dir(uid).is_err(), "{uid:?}");
    }
}

#[test]
fn last_words_are_kept_short() {
    let home = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(home.path().to_owned());
    let path = volumes.termination_file("u-1", "app", 0).unwrap();
    assert_eq!(volumes.last_words("u-1", "app", 0), None);
    std::fs::write(path, "x".repeat(10_000)).unwrap();
    assert_eq!(volumes.last_words("u-1", "app", 0).unwrap().len(), 4096);
}
