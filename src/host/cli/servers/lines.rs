//! A line to a server: with the user's own key, to the host key that was trusted, and with words
//! for what fails on the way.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use cadet_state::Server;
use cadet_tunnel::{Target, Tuning, Tunnel, TunnelError, keys, scan};

use super::facts::{ssh_words, whose};
use super::{Address, name_of, trust};
use crate::error::{CliError, Result};
use crate::from_rooms::chain;

/// How many of a script's last lines are told when it fails.
const LAST_WORDS: usize = 12;

/// A server may be at the far end of the world.
fn tuning() -> Tuning {
    Tuning {
        connect_timeout: Duration::from_secs(10),
        banner_timeout: Duration::from_secs(10),
        ..Tuning::default()
    }
}

/// Where a server answers and how it is known.
///
/// # Errors
/// SERVER_UNREACHABLE for a name that nobody knows, SERVER_KEY.
pub fn target(server: &Server) -> Result<Target> {
    let name = name_of(server);
    Ok(Target {
        address: resolve(&name, &server.host, server.port)?,
        user: server.user.clone(),
        client_key: key(&name, &server.key)?,
        host_key: server.host_key.clone(),
    })
}

/// The host key that a server shows now.
///
/// # Errors
/// SERVER_UNREACHABLE.
pub async fn shown_key(server: &Server) -> Result<String> {
    let name = name_of(server);
    let address = resolve(&name, &server.host, server.port)?;
    scan::host_key(address, &tuning())
        .await
        .map_err(|e| told(server, e))
}

/// A session to a server, in one attempt.
///
/// # Errors
/// SERVER_UNREACHABLE, SERVER_HOST_KEY, SERVER_KEY, SERVER_KEY_REFUSED.
pub async fn connect(server: &Server) -> Result<Tunnel> {
    Tunnel::connect(target(server)?, tuning())
        .await
        .map_err(|e| told(server, e))
}

/// Runs a line there with `input`; `act` is what it does, for the error. Returns what it says.
///
/// # Errors
/// SERVER_INSTALL with its last words.
pub async fn run_there(
    tunnel: &Tunnel,
    server: &Server,
    act: &str,
    line: &str,
    input: &[u8],
) -> Result<String> {
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let status = tunnel
        .exec_streams(line, input, &mut said, &mut complained)
        .await
        .map_err(|e| told(server, e))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    if status.success() {
        return Ok(said);
    }
    let complained = String::from_utf8_lossy(&complained).into_owned();
    let words = if complained.trim().is_empty() {
        said
    } else {
        complained
    };
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let lines: Vec<_> = words.lines().map(clean).collect();
    let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
    Err(CliError::new(
        "SERVER_INSTALL",
        format!("{} did not {act} ({status})", name_of(server)),
    )
    .why(last.join("\n"))
    .fix(format!(
        "{}      goes on: what is done already is not done twice",
        crate::typed()
    )))
}

fn resolve(name: &str, host: &str, port: u16) -> Result<SocketAddr> {
    let unknown = |why: String| {
        CliError::new(
            "SERVER_UNREACHABLE",
            format!("nobody knows where {name} is"),
        )
        .why(why)
        .fix(format!("ssh {} true", ssh_words(name)))
    };
    let mut addresses = (host, port)
        .to_socket_addrs()
        .map_err(|e| unknown(e.to_string()))?;
    addresses
        .next()
        .ok_or_else(|| unknown("its name has no address".into()))
}

/// The user's private key, which must be usable as it is.
pub fn key(name: &str, file: &Path) -> Result<String> {
    let bad = |why: String| {
        let new = "ssh-keygen -t ed25519 -N '' -f ~/.ssh/cadet";
        CliError::new(
            "SERVER_KEY",
            format!("the key {} cannot be used", file.display()),
        )
        .why(why)
        .fix(format!(
            "{new} && ssh-copy-id -i ~/.ssh/cadet {}\ncadet start … --ssh-key ~/.ssh/cadet",
            ssh_words(name)
        ))
    };
    let text = std::fs::read_to_string(file).map_err(|e| bad(e.to_string()))?;
    keys::public_of(&text).map_err(|e| bad(chain(&e)))?;
    Ok(text)
}

/// What went wrong with a line to a server.
fn told(server: &Server, e: TunnelError) -> CliError {
    let name = name_of(server);
    let text = chain(&e);
    let ssh = ssh_words(&name);
    match e {
        TunnelError::HostKeyMismatch { shown, pinned, .. } => {
            let address = Address {
                user: server.user.clone(),
                host: server.host.clone(),
                port: server.port,
            };
            trust::changed(&whose(&server.mark), &address, &shown, &pinned)
        }
        TunnelError::AuthRefused { .. } => CliError::new(
            "SERVER_KEY_REFUSED",
            format!("{name} does not let the key {} in", server.key.display()),
        )
        .why(text)
        .fix(format!(
            "ssh-copy-id -i {} {ssh}\n--ssh-key FILE      names another key",
            server.key.display()
        )),
        TunnelError::Connect { .. }
        | TunnelError::NoBanner { .. }
        | TunnelError::NotReady { .. } => {
            CliError::new("SERVER_UNREACHABLE", format!("{name} cannot be reached"))
                .why(text)
                .fix(format!("ssh {ssh} true"))
        }
        TunnelError::Handshake { .. } => CliError::new(
            "SERVER_UNREACHABLE",
            format!("{name} does not speak SSH as Cadet needs it"),
        )
        .why(format!(
            "{text}; it takes an ed25519 host key and curve25519, as every OpenSSH since 2014 has"
        ))
        .fix(format!("ssh -v {ssh} true")),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(key: &Path) -> Server {
        serde_json::from_value(serde_json::json!({
            "host": "127.0.0.1", "port": 9, "user": "ann", "key": key, "hostKey": "", "mark": "m",
        }))
        .unwrap()
    }

    #[test]
    fn keys_that_cannot_be_used_are_told_before_anybody_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let id = |file: &Path| key("ann@box", file).unwrap_err().topic.id;
        assert_eq!(id(&file), "SERVER_KEY", "there is none");
        let pair = keys::generate("test").unwrap();
        std::fs::write(&file, &pair.public).unwrap();
        assert_eq!(id(&file), "SERVER_KEY", "its public half");
        std::fs::write(&file, &pair.private).unwrap();
        assert_eq!(key("ann@box", &file).unwrap(), pair.private);
        let target = target(&server(&file)).unwrap();
        assert_eq!(target.address.to_string(), "127.0.0.1:9");
    }

    #[test]
    fn what_fails_on_the_way_has_its_own_id() {
        let server = server(Path::new("/home/ann/.ssh/id_ed25519"));
        let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
        for (error, id) in [
            (
                TunnelError::HostKeyMismatch {
                    address,
                    shown: "SHA256:a".into(),
                    pinned: "SHA256:b".into(),
                },
                "SERVER_HOST_KEY",
            ),
            (
                TunnelError::AuthRefused {
                    address,
                    user: "ann".into(),
                },
                "SERVER_KEY_REFUSED",
            ),
            (
                TunnelError::Connect {
                    address,
                    source: std::io::ErrorKind::ConnectionRefused.into(),
                },
                "SERVER_UNREACHABLE",
            ),
            (
                TunnelError::Handshake {
                    address,
                    reason: "no common algorithm".into(),
                },
                "SERVER_UNREACHABLE",
            ),
        ] {
            let told = told(&server, error);
            assert_eq!(told.topic.id, id);
            assert!(told.why.is_some() && told.fix.is_some(), "{id}");
        }
    }
}
