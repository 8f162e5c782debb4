//! Credentials of image registries: from the pull secrets of a pod to the one that fits
//! an image.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::reference::Reference;
use crate::runtime::Credentials;

/// Docker Hub's name in the files `docker login` writes.
const HUB: &str = "index.docker.io";

#[derive(Debug, Default, Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Debug, Default, Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    /// `username:password`, base64.
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

/// Credentials by the registry, or part of one, that they are for.
#[derive(Default)]
pub(crate) struct Keyring(BTreeMap<String, Credentials>);

impl Keyring {
    /// Adds what a Secret of type `kubernetes.io/dockerconfigjson` or
    /// `kubernetes.io/dockercfg` holds; returns false if it holds nothing readable.
    pub(crate) fn add(&mut self, secret: &Secret) -> bool {
        let data = |key| secret.data.as_ref().and_then(|data| data.get(key));
        let auths = if let Some(json) = data(".dockerconfigjson") {
            serde_json::from_slice::<DockerConfig>(&json.0).map(|config| config.auths)
        } else if let Some(json) = data(".dockercfg") {
            serde_json::from_slice(&json.0)
        } else {
            return false;
        };
        let Ok(auths) = auths else { return false };
        for (place, auth) in auths {
            let place = place_of(&place);
            let (username, password) = auth.pair();
            let server = place.split('/').next().unwrap_or_default().to_owned();
            let credentials = Credentials {
                username,
                password,
                identity_token: auth.identity_token,
                server,
            };
            self.0.insert(place, credentials);
        }
        true
    }

    /// The credentials for an image: those for the longest part of its name.
    pub(crate) fn find(&self, image: &Reference) -> Option<&Credentials> {
        let name = image.repository.strip_prefix("docker.io/");
        let name = name.map_or_else(|| image.repository.clone(), |path| format!("{HUB}/{path}"));
        let fitting = self.0.iter().filter(|(place, _)| covers(place, &name));
        fitting
            .max_by_key(|(place, _)| place.len())
            .map(|(_, credentials)| credentials)
    }
}

impl Auth {
    fn pair(&self) -> (String, String) {
        if !self.username.is_empty() {
            return (self.username.clone(), self.password.clone());
        }
        let decoded = STANDARD.decode(self.auth.trim()).unwrap_or_default();
        let text = String::from_utf8_lossy(&decoded).into_owned();
        match text.trim_end_matches('\0').split_once(':') {
            Some((username, password)) => (username.to_owned(), password.to_owned()),
            None => (String::new(), String::new()),
        }
    }
}

/// `https://index.docker.io/v1/` → `index.docker.io`; paths other than the API's are kept.
fn place_of(text: &str) -> String {
    let text = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text)
        .trim_end_matches('/');
    let text = text
        .strip_suffix("/v1")
        .or_else(|| text.strip_suffix("/v2"))
        .unwrap_or(text);
    match text.strip_prefix("docker.io") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{HUB}{rest}"),
        _ => text.to_owned(),
    }
}

/// Whether `place` names the registry of `image`, or a part of it. A star stands for one
/// part of a host's name.
fn covers(place: &str, image: &str) -> bool {
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let (image_host, image_path) = image.split_once('/').unwrap_or((image, ""));
    let parts: Vec<&str> = host.split('.').collect();
    let image_parts: Vec<&str> = image_host.split('.').collect();
    let same_host = parts.len() == image_parts.len()
        && parts
            .iter()
            .zip(image_parts)
            .all(|(part, real)| *part == "*" || *part == real);
    let same_path = path.is_empty()
        || image_path
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    same_host && same_path
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn keyring(key: &str, value: serde_json::Value) -> Keyring {
        let bytes = ByteString(value.to_string().into_bytes());
        let secret = Secret {
            data: Some(BTreeMap::from([(key.to_owned(), bytes)])),
            ..Secret::default()
        };
        let mut keyring = Keyring::default();
        assert!(keyring.add(&secret));
        keyring
    }

    fn user(keyring: &Keyring, image: &str) -> Option<String> {
        let image = Reference::parse(image).unwrap();
        keyring.find(&image).map(|found| found.username.clone())
    }

    #[test]
    fn the_most_particular_place_wins() {
        let auth = STANDARD.encode("hub:secret");
        let keyring = keyring(
            ".dockerconfigjson",
            json!({"auths": {
                "https://index.docker.io/v1/": {"auth": auth},
                "registry.example:5000": {"username": "all", "password": "p"},
                "registry.example:5000/shop": {"username": "shop", "password": "p"},
                "*.registry.io": {"username": "star", "password": "p"},
            }}),
        );
        assert_eq!(user(&keyring, "me/app").as_deref(), Some("hub"));
        assert_eq!(
            user(&keyring, "registry.example:5000/x").as_deref(),
            Some("all")
        );
        let shop = "registry.example:5000/shop/app:1";
        assert_eq!(user(&keyring, shop).as_deref(), Some("shop"));
        let shopping = "registry.example:5000/shopping";
        assert_eq!(user(&keyring, shopping).as_deref(), Some("all"));
        assert_eq!(user(&keyring, "eu.registry.io/x").as_deref(), Some("star"));
        assert_eq!(user(&keyring, "a.eu.registry.io/x"), None);
        assert_eq!(user(&keyring, "gcr.io/x"), None);
    }

    #[test]
    fn the_old_form_is_read_and_nonsense_is_not() {
        let old = json!({"gcr.io": {"username": "u", "password": "p"}});
        let keyring = keyring(".dockercfg", old);
        assert_eq!(user(&keyring, "gcr.io/x").as_deref(), Some("u"));
        assert!(!Keyring::default().add(&Secret::default()));
    }
}
