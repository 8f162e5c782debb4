//! TCP connections from inside a pod's network namespace, for port-forward.
//!
//! A socket stays in the namespace it was made in, so only its making needs a thread of
//! its own (see `netns`).

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Longest for one attempt; on loopback an answer comes at once, unless a firewall drops.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to `port` on the loopback of the network namespace of process `pid`, over IPv4
/// and then IPv6.
///
/// # Errors
/// If the namespace cannot be entered, or nothing listens; the text names each attempt.
pub async fn dial(pid: u32, port: u16) -> io::Result<TcpStream> {
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("dial-{pid}"))
        .spawn(move || {
            // The receiver goes away when the client does; then the socket closes.
            let _ = answer.send(on_this_thread(pid, port));
        })?;
    let stream = answered
        .await
        .map_err(|_| io::Error::other("the connecting thread died"))??;
    TcpStream::from_std(stream)
}

fn on_this_thread(pid: u32, port: u16) -> io::Result<std::net::TcpStream> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    setns(&namespace, CloneFlags::CLONE_NEWNET)?;
    let connect = |address: SocketAddr| std::net::TcpStream::connect_timeout(&address, PATIENCE);
    let (four, six) = ((Ipv4Addr::LOCALHOST, port), (Ipv6Addr::LOCALHOST, port));
    let stream = connect(four.into()).or_else(|first| {
        connect(six.into()).map_err(|second| {
            let text = format!(
                "IPv4: dial tcp4 127.0.0.1:{port}: {} IPv6: dial tcp6 [::1]:{port}: {}",
                words(&first),
                words(&second)
            );
            io::Error::new(first.kind(), text)
        })
    })?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// The failure as Go programs word it, which is what learners search for.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        io::ErrorKind::TimedOut => "i/o timeout".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entering a namespace, be it our own, needs privileges that not every machine gives.
    fn may_enter() -> bool {
        nix::unistd::geteuid().is_root()
            && std::thread::spawn(|| {
                File::open("/proc/self/ns/net")
                    .and_then(|file| Ok(setns(&file, CloneFlags::CLONE_NEWNET)?))
                    .is_ok()
            })
            .join()
            .unwrap_or(false)
    }

    #[tokio::test]
    async fn connections_are_made_in_the_namespace_of_a_process() {
        if !may_enter() {
            tracing::warn!("skipped: entering a network namespace is not allowed here");
            return;
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let pid = std::process::id();
        let (dialled, accepted) = tokio::join!(dial(pid, port), listener.accept());
        assert_eq!(dialled.unwrap().local_addr().unwrap(), accepted.unwrap().1);
        // Held, and nobody listens.
        let nobody = tokio::net::TcpSocket::new_v4().unwrap();
        nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let closed = nobody.local_addr().unwrap().port();
        let refused = dial(pid, closed).await.unwrap_err().to_string();
        assert!(refused.contains("dial tcp4 127.0.0.1"), "{refused}");
        assert!(refused.contains("connect: connection refused"), "{refused}");
    }
}
