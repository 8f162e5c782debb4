//! Forwarding and the firewall rules of the pod network.
//!
//! Masquerading lives in a table of our own, replaced in one transaction. Docker sets
//! the policy of the shared FORWARD chain to drop, and an accept elsewhere cannot undo a
//! drop there, so the exception stands in DOCKER-USER, the chain Docker reserves for it.

use std::fmt::Write as _;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{BRIDGE, NetworkConfig, NetworkError};

/// Lets the kernel route packets between pods and the outside.
pub(crate) fn enable_forwarding() -> Result<(), NetworkError> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    let sysctl = |source| NetworkError::Sysctl {
        setting: "net.ipv4.ip_forward",
        source,
    };
    if std::fs::read_to_string(path).map_err(sysctl)?.trim() == "1" {
        return Ok(());
    }
    std::fs::write(path, "1\n").map_err(sysctl)
}

/// Brings both rule sets to what they must be.
pub(crate) async fn apply(config: &NetworkConfig) -> Result<(), NetworkError> {
    run("nft", &["-f", "-"], &ruleset(config)).await?;
    accept_in_docker_chain().await
}

/// The table `cadet`: declared, emptied and filled in one transaction, so that there is
/// no moment without rules.
fn ruleset(config: &NetworkConfig) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "table ip cadet {{}}\n\
         delete table ip cadet\n\
         table ip cadet {{\n\
         \x20 chain postrouting {{\n\
         \x20   type nat hook postrouting priority srcnat; policy accept;\n\
         \x20   ip saddr {pods} ip daddr != {cluster} oifname != \"{BRIDGE}\" masquerade\n\
         \x20 }}\n\
         }}\n",
        pods = config.pod_cidr,
        cluster = config.cluster_cidr,
    );
    text
}

const CHAIN: &str = "DOCKER-USER";

async fn accept_in_docker_chain() -> Result<(), NetworkError> {
    // The chain may be missing when Docker has not run yet; Docker keeps one it finds.
    if !succeeds("iptables", &["-w", "-n", "-L", CHAIN]).await? {
        run("iptables", &["-w", "-N", CHAIN], "").await?;
    }
    for direction in ["-i", "-o"] {
        let rule = [direction, BRIDGE, "-j", "ACCEPT"];
        let mut check = vec!["-w", "-C", CHAIN];
        check.extend(rule);
        if !succeeds("iptables", &check).await? {
            let mut insert = vec!["-w", "-I", CHAIN];
            insert.extend(rule);
            run("iptables", &insert, "").await?;
        }
    }
    Ok(())
}

async fn succeeds(program: &'static str, args: &[&str]) -> Result<bool, NetworkError> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| NetworkError::Spawn { program, source })?;
    Ok(output.status.success())
}

async fn run(program: &'static str, args: &[&str], input: &str) -> Result<(), NetworkError> {
    let spawn = |source| NetworkError::Spawn { program, source };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(spawn)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that exits before reading explains itself on stderr.
        match stdin.write_all(input.as_bytes()).await {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                return Err(spawn(error));
            }
            _ => {}
        }
    }
    let output = child.wait_with_output().await.map_err(spawn)?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetworkError::Rules {
        program,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ruleset_replaces_the_table_and_masquerades_only_what_leaves_the_cluster() {
        let text = ruleset(&NetworkConfig {
            pod_cidr: "10.244.2.0/24".parse().unwrap(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        });
        assert_eq!(
            text,
            r#"table ip cadet {}
delete table ip cadet
table ip cadet {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.244.2.0/24 ip daddr != 10.244.0.0/16 oifname != "cadet0" masquerade
  }
}
"#
        );
    }

    #[tokio::test]
    async fn a_refusal_carries_the_programs_own_words() {
        let error = run("sh", &["-c", "echo no such table >&2; exit 1"], "rules")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "sh refused the pod network's rules: no such table"
        );
        let error = run("cadet-no-such-program", &[], "").await.unwrap_err();
        assert!(matches!(error, NetworkError::Spawn { .. }));
    }
}
