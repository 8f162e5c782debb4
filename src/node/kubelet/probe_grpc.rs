//! The health check of gRPC servers (grpc/health/v1/health.proto): one call, its two
//! messages written by hand.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::probe_run::words;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// `HealthCheckResponse.ServingStatus`.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// gRPC's own codes.
const UNIMPLEMENTED: &str = "12";
const NOT_FOUND: &str = "5";

/// Asks `address` for the health of `service`.
///
/// # Errors
/// The words of upstream's event if it does not serve.
pub(crate) async fn check(address: SocketAddr, service: &str) -> Result<(), String> {
    let failed = |why: &dyn std::fmt::Display| format!("error: health rpc probe failed: {why}");
    let stream = TcpStream::connect(address).await.map_err(|error| {
        let why = words(&error);
        format!(
            "timeout: failed to connect service \"{address}\" within 1s: connection error: \
             desc = \"transport: Error while dialing: dial tcp {address}: {why}\""
        )
    })?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("http://{address}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(question(service)))
        .map_err(|error| failed(&error))?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        let in_head = code(answer.headers());
        let collected = answer.into_body().collect().await?;
        let code = collected.trailers().and_then(code).or(in_head);
        Ok::<_, hyper::Error>((code, collected.to_bytes()))
    };
    let answered = answered.await;
    driver.abort();
    let (code, body) = answered.map_err(|error| failed(&error))?;
    match code.as_deref() {
        Some("0") | None => {}
        Some(UNIMPLEMENTED) => {
            return Err(
                "error: this server does not implement the grpc health protocol \
                 (grpc.health.v1.Health)"
                    .into(),
            );
        }
        Some(NOT_FOUND) => {
            return Err(failed(&"rpc error: code = NotFound desc = unknown service"));
        }
        Some(code) => return Err(failed(&format!("rpc error: code = {code}"))),
    }
    match verdict(&body) {
        Some(1) => Ok(()),
        Some(status) => Err(format!(
            "service unhealthy (responded with \"{}\")",
            STATUSES.get(status).unwrap_or(&STATUSES[0])
        )),
        None => Err(failed(&"the answer is no HealthCheckResponse")),
    }
}

fn code(headers: &hyper::HeaderMap) -> Option<String> {
    let value = headers.get("grpc-status")?;
    value.to_str().ok().map(str::to_owned)
}

/// A length-prefixed `HealthCheckRequest`: field 1 is the service.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Field 1 of a `HealthCheckResponse`; its absence is the first status.
fn verdict(body: &[u8]) -> Option<usize> {
    let message = body.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, status, ..] if *status < 0x80 => Some(usize::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::service::service_fn;
    use hyper::{HeaderMap, Response};
    use tokio::net::TcpListener;

    use super::*;

    async fn server(status: &'static str, body: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(async |request: Request<hyper::body::Incoming>| {
                assert_eq!(request.uri().path(), PATH);
                let asked = request.into_body().collect().await?.to_bytes();
                assert_eq!(asked[..], b"\0\0\0\0\x06\x0a\x04shop"[..]);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", status.parse().unwrap());
                let body = Full::new(Bytes::from_static(body));
                let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
                Ok::<_, hyper::Error>(Response::new(body))
            });
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await
                .unwrap();
        });
        address
    }

    #[tokio::test]
    async fn serving_and_only_that_is_healthy() {
        let up = server("0", b"\0\0\0\0\x02\x08\x01").await;
        assert_eq!(check(up, "shop").await, Ok(()));
        let down = server("0", b"\0\0\0\0\x02\x08\x02").await;
        assert_eq!(
            check(down, "shop").await.unwrap_err(),
            "service unhealthy (responded with \"NOT_SERVING\")"
        );
        let other = server("12", b"").await;
        let words = check(other, "shop").await.unwrap_err();
        assert!(words.contains("does not implement"), "{words}");
    }
}
