//! Names that only a cluster's own DNS knows, asked of it over the line (RFC 1035, by TCP), for
//! machines whose resolver is somebody else's. All other names are left to the far end.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use russh::ChannelMsg;

use crate::error::Refusal;
use crate::hangup::HangUp;
use crate::{Result, Tunnel, TunnelError};

/// Which names, and whom to ask for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Those that end in this, such as `cluster.local`.
    pub domain: String,
    /// Its server, as seen from the machine.
    pub server: SocketAddr,
}

/// Time for an answer; a resolver's own patience (resolv.conf(5), `timeout`).
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer's type and class: a host's address in the internet.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];
/// RCODE of a name that does not exist.
const NO_SUCH_NAME: u8 = 3;

impl Names {
    /// Whether `host` is one of these.
    fn knows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        host.strip_suffix(&self.domain)
            .is_some_and(|rest| rest.ends_with('.'))
    }
}

/// `host`, or its address if its name is the cluster's.
///
/// # Errors
/// [`TunnelError::ChannelRefused`] for a name that does not exist or gets no answer.
pub(crate) async fn resolve(tunnel: &Tunnel, host: &str, origin: SocketAddr) -> Result<String> {
    let Some(names) = tunnel.tuning().names.as_ref().filter(|n| n.knows(host)) else {
        return Ok(host.to_owned());
    };
    let refused = |cause, reason: &str| TunnelError::ChannelRefused {
        doing: format!("resolve {host}"),
        cause,
        reason: reason.to_owned(),
    };
    let unknown = |reason| refused(Refusal::HostUnreachable, reason);
    let question = question(host).ok_or_else(|| unknown("it is no name"))?;
    let asking = ask(tunnel, names.server, question, origin);
    let Ok(answer) = tokio::time::timeout(PATIENCE, asking).await else {
        return Err(refused(
            Refusal::TimedOut,
            "the cluster's DNS does not answer",
        ));
    };
    let address = address(&answer?).map_err(unknown)?;
    Ok(address.to_string())
}

/// One question, one answer, without the lengths before them.
async fn ask(
    tunnel: &Tunnel,
    server: SocketAddr,
    question: Vec<u8>,
    origin: SocketAddr,
) -> Result<Vec<u8>> {
    let lost = || TunnelError::SessionLost {
        doing: "resolving a name",
    };
    let host = server.ip().to_string();
    let channel = tunnel.open_address(&host, server.port(), origin).await?;
    let (mut incoming, outgoing) = channel.split();
    // However this ends, the far end must not wait for another question.
    let outgoing = HangUp::new(outgoing);
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(question);
    outgoing
        .data_bytes(Bytes::from(frame))
        .await
        .map_err(|_| lost())?;
    let mut got = Vec::new();
    while let Some(message) = incoming.wait().await {
        match message {
            ChannelMsg::Data { data } => got.extend_from_slice(&data),
            ChannelMsg::Eof | ChannelMsg::Close => break,
            _ => {}
        }
        if let Some((length, answer)) = got.split_at_checked(2) {
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            if answer.len() >= length {
                return Ok(answer[..length].to_vec());
            }
        }
    }
    Err(lost())
}

/// A question for the address of `name`; `None` for what cannot be a name.
fn question(name: &str) -> Option<Vec<u8>> {
    // Of one question on a connection of its own the number tells nothing.
    let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok();
        message.push(length.filter(|length| (1..=63).contains(length))?);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(ADDRESS);
    // A name has 255 bytes at most, its lengths included.
    (message.len() <= 12 + 255 + 4).then_some(message)
}

/// The first address in an answer, or why there is none.
fn address(message: &[u8]) -> std::result::Result<Ipv4Addr, &'static str> {
    const CUT: &str = "the cluster's DNS answers nonsense";
    let head = message.get(..12).ok_or(CUT)?;
    match head[3] & 0xf {
        0 => {}
        NO_SUCH_NAME => return Err("the cluster has no such name"),
        _ => return Err("the cluster's DNS cannot tell"),
    }
    let count = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let mut at = 12;
    for _ in 0..count(4) {
        at = after_name(message, at).ok_or(CUT)? + 4;
    }
    for _ in 0..count(6) {
        at = after_name(message, at).ok_or(CUT)?;
        let row = message.get(at..at + 10).ok_or(CUT)?;
        let length = usize::from(u16::from_be_bytes([row[8], row[9]]));
        let data = message.get(at + 10..at + 10 + length).ok_or(CUT)?;
        // A name for another name comes with that one's address.
        if let (true, Ok(bytes)) = (row[..4] == ADDRESS, <[u8; 4]>::try_from(data)) {
            return Ok(bytes.into());
        }
        at += 10 + length;
    }
    Err("the name has no address")
}

/// Where a name ends that begins at `at`: after its last label, or after what points elsewhere.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to a question, with these rows: type and data.
    fn answer(code: u8, rows: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = question("web.default.svc.cluster.local").unwrap();
        message[3] = code;
        message[7] = u8::try_from(rows.len()).unwrap();
        for (kind, data) in rows {
            // The name is where the question has it.
            message.extend([0xc0, 12, 0, *kind, 0, 1, 0, 0, 0, 5, 0]);
            message.push(u8::try_from(data.len()).unwrap());
            message.extend(*data);
        }
        message
    }

    #[test]
    fn only_the_clusters_names_are_asked_for() {
        let names = Names {
            domain: "cluster.local".into(),
            server: "10.96.0.10:53".parse().unwrap(),
        };
        for (host, known) in [
            ("web.default.svc.cluster.local", true),
            ("WEB.default.svc.Cluster.Local.", true),
            ("cluster.local", false),
            ("notcluster.local", false),
            ("example.org", false),
            ("10.96.0.7", false),
        ] {
            assert_eq!(names.knows(host), known, "{host}");
        }
    }

    #[test]
    fn questions_are_names_and_nothing_else() {
        let message = question("a.bc.").unwrap();
        assert_eq!(message[12..], [1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1]);
        let long = "a".repeat(64);
        let many = ["abcdefgh"; 29].join(".");
        for bad in ["", ".", "a..b", long.as_str(), many.as_str()] {
            assert_eq!(question(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_first_address_is_taken_whatever_comes_before_it() {
        let web: &[u8] = &[10, 96, 0, 7];
        let is = Ok(Ipv4Addr::new(10, 96, 0, 7));
        assert_eq!(address(&answer(0, &[(1, web)])), is);
        let (alias, other): (&[u8], &[u8]) = (&[1, b'x', 0], &[1, 2, 3, 4]);
        let by_alias = answer(0, &[(5, alias), (1, web), (1, other)]);
        assert_eq!(address(&by_alias), is);
        assert!(address(&answer(0, &[])).unwrap_err().contains("no address"));
        assert!(address(&answer(3, &[])).unwrap_err().contains("no such"));
        assert!(address(&answer(2, &[])).is_err());
        // Cut off anywhere, it is no answer and no panic.
        let whole = answer(0, &[(1, web)]);
        for end in 0..whole.len() {
            assert!(address(&whole[..end]).is_err(), "{end}");
        }
    }
}
