//! Tokens of service accounts: JSON Web Tokens (RFC 7519) signed with ES256 (RFC 7518),
//! bound to the account, and to a pod or secret where they were asked for one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use cadet_api::defaults::base64_encode;
use cadet_api::json::str_at;
use cadet_api::status::Status;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::identity::User;
use crate::world::World;

/// Who signs, as upstream's kubeadm names it; also the audience of tokens for this API.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Longest token looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// The key that signs and verifies.
pub struct Keys {
    pair: EcdsaKeyPair,
    id: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.id)
    }
}

/// The signing key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("use the service-account key: {0}")]
pub struct BadKey(String);

impl Keys {
    /// Reads a P-256 key in PKCS#8 (DER).
    ///
    /// # Errors
    /// It is no such key.
    pub fn new(pkcs8: &[u8]) -> Result<Keys, BadKey> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|error| BadKey(error.to_string()))?;
        let id = B64.encode(Sha256::digest(pair.public_key().as_ref()));
        Ok(Keys { pair, id })
    }

    /// Signs a set of claims.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub fn sign(&self, claims: &Value) -> Result<String, Status> {
        let head = json!({"alg": "ES256", "kid": self.id});
        let text = format!(
            "{}.{}",
            B64.encode(head.to_string()),
            B64.encode(claims.to_string())
        );
        let signature = self
            .pair
            .sign(&SystemRandom::new(), text.as_bytes())
            .map_err(|_| Status::internal("the token could not be signed"))?;
        Ok(format!("{text}.{}", B64.encode(signature)))
    }

    /// The claims of a token that this key has signed.
    fn verify(&self, token: &str) -> Option<Value> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (text, signature) = token.rsplit_once('.')?;
        let (head, claims) = text.split_once('.')?;
        let head: Value = serde_json::from_slice(&B64.decode(head).ok()?).ok()?;
        // The algorithm is ours, whatever the token says of itself.
        if str_at(&head, "/alg") != "ES256" {
            return None;
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        key.verify(text.as_bytes(), &B64.decode(signature).ok()?)
            .ok()?;
        serde_json::from_slice(&B64.decode(claims).ok()?).ok()
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point
            .get(1..)
            .unwrap_or_default()
            .split_at(32.min(point.len() - 1));
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256",
            "alg": "ES256", "x": B64.encode(x), "y": B64.encode(y)}]})
    }
}

/// What a token is bound to besides its account.
#[derive(Debug, Clone)]
pub struct Bound {
    /// `pod`, `secret` or `node`.
    pub kind: &'static str,
    pub name: String,
    pub uid: String,
}

/// The claims of a token for an account.
pub fn claims(
    namespace: &str,
    account: (&str, &str),
    bound: Option<&Bound>,
    audiences: &[String],
    now: OffsetDateTime,
    seconds: i64,
) -> Value {
    let (name, uid) = account;
    let now = now.unix_timestamp();
    let mut about = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}});
    if let Some(bound) = bound {
        about[bound.kind] = json!({"name": bound.name, "uid": bound.uid});
    }
    json!({
        "iss": ISSUER,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "aud": audiences,
        "iat": now,
        "nbf": now,
        "exp": now + seconds,
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": about,
    })
}

/// Claims of the kind that lives in a Secret and does not expire.
pub fn legacy_claims(namespace: &str, account: (&str, &str), secret: &str) -> Value {
    let (name, uid) = account;
    json!({
        "iss": "kubernetes/serviceaccount",
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": uid,
    })
}

/// Who a token speaks for, if it is one of ours, in time, meant for one of `audiences`
/// (none: for this API), and what it is bound to still lives. With it the audiences that
/// matched.
pub fn authenticate(
    world: &World,
    keys: &Keys,
    token: &str,
    audiences: &[String],
) -> Option<(User, Vec<String>)> {
    let claims = keys.verify(token)?;
    let legacy = str_at(&claims, "/iss") == "kubernetes/serviceaccount";
    let field = |new: &str, old: &str| -> String {
        let old = format!("/kubernetes.io~1serviceaccount~1{old}");
        let path = if legacy { old.as_str() } else { new };
        str_at(&claims, path).to_owned()
    };
    let namespace = field("/kubernetes.io/namespace", "namespace");
    let name = field("/kubernetes.io/serviceaccount/name", "service-account.name");
    let uid = field("/kubernetes.io/serviceaccount/uid", "service-account.uid");
    let mine = [ISSUER.to_owned()];
    let wanted = if audiences.is_empty() {
        &mine[..]
    } else {
        audiences
    };
    let matched = if legacy {
        wanted.to_vec()
    } else {
        if str_at(&claims, "/iss") != ISSUER {
            return None;
        }
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let at = |key: &str| claims.get(key).and_then(Value::as_i64);
        // A minute's leeway for clocks, as upstream gives.
        if at("exp")? < now || at("nbf")? > now + 60 {
            return None;
        }
        let held = cadet_api::json::list_at(&claims, "/aud");
        let matched: Vec<String> = wanted
            .iter()
            .filter(|want| held.iter().any(|have| have == want.as_str()))
            .cloned()
            .collect();
        if matched.is_empty() {
            return None;
        }
        matched
    };
    let lives = |plural: &str, name: &str, uid: Option<&str>| -> bool {
        let found = crate::admission::find(plural)
            .ok()
            .and_then(|kind| world.get(kind, &namespace, name));
        found.is_some_and(|object| uid.is_none_or(|uid| object.uid() == uid))
    };
    if !lives("serviceaccounts", &name, Some(&uid)) {
        return None;
    }
    let mut user = User::new(
        format!("system:serviceaccount:{namespace}:{name}"),
        &["system:serviceaccounts", "system:authenticated"],
    );
    user.groups
        .insert(1, format!("system:serviceaccounts:{namespace}"));
    user.uid = uid;
    if legacy {
        // Its Secret must still hold this very token, not only bear the name.
        let secret = field("", "secret.name");
        let held = crate::admission::find("secrets")
            .ok()
            .and_then(|kind| world.get(kind, &namespace, &secret))
            .map(|secret| secret.value())?;
        let same = str_at(&held, "/data/token") == base64_encode(token.as_bytes());
        return same.then_some((user, matched));
    }
    for (kind, plural) in [("pod", "pods"), ("secret", "secrets"), ("node", "nodes")] {
        let Some(bound) = claims.pointer(&format!("/kubernetes.io/{kind}")) else {
            continue;
        };
        let (name, uid) = (str_at(bound, "/name"), str_at(bound, "/uid"));
        // A token for a pod may also name the pod's node, which may come and go.
        if kind != "node" && !lives(plural, name, Some(uid)) {
            return None;
        }
        for (key, value) in [("name", name), ("uid", uid)] {
            let key = format!("authentication.kubernetes.io/{kind}-{key}");
            user.extra.insert(key, vec![value.to_owned()]);
        }
    }
    let id = str_at(&claims, "/jti");
    if !id.is_empty() {
        user.extra.insert(
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec![format!("JTI={id}")],
        );
    }
    Some((user, matched))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let pair = rcgen::KeyPair::generate().expect("key");
        Keys::new(&pair.serialize_der()).expect("P-256")
    }

    #[test]
    fn only_its_own_signature_counts() {
        let keys = keys();
        let token = keys.sign(&json!({"a": 1})).expect("signed");
        assert_eq!(keys.verify(&token), Some(json!({"a": 1})));
        assert_eq!(self::keys().verify(&token), None, "another key");
        let (text, signature) = token.rsplit_once('.').expect("dots");
        let (_, claims) = text.split_once('.').expect("dots");
        for head in [json!({"alg": "none"}), json!({"alg": "HS256"})] {
            let forged = format!("{}.{claims}.{signature}", B64.encode(head.to_string()));
            assert_eq!(keys.verify(&forged), None, "{head}");
            let bare = format!("{}.{claims}.", B64.encode(head.to_string()));
            assert_eq!(keys.verify(&bare), None, "{head}");
        }
        let other = B64.encode(json!({"a": 2}).to_string());
        let (head, _) = text.split_once('.').expect("dots");
        assert_eq!(keys.verify(&format!("{head}.{other}.{signature}")), None);
        for junk in ["", ".", "..", "a.b.c", &"x".repeat(MAX_TOKEN + 1)] {
            assert_eq!(keys.verify(junk), None);
        }
        assert_eq!(keys.jwks()["keys"][0]["x"].as_str().map(str::len), Some(43));
    }
}
