//! The registry behind the cache, asked as an anonymous client: it says who gives tokens
//! (WWW-Authenticate, RFC 6750 and the distribution project's token specification), and they
//! are kept until they expire.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode};
use serde::Deserialize;

use crate::asked::Name;

/// How long a registry that could not be reached is not asked again: a machine asks several
/// things for one image, and without a network each would wait.
const LEAVE_ALONE: Duration = Duration::from_secs(20);
/// How long an answer's head may take.
const HEAD: Duration = Duration::from_secs(20);
/// A token is used so much shorter than it lasts.
const MARGIN: Duration = Duration::from_secs(10);
/// What a token lasts if nobody says (token specification, "expires_in").
const USUAL_LIFE: u64 = 60;
/// No token is believed longer, whatever its giver says, in seconds.
const LONGEST_LIFE: u64 = 24 * 3600;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nobody answers, or not in time.
    #[error("{base} cannot be reached: {why}")]
    Unreachable { base: String, why: String },
    /// It answers, but not with what was asked for.
    #[error("the registry answers with status {0}")]
    Status(StatusCode),
}

/// One registry.
pub struct Upstream {
    base: String,
    client: Client,
    tokens: Mutex<HashMap<Name, (String, Instant)>>,
    /// Since when it cannot be reached, and why.
    away: Mutex<Option<(Instant, String)>>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Upstream {
    /// The registry at `base`, such as `https://registry-1.docker.io`.
    pub fn new(base: impl Into<String>, client: Client) -> Self {
        Self {
            base: base.into().trim_end_matches('/').to_owned(),
            client,
            tokens: Mutex::default(),
            away: Mutex::default(),
        }
    }

    /// Asks for `rest` of repository `name`; only a success is returned as an answer.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn ask(
        &self,
        method: Method,
        name: &Name,
        rest: &str,
        accept: &HeaderMap,
    ) -> Result<Response, UpstreamError> {
        self.is_here()?;
        let url = format!("{}/v2/{}/{rest}", self.base, name.as_str());
        let mut token = self.kept(name);
        let mut tried = false;
        loop {
            let mut request = self.client.request(method.clone(), &url);
            for value in accept.get_all(ACCEPT) {
                request = request.header(ACCEPT, value);
            }
            if let Some(token) = &token {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let answer = self.head(request).await?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            if status != StatusCode::UNAUTHORIZED || tried {
                return Err(UpstreamError::Status(status));
            }
            tried = true;
            let challenge = answer.headers().get(WWW_AUTHENTICATE);
            let challenge = challenge
                .and_then(|c| c.to_str().ok())
                .and_then(Challenge::parse);
            let challenge = challenge.ok_or(UpstreamError::Status(status))?;
            token = Some(self.fetch(name, &challenge).await?);
        }
    }

    async fn head(&self, request: reqwest::RequestBuilder) -> Result<Response, UpstreamError> {
        let why = match tokio::time::timeout(HEAD, request.send()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(e)) => told(&e),
            Err(_) => format!("no answer within {} s", HEAD.as_secs()),
        };
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        *away = Some((Instant::now(), why.clone()));
        Err(self.unreachable(why))
    }

    fn is_here(&self) -> Result<(), UpstreamError> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match &*away {
            Some((since, why)) if since.elapsed() < LEAVE_ALONE => {
                Err(self.unreachable(why.clone()))
            }
            _ => Ok(()),
        }
    }

    fn unreachable(&self, why: String) -> UpstreamError {
        UpstreamError::Unreachable {
            base: self.base.clone(),
            why,
        }
    }

    fn kept(&self, name: &Name) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, until) = tokens.get(name)?;
        (Instant::now() < *until).then(|| token.clone())
    }

    async fn fetch(&self, name: &Name, challenge: &Challenge) -> Result<String, UpstreamError> {
        // Whoever stands between must not turn an encrypted question into a plain one.
        if self.base.starts_with("https://") && !challenge.realm.starts_with("https://") {
            return Err(UpstreamError::Status(StatusCode::UNAUTHORIZED));
        }
        let mut url = reqwest::Url::parse(&challenge.realm)
            .map_err(|_| UpstreamError::Status(StatusCode::UNAUTHORIZED))?;
        {
            let scope = format!("repository:{}:pull", name.as_str());
            let mut query = url.query_pairs_mut();
            query.append_pair("scope", &scope);
            if let Some(service) = &challenge.service {
                query.append_pair("service", service);
            }
        }
        let answer = self.head(self.client.get(url)).await?;
        if !answer.status().is_success() {
            return Err(UpstreamError::Status(answer.status()));
        }
        let text = answer
            .bytes()
            .await
            .map_err(|e| self.unreachable(told(&e)))?;
        let refused = || UpstreamError::Status(StatusCode::UNAUTHORIZED);
        let given: Token = serde_json::from_slice(&text).map_err(|_| refused())?;
        let token = given.token.or(given.access_token).ok_or_else(refused)?;
        let life = Duration::from_secs(given.expires_in.unwrap_or(USUAL_LIFE).min(LONGEST_LIFE));
        let until = Instant::now() + life.saturating_sub(MARGIN);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(name.clone(), (token.clone(), until));
        Ok(token)
    }
}

/// The innermost cause says most.
fn told(e: &reqwest::Error) -> String {
    let mut text = e.to_string();
    let mut next = std::error::Error::source(e);
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    text
}

/// Who gives tokens.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

impl Challenge {
    /// Reads `Bearer realm="…",service="…",scope="…"`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut fields = HashMap::new();
        while let Some((key, after)) = rest.trim_start_matches([' ', ',']).split_once("=\"") {
            let (value, after) = after.split_once('"')?;
            fields.insert(key.to_ascii_lowercase(), value.to_owned());
            rest = after;
        }
        Some(Self {
            realm: fields.remove("realm")?,
            service: fields.remove("service"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                    scope=\"repository:library/nginx:pull,push\"";
        let challenge = Challenge {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
        };
        assert_eq!(Challenge::parse(text), Some(challenge));
        let bare = Challenge::parse("bearer realm=\"http://x/\"").unwrap();
        assert_eq!(bare.service, None);
        for other in [
            "",
            "Basic realm=\"x\"",
            "Bearer",
            "Bearer scope=\"x\"",
            "Bearer realm=\"x",
        ] {
            assert_eq!(Challenge::parse(other), None, "{other}");
        }
    }
}
