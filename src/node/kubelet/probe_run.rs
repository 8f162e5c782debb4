//! One run of one probe: HTTP (`probe_http`), TCP, gRPC (`probe_grpc`) or a command. Failures are
//! put in the words of upstream's events, which are those of Go's network library.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::probe_grpc;
use crate::probe_http::Target;
use crate::runtime::Runtime;

/// What a probe does, with names resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    Http(Target),
    Tcp(SocketAddr),
    Grpc {
        address: SocketAddr,
        /// Empty asks for the server as a whole.
        service: String,
    },
    Exec(Vec<String>),
}

/// How a check went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    Well,
    /// The server sends its clients elsewhere, where nobody has looked.
    Redirected,
}

impl Check {
    /// # Errors
    /// A sentence for users if this probe cannot be run.
    pub(crate) fn new(probe: &Probe, container: &Container, pod_ip: &str) -> Result<Self, String> {
        if let Some(http) = &probe.http_get {
            return Target::http(http, container, pod_ip).map(Self::Http);
        }
        if let Some(tcp) = &probe.tcp_socket {
            let host = tcp.host.as_deref().filter(|host| !host.is_empty());
            let port = port_of(&tcp.port, container)?;
            return Ok(Self::Tcp(address(host.unwrap_or(pod_ip), port)?));
        }
        if let Some(grpc) = &probe.grpc {
            let port = port_of(&IntOrString::Int(grpc.port), container)?;
            return Ok(Self::Grpc {
                address: address(pod_ip, port)?,
                service: grpc.service.clone().unwrap_or_default(),
            });
        }
        if let Some(exec) = &probe.exec {
            return Ok(Self::Exec(exec.command.clone().unwrap_or_default()));
        }
        Err("missing probe handler".into())
    }

    /// What is wrong with the port of a probe: it may name one the container does not have.
    pub(crate) fn bad_port(probe: &Probe, container: &Container) -> Option<String> {
        let http = probe.http_get.as_ref().map(|http| &http.port);
        let tcp = probe.tcp_socket.as_ref().map(|tcp| &tcp.port);
        port_of(http.or(tcp)?, container).err()
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
    ) -> Result<Passed, String> {
        let work = async {
            let passed = match self {
                Self::Http(target) => match target.status().await? {
                    200..300 => Ok(()),
                    300..400 => return Ok(Passed::Redirected),
                    code => Err(format!("HTTP probe failed with statuscode: {code}")),
                },
                Self::Tcp(address) => TcpStream::connect(address)
                    .await
                    .map(drop)
                    .map_err(|error| format!("dial tcp {address}: {}", words(&error))),
                Self::Grpc { address, service } => probe_grpc::check(*address, service).await,
                Self::Exec(command) => exec(runtime, container_id, command).await,
            };
            passed.map(|()| Passed::Well)
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(self.too_slow(timeout)),
        }
    }

    fn too_slow(&self, timeout: Duration) -> String {
        let seconds = timeout.as_secs();
        match self {
            Self::Http(target) => format!(
                "Get \"{}\": context deadline exceeded \
                 (Client.Timeout exceeded while awaiting headers)",
                target.url()
            ),
            Self::Tcp(address) => format!("dial tcp {address}: i/o timeout"),
            Self::Grpc { address, .. } => format!(
                "timeout: failed to connect service \"{address}\" within {seconds}s: \
                 context deadline exceeded"
            ),
            Self::Exec(command) => format!(
                "command timed out: \"{}\" timed out after {seconds}s",
                command.join(" ")
            ),
        }
    }
}

/// An error as Go prints it.
pub(crate) fn words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        ErrorKind::HostUnreachable => "connect: no route to host".into(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        ErrorKind::ConnectionReset => "read: connection reset by peer".into(),
        ErrorKind::TimedOut => "i/o timeout".into(),
        ErrorKind::UnexpectedEof => "EOF".into(),
        _ => error.to_string(),
    }
}

/// Addresses only: this program is linked statically, and looking names up would pull in
/// the guest's own resolver libraries.
pub(crate) fn address(host: &str, port: u16) -> Result<SocketAddr, String> {
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

/// The number of a port; what is wrong with it is said in upstream's words.
pub(crate) fn port_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let declared = ports.find(|port| port.name.as_deref() == Some(name.as_str()));
            match declared {
                Some(port) => i64::from(port.container_port),
                None => name
                    .parse::<i64>()
                    .map_err(|_| format!("strconv.Atoi: parsing \"{name}\": invalid syntax"))?,
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
        let Ok(Check::Http(target)) = check(probe) else {
            panic!()
        };
        assert_eq!(target.url(), "http://10.244.0.2:8080/ok");
        let request = target.request();
        assert!(request.starts_with("GET /ok HTTP/1.1\r\n") && request.ends_with("\r\n\r\n"));
        assert_eq!(request.to_lowercase().matches("host:").count(), 1);
    }

    #[test]
    fn a_header_cannot_smuggle_another() {
        let probe = json!({"httpGet": {"port": 80,
            "httpHeaders": [{"name": "X", "value": "a\r\nEvil: 1"}]}});
        assert!(check(probe).is_err());
        assert_eq!(
            check(json!({"httpGet": {"port": "nowhere"}})),
            Err("strconv.Atoi: parsing \"nowhere\": invalid syntax".into())
        );
        assert_eq!(
            check(json!({"tcpSocket": {"port": 70_000}})),
            Err("invalid port number: 70000".into())
        );
        assert!(check(json!({"tcpSocket": {"port": "8080"}})).is_ok());
        let secure = check(json!({"httpGet": {"port": 443, "scheme": "HTTPS"}}));
        assert!(
            matches!(secure, Ok(Check::Http(target)) if target.url() == "https://10.244.0.2:443/")
        );
        assert!(check(json!({"grpc": {"port": 80, "service": "shop"}})).is_ok());
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
        assert_eq!(
            run("HTTP/1.1 204 No Content\r\n\r\n").await,
            Ok(Passed::Well)
        );
        assert_eq!(
            run("HTTP/1.0 302 Found\r\n\r\n").await,
            Ok(Passed::Redirected)
        );
        assert_eq!(
            run("HTTP/1.1 503 Busy\r\n\r\n").await,
            Err("HTTP probe failed with statuscode: 503".into())
        );
        assert!(run("SSH-2.0-x\r\n").await.is_err());
    }

    #[tokio::test]
    async fn failures_read_like_upstreams() {
        // The port is ours all the time; at first nobody listens.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let silent = check(json!({"httpGet": {"host": "127.0.0.1", "port": port}})).unwrap();
        let runtime = FakeRuntime::default();
        let minute = Duration::from_secs(60);
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(
            silent.run(&runtime, "x", minute).await.unwrap_err(),
            format!("Get \"http://127.0.0.1:{port}/\": {refused}")
        );
        let tcp = check(json!({"tcpSocket": {"host": "127.0.0.1", "port": port}})).unwrap();
        assert_eq!(tcp.run(&runtime, "x", minute).await.unwrap_err(), refused);
        let _listener = socket.listen(8).unwrap();
        let moment = Duration::from_millis(500);
        assert_eq!(
            silent.run(&runtime, "x", moment).await.unwrap_err(),
            format!(
                "Get \"http://127.0.0.1:{port}/\": context deadline exceeded \
                 (Client.Timeout exceeded while awaiting headers)"
            )
        );
    }
}
