//! Claims that containers use as raw devices, without a file system on them. Served are
//! local volumes whose path is a block device of the node.

use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, PersistentVolumeSpec, Pod};

use crate::runtime::Device;
use crate::volumes::{MountError, Places, VolumeError, io_error};

/// `volumeMode` of a volume without a file system, and of all others.
const BLOCK: &str = "Block";
const FILES: &str = "Filesystem";

/// Whether a volume is a raw device, after a look at how the pod uses it: mounted it must
/// have a file system, as a device it must have none.
///
/// # Errors
/// In upstream's words if the pod takes it for the other kind.
pub(crate) fn is_device(
    pod: &Pod,
    volume: &str,
    spec: &PersistentVolumeSpec,
) -> Result<bool, MountError> {
    let mode = spec.volume_mode.as_deref().unwrap_or(FILES);
    let raw = mode == BLOCK;
    let wrong = |field: &str| MountError::Claim {
        volume: volume.to_owned(),
        why: format!("volume {volume} has volumeMode {mode}, but is specified in {field}"),
    };
    let Some(spec) = &pod.spec else {
        return Ok(raw);
    };
    let init = spec.init_containers.iter().flatten();
    let own = init
        .chain(&spec.containers)
        .map(|container| (&container.volume_mounts, &container.volume_devices));
    let debuggers = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|container| (&container.volume_mounts, &container.volume_devices));
    for (mounts, devices) in own.chain(debuggers) {
        if raw && mounts.iter().flatten().any(|mount| mount.name == volume) {
            return Err(wrong("volumeMounts"));
        }
        let mut devices = devices.iter().flatten();
        if !raw && devices.any(|device| device.name == volume) {
            return Err(wrong("volumeDevices"));
        }
    }
    Ok(raw)
}

/// Where the device of the volume `name` lies.
///
/// # Errors
/// If it is no local volume, or its path no block device.
pub(crate) fn path_of(name: &str, spec: &PersistentVolumeSpec) -> Result<PathBuf, MountError> {
    let failed = |source| MountError::Map {
        volume: name.to_owned(),
        source,
    };
    let Some(local) = &spec.local else {
        let kind = "a block device that is no local volume";
        return Err(failed(VolumeError::NotServed(name.to_owned(), kind)));
    };
    let path = PathBuf::from(&local.path);
    let found = std::fs::metadata(&path).map_err(io_error("look at", &path));
    if found.map_err(failed)?.file_type().is_block_device() {
        return Ok(path);
    }
    Err(failed(VolumeError::NoDevice(local.path.clone())))
}

/// The devices of one container.
///
/// # Errors
/// If it uses something undeclared.
pub(crate) fn devices(
    pod: &Pod,
    container: &Container,
    places: &Places,
) -> Result<Vec<Device>, VolumeError> {
    let read_only = |name: &str| {
        let spec = pod.spec.iter();
        let mut volumes = spec.flat_map(|spec| spec.volumes.iter().flatten());
        let found = volumes.find(|volume| volume.name == name);
        let claim = found.and_then(|volume| volume.persistent_volume_claim.as_ref());
        claim.is_some_and(|claim| claim.read_only == Some(true))
    };
    let all = container.volume_devices.iter().flatten();
    all.map(|device| {
        let place = places
            .get(&device.name)
            .ok_or_else(|| VolumeError::Undeclared(device.name.clone()))?;
        Ok(Device {
            host_path: place.to_string_lossy().into_owned(),
            container_path: device.device_path.clone(),
            read_only: read_only(&device.name),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::pod;

    fn volume(spec: Value) -> PersistentVolumeSpec {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_volume_is_used_for_what_it_is() {
        let raw = volume(json!({"volumeMode": "Block"}));
        let files = volume(json!({}));
        let with = |field: &str| {
            let item = json!({"name": "data", "mountPath": "/x", "devicePath": "/x"});
            pod(json!({"containers": [{"name": "a", (field): [item]}]}))
        };
        let told = |pod: &Pod, spec| {
            is_device(pod, "data", spec).map_err(|error| (error.event(), error.to_string()))
        };
        assert_eq!(told(&with("volumeMounts"), &files), Ok(false));
        assert_eq!(told(&with("volumeDevices"), &raw), Ok(true));
        for (field, spec, mode) in [
            ("volumeMounts", &raw, "Block"),
            ("volumeDevices", &files, "Filesystem"),
        ] {
            let (event, words) = told(&with(field), spec).unwrap_err();
            assert_eq!(event, "FailedMount");
            let end = format!("volume data has volumeMode {mode}, but is specified in {field}");
            assert!(words.ends_with(&end), "{words}");
        }
    }

    #[test]
    fn what_is_no_device_is_said_so() {
        let told = |spec: Value| {
            let error = path_of("pv-1", &volume(spec)).unwrap_err();
            (error.event(), error.to_string())
        };
        let words = "MapVolume.SetUpDevice failed for volume \"pv-1\" : ";
        assert_eq!(
            told(json!({"local": {"path": "/dev/null"}})),
            (
                "FailedMapVolume",
                format!("{words}/dev/null is not a block device")
            )
        );
        let (event, text) = told(json!({"hostPath": {"path": "/dev/null"}}));
        assert_eq!(event, "FailedMapVolume");
        assert!(text.contains("no local volume"), "{text}");
    }

    #[test]
    fn devices_are_named_by_the_container_and_may_be_only_for_reading() {
        let pod = pod(json!({
            "volumes": [{"name": "data", "persistentVolumeClaim":
                {"claimName": "c", "readOnly": true}}],
            "containers": [{"name": "a", "volumeDevices":
                [{"name": "data", "devicePath": "/dev/xvda"}]}]}));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let places = Places::from([("data".to_owned(), PathBuf::from("/dev/loop7"))]);
        let expected = Device {
            host_path: "/dev/loop7".into(),
            container_path: "/dev/xvda".into(),
            read_only: true,
        };
        assert_eq!(devices(&pod, container, &places).unwrap(), [expected]);
        assert!(devices(&pod, container, &Places::new()).is_err());
    }
}
