//! The laptop's small Kubernetes client: enough to see whether the cluster answers,
//! the node is Ready, where a pod or Service can be reached, and what a lesson waits for.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use cadet_api::kubeconfig::Access;
use serde_json::Value;

use crate::error::{CliError, Result};
use crate::from_rooms::chain;

/// A client of one cluster's API server, with the profile's own certificate.
pub struct Cluster {
    client: reqwest::Client,
    server: String,
}

/// What came of one request.
#[derive(Debug)]
pub enum Failure {
    /// The server could not be reached or broke off.
    Connection(String),
    /// The server answered with a Status.
    Status { code: u16, message: String },
}

impl Failure {
    /// True if the server says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { code: 404, .. })
    }

    /// As an error for people; `path` is what was asked for.
    pub fn told(self, path: &str) -> CliError {
        match self {
            Self::Connection(why) => {
                CliError::new("CLUSTER_API_TIMEOUT", "the API server does not answer")
                    .why(why)
                    .fix("cadet status")
            }
            Self::Status { code: 404, message } => CliError::new("CLUSTER_NOT_FOUND", message),
            Self::Status { code, message } => {
                CliError::new("CLUSTER_API", message).why(format!("HTTP {code} from {path}"))
            }
        }
    }
}

/// Answers of a server that goes on telling, one JSON document a line: a watch, a journal.
pub struct Lines {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next document; None when the server ended the answer.
    ///
    /// # Errors
    /// [`Failure::Connection`] when the line broke.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                // What is no JSON is a line that was cut off: the next list tells all.
                if let Ok(document) = serde_json::from_slice(&line) {
                    return Ok(Some(document));
                }
            }
            let chunk = self.response.chunk().await;
            match chunk.map_err(|e| Failure::Connection(chain(&e)))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// No single answer may take longer; `status` must never hang.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How requests of this client call themselves in the server's journal, so that they can be
/// told from the learner's own.
pub const AGENT: &str = concat!("cadet/", env!("CARGO_PKG_VERSION"));

impl Cluster {
    /// A client for `access`; connects on first use.
    ///
    /// # Errors
    /// HOST_STATE_CORRUPT when the kept credentials do not decode.
    pub fn new(access: &Access) -> Result<Self> {
        let bad = |e: &dyn std::fmt::Display| {
            CliError::new(
                "HOST_STATE_CORRUPT",
                "the profile's credentials cannot be used",
            )
            .why(e.to_string())
            .fix("cadet start")
        };
        let pem = |text: &str| BASE64.decode(text).map_err(|e| bad(&e));
        let ca = reqwest::Certificate::from_pem(&pem(&access.ca)?).map_err(|e| bad(&e))?;
        let mut identity = pem(&access.cert)?;
        identity.extend(pem(&access.key)?);
        let identity = reqwest::Identity::from_pem(&identity).map_err(|e| bad(&e))?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .user_agent(AGENT)
            .tls_certs_only([ca])
            .identity(identity)
            .connect_timeout(Duration::from_secs(2))
            .build()
            .map_err(|e| bad(&e))?;
        Ok(Self {
            client,
            server: access.server.clone(),
        })
    }

    /// A client of a server without TLS.
    #[cfg(test)]
    pub fn plain(server: String) -> Self {
        // Fails only if a provider is set already, which is then the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        Self {
            client: client.build().expect("a client"),
            server,
        }
    }

    /// The object at `path`.
    ///
    /// # Errors
    /// CLUSTER_NOT_FOUND, CLUSTER_API_TIMEOUT or CLUSTER_API.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.try_get(path).await.map_err(|e| e.told(path))
    }

    /// The object at `path`.
    ///
    /// # Errors
    /// What came instead.
    pub async fn try_get(&self, path: &str) -> Result<Value, Failure> {
        let request = self.client.get(format!("{}{path}", self.server));
        answer(request.timeout(ANSWER_DEADLINE)).await
    }

    /// Makes `object` in the collection at `path`.
    ///
    /// # Errors
    /// What came instead.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, Failure> {
        let request = self.client.post(format!("{}{path}", self.server));
        let request = request
            .header("content-type", "application/json")
            .body(object.to_string());
        answer(request.timeout(ANSWER_DEADLINE)).await
    }

    /// Asks for the end of the object at `path`; its finalizers may take their time.
    ///
    /// # Errors
    /// What came instead.
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        let request = self.client.delete(format!("{}{path}", self.server));
        answer(request.timeout(ANSWER_DEADLINE)).await
    }

    /// Opens an answer that goes on: a watch, a journal.
    ///
    /// # Errors
    /// What came instead.
    pub async fn lines(&self, path: &str) -> Result<Lines, Failure> {
        let request = self.client.get(format!("{}{path}", self.server));
        // The head must come soon; what follows takes as long as it takes.
        let response = tokio::time::timeout(ANSWER_DEADLINE, request.send())
            .await
            .map_err(|_| Failure::Connection("no answer in time".into()))?
            .map_err(|e| Failure::Connection(chain(&e)))?;
        if response.status().is_success() {
            return Ok(Lines {
                response,
                buffer: Vec::new(),
            });
        }
        let code = response.status().as_u16();
        let text = response.text().await;
        let message = text.map_err(|e| Failure::Connection(chain(&e)))?;
        Err(refused(code, message.as_bytes()))
    }

    /// The server's clock as the head of an answer has it (RFC 9110, section 6.6.1).
    ///
    /// # Errors
    /// [`Failure::Connection`].
    pub async fn date(&self) -> Result<Option<String>, Failure> {
        let request = self.client.get(format!("{}/readyz", self.server));
        let answer = request.timeout(ANSWER_DEADLINE).send().await;
        let answer = answer.map_err(|e| Failure::Connection(chain(&e)))?;
        let date = answer.headers().get(reqwest::header::DATE);
        Ok(date.and_then(|d| d.to_str().ok()).map(str::to_string))
    }

    /// Waits until /readyz says ok; the caller sets the deadline. A server that is
    /// not there yet gives no event to wait for, so this asks again with growing pauses; often
    /// at first, because the server of a machine that was copied or woke comes within seconds.
    pub async fn wait_ready(&self, mut seen: impl FnMut(&str)) {
        const SOON: Duration = Duration::from_secs(4);
        let began = std::time::Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let answer = self
                .client
                .get(format!("{}/readyz", self.server))
                .timeout(ANSWER_DEADLINE)
                .send()
                .await;
            match answer {
                Ok(r) if r.status().is_success() => return,
                Ok(r) => seen(&format!("the API server answers {}", r.status())),
                Err(e) => seen(&chain(&e)),
            }
            tokio::time::sleep(pause).await;
            if began.elapsed() > SOON {
                pause = (pause * 3 / 2).min(Duration::from_secs(1));
            }
        }
    }

    /// Watches `path` (a list) until `done` says so of an object; returns that object.
    /// The caller sets the deadline. A broken watch is begun again.
    ///
    /// # Errors
    /// CLUSTER_API when the server refuses the watch.
    pub async fn wait_for(
        &self,
        path: &str,
        mut done: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        loop {
            match self.watch_once(path, &mut done).await {
                Ok(Some(object)) => return Ok(object),
                Ok(None) | Err(Failure::Connection(_)) => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(Failure::Status { message, code }) => {
                    return Err(CliError::new("CLUSTER_API", message)
                        .why(format!("HTTP {code} from a watch of {path}")));
                }
            }
        }
    }

    async fn watch_once(
        &self,
        path: &str,
        done: &mut impl FnMut(&Value) -> bool,
    ) -> Result<Option<Value>, Failure> {
        let list = self.try_get(path).await?;
        for item in list["items"].as_array().into_iter().flatten() {
            if done(item) {
                return Ok(Some(item.clone()));
            }
        }
        let mut lines = self.lines(&watch_of(path, &list)).await?;
        while let Some(event) = lines.next().await? {
            if event["type"] != "ERROR" && event["type"] != "DELETED" && done(&event["object"]) {
                return Ok(Some(event["object"].clone()));
            }
        }
        Ok(None)
    }
}

/// The path of a watch that goes on where `list`, the answer from `path`, ended.
pub fn watch_of(path: &str, list: &Value) -> String {
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
    let join = if path.contains('?') { '&' } else { '?' };
    format!("{path}{join}watch=true&resourceVersion={version}")
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value, Failure> {
    let connection = |e: reqwest::Error| Failure::Connection(chain(&e));
    let response = request.send().await.map_err(connection)?;
    let code = response.status();
    let body = response.bytes().await.map_err(connection)?;
    if code.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|e| Failure::Connection(format!("the answer is not JSON: {e}")));
    }
    Err(refused(code.as_u16(), &body))
}

/// What a Status says, or the body as it is.
fn refused(code: u16, body: &[u8]) -> Failure {
    let message = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|v| v["message"].as_str().map(str::to_string))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    Failure::Status { code, message }
}

/// True if `node` carries condition Ready=True.
pub fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|c| c["status"] == "True")
}

/// The condition `kind` of an object's status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|c| c["type"] == kind)
}

/// What a server answered: any code, any text.
pub struct Reply {
    pub code: u16,
    pub text: String,
}

impl Cluster {
    /// Asks for `path`, or posts `body` to it, and takes every answer for what it is.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn reply(&self, path: &str, body: Option<&Value>) -> Result<Reply, String> {
        let url = format!("{}{path}", self.server);
        let request = match body {
            None => self.client.get(url),
            Some(body) => {
                let request = self.client.post(url);
                request
                    .header("content-type", "application/json")
                    .body(body.to_string())
            }
        };
        let response = request
            .timeout(ANSWER_DEADLINE)
            .send()
            .await
            .map_err(|e| chain(&e))?;
        let code = response.status().as_u16();
        let bytes = response.bytes().await.map_err(|e| chain(&e))?;
        Ok(Reply {
            code,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_goes_on_where_the_list_ended() {
        let list = serde_json::json!({"metadata": {"resourceVersion": "7"}});
        assert_eq!(
            watch_of("/api/v1/pods", &list),
            "/api/v1/pods?watch=true&resourceVersion=7"
        );
        assert_eq!(
            watch_of("/api/v1/pods?labelSelector=a", &list),
            "/api/v1/pods?labelSelector=a&watch=true&resourceVersion=7"
        );
    }

    #[test]
    fn refusals_carry_the_words_of_the_server() {
        let status = br#"{"kind": "Status", "message": "pods \"x\" not found"}"#;
        let error = refused(404, status);
        assert!(error.is_not_found());
        assert_eq!(error.told("/x").what, "pods \"x\" not found");
        assert_eq!(refused(502, b"bad gateway").told("/x").what, "bad gateway");
    }

    #[test]
    fn ready_is_read_from_the_conditions() {
        let node = serde_json::json!({"status": {"conditions": [
            {"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        assert!(is_ready(&node));
        assert!(!is_ready(&serde_json::json!({"status": {}})));
    }
}
