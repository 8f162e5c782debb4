//! The class's images for a learner's machines: their Docker Engines ask the teacher's laptop before
//! the internet. Where the class does not answer they ask the internet, as before.

use std::net::{IpAddr, SocketAddr};

use cadet_class::key::CLASS_NAME;
use cadet_tunnel::{Tunnel, exec};

use crate::Context;
use crate::docker_settings::{self, Place};
use crate::error::{CliError, Result};
use crate::line;
use crate::ranges::Net;

/// The machines' settings for the class at `address`, which `authority` (PEM) vouches for.
///
/// # Errors
/// CLASS_IMAGES where no machine can reach the class, whose images are forgotten then;
/// GUEST_NOT_RUNNING, GUEST_SSH, GUEST_DOCKER.
pub async fn use_class(cx: &Context, address: SocketAddr, authority: &str) -> Result<()> {
    if let Some(e) = hidden(address) {
        forget(cx).await?;
        return Err(e);
    }
    let registry = format!("https://{}", host(address.port()));
    for (_, tunnel) in line::connect_all(cx, None).await? {
        run(&tunnel, &settings(address, authority)).await?;
        docker_settings::set_mirror(&tunnel, &ours(), Some(&registry), Place::First).await?;
        tunnel.close().await;
    }
    Ok(())
}

/// Undoes [`use_class`].
///
/// # Errors
/// GUEST_NOT_RUNNING, GUEST_SSH, GUEST_DOCKER.
pub async fn forget(cx: &Context) -> Result<()> {
    for (_, tunnel) in line::connect_all(cx, None).await? {
        docker_settings::set_mirror(&tunnel, &ours(), None, Place::First).await?;
        run(&tunnel, &undo()).await?;
        tunnel.close().await;
    }
    Ok(())
}

/// Why a machine would look for the class within itself, if it would: Docker would then wait for
/// an answer before each image.
fn hidden(address: SocketAddr) -> Option<CliError> {
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    let (range, who) = Net::from(ip).taken().next()?;
    let what = format!("the class is at {ip}, and {who} live in {range} in every machine");
    Some(CliError::new("CLASS_IMAGES", what))
}

async fn run(tunnel: &Tunnel, script: &str) -> Result<()> {
    let line = format!("sudo -n sh -eu -c {}", exec::quote(script));
    line::guest(tunnel, &line).await?;
    Ok(())
}

/// What the address of every class begins with.
fn ours() -> String {
    format!("https://{CLASS_NAME}")
}

fn host(port: u16) -> String {
    format!("{CLASS_NAME}:{port}")
}

/// Who the class is, and where. dockerd reads certificates at each use (its documentation, "Verify
/// repository client with certificates").
fn settings(address: SocketAddr, authority: &str) -> String {
    let (ip, host) = (address.ip(), host(address.port()));
    format!(
        "{}\
         mkdir -p '/etc/docker/certs.d/{host}'\n\
         cat >'/etc/docker/certs.d/{host}/ca.crt' <<'END'\n{authority}END\n\
         echo '{ip} {CLASS_NAME}' >>/etc/hosts\n",
        undo()
    )
}

/// Lines of ours are taken out; what others wrote stays.
fn undo() -> String {
    let name = CLASS_NAME.replace('.', "\\.");
    format!(
        "rm -rf /etc/docker/certs.d/{CLASS_NAME}:*\n\
         sed -i '/ {name}$/d' /etc/hosts\n"
    )
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Plays a script on files of the test's own.
    fn play(dir: &std::path::Path, script: &str) {
        let etc = dir.display().to_string();
        let script = script.replace("/etc/", &format!("{etc}/"));
        let status = std::process::Command::new("sh")
            .args(["-eu", "-c", &script])
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
    }

    #[test]
    fn a_class_that_looks_like_the_cluster_is_told() {
        let told = |text: &str| hidden(text.parse().unwrap()).map(|e| e.what);
        let services = told("10.96.7.1:7433").unwrap();
        assert!(
            services.contains("Services live in 10.96.0.0/16"),
            "{services}"
        );
        assert!(told("10.244.0.9:7433").unwrap().contains("pods"));
        assert_eq!(told("10.99.0.1:7433"), None);
        assert_eq!(told("[fd00::1]:7433"), None);
    }

    #[test]
    fn settings_come_and_go_and_others_stay() {
        let address: SocketAddr = "192.168.1.20:7433".parse().unwrap();
        let moved: SocketAddr = "10.0.0.5:7433".parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let docker = dir.path().join("docker");
        std::fs::create_dir(&docker).unwrap();
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
        play(dir.path(), &settings(address, "PEM\n"));
        play(dir.path(), &settings(moved, "PEM\n"));
        let both = "127.0.0.1 localhost\n10.0.0.5 class.cadet.internal\n";
        assert_eq!(std::fs::read_to_string(&hosts).unwrap(), both);
        let ca = docker.join("certs.d/class.cadet.internal:7433/ca.crt");
        assert_eq!(std::fs::read_to_string(&ca).unwrap(), "PEM\n");
        play(dir.path(), &undo());
        assert!(!ca.exists());
        let hosts = std::fs::read_to_string(&hosts).unwrap();
        assert_eq!(hosts, "127.0.0.1 localhost\n");
    }
}
