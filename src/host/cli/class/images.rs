//! The class's images for a learner's machine: its Docker Engine asks the teacher's laptop before
//! the internet. Where the class does not answer it asks the internet, as before.

use std::net::SocketAddr;

use cadet_class::key::CLASS_NAME;
use cadet_tunnel::exec;

use crate::Context;
use crate::error::Result;
use crate::line;

/// The machine's settings for the class at `address`, which `authority` (PEM) vouches for.
///
/// # Errors
/// GUEST_NOT_RUNNING, GUEST_SSH.
pub async fn use_class(cx: &Context, address: SocketAddr, authority: &str) -> Result<()> {
    run(cx, &settings(address, authority)).await
}

/// Undoes [`use_class`].
///
/// # Errors
/// GUEST_NOT_RUNNING, GUEST_SSH.
pub async fn forget(cx: &Context) -> Result<()> {
    run(cx, &undo()).await
}

async fn run(cx: &Context, script: &str) -> Result<()> {
    let tunnel = line::connect(cx).await?;
    let line = format!("sudo -n sh -eu -c {}", exec::quote(script));
    line::guest(&tunnel, &line).await?;
    Ok(())
}

/// dockerd reads `registry-mirrors` anew on SIGHUP, and certificates at each use (dockerd's
/// documentation: "Configuration reload behavior", "Verify repository client with certificates").
fn settings(address: SocketAddr, authority: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    let host = format!("{CLASS_NAME}:{port}");
    format!(
        "{}\
         mkdir -p '/etc/docker/certs.d/{host}'\n\
         cat >'/etc/docker/certs.d/{host}/ca.crt' <<'END'\n{authority}END\n\
         echo '{ip} {CLASS_NAME}' >>/etc/hosts\n\
         if [ -s /etc/docker/daemon.json ]; then\n\
         sed -i '0,/{{/s/{{/{{\\n  \"registry-mirrors\": [\"https:\\/\\/{host}\"],/' /etc/docker/daemon.json\n\
         else\n\
         echo '{{\"registry-mirrors\": [\"https://{host}\"]}}' >/etc/docker/daemon.json\n\
         fi\n\
         systemctl reload docker\n",
        forgotten()
    )
}

fn undo() -> String {
    format!("{}systemctl reload docker\n", forgotten())
}

/// Lines of ours are taken out; what others wrote stays.
fn forgotten() -> String {
    let name = CLASS_NAME.replace('.', "\\.");
    format!(
        "rm -rf /etc/docker/certs.d/{CLASS_NAME}:*\n\
         sed -i '/ {name}$/d' /etc/hosts\n\
         if [ -f /etc/docker/daemon.json ]; then\n\
         if grep -q '^{{\"registry-mirrors\": .*{name}' /etc/docker/daemon.json; then\n\
         rm /etc/docker/daemon.json\n\
         else\n\
         sed -i '/^  \"registry-mirrors\": .*{name}/d' /etc/docker/daemon.json\n\
         fi\n\
         fi\n"
    )
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Plays a script on files of the test's own; what speaks to systemd is left out.
    fn play(dir: &std::path::Path, script: &str) {
        let etc = dir.display().to_string();
        let script = script
            .replace("/etc/", &format!("{etc}/"))
            .replace("systemctl reload docker", ":");
        let status = std::process::Command::new("sh")
            .args(["-eu", "-c", &script])
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
    }

    #[test]
    fn settings_come_and_go_and_others_stay() {
        let address: SocketAddr = "192.168.1.20:7433".parse().unwrap();
        let moved: SocketAddr = "10.0.0.5:7433".parse().unwrap();
        for before in [Some("{\n  \"live-restore\": true\n}\n"), None] {
            let dir = tempfile::tempdir().unwrap();
            let docker = dir.path().join("docker");
            std::fs::create_dir(&docker).unwrap();
            let (hosts, daemon) = (dir.path().join("hosts"), docker.join("daemon.json"));
            std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
            if let Some(before) = before {
                std::fs::write(&daemon, before).unwrap();
            }
            play(dir.path(), &settings(address, "PEM\n"));
            play(dir.path(), &settings(moved, "PEM\n"));
            let text = std::fs::read_to_string(&daemon).unwrap();
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                read["registry-mirrors"],
                serde_json::json!(["https://class.cadet.internal:7433"])
            );
            assert_eq!(read["live-restore"] == true, before.is_some());
            assert_eq!(
                std::fs::read_to_string(&hosts).unwrap(),
                "127.0.0.1 localhost\n10.0.0.5 class.cadet.internal\n"
            );
            let ca = docker.join("certs.d/class.cadet.internal:7433/ca.crt");
            assert_eq!(std::fs::read_to_string(ca).unwrap(), "PEM\n");
            play(dir.path(), &undo());
            let after = std::fs::read_to_string(&daemon).ok();
            assert_eq!(after.as_deref(), before);
            let hosts = std::fs::read_to_string(&hosts).unwrap();
            assert_eq!(hosts, "127.0.0.1 localhost\n");
        }
    }
}
