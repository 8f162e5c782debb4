//! Acting as somebody else: the `Impersonate-*` headers, if RBAC lets the caller.

use cadet_api::status::Status;
use http::HeaderMap;

use super::identity::User;
use super::rbac::{Ask, Rbac};
use super::rules::{is_almighty, is_loop};
use crate::world::World;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user to act as; `None` if the headers ask for nobody else.
///
/// # Errors
/// 403 if the caller may not, 400 if groups are asked for without a user.
pub fn impersonated(
    world: &World,
    rbac: &Rbac,
    caller: &User,
    headers: &HeaderMap,
) -> Result<Option<User>, Status> {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|v| v.to_str().ok());
        value.filter(|v| !v.is_empty()).map(str::to_owned)
    };
    let groups: Vec<String> = headers
        .get_all(GROUP)
        .iter()
        .filter_map(|v| v.to_str().ok().map(str::to_owned))
        .collect();
    let Some(name) = text(USER) else {
        let asked = !groups.is_empty()
            || headers.contains_key(UID)
            || headers.keys().any(|k| k.as_str().starts_with(EXTRA));
        return match asked {
            true => Err(Status::bad_request(
                "requested impersonation without specifying a user name",
            )),
            false => Ok(None),
        };
    };
    let may = |group: &str, resource: &str, sub: &str, namespace: &str, name: &str| {
        let ask = Ask {
            verb: "impersonate",
            group,
            resource,
            subresource: sub,
            namespace,
            name,
        };
        // The server's own loops need no rules; whoever does may not become one of them.
        let loops = resource == "users" && is_loop(name);
        if is_almighty(caller) || !loops && rbac.index(world).allows(caller, &ask) {
            return Ok(());
        }
        let scope = (!namespace.is_empty()).then_some(namespace);
        Err(Status::may_not_impersonate(
            group,
            resource,
            sub,
            name,
            &caller.name,
            scope,
        ))
    };
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let mut user = User::new(name.clone(), &[]);
    match account {
        Some((namespace, account)) => {
            may("", "serviceaccounts", "", namespace, account)?;
            if groups.is_empty() {
                user.groups = vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                ];
            }
        }
        None => may("", "users", "", "", &name)?,
    }
    for group in groups {
        may("", "groups", "", "", &group)?;
        user.groups.push(group);
    }
    if let Some(uid) = text(UID) {
        may("authentication.k8s.io", "uids", "", "", &uid)?;
        user.uid = uid;
    }
    for (key, value) in headers {
        if let (Some(key), Ok(value)) = (key.as_str().strip_prefix(EXTRA), value.to_str()) {
            may("authentication.k8s.io", "userextras", key, "", value)?;
            let values = user.extra.entry(key.to_owned()).or_default();
            values.push(value.to_owned());
        }
    }
    if !user.is_anonymous() && !user.is_in("system:authenticated") {
        user.groups.push("system:authenticated".to_owned());
    }
    Ok(Some(user))
}
