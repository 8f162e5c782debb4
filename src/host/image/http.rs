//! The HTTP client: proxies from the environment, certificates of the system plus a company's own.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, StatusCode};

use crate::error::ImageError;

/// How the caller wants to reach the network.
#[derive(Debug, Clone)]
pub struct Network {
    /// PEM file with further certificate authorities, for networks that inspect traffic.
    pub ca_file: Option<PathBuf>,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest silence of a server in the middle of a transfer.
    pub stall_timeout: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            ca_file: None,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

/// Makes a client. `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured.
///
/// # Errors
/// [`ImageError::CaFile`], [`ImageError::Client`].
pub fn client(network: &Network) -> Result<Client, ImageError> {
    // An error means that another room installed a provider before us, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("cadet/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(network.connect_timeout)
        .read_timeout(network.stall_timeout)
        .redirect(no_downgrade());
    if let Some(path) = &network.ca_file {
        let bad = |why: String| ImageError::CaFile {
            path: path.clone(),
            why,
        };
        let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| bad(reason(&e)))?;
        if certificates.is_empty() {
            return Err(bad("there is no certificate in it".into()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|e| ImageError::Client(reason(&e)))
}

/// Follows ten redirects, but never from an encrypted address to a plain one.
fn no_downgrade() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        let was_https = attempt.previous().iter().any(|u| u.scheme() == "https");
        if attempt.previous().len() > 10 {
            attempt.error("more than ten redirects")
        } else if was_https && attempt.url().scheme() != "https" {
            attempt.error("redirected from https to http")
        } else {
            attempt.follow()
        }
    })
}

/// Whether a file can be had, within `deadline`. `None` if it can, else why not.
///
/// Company networks answer for the internet with pages of their own, so only a success counts.
pub async fn trouble_reaching(client: &Client, url: &str, deadline: Duration) -> Option<String> {
    let asked = tokio::time::timeout(deadline, client.head(url).send());
    match asked.await {
        Ok(Ok(answer)) if answer.status().is_success() => None,
        Ok(Ok(answer)) => Some(format!("{url} answered with status {}", answer.status())),
        Ok(Err(error)) => Some(classify(url, &error).to_string()),
        Err(_) => Some(format!(
            "{url} did not answer within {} s",
            deadline.as_secs()
        )),
    }
}

/// Fetches a small text file, at most `limit` bytes.
///
/// # Errors
/// [`ImageError::Unreachable`], [`ImageError::Untrusted`], [`ImageError::Status`], [`ImageError::Cut`].
pub async fn text(client: &Client, url: &str, limit: usize) -> Result<String, ImageError> {
    let sent = client.get(url).send().await;
    let mut answer = sent.map_err(|e| classify(url, &e))?;
    if !answer.status().is_success() {
        return Err(ImageError::Status {
            url: url.to_owned(),
            status: answer.status().as_u16(),
        });
    }
    let mut bytes = Vec::new();
    let cut = |done: usize, why: String| ImageError::Cut {
        url: url.to_owned(),
        done: done as u64,
        why,
    };
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|e| cut(bytes.len(), reason(&e)))?
    {
        if bytes.len() + chunk.len() > limit {
            return Err(cut(bytes.len(), format!("it is larger than {limit} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first bytes of a file on a server.
#[derive(Debug)]
pub struct Beginning {
    pub bytes: Vec<u8>,
    /// Of the whole file, if the server tells.
    pub size: Option<u64>,
}

/// Fetches the first `length` bytes of a file, or all of it if it is shorter.
///
/// # Errors
/// [`ImageError::Status`], which is 200 if the server sends whole files only;
/// [`ImageError::Unreachable`], [`ImageError::Untrusted`], [`ImageError::Cut`].
pub async fn beginning(client: &Client, url: &str, length: usize) -> Result<Beginning, ImageError> {
    let last = length.saturating_sub(1);
    let request = client.get(url).header(RANGE, format!("bytes=0-{last}"));
    let mut answer = request.send().await.map_err(|e| classify(url, &e))?;
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Err(ImageError::Status {
            url: url.to_owned(),
            status: answer.status().as_u16(),
        });
    }
    let header = answer.headers().get(CONTENT_RANGE);
    let size = header.and_then(|value| value.to_str().ok()?.split_once('/')?.1.parse().ok());
    let mut bytes = Vec::new();
    loop {
        let chunk = answer.chunk().await.map_err(|e| ImageError::Cut {
            url: url.to_owned(),
            done: bytes.len() as u64,
            why: reason(&e),
        })?;
        let Some(chunk) = chunk else { break };
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= length {
            bytes.truncate(length);
            break;
        }
    }
    Ok(Beginning { bytes, size })
}

/// Sorts a failed request: not reached, or reached somebody we do not trust.
pub(crate) fn classify(url: &str, error: &reqwest::Error) -> ImageError {
    let why = reason(error);
    let url = url.to_owned();
    if why.contains("certificate") || why.contains("UnknownIssuer") {
        return ImageError::Untrusted { url, why };
    }
    ImageError::Unreachable { url, why }
}

/// The innermost causes in one line; the outer layers only repeat the address.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    if causes.is_empty() {
        let text = error.to_string();
        return if error.is_timeout() {
            format!("timed out ({text})")
        } else {
            text
        };
    }
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_files_are_checked_before_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let network = Network {
            ca_file: Some(path.clone()),
            ..Network::default()
        };
        assert!(matches!(client(&network), Err(ImageError::CaFile { .. })));
        std::fs::write(&path, "not a certificate").unwrap();
        assert!(matches!(client(&network), Err(ImageError::CaFile { .. })));
    }

    #[tokio::test]
    async fn a_closed_port_and_a_name_that_cannot_exist_are_unreachable() {
        let client = client(&Network::default()).unwrap();
        // Held, and nobody listens.
        let nobody = tokio::net::TcpSocket::new_v4().unwrap();
        nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let closed = nobody.local_addr().unwrap();
        for url in [
            format!("http://{closed}/x"),
            "http://does-not-exist.invalid/x".to_owned(),
        ] {
            let trouble = trouble_reaching(&client, &url, Duration::from_secs(60)).await;
            assert!(trouble.is_some_and(|t| t.contains(&url)));
            let error = text(&client, &url, 10).await.unwrap_err();
            assert!(matches!(error, ImageError::Unreachable { .. }), "{error}");
        }
    }
}
