//! One run of one probe: HTTP, TCP or a command.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::runtime::Runtime;

/// Answer read from a probed server; its status line and the start of its body.
const ANSWER_BYTES: u64 = 10 * 1024;

/// What a probe does, with names resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    Http {
        address: SocketAddr,
        request: String,
    },
    Tcp {
        address: SocketAddr,
    },
    Exec(Vec<String>),
}

impl Check {
    /// # Errors
    /// A sentence for users if this probe cannot be run.
    pub(crate) fn new(probe: &Probe, container: &Container, pod_ip: &str) -> Result<Self, String> {
        if let Some(http) = &probe.http_get {
            return http_check(http, container, pod_ip);
        }
        if let Some(tcp) = &probe.tcp_socket {
            let host = tcp.host.as_deref().unwrap_or(pod_ip);
            let port = port_of(&tcp.port, container)?;
            return Ok(Self::Tcp {
                address: address(host, port)?,
            });
        }
        if let Some(exec) = &probe.exec {
            return Ok(Self::Exec(exec.command.clone().unwrap_or_default()));
        }
        Err("gRPC probes are not served by this version of Cadet".into())
    }

    /// Runs the check once.
    ///
    /// # Errors
    /// The words of upstream's event about the failure.
    pub(crate) async fn run(
        &self,
        runtime: &dyn Runtime,
        container_id: &str,
        timeout: Duration,
    ) -> Result<(), String> {
        let work = async {
            match self {
                Self::Http { address, request } => http(*address, request).await,
                Self::Tcp { address } => TcpStream::connect(address)
                    .await
                    .map(drop)
                    .map_err(|error| format!("dial tcp {address}: {error}")),
                Self::Exec(command) => exec(runtime, container_id, command).await,
            }
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(format!("timed out after {} s", timeout.as_secs())),
        }
    }
}

fn http_check(http: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<Check, String> {
    if http.scheme.as_deref() == Some("HTTPS") {
        return Err("HTTPS probes are not served by this version of Cadet".into());
    }
    let host = http
        .host
        .as_deref()
        .filter(|host| !host.is_empty())
        .unwrap_or(pod_ip);
    let port = port_of(&http.port, container)?;
    let address = address(host, port)?;
    let path = http
        .path
        .as_deref()
        .filter(|p| !p.is_empty())
        .unwrap_or("/");
    let mut lines = vec![format!("GET {path} HTTP/1.1")];
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
            lines.push(format!("{name}: {value}"));
        }
    }
    for header in http.http_headers.iter().flatten() {
        lines.push(format!("{}: {}", header.name, header.value));
    }
    lines.push("Connection: close".into());
    // A line break inside a value would smuggle in another header.
    if lines
        .iter()
        .any(|line| line.bytes().any(|byte| byte.is_ascii_control()))
    {
        return Err("the probe's path or headers hold control characters".into());
    }
    Ok(Check::Http {
        address,
        request: format!("{}\r\n\r\n", lines.join("\r\n")),
    })
}

/// Addresses only: this program is linked statically, and looking names up would pull in
/// the guest's own resolver libraries.
fn address(host: &str, port: u16) -> Result<SocketAddr, String> {
    let host = if host == "localhost" {
        "127.0.0.1"
    } else {
        host
    };
    let ip: IpAddr = host
        .parse()
        .map_err(|_| format!("the probe's host {host:?} is no IP address"))?;
    Ok(SocketAddr::new(ip, port))
}

fn port_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let bad = |port: &dyn std::fmt::Display| format!("the probe's port {port} is not valid");
    match port {
        IntOrString::Int(number) => u16::try_from(*number)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| bad(number)),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(name))
            .and_then(|port| u16::try_from(port.container_port).ok())
            .or_else(|| name.parse().ok())
            .ok_or_else(|| bad(name)),
    }
}

async fn http(address: SocketAddr, request: &str) -> Result<(), String> {
    let url = format!("http://{address}");
    let failed = |error: std::io::Error| format!("Get \"{url}\": {error}");
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES)
        .read_to_end(&mut answer)
        .await
        .map_err(failed)?;
    let text = String::from_utf8_lossy(&answer);
    let code = text
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse::<u16>().ok())
        .ok_or_else(|| format!("Get \"{url}\": malformed HTTP response"))?;
    if (200..400).contains(&code) {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {code}"))
}

async fn exec(runtime: &dyn Runtime, id: &str, command: &[String]) -> Result<(), String> {
    let outcome = runtime
        .exec(id, command)
        .await
        .map_err(|error| error.to_string())?;
    if outcome.exit_code == 0 {
        Ok(())
    } else {
        Err(outcome.output)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::runtime::fake::FakeRuntime;

    fn container() -> Container {
        serde_json::from_value(
            json!({"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}),
        )
        .unwrap()
    }

    fn check(probe: serde_json::Value) -> Result<Check, String> {
        let probe: Probe = serde_json::from_value(probe).unwrap();
        Check::new(&probe, &container(), "10.244.0.2")
    }

    #[test]
    fn named_ports_and_headers_are_resolved() {
        let probe = json!({"httpGet": {"path": "/ok", "port": "http",
            "httpHeaders": [{"name": "host", "value": "shop"}]}});
        let Ok(Check::Http { address, request }) = check(probe) else {
            panic!()
        };
        assert_eq!(address.to_string(), "10.244.0.2:8080");
        assert!(request.starts_with("GET /ok HTTP/1.1\r\n") && request.ends_with("\r\n\r\n"));
        assert_eq!(request.to_lowercase().matches("host:").count(), 1);
    }

    #[test]
    fn a_header_cannot_smuggle_another() {
        let probe = json!({"httpGet": {"port": 80,
            "httpHeaders": [{"name": "X", "value": "a\r\nEvil: 1"}]}});
        assert!(check(probe).is_err());
        assert!(check(json!({"httpGet": {"port": "nowhere"}})).is_err());
        assert!(check(json!({"httpGet": {"port": 80, "scheme": "HTTPS"}})).is_err());
        assert!(check(json!({"grpc": {"port": 80}})).is_err());
    }

    async fn answer_once(answer: &'static str) -> Check {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let probe = json!({"httpGet": {"host": "127.0.0.1", "port": port}});
        check(probe).unwrap()
    }

    #[tokio::test]
    async fn status_codes_decide() {
        let runtime = FakeRuntime::default();
        let minute = Duration::from_secs(60);
        let run = |answer| {
            let runtime = &runtime;
            async move { answer_once(answer).await.run(runtime, "x", minute).await }
        };
        assert_eq!(run("HTTP/1.1 204 No Content\r\n\r\n").await, Ok(()));
        assert_eq!(run("HTTP/1.0 302 Found\r\n\r\n").await, Ok(()));
        assert_eq!(
            run("HTTP/1.1 503 Busy\r\n\r\n").await,
            Err("HTTP probe failed with statuscode: 503".into())
        );
        assert!(run("SSH-2.0-x\r\n").await.is_err());
    }
}
