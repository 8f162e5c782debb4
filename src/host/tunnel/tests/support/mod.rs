//! A private OpenSSH server on loopback: own port, own host key, own authorized key.

#![allow(dead_code)] // Each test binary uses a part of this.

#[path = "../../../../../tests/support/ports.rs"]
mod ports;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cadet_tunnel::keys::{self, KeyPair};
use cadet_tunnel::{Target, Tuning, Tunnel};
use tokio::net::TcpSocket;

pub use ports::free_port;

/// A running server and the keys that open it; killed when dropped.
pub struct Sshd {
    dir: tempfile::TempDir,
    child: Option<Child>,
    pub client: KeyPair,
    pub host: KeyPair,
    pub address: SocketAddr,
}

/// A loopback port where nobody listens for as long as the socket is held.
pub fn closed_port() -> (TcpSocket, u16) {
    let nobody = TcpSocket::new_v4().unwrap();
    nobody
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .unwrap();
    let port = nobody.local_addr().unwrap().port();
    (nobody, port)
}

/// Bounds for a machine that has other work as well.
pub fn patient() -> Tuning {
    Tuning {
        connect_timeout: Duration::from_secs(60),
        banner_timeout: Duration::from_secs(120),
        handshake_timeout: Duration::from_secs(180),
        patience: Duration::from_secs(180),
        ..Tuning::default()
    }
}

fn me() -> String {
    let out = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

impl Sshd {
    /// Prepares keys and configuration and starts the server.
    pub fn start() -> Self {
        let mut sshd = Self::prepare();
        sshd.launch();
        sshd
    }

    /// Prepares everything but does not start.
    pub fn prepare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let client = keys::generate("client").unwrap();
        let host = keys::generate("host").unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let host_key = put("host_key", &host.private);
        let authorized = put("authorized_keys", &format!("{}\n", client.public));
        put("client_key", &client.private);
        let config = format!(
            "# The login shell must not read its user's settings: SHLVL makes bash think it is nested.\n\
             SetEnv HOME={home} SHLVL=2\n\
             Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {auth}\n\
             PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n\
             PermitRootLogin prohibit-password\nAllowTcpForwarding yes\nUseDNS no\n\
             MaxStartups 100\nLogLevel ERROR\n",
            home = dir.path().display(),
            port = address.port(),
            host = host_key.display(),
            auth = authorized.display(),
        );
        put("sshd_config", &config);
        Self {
            dir,
            child: None,
            client,
            host,
            address,
        }
    }

    /// The folder with the keys and the configuration.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the server; returns when it answers.
    pub fn launch(&mut self) {
        // Debian's sshd wants its empty folder, which its unit file would make.
        if me() == "root" {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(self.dir.path().join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("log")).unwrap())
            .process_group(0)
            .spawn()
            .expect("this test needs OpenSSH's server: apt-get install openssh-server");
        self.child = Some(child);
        let mut alive = || matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(None)));
        while alive() {
            if std::net::TcpStream::connect(self.address).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap();
        panic!("sshd did not start: {log}");
    }

    /// Kills the server and every session it serves, as a power cut would.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // Sessions are in process groups of their own: find them by their parents.
        let mut doomed = vec![child.id()];
        let mut next = 0;
        while next < doomed.len() {
            let path = format!("/proc/{0}/task/{0}/children", doomed[next]);
            let list = fs::read_to_string(path).unwrap_or_default();
            doomed.extend(
                list.split_whitespace()
                    .map(|pid| pid.parse::<u32>().unwrap()),
            );
            next += 1;
        }
        for pid in doomed {
            // SAFETY: plain system call; these are our own children's children.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
        }
        child.wait().unwrap();
    }

    /// Whom a client must ask for.
    pub fn target(&self) -> Target {
        Target {
            address: self.address,
            user: me(),
            client_key: self.client.private.clone(),
            host_key: self.host.public.clone(),
        }
    }

    /// A connected tunnel.
    pub async fn tunnel(&self) -> Tunnel {
        self.tunnel_with(patient()).await
    }

    /// A connected tunnel with other bounds.
    pub async fn tunnel_with(&self, tuning: Tuning) -> Tunnel {
        Tunnel::connect(self.target(), tuning).await.unwrap()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}
