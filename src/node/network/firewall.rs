//! Forwarding and the firewall rules of the pod network.
//!
//! The table `cadet` is shared with the service network, which makes it anew at its own
//! start with [`pod_rules`] in it; here only our chain is put in where it is missing.
//! Docker sets the policy of the shared FORWARD chain to drop, and an accept elsewhere
//! cannot undo a drop there, so the exception stands in DOCKER-USER, the chain Docker
//! reserves for it.

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

/// Keeps the kernel from telling pods that they are on one bridge: packets between pods
/// must pass here, where Services and policies are.
pub(crate) fn disable_redirects() -> Result<(), NetworkError> {
    // The kernel redirects if either of the two says so.
    disable_redirects_of("all")?;
    disable_redirects_of(BRIDGE)
}

/// As [`disable_redirects`], of one link.
pub(crate) fn disable_redirects_of(link: &str) -> Result<(), NetworkError> {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/send_redirects");
    std::fs::write(path, "0\n").map_err(|source| NetworkError::Sysctl {
        setting: "net.ipv4.conf.*.send_redirects",
        source,
    })
}

/// Puts our chain in, whatever it was before.
pub(crate) async fn apply(config: &NetworkConfig) -> Result<(), NetworkError> {
    run("nft", &["-f", "-"], &pod_rules(config)).await?;
    accept_in_docker_chain(config).await
}

/// Puts our chain in if the table was taken away, and tells whether it was.
pub(crate) async fn restore(config: &NetworkConfig) -> Result<bool, NetworkError> {
    let is_there = succeeds("nft", &["list", "chain", "ip", "cadet", POD_CHAIN]).await?;
    if !is_there {
        run("nft", &["-f", "-"], &pod_rules(config)).await?;
    }
    accept_in_docker_chain(config).await?;
    Ok(!is_there)
}

const POD_CHAIN: &str = "pod-postrouting";

/// Statements that put our chain into the table `cadet`, made if it is not there.
pub(crate) fn pod_rules(config: &NetworkConfig) -> String {
    let NetworkConfig {
        pod_cidr,
        cluster_cidr,
    } = config;
    format!(
        "add table ip cadet\n\
         add chain ip cadet {POD_CHAIN} {{ type nat hook postrouting priority srcnat; policy accept; }}\n\
         flush chain ip cadet {POD_CHAIN}\n\
         add rule ip cadet {POD_CHAIN} ip saddr {pod_cidr} ip daddr != {cluster_cidr} \
         oifname != \"{BRIDGE}\" masquerade\n"
    )
}

const CHAIN: &str = "DOCKER-USER";
/// Comment of our rules in it, by which they are found again.
const MARK: &str = "cadet";

async fn accept_in_docker_chain(config: &NetworkConfig) -> Result<(), NetworkError> {
    // The chain may be missing when Docker has not run yet; Docker keeps one it finds.
    let listed = match output("iptables", &["-w", "-S", CHAIN]).await {
        Ok(listed) => listed,
        Err(NetworkError::Rules { .. }) => {
            run("iptables", &["-w", "-N", CHAIN], "").await?;
            String::new()
        }
        Err(error) => return Err(error),
    };
    let there = marked(&listed);
    let pods = config.cluster_cidr.to_string();
    let mut missing = String::new();
    for rule in accepting(&pods) {
        if there.iter().any(|known| *known == rule) {
            continue;
        }
        // One that is written in other words is there as well.
        let mut check = vec!["-w", "-C"];
        check.extend(rule);
        if there.is_empty() || !succeeds("iptables", &check).await? {
            missing.push_str(&format!("-I {}\n", rule.join(" ")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    // All of them by one program: to start programs is what takes an emulated machine long here.
    let input = format!("*filter\n{missing}COMMIT\n");
    run("iptables-restore", &["-w", "--noflush"], &input).await
}

/// Chain and rules, word by word, as `iptables -S` writes them.
fn accepting(pods: &str) -> [[&str; 9]; 4] {
    // By address as well: what comes in at this node for a pod of another one, and its
    // answers, pass by the bridge.
    [["-i", BRIDGE], ["-o", BRIDGE], ["-s", pods], ["-d", pods]].map(|[side, what]| {
        [
            CHAIN,
            side,
            what,
            "-m",
            "comment",
            "--comment",
            MARK,
            "-j",
            "ACCEPT",
        ]
    })
}

/// Takes our rules out of Docker's chain, and the chain with them if it was only ours: one
/// that Docker uses, or that has other rules, cannot be deleted.
pub(crate) async fn leave_docker_chain() -> Result<(), NetworkError> {
    if !succeeds("iptables", &["-w", "-n", "-L", CHAIN]).await? {
        return Ok(());
    }
    let listed = output("iptables", &["-w", "-S", CHAIN]).await?;
    for rule in marked(&listed) {
        let mut delete = vec!["-w", "-D"];
        delete.extend(rule);
        run("iptables", &delete, "").await?;
    }
    succeeds("iptables", &["-w", "-X", CHAIN]).await.map(drop)
}

/// Chain and rule, word by word, of those lines of `iptables -S` that are ours.
fn marked(listed: &str) -> Vec<Vec<&str>> {
    let ours = |words: &Vec<&str>| words.windows(2).any(|pair| pair == ["--comment", MARK]);
    listed
        .lines()
        .filter_map(|line| line.strip_prefix("-A "))
        .map(|rule| rule.split_whitespace().collect())
        .filter(ours)
        .collect()
}

/// What a program prints.
pub(crate) async fn output(program: &'static str, args: &[&str]) -> Result<String, NetworkError> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| NetworkError::Spawn { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(NetworkError::Rules {
        program,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

pub(crate) async fn succeeds(program: &'static str, args: &[&str]) -> Result<bool, NetworkError> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| NetworkError::Spawn { program, source })?;
    Ok(output.status.success())
}

pub(crate) async fn run(
    program: &'static str,
    args: &[&str],
    input: &str,
) -> Result<(), NetworkError> {
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
    fn our_rules_are_known_again_as_iptables_lists_them() {
        let listed = "-N DOCKER-USER\n\
            -A DOCKER-USER -s 10.244.0.0/16 -m comment --comment cadet -j ACCEPT\n\
            -A DOCKER-USER -o cadet0 -m comment --comment cadet -j ACCEPT\n\
            -A DOCKER-USER -i cadet0 -m comment --comment another -j ACCEPT\n\
            -A DOCKER-USER -j RETURN\n"
            .replace("cadet0", BRIDGE);
        let there = marked(&listed);
        let known = accepting("10.244.0.0/16").map(|rule| there.iter().any(|k| *k == rule));
        assert_eq!(known, [false, true, true, false]);
    }

    #[test]
    fn only_what_leaves_the_cluster_is_masqueraded() {
        let text = pod_rules(&NetworkConfig {
            pod_cidr: "10.244.2.0/24".parse().unwrap(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        });
        assert_eq!(
            text,
            r#"add table ip cadet
add chain ip cadet pod-postrouting { type nat hook postrouting priority srcnat; policy accept; }
flush chain ip cadet pod-postrouting
add rule ip cadet pod-postrouting ip saddr 10.244.2.0/24 ip daddr != 10.244.0.0/16 oifname != "cadet0" masquerade
"#
        );
    }

    #[test]
    fn our_rules_are_told_by_their_comment() {
        let listed = "-N DOCKER-USER\n\
            -A DOCKER-USER -s 10.244.0.0/16 -m comment --comment cadet -j ACCEPT\n\
            -A DOCKER-USER -i eth0 -m comment --comment cadets -j DROP\n\
            -A DOCKER-USER -j RETURN\n";
        let ours = "DOCKER-USER -s 10.244.0.0/16 -m comment --comment cadet -j ACCEPT";
        assert_eq!(marked(listed), [ours.split(' ').collect::<Vec<_>>()]);
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
