//! The HTTP of probes and hooks: one request written by hand, followed where a server sends it
//! as long as that is the same host.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::probe_run::{address, port_of, words};
use crate::probe_tls;

/// Answer read from a probed server: its head and the start of its body.
const ANSWER_BYTES: usize = 10 * 1024;
/// How often a server may send its client on, Go's figure.
const REDIRECTS: usize = 10;
/// Headers that an empty value takes away (documentation of HTTP probes).
const DROPPED: [&str; 2] = ["Accept", "User-Agent"];

/// An HTTP request with everything settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    address: SocketAddr,
    secure: bool,
    /// As it was given; the server is not followed to others.
    host: String,
    path: String,
    /// Whole lines.
    headers: Vec<String>,
    /// Whether the manifest says what the server is to be called.
    named: bool,
}

impl Target {
    /// # Errors
    /// A sentence for users if the port, the host or a header is not usable.
    pub(crate) fn http(
        http: &HTTPGetAction,
        container: &Container,
        pod_ip: &str,
    ) -> Result<Self, String> {
        let host = http
            .host
            .as_deref()
            .filter(|host| !host.is_empty())
            .unwrap_or(pod_ip);
        let port = port_of(&http.port, container)?;
        let path = match http.path.as_deref().unwrap_or_default() {
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        };
        let mut headers = Vec::new();
        let given = |name: &str| {
            http.http_headers
                .iter()
                .flatten()
                .any(|header| header.name.eq_ignore_ascii_case(name))
        };
        for (name, value) in [
            ("Host", format!("{host}:{port}")),
            ("User-Agent", "kube-probe/1.36".to_owned()),
            ("Accept", "*/*".to_owned()),
        ] {
            if !given(name) {
                headers.push(format!("{name}: {value}"));
            }
        }
        for header in http.http_headers.iter().flatten() {
            let dropped = DROPPED
                .iter()
                .any(|name| header.name.eq_ignore_ascii_case(name));
            if !(dropped && header.value.is_empty()) {
                headers.push(format!("{}: {}", header.name, header.value));
            }
        }
        headers.push("Connection: close".into());
        // A line break inside a value would smuggle in another header.
        if headers.iter().chain([&path]).any(|line| is_foul(line)) {
            return Err("the path or headers hold control characters".into());
        }
        Ok(Self {
            address: address(host, port)?,
            secure: http.scheme.as_deref() == Some("HTTPS"),
            host: host.to_owned(),
            path,
            headers,
            named: given("Host"),
        })
    }

    /// What is sent.
    pub(crate) fn request(&self) -> String {
        let headers = self.headers.join("\r\n");
        format!("GET {} HTTP/1.1\r\n{headers}\r\n\r\n", self.path)
    }

    /// The request as upstream's events name it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address, self.path)
    }

    /// Asks, follows the server on its own host, and returns the status code of the last
    /// answer: one of a redirect if it led elsewhere, or round and round.
    ///
    /// # Errors
    /// The words of upstream's event if there is no answer.
    pub(crate) async fn status(&self) -> Result<u16, String> {
        let (mut code, mut next) = self.once().await?;
        for _ in 0..REDIRECTS {
            let Some(target) = next else { break };
            (code, next) = target.once().await?;
        }
        Ok(code)
    }

    /// The code of one answer, and where it leads.
    async fn once(&self) -> Result<(u16, Option<Self>), String> {
        let url = self.url();
        let address = self.address;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| format!("Get \"{url}\": dial tcp {address}: {}", words(&error)))?;
        let request = self.request();
        let asked = if self.secure {
            match probe_tls::connect(stream, address.ip()).await {
                Ok(stream) => ask(stream, &request).await,
                Err(error) => Err(error),
            }
        } else {
            ask(stream, &request).await
        };
        let head = asked.map_err(|error| format!("Get \"{url}\": {}", words(&error)))?;
        if head.is_empty() {
            return Err(format!("Get \"{url}\": EOF"));
        }
        let code: u16 = head
            .strip_prefix(b"HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| std::str::from_utf8(code).ok()?.parse().ok())
            .ok_or_else(|| format!("Get \"{url}\": net/http: HTTP/1.x transport connection broken: malformed HTTP response"))?;
        let next = match code {
            301 | 302 | 303 | 307 | 308 => location(&head).and_then(|to| self.led_to(&to)),
            _ => None,
        };
        Ok((code, next))
    }

    /// The request that a `Location` asks for, if it is of the same host (RFC 9110, 10.2.2).
    fn led_to(&self, location: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        if location.is_empty() || is_foul(location) {
            return None;
        }
        let (secure, rest) = if let Some(rest) = location.strip_prefix("http://") {
            (false, rest)
        } else if let Some(rest) = location.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = location.strip_prefix("//") {
            (self.secure, rest)
        } else {
            let path = joined(&self.path, location);
            return Some(Self {
                path,
                ..self.clone()
            });
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, if secure { 443 } else { 80 }),
        };
        if host != self.host {
            return None;
        }
        let mut headers = self.headers.clone();
        if !self.named {
            headers.retain(|line| !line.starts_with("Host:"));
            headers.insert(0, format!("Host: {authority}"));
        }
        Some(Self {
            address: SocketAddr::new(self.address.ip(), port),
            secure,
            host: self.host.clone(),
            path: joined("/", path),
            headers,
            named: self.named,
        })
    }
}

/// Whether a text cannot stand in a line of a request.
fn is_foul(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_control())
}

/// A path as seen from another one.
fn joined(base: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let base = base.split('?').next().unwrap_or_default();
    if path.is_empty() || path.starts_with('?') {
        return format!("{base}{path}");
    }
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{path}")
}

/// Sends the request and reads the answer's head and what body it announces, so that the
/// server is not cut off in the middle of a word.
async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    let mut wanted = ANSWER_BYTES;
    let mut head_seen = false;
    while answer.len() < wanted {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
        if !head_seen && let Some(end) = end_of_head(&answer) {
            head_seen = true;
            if let Some(length) = content_length(&answer[..end]) {
                wanted = (end + 4).saturating_add(length).min(ANSWER_BYTES);
            }
        }
    }
    Ok(answer)
}

fn end_of_head(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|four| four == b"\r\n\r\n")
}

fn content_length(head: &[u8]) -> Option<usize> {
    header(head, "content-length")?.parse().ok()
}

fn location(answer: &[u8]) -> Option<String> {
    let end = end_of_head(answer).unwrap_or(answer.len());
    header(&answer[..end], "location").map(str::to_owned)
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;

    fn target(action: Value) -> Target {
        let action: HTTPGetAction = serde_json::from_value(action).unwrap();
        Target::http(&action, &Container::default(), "10.244.0.2").unwrap()
    }

    #[test]
    fn an_empty_value_takes_a_header_away() {
        let header = |name: &str, value: &str| json!({"name": name, "value": value});
        let request = target(json!({"port": 80, "httpHeaders": [header("user-agent", ""),
            header("Accept", ""), header("X-Empty", "")]}))
        .request();
        assert_eq!(
            request,
            "GET / HTTP/1.1\r\nHost: 10.244.0.2:80\r\nX-Empty: \r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_server_is_followed_on_its_own_host() {
        let from = target(json!({"port": 8080, "path": "/a/b?c"}));
        let to = |location: &str| from.led_to(location).map(|next| next.url());
        let own = |path: &str| Some(format!("http://10.244.0.2:8080{path}"));
        assert_eq!(to("/login#top"), own("/login"));
        assert_eq!(to("login"), own("/a/login"));
        assert_eq!(to("?d"), own("/a/b?d"));
        assert_eq!(
            to("https://10.244.0.2").as_deref(),
            Some("https://10.244.0.2:443/")
        );
        assert_eq!(
            to("//10.244.0.2:81?x").as_deref(),
            Some("http://10.244.0.2:81/?x")
        );
        for elsewhere in ["http://example.com/", "http://10.244.0.2:x/", "", "/a\tb"] {
            assert_eq!(to(elsewhere), None, "{elsewhere}");
        }
        let next = from.led_to("http://10.244.0.2:81/x").unwrap().request();
        assert_eq!(next.matches("Host: 10.244.0.2:81\r\n").count(), 1);
        assert_eq!(next.matches("Host:").count(), 1, "{next}");
    }

    /// A server that sends its clients from `/` to `/there`, and from `/round` to `/round`.
    async fn server() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 512];
                let read = stream.read(&mut request).await.unwrap();
                let answer = match request[..read].split(|byte| *byte == b' ').nth(1) {
                    Some(b"/") => "302 Found\r\nLocation: /there",
                    Some(b"/round") => "302 Found\r\nLocation: /round",
                    Some(b"/away") => "302 Found\r\nLocation: http://192.0.2.1/",
                    _ => "503 Busy",
                };
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn the_last_answer_counts() {
        let port = server().await;
        let ask = |path: &'static str| async move {
            let asked = json!({"host": "127.0.0.1", "port": port, "path": path});
            target(asked).status().await
        };
        assert_eq!(ask("/").await, Ok(503));
        assert_eq!(ask("/round").await, Ok(302));
        assert_eq!(ask("/away").await, Ok(302));
    }
}
