//! Runs `nft`: one process a transaction. Speaking netlink ourselves would cost an encoder for
//! every expression and save the process (3 ms of CPU) and its reading. That is most of what
//! a large transaction takes, about a microsecond a number, so large lists are written with
//! few of them (see `services/chains.rs`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::ProxyError;
use crate::table::{Backend, TABLE};

/// Carries out all of `statements` or nothing.
///
/// # Errors
/// `nft` is missing or refuses.
pub async fn apply(statements: &str) -> Result<(), ProxyError> {
    run(&["-f", "-"], statements).await.map(drop)
}

/// A client in a map of session affinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    pub ip: Ipv4Addr,
    /// Where it is sent.
    pub to: Backend,
    /// Seconds until it is forgotten.
    pub expires: u64,
}

/// The clients in a map of session affinity.
///
/// # Errors
/// As [`apply`], if there is no such map, and if `nft` answers something unknown.
pub async fn clients(map: &str) -> Result<Vec<Client>, ProxyError> {
    let mut args = vec!["-j", "list", "map"];
    args.extend(TABLE.split(' '));
    args.push(map);
    parse_clients(&run(&args, "").await?)
}

fn parse_clients(answer: &[u8]) -> Result<Vec<Client>, ProxyError> {
    let answer: Value = serde_json::from_slice(answer).map_err(ProxyError::Answer)?;
    let objects = answer["nftables"].as_array().into_iter().flatten();
    let elements = objects
        .filter_map(|object| object["map"]["elem"].as_array())
        .flatten();
    let read = |element: &Value| {
        let (client, to) = (&element[0]["elem"], &element[1]["concat"]);
        Some(Client {
            ip: client["val"].as_str()?.parse().ok()?,
            to: Backend {
                ip: to[0].as_str()?.parse().ok()?,
                port: to[1].as_u64()?.try_into().ok()?,
            },
            expires: client["expires"].as_u64()?,
        })
    };
    Ok(elements.filter_map(read).collect())
}

/// The statement that makes `map` forget clients of endpoints that are not in `known`.
#[must_use]
pub fn forget(map: &str, clients: &[Client], known: &BTreeSet<Backend>) -> Option<String> {
    let gone = clients.iter().filter(|client| !known.contains(&client.to));
    let keys: Vec<String> = gone.map(|client| client.ip.to_string()).collect();
    let list = keys.join(", ");
    (!keys.is_empty()).then(|| format!("delete element {TABLE} {map} {{ {list} }}\n"))
}

/// The statement that puts clients into a `map` made anew, but for those of endpoints that
/// are not in `known`.
#[must_use]
pub fn remember(map: &str, clients: &[Client], known: &BTreeSet<Backend>) -> Option<String> {
    let kept = clients
        .iter()
        .filter(|client| known.contains(&client.to) && client.expires > 0);
    let elements: Vec<String> = kept
        .map(|Client { ip, to, expires }| {
            format!("{ip} expires {expires}s : {} . {}", to.ip, to.port)
        })
        .collect();
    let list = elements.join(", ");
    (!elements.is_empty()).then(|| format!("add element {TABLE} {map} {{ {list} }}\n"))
}

async fn run(args: &[&str], input: &str) -> Result<Vec<u8>, ProxyError> {
    let mut child = Command::new("nft")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(ProxyError::Spawn)?;
    let stdin = child.stdin.take();
    let feed = async {
        let Some(mut stdin) = stdin else {
            return Ok(());
        };
        match stdin.write_all(input.as_bytes()).await {
            // A program that exits before reading explains itself on stderr.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    };
    // Both at once: complaints about a large transaction may fill the other pipe.
    let (fed, output) = tokio::join!(feed, child.wait_with_output());
    fed.map_err(ProxyError::Spawn)?;
    let output = output.map_err(ProxyError::Spawn)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(ProxyError::Refused(shorten(stderr.trim())))
}

/// `nft` repeats the whole statement, which may have thousands of elements.
fn shorten(text: &str) -> String {
    const KEPT: usize = 400;
    let mut lines = Vec::new();
    for line in text.lines().take(4) {
        let end = line
            .char_indices()
            .nth(KEPT)
            .map_or(line.len(), |(at, _)| at);
        lines.push(&line[..end]);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_endpoints_that_are_gone_are_forgotten() {
        // Answers of nft 1.0.6; 1.1.3 differs only in `map` and `flags`.
        let answer = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"map": {"family":
            "ip", "name": "affinity-x", "type": "ipv4_addr", "map": "ipv4_addr . inet_service",
            "flags": ["timeout"], "timeout": 10800, "elem": [
            [{"elem": {"val": "10.244.0.8", "timeout": 10000, "expires": 9999}},
             {"concat": ["10.0.0.1", 8080]}],
            [{"elem": {"val": "10.244.0.9", "expires": 499}},
             {"concat": ["10.0.0.2", 8080]}]]}}]}"#;
        let clients = parse_clients(answer).unwrap();
        assert_eq!(clients.len(), 2);
        let first = [clients[0].to].into();
        assert_eq!(
            forget("affinity-x", &clients, &first).unwrap(),
            "delete element ip cadet affinity-x { 10.244.0.9 }\n"
        );
        assert_eq!(
            remember("affinity-x", &clients, &first).unwrap(),
            "add element ip cadet affinity-x { 10.244.0.8 expires 9999s : 10.0.0.1 . 8080 }\n"
        );
        let all = clients.iter().map(|client| client.to).collect();
        assert_eq!(forget("affinity-x", &clients, &all), None);
        assert_eq!(remember("affinity-x", &clients, &BTreeSet::new()), None);
        let empty = br#"{"nftables": [{"metainfo": {}}, {"map": {"name": "affinity-x"}}]}"#;
        assert_eq!(parse_clients(empty).unwrap(), []);
        assert!(parse_clients(b"?").is_err());
    }
}
