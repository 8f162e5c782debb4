//! Tokens of service accounts for projected volumes: asked for once, renewed in time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::env::ConfigError;

/// Lifetime asked for when the volume does not say, seconds (core/v1 API reference).
const LIFETIME: i64 = 3600;
/// A token is replaced when this many percent of its life are over, as upstream's agent
/// does, and after a day at the latest.
const RENEW_AT_PERCENT: i64 = 80;
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// What makes two volumes share a token: pod UID, account, audience, lifetime.
type Key = (String, String, String, i64);

/// The tokens of this node's pods.
#[derive(Debug, Default)]
pub struct Tokens(Mutex<HashMap<Key, (String, Timestamp)>>);

impl Tokens {
    /// A token for a reader inside the pod, bound to the pod.
    ///
    /// # Errors
    /// If the API server gives none.
    pub async fn get(
        &self,
        client: &Client,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, ConfigError> {
        let metadata = &pod.metadata;
        let spec = pod.spec.as_ref();
        let account = spec
            .and_then(|spec| spec.service_account_name.as_deref())
            .filter(|name| !name.is_empty())
            .unwrap_or("default");
        let audience = wanted.audience.clone().unwrap_or_default();
        let seconds = wanted.expiration_seconds.unwrap_or(LIFETIME);
        let uid = metadata.uid.clone().unwrap_or_default();
        let key = (uid.clone(), account.to_owned(), audience.clone(), seconds);
        if let Some(token) = self.held(&key) {
            return Ok(token);
        }
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: (!audience.is_empty()).then(|| vec![audience]),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: metadata.name.clone(),
                    uid: Some(uid),
                }),
            }),
            ..TokenRequest::default()
        };
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let unreadable = |reason: String| ConfigError::Unreadable {
            kind: "token of service account",
            name: account.to_owned(),
            reason,
        };
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .map_err(|error| unreadable(error.to_string()))?;
        let status = answer.status.unwrap_or_default();
        let (Some(token), Some(end)) = (status.token, status.expiration_timestamp) else {
            return Err(unreadable("the answer holds none".to_owned()));
        };
        let renew = renewal(Timestamp::now(), end.0);
        self.keep(key, token.clone(), renew);
        Ok(token)
    }

    /// When the first token of a pod is to be replaced.
    #[must_use]
    pub fn renewal(&self, uid: &str) -> Option<Timestamp> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.iter().filter(|((of, ..), _)| of == uid);
        own.map(|(_, (_, renew))| *renew).min()
    }

    /// A pod is gone.
    pub fn forget(&self, uid: &str) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(of, ..), _| of != uid);
    }

    fn held(&self, key: &Key) -> Option<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, renew) = held.get(key)?;
        (Timestamp::now() < *renew).then(|| token.clone())
    }

    fn keep(&self, key: Key, token: String, renew: Timestamp) {
        let now = Timestamp::now();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of pods that are gone are not asked for again and age away here.
        held.retain(|other, (_, renew)| now < *renew || other.0 == key.0);
        held.insert(key, (token, renew));
    }
}

/// When a token got now that ends at `end` is to be replaced.
fn renewal(now: Timestamp, end: Timestamp) -> Timestamp {
    let life = end.duration_since(now).max(SignedDuration::ZERO);
    let share = SignedDuration::from_secs(life.as_secs() / 100 * RENEW_AT_PERCENT);
    now.checked_add(share.min(MAX_AGE)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_well_before_its_end() {
        let now = Timestamp::UNIX_EPOCH;
        let after = |seconds| now + SignedDuration::from_secs(seconds);
        assert_eq!(renewal(now, after(3600)), after(2880));
        assert_eq!(renewal(now, after(30 * 86_400)), after(86_400));
        assert_eq!(renewal(now, now - SignedDuration::from_secs(5)), now);
    }

    #[test]
    fn a_token_is_kept_for_its_pod_until_it_is_to_be_renewed() {
        let tokens = Tokens::default();
        let key = |uid: &str| (uid.to_owned(), "a".to_owned(), String::new(), 600);
        let soon = Timestamp::now() + SignedDuration::from_secs(60);
        tokens.keep(key("1"), "t1".into(), soon);
        tokens.keep(key("2"), "t2".into(), Timestamp::now());
        assert_eq!(tokens.held(&key("1")).as_deref(), Some("t1"));
        assert_eq!(tokens.held(&key("2")), None);
        assert_eq!(tokens.renewal("1"), Some(soon));
        tokens.keep(key("3"), "t3".into(), soon);
        assert_eq!(tokens.0.lock().unwrap().len(), 2);
        assert_eq!(tokens.renewal("2"), None);
    }
}
