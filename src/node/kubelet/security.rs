//! Who a container runs as and what it may do: from securityContexts to the engine's
//! words. Pure, but for reading a seccomp profile of the node.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext};

use crate::env::ConfigError;
use crate::status::full_name;

/// User and group for the engine, `uid` or `uid:gid`; `None` leaves it to the image.
///
/// # Errors
/// In upstream's words if the manifest forbids root and root is what it would be.
pub(crate) fn user(
    pod: &Pod,
    container: &Container,
    image_user: Option<&str>,
) -> Result<Option<String>, ConfigError> {
    let (user, group) = asked(pod, container);
    if must_not_be_root(pod, container) {
        let name = &container.name;
        let whose = format!("(pod: \"{}\", container: {name})", full_name(pod));
        let image_user = image_user.unwrap_or_default().split(':').next();
        let image_user = image_user.unwrap_or_default();
        let wrong = match user {
            Some(0) => Some("container's runAsUser breaks non-root policy".to_owned()),
            Some(_) => None,
            None if image_user.is_empty() => {
                Some("container has runAsNonRoot and image will run as root".to_owned())
            }
            None => match image_user.parse::<i64>() {
                Ok(0) => Some("container has runAsNonRoot and image will run as root".to_owned()),
                Ok(_) => None,
                Err(_) => Some(format!(
                    "container has runAsNonRoot and image has non-numeric user ({image_user}), \
                     cannot verify user is non-root"
                )),
            },
        };
        if let Some(wrong) = wrong {
            return Err(ConfigError::Root(format!("{wrong} {whose}")));
        }
    }
    Ok(match (user, group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(user.to_string()),
        // The engine wants a user before a group: the image's, else root.
        (None, Some(group)) => {
            let own = image_user.unwrap_or_default().split(':').next();
            let own = own.filter(|own| !own.is_empty()).unwrap_or("0");
            Some(format!("{own}:{group}"))
        }
        (None, None) => None,
    })
}

/// Whether [`user`] depends on the image.
#[must_use]
pub(crate) fn asks_for_the_images_user(pod: &Pod, container: &Container) -> bool {
    let (user, group) = asked(pod, container);
    user.is_none() && (group.is_some() || must_not_be_root(pod, container))
}

fn asked(pod: &Pod, container: &Container) -> (Option<i64>, Option<i64>) {
    let own = container.security_context.as_ref();
    let pods = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let user = own.and_then(|c| c.run_as_user);
    let group = own.and_then(|c| c.run_as_group);
    (
        user.or_else(|| pods.and_then(|c| c.run_as_user)),
        group.or_else(|| pods.and_then(|c| c.run_as_group)),
    )
}

fn must_not_be_root(pod: &Pod, container: &Container) -> bool {
    let own = container.security_context.as_ref();
    let pods = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    own.and_then(|c| c.run_as_non_root)
        .or_else(|| pods.and_then(|c| c.run_as_non_root))
        == Some(true)
}

/// The engine's security options of a container. Without a profile there is none, as with
/// upstream's kubelet unless told otherwise.
///
/// # Errors
/// If a profile of the node cannot be read.
pub(crate) fn options(
    pod: &Pod,
    container: &Container,
    profiles: &Path,
) -> Result<Vec<String>, ConfigError> {
    let none = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&none);
    let pods = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    if own.privileged == Some(true) {
        return Ok(Vec::new());
    }
    let mut options = Vec::new();
    let seccomp = own.seccomp_profile.as_ref();
    let seccomp = seccomp.or_else(|| pods.and_then(|c| c.seccomp_profile.as_ref()));
    options.extend(self::seccomp(seccomp, profiles)?);
    let apparmor = own.app_armor_profile.as_ref();
    let apparmor = apparmor.or_else(|| pods.and_then(|c| c.app_armor_profile.as_ref()));
    match apparmor.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("Unconfined", _)) => options.push("apparmor=unconfined".into()),
        Some(("Localhost", Some(name))) => options.push(format!("apparmor={name}")),
        _ => {}
    }
    Ok(options)
}

/// `None`: the engine's own default.
fn seccomp(
    profile: Option<&SeccompProfile>,
    profiles: &Path,
) -> Result<Option<String>, ConfigError> {
    let Some(profile) = profile else {
        return Ok(Some("seccomp=unconfined".into()));
    };
    match profile.type_.as_str() {
        "RuntimeDefault" => Ok(None),
        "Localhost" => {
            let name = profile.localhost_profile.as_deref().unwrap_or_default();
            let below = crate::payload::relative(name);
            let path = below.map(|below| profiles.join(below));
            let text = match &path {
                Some(path) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
                None => Err("the path leaves the folder of profiles".into()),
            };
            match text {
                Ok(text) => Ok(Some(format!("seccomp={text}"))),
                Err(why) => Err(ConfigError::Unreadable {
                    kind: "seccomp profile",
                    name: name.into(),
                    reason: why,
                }),
            }
        }
        _ => Ok(Some("seccomp=unconfined".into())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::pod;

    fn user_of(
        pods: serde_json::Value,
        own: serde_json::Value,
        image: Option<&str>,
    ) -> Result<Option<String>, String> {
        let pod = pod(json!({"securityContext": pods,
            "containers": [{"name": "app", "securityContext": own}]}));
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        user(&pod, &container, image).map_err(|error| error.to_string())
    }

    #[test]
    fn root_is_refused_in_upstreams_words() {
        let non_root = || json!({"runAsNonRoot": true});
        let whose = "(pod: \"web_shop(u-1)\", container: app)";
        let refused = |own, image| user_of(non_root(), own, image).unwrap_err();
        assert_eq!(
            refused(json!({"runAsUser": 0}), None),
            format!("container's runAsUser breaks non-root policy {whose}")
        );
        assert_eq!(
            refused(json!({}), Some("")),
            format!("container has runAsNonRoot and image will run as root {whose}")
        );
        assert_eq!(
            refused(json!({}), Some("nginx:nginx")),
            format!(
                "container has runAsNonRoot and image has non-numeric user (nginx), cannot \
                 verify user is non-root {whose}"
            )
        );
        assert_eq!(user_of(non_root(), json!({}), Some("101")), Ok(None));
        let own = json!({"runAsNonRoot": false});
        assert_eq!(user_of(non_root(), own, None), Ok(None), "one's own wins");
    }

    #[test]
    fn a_group_alone_keeps_the_images_user() {
        let group = || json!({"runAsGroup": 5});
        assert_eq!(
            user_of(group(), json!({}), Some("7:8")),
            Ok(Some("7:5".into()))
        );
        assert_eq!(
            user_of(group(), json!({}), Some("")),
            Ok(Some("0:5".into()))
        );
        let both = json!({"runAsUser": 3});
        assert_eq!(user_of(group(), both, None), Ok(Some("3:5".into())));
    }

    #[test]
    fn profiles_are_the_engines_the_nodes_or_none() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("mine.json"), "{}").unwrap();
        let of = |own: serde_json::Value| {
            let pod = pod(json!({"containers": [{"name": "app", "securityContext": own}]}));
            let container = pod.spec.as_ref().unwrap().containers[0].clone();
            options(&pod, &container, home.path())
        };
        assert_eq!(of(json!({})).unwrap(), ["seccomp=unconfined"]);
        let default = json!({"seccompProfile": {"type": "RuntimeDefault"}});
        assert!(of(default).unwrap().is_empty());
        let local =
            |name: &str| json!({"seccompProfile": {"type": "Localhost", "localhostProfile": name}});
        assert_eq!(of(local("mine.json")).unwrap(), ["seccomp={}"]);
        assert!(of(local("../mine.json")).is_err());
        assert!(of(local("none.json")).is_err());
        let apparmor = json!({"appArmorProfile": {"type": "Unconfined"}});
        assert_eq!(of(apparmor).unwrap()[1], "apparmor=unconfined");
    }
}
