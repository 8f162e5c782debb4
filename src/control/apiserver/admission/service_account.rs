//! ServiceAccount: a pod runs under an account of its namespace, and its containers find
//! that account's token where client libraries look for it.

use std::sync::Arc;
use std::time::Duration;

use cadet_api::json::{child, list_at, list_mut, str_at};
use cadet_api::status::Status;
use serde_json::{Value, json};

use super::{Operation, Request, find, is_marked};
use crate::handlers::suffix;
use crate::object::Object;

/// The account of pods that name none.
const DEFAULT: &str = "default";
/// Where every client library looks for its credentials.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Volumes whose name begins so are taken for the token's.
const VOLUME: &str = "kube-api-access-";
/// An hour and a little, by which upstream tells these tokens from ones asked for.
const LIFETIME_SECONDS: i64 = 3607;
const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// The account of a namespace made a moment ago may still be on its way: upstream asks
/// three times with up to 200 ms between.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Gives a new pod its account, the account's pull secrets and the volume with its token.
pub(super) async fn admit(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if !request.is(Operation::Create, "", "Pod") {
        return Ok(());
    }
    if pod.pointer(MIRROR).is_some() {
        return match str_at(pod, "/spec/serviceAccountName") {
            "" => Ok(()),
            _ => Err(request.forbidden(pod, "a mirror pod may not reference service accounts")),
        };
    }
    let name = match str_at(pod, "/spec/serviceAccountName") {
        "" => DEFAULT.to_owned(),
        name => name.to_owned(),
    };
    let account = account(request, pod, &name).await?;
    let account = account.known();
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    spec.insert("serviceAccountName".into(), json!(name));
    spec.insert("serviceAccount".into(), json!(name));
    let pull = list_at(account, "/imagePullSecrets");
    let has_own = spec
        .get("imagePullSecrets")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    if !has_own && !pull.is_empty() {
        spec.insert("imagePullSecrets".into(), json!(pull));
    }
    // A server without keys has no tokens to mount.
    if request.app.config.token_keys.is_some() && wants_token(pod, account) {
        mount(pod)?;
    }
    Ok(())
}

async fn account(request: &Request<'_>, pod: &Value, name: &str) -> Result<Arc<Object>, Status> {
    let accounts = find("serviceaccounts")?;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(found) = request.app.world.get(accounts, request.namespace, name) {
            return Ok(found);
        }
    }
    let why = format!(
        "error looking up service account {}/{name}: serviceaccount {name:?} not found",
        request.namespace
    );
    Err(request.forbidden(pod, &why))
}

/// What the pod says counts, then what its account says, then yes.
fn wants_token(pod: &Value, account: &Value) -> bool {
    let said = pod
        .pointer("/spec/automountServiceAccountToken")
        .or_else(|| account.get("automountServiceAccountToken"));
    said.and_then(Value::as_bool).unwrap_or(true)
}

fn mount(pod: &mut Value) -> Result<(), Status> {
    let volumes = list_at(pod, "/spec/volumes");
    let existing = volumes
        .iter()
        .map(|volume| str_at(volume, "/name"))
        .find(|name| name.starts_with(VOLUME))
        .map(str::to_owned);
    let name = match &existing {
        Some(name) => name.clone(),
        None => format!("{VOLUME}{}", suffix()?),
    };
    let mut mounted = false;
    for list in ["/spec/initContainers", "/spec/containers"] {
        for container in list_mut(pod, list).into_iter().flatten() {
            mounted |= mount_into(container, &name);
        }
    }
    if !mounted || existing.is_some() {
        return Ok(());
    }
    if let Some(members) = pod.as_object_mut() {
        let volumes = child(members, "spec")
            .entry("volumes")
            .or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(volume(&name));
        }
    }
    Ok(())
}

/// False if the container has something else there already.
fn mount_into(container: &mut Value, volume: &str) -> bool {
    let taken = list_at(container, "/volumeMounts")
        .iter()
        .any(|mount| str_at(mount, "/mountPath") == MOUNT);
    let Some(members) = container.as_object_mut().filter(|_| !taken) else {
        return false;
    };
    let mounts = members.entry("volumeMounts").or_insert_with(|| json!([]));
    let Some(mounts) = mounts.as_array_mut() else {
        return false;
    };
    mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT}));
    true
}

/// Token, authority and namespace, as KEP-2799 lays them out.
fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": LIFETIME_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt",
            "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// An account that is said to enforce it lets its pods mount only secrets it lists.
pub(super) fn check(request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    if !request.is(Operation::Create, "", "Pod") {
        return Ok(());
    }
    let name = str_at(pod, "/spec/serviceAccountName");
    let accounts = find("serviceaccounts")?;
    let Some(account) = request.app.world.get(accounts, request.namespace, name) else {
        return Ok(());
    };
    let account = account.known();
    if !is_marked(account, "kubernetes.io/enforce-mountable-secrets") {
        return Ok(());
    }
    let listed = |secret: &str| {
        list_at(account, "/secrets")
            .iter()
            .any(|one| str_at(one, "/name") == secret)
    };
    for volume in list_at(pod, "/spec/volumes") {
        let secret = str_at(volume, "/secret/secretName");
        if !secret.is_empty() && !listed(secret) {
            let why = format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret"
            );
            return Err(request.forbidden(pod, &why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_get_the_token_unless_they_mount_something_there() {
        let mut pod = json!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "c"}, {"name": "own", "volumeMounts": [
                {"name": "x", "mountPath": MOUNT}]}]}});
        mount(&mut pod).expect("randomness");
        let name = str_at(&pod, "/spec/volumes/0/name").to_owned();
        assert!(name.starts_with(VOLUME) && name.len() == VOLUME.len() + 5);
        for at in ["/spec/initContainers/0", "/spec/containers/0"] {
            let mount = str_at(&pod, &format!("{at}/volumeMounts/0/name"));
            assert_eq!(mount, name, "{at}");
        }
        assert_eq!(
            list_at(&pod, "/spec/containers/1/volumeMounts").len(),
            1,
            "its own mount stays"
        );
    }

    #[test]
    fn a_volume_that_is_there_is_used_and_none_is_added_for_nothing() {
        let mut pod = json!({"spec": {"volumes": [{"name": "kube-api-access-mine"}],
            "containers": [{"name": "c"}]}});
        mount(&mut pod).expect("randomness");
        assert_eq!(list_at(&pod, "/spec/volumes").len(), 1);
        assert_eq!(
            str_at(&pod, "/spec/containers/0/volumeMounts/0/name"),
            "kube-api-access-mine"
        );
        let mut pod = json!({"spec": {"containers": []}});
        mount(&mut pod).expect("randomness");
        assert!(pod.pointer("/spec/volumes").is_none());
    }

    #[test]
    fn the_pod_has_the_last_word_on_its_token() {
        let said = |said: Option<bool>| match said {
            Some(said) => json!({"automountServiceAccountToken": said}),
            None => json!({}),
        };
        for (pod, account, expected) in [
            (None, None, true),
            (None, Some(false), false),
            (Some(true), Some(false), true),
            (Some(false), None, false),
        ] {
            let pod = json!({"spec": said(pod)});
            assert_eq!(wants_token(&pod, &said(account)), expected);
        }
    }
}
