//! Port-forward: TCP connections into a pod's network namespace, in all three forms.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::pipe::{Gone, Incoming, Outgoing, PIECE};
use super::websocket::channels::Layout;
use super::{spdy, websocket};
use crate::runtime::Runtime;

/// How long one stream of a pair may wait for the other; upstream's value.
const PAIRING: Duration = Duration::from_secs(30);
/// Ports one request may name; each needs two of a WebSocket's 256 channels.
const PORTS: usize = 64;

/// Where connections go.
#[derive(Clone)]
pub struct Destination {
    pub runtime: Arc<dyn Runtime>,
    /// Host process id of the pod's sandbox.
    pub pid: u32,
    /// The sandbox's id in the engine.
    pub sandbox: String,
    pub uid: String,
}

/// The ports of a request: `port` or `ports`, repeated or with commas.
///
/// # Errors
/// A sentence about the first that is none.
pub fn ports(query: &[(String, String)]) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    let named = query
        .iter()
        .filter(|(name, _)| matches!(name.as_str(), "port" | "ports"))
        .flat_map(|(_, value)| value.split(','));
    for text in named {
        ports.push(port(text)?);
    }
    if ports.len() > PORTS {
        return Err(format!("at most {PORTS} ports can be forwarded at once"));
    }
    Ok(ports)
}

fn port(text: &str) -> Result<u16, String> {
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!(
            "port {text:?} must be a number between 1 and 65535"
        )),
    }
}

/// Serves SPDY, bare or from inside a WebSocket, until the client goes.
pub async fn over_spdy<T>(io: T, to: Destination)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut session = spdy::open(io);
    let mut waiting: HashMap<String, (Instant, spdy::Stream)> = HashMap::new();
    let mut connections = JoinSet::new();
    let mut sweep = tokio::time::interval(PAIRING / 3);
    loop {
        let stream = tokio::select! {
            stream = session.streams.recv() => stream,
            Some(_) = connections.join_next() => continue,
            _ = sweep.tick() => {
                let lonely = waiting.extract_if(|_, (since, _)| since.elapsed() >= PAIRING);
                for (_, (_, stream)) in lonely.collect::<Vec<_>>() {
                    stream.refuse().await;
                }
                continue;
            }
        };
        let Some(stream) = stream else { break };
        let Some((key, port)) = place(&stream) else {
            stream.refuse().await;
            continue;
        };
        let Some((_, other)) = waiting.remove(&key) else {
            waiting.insert(key, (Instant::now(), stream));
            continue;
        };
        let (data, error) = match (stream.header("streamtype"), other.header("streamtype")) {
            ("data", "error") => (stream, other),
            ("error", "data") => (other, stream),
            _ => {
                stream.refuse().await;
                other.refuse().await;
                continue;
            }
        };
        let to = to.clone();
        connections.spawn(async move {
            // A client that is gone needs no answer.
            let _ = connection(&to, port, data.input, &data.output, &error.output).await;
        });
    }
    connections.shutdown().await;
    session.connection.finish().await;
}

/// Which connection a stream belongs to, and its port. Clients that send no request id
/// open the error stream first and the data stream next.
fn place(stream: &spdy::Stream) -> Option<(String, u16)> {
    let number = port(stream.header("port")).ok()?;
    let kind = stream.header("streamtype");
    if !matches!(kind, "data" | "error") {
        return None;
    }
    let key = match stream.header("requestid") {
        "" if kind == "data" => stream.id.saturating_sub(2).to_string(),
        "" => stream.id.to_string(),
        id => format!("id {id}"),
    };
    Some((key, number))
}

/// Serves a WebSocket with two channels for each port: data, error.
pub async fn over_channels<T>(io: T, layout: Layout, ports: Vec<u16>, to: Destination)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let channel = |index: usize| (2 * index) as u8;
    let wanted: Vec<u8> = (0..ports.len()).map(channel).collect();
    let mut session = websocket::open(io, layout, &wanted);
    let closed = session.connection.closed();
    let mut connections = JoinSet::new();
    for (index, port) in ports.into_iter().enumerate() {
        let Some(input) = session.input(channel(index)) else {
            continue;
        };
        let data = session.output(channel(index));
        let error = session.output(channel(index) + 1);
        let to = to.clone();
        connections.spawn(async move {
            // The first message of each channel names its port.
            let number = Bytes::copy_from_slice(&port.to_le_bytes());
            data.send(number.clone()).await?;
            error.send(number).await?;
            connection(&to, port, input, &data, &error).await
        });
    }
    let served = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = served => {}
        () = closed.cancelled() => {}
    }
    connections.shutdown().await;
    session.connection.finish().await;
}

/// Carries one TCP connection.
async fn connection(
    to: &Destination,
    port: u16,
    input: Incoming,
    data: &Outgoing,
    error: &Outgoing,
) -> Result<(), Gone> {
    match to.runtime.dial(to.pid, port).await {
        // The client may want no more of the data; the error stream ends all the same,
        // which is what kubectl waits for.
        Ok(stream) => carry(stream, input, data).await.unwrap_or_default(),
        Err(reason) => {
            let text = format!(
                "error forwarding port {port} to pod {}, uid {}: failed to connect to \
                 localhost:{port} inside the pod's network namespace: {reason}",
                to.sandbox, to.uid
            );
            tracing::debug!(text, "port-forward");
            error.send(text.into()).await?;
            data.end().await?;
        }
    }
    error.end().await
}

/// Until the pod's side has said its last; then nobody is left to listen to the client.
async fn carry(mut stream: TcpStream, mut input: Incoming, data: &Outgoing) -> Result<(), Gone> {
    let (mut from_pod, mut to_pod) = stream.split();
    let up = async {
        // A pod that stopped listening may still speak.
        let _ = tokio::io::copy(&mut input, &mut to_pod).await;
        let _ = to_pod.shutdown().await;
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut buffer = BytesMut::with_capacity(PIECE);
        while matches!(from_pod.read_buf(&mut buffer).await, Ok(count) if count > 0) {
            data.send(buffer.split().freeze()).await?;
            buffer.reserve(PIECE);
        }
        data.end().await
    };
    tokio::select! {
        () = up => Ok(()),
        ended = down => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_every_form() {
        let parse = |text: &[(&str, &str)]| {
            let pairs: Vec<_> = text
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            ports(&pairs)
        };
        assert_eq!(
            parse(&[("ports", "80,443"), ("port", "22")]),
            Ok(vec![80, 443, 22])
        );
        assert_eq!(parse(&[]), Ok(vec![]));
        for bad in ["0", "65536", "http", ""] {
            assert!(parse(&[("ports", bad)]).is_err(), "{bad}");
        }
    }
}
