//! The two tunnels: ours in a child of this program, and `ssh -D`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cadet_tunnel::socks5::Socks5;
use cadet_tunnel::{Cipher, Target, Tuning, Tunnel};

use crate::support::{Sshd, free_port};
use crate::{Result, loopback};

/// How to reach the sshd.
pub struct Route {
    user: String,
    address: SocketAddr,
    key: PathBuf,
    host_key: PathBuf,
    sshd: Option<Sshd>,
}

impl Route {
    /// Starts a private sshd.
    pub fn local() -> Result<Self> {
        let sshd = Sshd::start();
        let target = sshd.target();
        let host_key = sshd.dir().join("host_key.pub");
        std::fs::write(&host_key, &target.host_key)?;
        Ok(Self {
            user: target.user,
            address: target.address,
            key: sshd.dir().join("client_key"),
            host_key,
            sshd: Some(sshd),
        })
    }

    /// `target` is `USER@HOST:PORT`.
    pub fn remote(target: &str, key: &Path, host_key: &Path) -> Result<Self> {
        let (user, address) = target.split_once('@').ok_or("--target is USER@HOST:PORT")?;
        Ok(Self {
            user: user.into(),
            address: address.parse()?,
            key: key.into(),
            host_key: host_key.into(),
            sshd: None,
        })
    }

    pub fn is_local(&self) -> bool {
        self.sshd.is_some()
    }

    /// OpenSSH's client with its defaults, whatever the user's own settings are.
    pub fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "LogLevel=ERROR",
                "-i",
            ])
            .arg(&self.key)
            .args(["-p", &self.address.port().to_string()])
            .arg(format!("{}@{}", self.user, self.address.ip()));
        command
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ours = 0,
    Ssh = 1,
}

/// A running tunnel.
pub struct Rival {
    pub kind: Kind,
    pub socks: SocketAddr,
    child: Child,
}

impl Rival {
    /// Starts one and waits until its SOCKS port answers.
    pub fn start(kind: Kind, route: &Route, chacha: bool) -> Result<Self> {
        let (child, socks) = match kind {
            Kind::Ours => {
                let mut child = Command::new(std::env::current_exe()?)
                    .arg("ours")
                    .args([&route.user, &route.address.to_string()])
                    .args([&route.key, &route.host_key])
                    .arg(if chacha { "chacha" } else { "aes" })
                    .stdout(Stdio::piped())
                    .spawn()?;
                let mut line = String::new();
                BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line)?;
                (child, line.trim().parse()?)
            }
            Kind::Ssh => {
                let socks = loopback(free_port());
                let child = route.ssh().args(["-N", "-D", &socks.to_string()]).spawn()?;
                (child, socks)
            }
        };
        let rival = Self { kind, socks, child };
        for _ in 0..600 {
            if std::net::TcpStream::connect(rival.socks).is_ok() {
                return Ok(rival);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("a tunnel did not come up within 30 s".into())
    }

    /// Peak resident memory in MB and processor seconds so far.
    pub fn cost(&self) -> Result<(f64, f64)> {
        let of = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id()));
        let status = of("status")?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or("no VmHWM in /proc")?
            .parse::<f64>()?;
        let stat = of("stat")?;
        // Fields 14 and 15 of the line; the name before may hold blanks but ends with ')'.
        let (_, rest) = stat.rsplit_once(')').ok_or("odd /proc/stat")?;
        let ticks: f64 = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<f64>)
            .sum::<std::result::Result<f64, _>>()?;
        // SAFETY: reads a constant of the system.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        Ok((peak / 1024.0, ticks / per_second))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child: `ours USER ADDRESS KEY HOSTKEY CIPHER`; prints its SOCKS address.
pub fn run_ours() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [user, address, key, host_key, cipher] = &arguments[..] else {
        return Err("ours USER ADDRESS KEY HOSTKEY CIPHER".into());
    };
    let target = Target {
        address: address.parse()?,
        user: user.clone(),
        client_key: std::fs::read_to_string(key)?,
        host_key: std::fs::read_to_string(host_key)?,
    };
    let tuning = Tuning {
        cipher: if cipher == "chacha" {
            Cipher::ChaCha20Poly1305
        } else {
            Cipher::Aes256Gcm
        },
        ..Tuning::default()
    };
    // As the CLI does it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let tunnel = Tunnel::connect(target, tuning).await?;
        let server = Socks5::bind(tunnel, loopback(0), None).await?;
        println!("{}", server.local_addr());
        server.run(std::future::pending()).await;
        Ok(())
    })
}
