//! The HTTPS side of a node's agent, as far as a test needs it: it says what pods use, and
//! notes which folders it was told to remove.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// See the module's opening. Ends when dropped.
pub struct Agent {
    pub port: u16,
    figures: Arc<Mutex<Value>>,
    removed: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    pub async fn start(tls: Arc<rustls::ServerConfig>) -> Agent {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let figures = Arc::new(Mutex::new(json!({"node": {}, "pods": []})));
        let removed = Arc::new(Mutex::new(vec![]));
        let (said, noted) = (Arc::clone(&figures), Arc::clone(&removed));
        let task = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(tls);
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let mut words = head.split_whitespace();
                let (verb, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                let body = match verb {
                    "DELETE" => {
                        noted.lock().expect("lock").push(path.to_owned());
                        String::new()
                    }
                    _ => said.lock().expect("lock").to_string(),
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                // Who has gone away needs no answer.
                let sent = stream.write_all(answer.as_bytes()).await.is_ok();
                let ended = stream.shutdown().await.is_ok();
                tracing::debug!(%path, sent, ended, "the agent was asked");
            }
        });
        Agent {
            port,
            figures,
            removed,
            task,
        }
    }

    /// What the node and its pods (in `default`, with one container `c`) use from now on:
    /// thousandths of a core, and MiB each.
    pub fn says(&self, pods: &[(&str, u64)]) {
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        let part = |name: &str, millis: u64| {
            json!({"name": name, "cpu": {"time": now, "usageNanoCores": millis * 1_000_000},
                "memory": {"time": now, "workingSetBytes": 64 << 20}})
        };
        let all: Vec<Value> = pods
            .iter()
            .map(|(pod, millis)| {
                json!({"podRef": {"name": pod, "namespace": "default", "uid": ""},
                    "containers": [part("c", *millis)]})
            })
            .collect();
        let node = part("node", pods.iter().map(|(_, millis)| millis).sum());
        *self.figures.lock().expect("lock") = json!({"node": node, "pods": all});
    }

    /// Paths of folders it was told to remove.
    pub fn removed(&self) -> Vec<String> {
        self.removed.lock().expect("lock").clone()
    }
}
