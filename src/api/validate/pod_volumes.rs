//! Rules for a pod's volumes: one source each, and what that source needs.

use std::collections::HashSet;

use serde_json::Value;

use super::container_env::{field_ref, resource_ref};
use super::{one_of, storage, text, texts};
use crate::field::{Error, index};
use crate::json::{bool_at, int_at, list_at, str_at};
use crate::names;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// What of its pod a volume may show.
const FIELDS: [&str; 5] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.labels",
    "metadata.annotations",
    "metadata.uid",
];

/// Every source, in the order in which upstream looks for them, with the texts it needs.
const SOURCES: [(&str, &[&str]); 30] = [
    ("emptyDir", &[]),
    ("hostPath", &["path"]),
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("secret", &["secretName"]),
    ("nfs", &["server", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &[]),
    ("quobyte", &["registry", "volume"]),
    ("downwardAPI", &[]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("configMap", &["name"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("storageos", &["volumeName"]),
    ("projected", &[]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("csi", &["driver"]),
    ("ephemeral", &[]),
    ("image", &["reference"]),
];

/// Checks `spec.volumes` and returns those that have a name, for mounts to refer to.
pub(super) fn rules<'a>(e: &mut Vec<Error>, object: &'a Value) -> Vec<&'a Value> {
    let mut seen = HashSet::new();
    let mut good = Vec::new();
    for (i, v) in list_at(object, "/spec/volumes").iter().enumerate() {
        let path = index("spec.volumes", i);
        let name = str_at(v, "/name");
        if name.is_empty() {
            e.push(Error::required(&format!("{path}.name"), ""));
        } else {
            text(e, &path, "name", name, names::dns_label(name));
        }
        if !seen.insert(name) {
            e.push(Error::duplicate(&format!("{path}.name"), name));
        }
        source(e, &path, v);
        good.push(v);
    }
    good
}

fn source(e: &mut Vec<Error>, path: &str, volume: &Value) {
    let mut given = SOURCES
        .iter()
        .filter(|(kind, _)| volume.get(*kind).is_some_and(Value::is_object));
    let Some((kind, needed)) = given.next() else {
        // Of a kind that only newer servers know: an empty directory by default.
        e.push(Error::required(path, "must specify a volume type"));
        return;
    };
    for (extra, _) in given {
        let why = "may not specify more than 1 volume type";
        e.push(Error::forbidden(&format!("{path}.{extra}"), why));
    }
    let path = format!("{path}.{kind}");
    let s = volume.get(*kind).unwrap_or(&Value::Null);
    for field in *needed {
        if s.get(*field)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            e.push(Error::required(
                &format!("{path}.{field}"),
                needed_why(kind, field),
            ));
        }
    }
    details(e, &path, kind, s);
}

/// What else a source of this kind, of a pod or of a cluster's volume, must be.
pub(super) fn details(e: &mut Vec<Error>, path: &str, kind: &str, s: &Value) {
    match kind {
        "emptyDir" => empty_dir(e, path, s),
        "hostPath" => host_path(e, path, s),
        "gitRepo" => descending(e, path, "directory", str_at(s, "/directory")),
        "gcePersistentDisk" | "awsElasticBlockStore" => range(e, path, s, "partition", 255, 1),
        "secret" | "configMap" => {
            mode(e, path, s, "defaultMode");
            items(e, path, s);
        }
        "nfs" => absolute(e, path, s),
        "iscsi" => iscsi(e, path, s),
        "flocker" => flocker(e, path, s),
        "rbd" | "cephfs" if list_at(s, "/monitors").is_empty() => {
            e.push(Error::required(&format!("{path}.monitors"), ""));
        }
        "downwardAPI" => {
            mode(e, path, s, "defaultMode");
            for item in list_at(s, "/items") {
                downward(e, path, item);
            }
        }
        "fc" => fibre_channel(e, path, s),
        "projected" => projected(e, path, s),
        "csi" => csi(e, path, s),
        "ephemeral" => match s.get("volumeClaimTemplate") {
            None => e.push(Error::required(&format!("{path}.volumeClaimTemplate"), "")),
            Some(template) => {
                let at = format!("{path}.volumeClaimTemplate");
                e.extend(super::under(&at, storage::claim(template)));
            }
        },
        "image" => {
            let policy = str_at(s, "/pullPolicy");
            let known = ["Always", "IfNotPresent", "Never"];
            one_of(e, &format!("{path}.pullPolicy"), policy, &known);
        }
        _ => {}
    }
}

/// What upstream adds to "Required value".
fn needed_why(kind: &str, field: &str) -> &'static str {
    match (kind, field) {
        ("quobyte", "registry") => "must be a host:port pair or multiple pairs separated by commas",
        _ => "",
    }
}

fn empty_dir(e: &mut Vec<Error>, path: &str, s: &Value) {
    let size = str_at(s, "/sizeLimit").parse::<crate::quantity::Quantity>();
    if size.is_ok_and(|size| size.is_negative()) {
        let why = "SizeLimit field must be a valid resource quantity";
        e.push(Error::forbidden(&format!("{path}.sizeLimit"), why));
    }
}

fn host_path(e: &mut Vec<Error>, path: &str, s: &Value) {
    no_backsteps(e, path, "path", str_at(s, "/path"));
    let kind = str_at(s, "/type");
    if !HOST_PATH_TYPES.contains(&kind) {
        let at = format!("{path}.type");
        e.push(Error::not_supported(&at, kind, &HOST_PATH_TYPES));
    }
}

fn range(e: &mut Vec<Error>, path: &str, s: &Value, field: &str, most: i64, said_least: i64) {
    let n = s.get(field).and_then(Value::as_i64).unwrap_or(0);
    if !(0..=most).contains(&n) {
        let why = format!("must be between {said_least} and {most}, inclusive");
        e.push(Error::invalid(&format!("{path}.{field}"), n, why));
    }
}

fn absolute(e: &mut Vec<Error>, path: &str, s: &Value) {
    let value = str_at(s, "/path");
    if !value.starts_with('/') {
        e.push(Error::invalid(
            &format!("{path}.path"),
            value,
            "must be an absolute path",
        ));
    }
}

fn iscsi(e: &mut Vec<Error>, path: &str, s: &Value) {
    let iqn = str_at(s, "/iqn");
    if !iqn.is_empty() && !["iqn", "eui", "naa"].iter().any(|p| iqn.starts_with(p)) {
        let why = "must be valid format starting with iqn, eui, or naa";
        e.push(Error::invalid(&format!("{path}.iqn"), iqn, why));
    }
    range(e, path, s, "lun", 255, 0);
    let secret = bool_at(s, "/chapAuthDiscovery") || bool_at(s, "/chapAuthSession");
    if secret && s.get("secretRef").is_none() {
        e.push(Error::required(&format!("{path}.secretRef"), ""));
    }
}

fn flocker(e: &mut Vec<Error>, path: &str, s: &Value) {
    let (name, id) = (str_at(s, "/datasetName"), str_at(s, "/datasetUUID"));
    if name.is_empty() && id.is_empty() {
        e.push(Error::required(
            path,
            "one of datasetName and datasetUUID is required",
        ));
    }
    if !name.is_empty() && !id.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        e.push(Error::invalid(path, "resource", why));
    }
    if name.contains('/') {
        let at = format!("{path}.datasetName");
        e.push(Error::invalid(&at, name, "must not contain '/'"));
    }
}

fn fibre_channel(e: &mut Vec<Error>, path: &str, s: &Value) {
    let (targets, ids) = (list_at(s, "/targetWWNs"), list_at(s, "/wwids"));
    let at = format!("{path}.targetWWNs");
    if targets.is_empty() && ids.is_empty() {
        let why = "must specify either targetWWNs or wwids, but not both";
        e.push(Error::required(&at, why));
    }
    if !targets.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        e.push(Error::invalid(&at, targets.to_vec(), why));
    }
    if !targets.is_empty() {
        match s.get("lun") {
            None => e.push(Error::required(
                &format!("{path}.lun"),
                "lun is required if targetWWNs is specified",
            )),
            Some(_) => range(e, path, s, "lun", 255, 0),
        }
    }
}

fn csi(e: &mut Vec<Error>, path: &str, s: &Value) {
    let driver = str_at(s, "/driver");
    if !driver.is_empty() {
        texts(
            e,
            &format!("{path}.driver"),
            driver,
            storage::driver_name(driver),
        );
    }
    if let Some(secret) = s.get("nodePublishSecretRef")
        && str_at(secret, "/name").is_empty()
    {
        let at = format!("{path}.nodePublishSecretRef.name");
        e.push(Error::required(&at, ""));
    }
}

fn mode(e: &mut Vec<Error>, path: &str, s: &Value, field: &str) {
    if let Some(n) = s.get(field).and_then(Value::as_i64)
        && !(0..=0o777).contains(&n)
    {
        e.push(Error::invalid(&format!("{path}.{field}"), n, MODE));
    }
}

/// `items` of a ConfigMap or Secret: which keys become which files.
fn items(e: &mut Vec<Error>, path: &str, s: &Value) {
    for (i, item) in list_at(s, "/items").iter().enumerate() {
        let path = format!("{path}.items[{i}]");
        for field in ["key", "path"] {
            if item
                .get(field)
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
            {
                e.push(Error::required(&format!("{path}.{field}"), ""));
            }
        }
        not_reserved(e, &path, "path", str_at(item, "/path"));
        mode(e, &path, item, "mode");
    }
}

/// One file of a downward API volume. Upstream names the list, not the item.
fn downward(e: &mut Vec<Error>, path: &str, item: &Value) {
    let file = str_at(item, "/path");
    if file.is_empty() {
        e.push(Error::required(&format!("{path}.path"), ""));
    }
    not_reserved(e, path, "path", file);
    match (item.get("fieldRef"), item.get("resourceFieldRef")) {
        (Some(field), resource) => {
            field_ref(e, &format!("{path}.fieldRef"), field, &FIELDS);
            if resource.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                e.push(Error::invalid(path, "resource", why));
            }
        }
        (None, Some(resource)) => {
            resource_ref(e, &format!("{path}.resourceFieldRef"), resource, true);
        }
        (None, None) => {
            let why = "one of fieldRef and resourceFieldRef is required";
            e.push(Error::required(path, why));
        }
    }
    mode(e, path, item, "mode");
}

fn projected(e: &mut Vec<Error>, path: &str, s: &Value) {
    mode(e, path, s, "defaultMode");
    let mut files = HashSet::new();
    for (i, source) in list_at(s, "/sources").iter().enumerate() {
        let at = format!("{path}.sources[{i}]");
        let mut given = 0;
        for kind in ["secret", "configMap"] {
            let Some(found) = source.get(kind) else {
                continue;
            };
            given += 1;
            let name = str_at(found, "/name");
            if name.is_empty() {
                e.push(Error::required(&format!("{at}.{kind}.name"), ""));
            }
            items(e, &format!("{at}.{kind}"), found);
            for item in list_at(found, "/items") {
                one_file(e, path, &mut files, str_at(item, "/path"), name);
            }
        }
        if let Some(found) = source.get("downwardAPI") {
            given += 1;
            for item in list_at(found, "/items") {
                downward(e, &format!("{at}.downwardAPI"), item);
                let file = str_at(item, "/path");
                one_file(e, path, &mut files, file, file);
            }
        }
        if let Some(found) = source.get("serviceAccountToken") {
            given += 1;
            token(e, &format!("{at}.serviceAccountToken"), found);
            let file = str_at(found, "/path");
            one_file(e, path, &mut files, file, file);
        }
        if let Some(found) = source.get("clusterTrustBundle") {
            given += 1;
            trust_bundle(e, &format!("{at}.clusterTrustBundle"), found);
            let file = str_at(found, "/path");
            one_file(e, path, &mut files, file, file);
        }
        given += i32::from(source.get("podCertificate").is_some());
        if given > 1 {
            let why = "may not specify more than 1 volume type";
            e.push(Error::forbidden(&at, why));
        }
    }
}

fn one_file<'a>(
    e: &mut Vec<Error>,
    path: &str,
    files: &mut HashSet<&'a str>,
    file: &'a str,
    shown: &str,
) {
    if !file.is_empty() && !files.insert(file) {
        e.push(Error::invalid(path, shown, "conflicting duplicate paths"));
    }
}

fn token(e: &mut Vec<Error>, path: &str, found: &Value) {
    let at = format!("{path}.expirationSeconds");
    match int_at(found, "/expirationSeconds").unwrap_or(0) {
        n if n < 600 => {
            let why = "may not specify a duration less than 10 minutes";
            e.push(Error::invalid(&at, n, why));
        }
        n if n > 1 << 32 => {
            let why = "may not specify a duration larger than 2^32 seconds";
            e.push(Error::invalid(&at, n, why));
        }
        _ => {}
    }
    match str_at(found, "/path") {
        "" => e.push(Error::required(&format!("{path}.path"), "")),
        file => not_reserved(e, path, "path", file),
    }
}

fn trust_bundle(e: &mut Vec<Error>, path: &str, found: &Value) {
    let (name, signer) = (found.get("name"), found.get("signerName"));
    match (name, signer) {
        (Some(_), Some(_)) => {
            let why = "only one of name and signerName may be used";
            e.push(Error::invalid(path, found.clone(), why));
        }
        (None, None) => e.push(Error::required(
            path,
            "either name or signerName must be specified",
        )),
        _ => {}
    }
    match str_at(found, "/path") {
        "" => e.push(Error::required(&format!("{path}.path"), "")),
        file => not_reserved(e, path, "path", file),
    }
}

/// A path that does not climb.
pub(super) fn no_backsteps(e: &mut Vec<Error>, path: &str, field: &str, value: &str) {
    if value.split('/').any(|part| part == "..") {
        let at = format!("{path}.{field}");
        e.push(Error::invalid(&at, value, "must not contain '..'"));
    }
}

/// A path below some folder.
pub(super) fn descending(e: &mut Vec<Error>, path: &str, field: &str, value: &str) {
    if value.starts_with('/') {
        let at = format!("{path}.{field}");
        e.push(Error::invalid(&at, value, "must be a relative path"));
    }
    no_backsteps(e, path, field, value);
}

/// A path below some folder whose first name is not one the agent keeps for itself.
fn not_reserved(e: &mut Vec<Error>, path: &str, field: &str, value: &str) {
    descending(e, path, field, value);
    if value.starts_with("..") && value != ".." && !value.starts_with("../") {
        let at = format!("{path}.{field}");
        e.push(Error::invalid(&at, value, "must not start with '..'"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(volumes: Value) -> String {
        let mut pod = json!({"spec": {"volumes": volumes, "containers": []}});
        crate::defaults::pod::apply(&mut pod);
        let mut e = Vec::new();
        rules(&mut e, &pod);
        e.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn good_volumes_pass() {
        assert_eq!(
            words(
                json!([{"name": "a"}, {"name": "b", "secret": {"secretName": "s", "items": [{"key": "k", "path": "x/y", "mode": 256}]}},
                {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "m"}},
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                        {"path": "one", "fieldRef": {"fieldPath": "metadata.annotations['A.b/C']"}}]}}]}},
                {"name": "d", "nfs": {"server": "s", "path": "/"}}, {"name": "e", "image": {"reference": "x", "pullPolicy": "Always"}},
                {"name": "f", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}])
            ),
            ""
        );
    }

    #[test]
    fn each_source_says_what_it_needs() {
        for (volume, want) in [
            (
                json!({"hostPath": {"path": "/a/../b", "type": "Dir"}}),
                "hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            ),
            (
                json!({"hostPath": {"path": "/a", "type": "Dir"}}),
                "hostPath.type: Unsupported value: \"Dir\": supported values: \"\", \"BlockDevice\",",
            ),
            (
                json!({"nfs": {"server": "s", "path": "x"}}),
                "nfs.path: Invalid value: \"x\": must be an absolute path",
            ),
            (json!({"secret": {}}), "secret.secretName: Required value"),
            (
                json!({"configMap": {"name": "m", "defaultMode": 512}}),
                "configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            ),
            (
                json!({"configMap": {"name": "m", "items": [{"key": "k", "path": "..x"}]}}),
                "configMap.items[0].path: Invalid value: \"..x\": must not start with '..'",
            ),
            (
                json!({"downwardAPI": {"items": [{"path": "x"}]}}),
                "downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
            ),
            (
                json!({"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "status.podIP"}}]}}),
                "downwardAPI.fieldRef.fieldPath: Unsupported value: \"status.podIP\"",
            ),
            (
                json!({"downwardAPI": {"items": [{"path": "x", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
                "downwardAPI.resourceFieldRef.containerName: Required value",
            ),
            (
                json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}),
                "projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
            ),
            (
                json!({"emptyDir": {"sizeLimit": "-1"}}),
                "emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
            ),
            (json!({"csi": {}}), "csi.driver: Required value"),
            (
                json!({"ephemeral": {}}),
                "ephemeral.volumeClaimTemplate: Required value",
            ),
            (
                json!({"iscsi": {"targetPortal": "x", "iqn": "y"}}),
                "iscsi.iqn: Invalid value: \"y\": must be valid format starting with iqn, eui, or naa",
            ),
            (
                json!({"fc": {}}),
                "fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both",
            ),
        ] {
            let mut volume = volume;
            volume["name"] = json!("v");
            let found = words(json!([volume]));
            assert!(
                found.contains(&format!("spec.volumes[0].{want}")),
                "{want}\n--\n{found}"
            );
        }
    }
}
