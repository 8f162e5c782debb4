//! `healthCheckNodePort`: tells load balancers whether this node has ready endpoints of a
//! Service with `externalTrafficPolicy: Local`. Answers are kube-proxy's.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ProxyError;
use crate::services::Health;

/// Wait after a failed accept: out of file descriptors, which only time can mend.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest for the head of a question, and between two.
const PATIENCE: Duration = Duration::from_secs(60);

/// The servers, one a Service.
#[derive(Debug, Default)]
pub struct HealthServers {
    running: HashMap<u16, Running>,
}

#[derive(Debug)]
struct Running {
    says: watch::Sender<Health>,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl HealthServers {
    /// Starts, changes and stops servers so that they are as `wanted` has them by port.
    /// Returns the ports that could not be listened on.
    pub async fn update(&mut self, wanted: &BTreeMap<u16, Health>) -> Vec<ProxyError> {
        self.running.retain(|port, _| wanted.contains_key(port));
        let mut errors = Vec::new();
        for (port, health) in wanted {
            if let Some(running) = self.running.get(port) {
                running.says.send_replace(health.clone());
                continue;
            }
            match TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).await {
                Ok(listener) => {
                    let (says, said) = watch::channel(health.clone());
                    let stop = CancellationToken::new();
                    let answer = move |_: &str| answer(&said.borrow());
                    tokio::spawn(serve(listener, answer, stop.clone()));
                    self.running.insert(*port, Running { says, stop });
                }
                Err(source) => errors.push(ProxyError::HealthPort {
                    port: *port,
                    source,
                }),
            }
        }
        errors
    }
}

/// Answers questions for a path until `stop`.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Response<Full<Bytes>> + Clone + Send + 'static,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a health check could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (answer, stop) = (answer.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                let answer = answer(request.uri().path());
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a health check ended early");
                    }
                }
            }
        });
    }
}

fn answer(health: &Health) -> Response<Full<Bytes>> {
    let Health {
        namespace,
        name,
        local,
    } = health;
    // Names are DNS labels: nothing in them needs escaping.
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\
         \t\"localEndpoints\": {local},\n\t\"serviceProxyHealthy\": true\n}}"
    );
    let status = if *local > 0 {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let fixed = http::HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, fixed("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", (*local).into());
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(port: u16) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        Some(text)
    }

    #[tokio::test]
    async fn a_node_with_endpoints_is_healthy_and_one_without_is_not() {
        // Below those that the kernel gives to who asks for any (ip_local_port_range in ip(7)).
        let first = 12_000 + u16::try_from(std::process::id() % 17_000).unwrap();
        let is_free = |port: &u16| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok();
        let port = (first..29_000).chain(12_000..first).find(is_free).unwrap();
        let wanted = |local| {
            let health = Health {
                namespace: "shop".into(),
                name: "web".into(),
                local,
            };
            BTreeMap::from([(port, health)])
        };
        let mut servers = HealthServers::default();
        assert!(servers.update(&wanted(2)).await.is_empty());
        let text = ask(port).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("x-load-balancing-endpoint-weight: 2\r\n"));
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"service": {"namespace": "shop", "name": "web"},
                               "localEndpoints": 2, "serviceProxyHealthy": true})
        );
        servers.update(&wanted(0)).await;
        let text = ask(port).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        let taken = HealthServers::default().update(&wanted(1)).await;
        assert!(matches!(taken[..], [ProxyError::HealthPort { .. }]));
    }
}
