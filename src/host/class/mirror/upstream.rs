//! The registry behind the class: asked as a client of the distribution API, with the anonymous
//! tokens that Docker Hub wants (distribution/distribution, docs "Token Authentication").

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use super::name::{Digest, Reference, Repository};
use super::{Manifest, MirrorError};

/// Kinds of manifests, new and old.
const KINDS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// Tokens live five minutes at Docker Hub, and at least one everywhere.
const TOKEN_LIFE: Duration = Duration::from_secs(50);
/// How long a question may take; blobs may take longer, but not be silent (the client's affair).
const ANSWER: Duration = Duration::from_secs(30);
/// Largest answer of a token service.
const LONGEST_TOKEN: usize = 64 * 1024;

/// See the module.
pub(super) struct Upstream {
    client: Client,
    base: String,
    /// By repository.
    tokens: Mutex<HashMap<String, (String, Instant)>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Upstream {
    pub(super) fn new(registry: &str, client: Client) -> Self {
        Self {
            client,
            base: registry.trim_end_matches('/').to_owned(),
            tokens: Mutex::default(),
        }
    }

    pub(super) async fn manifest(
        &self,
        of: &Repository,
        reference: &Reference,
        limit: usize,
    ) -> Result<Manifest, MirrorError> {
        let url = format!("{}/v2/{of}/manifests/{reference}", self.base);
        let asked = async {
            let answer = self.get(of, &url).await?;
            let kind = answer.headers().get(CONTENT_TYPE);
            let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
            let kind = kind.to_owned();
            let bytes = self.whole(answer, limit).await?;
            Ok::<_, MirrorError>((kind, bytes))
        };
        let (kind, bytes) = match tokio::time::timeout(ANSWER, asked).await {
            Ok(answered) => answered?,
            Err(_) => return Err(self.trouble("no answer in time".into())),
        };
        let digest = Digest::of(&bytes);
        if let Reference::Digest(wanted) = reference
            && *wanted != digest
        {
            return Err(MirrorError::Altered(wanted.to_string()));
        }
        Ok(Manifest {
            bytes,
            kind,
            digest,
        })
    }

    /// The answer whose body is the blob.
    pub(super) async fn blob(
        &self,
        of: &Repository,
        digest: &Digest,
    ) -> Result<Response, MirrorError> {
        let url = format!("{}/v2/{of}/blobs/{digest}", self.base);
        match tokio::time::timeout(ANSWER, self.get(of, &url)).await {
            Ok(answered) => answered,
            Err(_) => Err(self.trouble("no answer in time".into())),
        }
    }

    async fn get(&self, of: &Repository, url: &str) -> Result<Response, MirrorError> {
        let mut answer = self.once(url, self.token(of)).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let challenge = answer.headers().get(WWW_AUTHENTICATE);
            let challenge = challenge.and_then(|v| v.to_str().ok()).unwrap_or_default();
            let token = self.new_token(of, challenge).await?;
            answer = self.once(url, Some(token)).await?;
        }
        match answer.status() {
            status if status.is_success() => Ok(answer),
            // Docker Hub says 401 of repositories that do not exist.
            StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(MirrorError::Unknown(of.to_string()))
            }
            status => Err(self.trouble(format!("it answers with status {status}"))),
        }
    }

    async fn once(&self, url: &str, token: Option<String>) -> Result<Response, MirrorError> {
        let mut request = self.client.get(url).header(ACCEPT, KINDS);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let sent = request.send().await;
        sent.map_err(|e| self.trouble(e.to_string()))
    }

    fn token(&self, of: &Repository) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, made) = tokens.get(&of.to_string())?;
        (made.elapsed() < TOKEN_LIFE).then(|| token.clone())
    }

    async fn new_token(&self, of: &Repository, challenge: &str) -> Result<String, MirrorError> {
        let asks = Challenge::parse(challenge)
            .ok_or_else(|| self.trouble(format!("it asks for {challenge:?}, which is no token")))?;
        let mut url = Url::parse(&asks.realm).map_err(|e| self.trouble(e.to_string()))?;
        url.query_pairs_mut()
            .append_pair("service", &asks.service)
            .append_pair("scope", &format!("repository:{of}:pull"));
        let answer = self.once(url.as_str(), None).await?;
        if !answer.status().is_success() {
            return Err(MirrorError::Unknown(of.to_string()));
        }
        let body = self.whole(answer, LONGEST_TOKEN).await?;
        let token: Token =
            serde_json::from_slice(&body).map_err(|e| self.trouble(e.to_string()))?;
        let token = if token.token.is_empty() {
            token.access_token
        } else {
            token.token
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (_, made)| made.elapsed() < TOKEN_LIFE);
        tokens.insert(of.to_string(), (token.clone(), Instant::now()));
        Ok(token)
    }

    async fn whole(&self, mut answer: Response, limit: usize) -> Result<Bytes, MirrorError> {
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|e| self.trouble(e.to_string()))?
        {
            if body.len() + chunk.len() > limit {
                return Err(self.trouble("its answer is too long".into()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    fn trouble(&self, why: String) -> MirrorError {
        MirrorError::Upstream {
            host: self.base.clone(),
            why,
        }
    }
}

/// `Bearer realm="…",service="…"`.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: String,
}

impl Challenge {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let field = |name: &str| {
            let at = rest.find(&format!("{name}=\""))? + name.len() + 2;
            let value = rest.get(at..)?;
            Some(value.get(..value.find('"')?)?.to_owned())
        };
        Some(Self {
            realm: field("realm")?,
            service: field("service").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let header = "Bearer realm=\"https://auth.docker.io/token\",\
            service=\"registry.docker.io\",scope=\"repository:library/nginx:pull\"";
        let read = Challenge::parse(header).unwrap();
        assert_eq!(read.realm, "https://auth.docker.io/token");
        assert_eq!(read.service, "registry.docker.io");
        for none in [
            "",
            "Basic realm=\"x\"",
            "Bearer",
            "Bearer realm=",
            "Bearer realm=\"x",
        ] {
            assert_eq!(Challenge::parse(none), None, "{none}");
        }
    }
}
