//! The line into a profile's machine, as commands use it: connect, run, background tunnel.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cadet_state::Profile;
use cadet_tunnel::control::{self, Doors};
use cadet_tunnel::socks5::DEFAULT_PORT;
use cadet_tunnel::{Target, Tuning, Tunnel, TunnelError, exec, keys};

use crate::Context;
use crate::error::{CliError, Result};
use crate::machine;
use crate::nodes::{self, Node};
use crate::servers;

/// User in the guest that Cadet's key opens.
pub const USER: &str = "cadet";

/// A machine's keys: the client's, which opens all of the profile, and its own host key; made
/// on first use.
pub struct Keys {
    /// Opens the guest.
    pub client: keys::KeyPair,
    /// Proves the guest.
    pub host: keys::KeyPair,
}

/// Reads or makes a machine's key files.
///
/// # Errors
/// HOST_NOT_READABLE or HOST_DISK_FULL.
pub fn keys(cx: &Context, node: &Node) -> Result<Keys> {
    let files = cx.world.files(&cx.name);
    let own = node.files(&files);
    let pair = |file: &std::path::Path, comment: String| -> Result<keys::KeyPair> {
        let public = machine::with_suffix(file, ".pub");
        if file.exists() && public.exists() {
            let read = |f: &std::path::Path| {
                std::fs::read_to_string(f).map_err(|e| machine::io("read", f, &e))
            };
            return Ok(keys::KeyPair {
                private: read(file)?,
                public: read(&public)?.trim().to_string(),
            });
        }
        let made = keys::generate(&comment)?;
        machine::write_private(file, made.private.as_bytes())?;
        machine::write_private(&public, format!("{}\n", made.public).as_bytes())?;
        Ok(made)
    };
    Ok(Keys {
        client: pair(&files.client_key(), format!("cadet client of {}", cx.name))?,
        host: pair(&own.host_key(), format!("cadet machine {}", node.name))?,
    })
}

/// Where the profile's first machine answers and how it is known.
///
/// # Errors
/// GUEST_NOT_RUNNING when it never got a port.
pub fn target(cx: &Context, profile: &Profile) -> Result<Target> {
    target_of(cx, profile, &Node::first(&profile.name))
}

/// Where a machine answers and how it is known.
///
/// # Errors
/// GUEST_NOT_RUNNING when it never got a port.
pub fn target_of(cx: &Context, profile: &Profile, node: &Node) -> Result<Target> {
    if let Some(server) = profile.server(node.number) {
        return servers::target(server);
    }
    let keys = keys(cx, node)?;
    let forwards = node.kept(profile).and_then(|kept| kept.forwards);
    let ssh = forwards
        .iter()
        .flatten()
        .find(|f| f.guest_port == machine::GUEST_SSH)
        .ok_or_else(|| machine::not_running(cx, None))?;
    Ok(Target {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, ssh.host_port)),
        user: USER.into(),
        client_key: keys.client.private,
        host_key: keys.host.public,
    })
}

/// Sizes of the line for the tunnel: what a slow reader leaves unread goes into a file of
/// the profile's own folder, so that it stalls nobody else.
pub fn tuning(cx: &Context, profile: &Profile) -> Tuning {
    let dir = cx.world.files(&cx.name).dir().to_path_buf();
    Tuning {
        spill_dir: Some(dir),
        names: profile.server.is_some().then(servers::names),
        ..Tuning::default()
    }
}

/// A session to a machine that is running.
///
/// # Errors
/// GUEST_NOT_RUNNING, GUEST_HOST_KEY, GUEST_SSH_TIMEOUT …
pub async fn connect(cx: &Context) -> Result<Tunnel> {
    let profile = machine::running(cx).await?;
    open(cx, &profile, &Node::first(&profile.name)).await
}

/// A session to a machine that runs, or to the server in its place.
async fn open(cx: &Context, profile: &Profile, node: &Node) -> Result<Tunnel> {
    if let Some(server) = profile.server(node.number) {
        return servers::connect(server).await;
    }
    let target = target_of(cx, profile, node)?;
    let patience = Duration::from_secs(30);
    Ok(Tunnel::wait_until_ready(target, Tuning::default(), patience, |_| true).await?)
}

/// A session to the machine called `name`, without a name to the first.
///
/// # Errors
/// GUEST_NODE_NOT_FOUND, GUEST_NOT_RUNNING, GUEST_HOST_KEY, GUEST_SSH_TIMEOUT …
pub async fn connect_to(cx: &Context, name: Option<&str>) -> Result<Tunnel> {
    let Some(name) = name else {
        return connect(cx).await;
    };
    let profile = machine::profile(cx)?;
    let node = nodes::find(cx, &profile, name)?;
    machine::must_run(cx, &profile, &node).await?;
    open(cx, &profile, &node).await
}

/// Sessions to the machines beside the first; one that is off goes without.
///
/// # Errors
/// GUEST_NOT_RUNNING if the first does not run; GUEST_HOST_KEY, GUEST_SSH_TIMEOUT …
pub async fn connect_others(cx: &Context) -> Result<Vec<(Node, Tunnel)>> {
    let profile = machine::running(cx).await?;
    let files = cx.world.files(&cx.name);
    let mut lines = Vec::new();
    for node in nodes::workers(&profile) {
        let state = machine::state_of_node(&files, &profile, &node).await;
        if state.is_running() {
            let tunnel = connect_to(cx, Some(&node.name)).await?;
            lines.push((node, tunnel));
        }
    }
    Ok(lines)
}

/// Sessions to all machines that run, the first one first; with a name to that machine only.
///
/// # Errors
/// GUEST_NODE_NOT_FOUND, GUEST_NOT_RUNNING, GUEST_HOST_KEY, GUEST_SSH_TIMEOUT …
pub async fn connect_all(cx: &Context, only: Option<&str>) -> Result<Vec<(Node, Tunnel)>> {
    if let Some(name) = only {
        let node = nodes::find(cx, &machine::profile(cx)?, name)?;
        return Ok(vec![(node, connect_to(cx, only).await?)]);
    }
    let mut lines = vec![(Node::first(cx.name.as_str()), connect(cx).await?)];
    lines.extend(connect_others(cx).await?);
    Ok(lines)
}

/// Runs `command` in the guest; its failure is an error with its own words.
///
/// # Errors
/// GUEST_SSH with what the program said.
pub async fn guest(tunnel: &Tunnel, command: &str) -> Result<String> {
    let output = tunnel.exec(command).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    })
    .into_owned();
    Err(CliError::new(
        "GUEST_SSH",
        format!("`{command}` failed in the machine ({})", output.status),
    )
    .why(said.trim().to_string()))
}

/// The guest's command line for `words`: one word is a shell line, several are quoted.
pub fn command_line(words: &[String]) -> String {
    match words {
        [one] => one.clone(),
        many => exec::quote_all(many.iter().map(String::as_str)),
    }
}

/// What is known of a running background tunnel.
pub struct Background {
    /// SOCKS port on 127.0.0.1.
    pub port: u16,
    /// Process id.
    pub pid: u32,
    /// Connections open now.
    pub open: u64,
    /// Connections since it began.
    pub total: u64,
    /// What leads in besides SOCKS.
    pub doors: Doors,
}

/// The profile's background tunnel, if one answers.
pub async fn background_status(cx: &Context) -> Option<Background> {
    let seen = control::status(&cx.world.files(&cx.name).tunnel_socket())
        .await
        .ok()?;
    Some(Background {
        port: seen.socks.port(),
        pid: seen.pid,
        open: seen.stats.connections_open,
        total: seen.stats.connections_total,
        doors: seen.doors,
    })
}

/// Ends the profile's tunnel; false if none was running.
///
/// # Errors
/// NET_TUNNEL when it answers nonsense.
pub async fn stop_background(cx: &Context) -> Result<bool> {
    match control::stop(&cx.world.files(&cx.name).tunnel_socket()).await {
        Ok(_) => Ok(true),
        Err(TunnelError::NoControl { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Starts `cadet tunnel` as a process of its own and waits until it answers.
///
/// # Errors
/// NET_TUNNEL with the end of its log if it does not come up.
pub async fn start_background(cx: &Context, port: u16) -> Result<()> {
    machine::running(cx).await?;
    let files = cx.world.files(&cx.name);
    let log = files.tunnel_log();
    let failed = |why: String| {
        CliError::new("NET_TUNNEL", "the background tunnel did not come up")
            .why(why)
            .fix(machine::again(cx, &format!("tunnel --port {port}")))
            .log(log.display().to_string())
    };
    let out = std::fs::File::create(&log).map_err(|e| machine::io("write", &log, &e))?;
    let err = out
        .try_clone()
        .map_err(|e| machine::io("write", &log, &e))?;
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let mut command = std::process::Command::new(program);
    command
        .args([
            "tunnel",
            "--profile",
            cx.name.as_str(),
            "--port",
            &port.to_string(),
        ])
        .stdin(std::process::Stdio::null())
        .stdout(out)
        .stderr(err);
    detach(&mut command);
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let give_up = std::time::Instant::now() + Duration::from_secs(40);
    let mut pause = Duration::from_millis(20);
    // The child's control socket appears when it serves; there is no event for another
    // process's socket that works on every system.
    while std::time::Instant::now() < give_up {
        if let Ok(Some(status)) = child.try_wait() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(failed(format!("it ended with {status}\n{}", said.trim())));
        }
        if background_status(cx)
            .await
            .is_some_and(|b| b.pid == child.id())
        {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
    // It may be hanging; nobody else knows of it.
    let _ = child.kill();
    Err(failed("it did not answer within 40 s".into()))
}

/// The port of the profile's tunnel, starting one if none runs.
///
/// # Errors
/// As [`start_background`].
pub async fn ensure_background(cx: &Context) -> Result<u16> {
    let (port, note) = ensure_background_quietly(cx).await?;
    if let Some(note) = note {
        cx.ui.warn("tunnel", &note);
    }
    Ok(port)
}

/// As [`ensure_background`] for commands whose output is a program's input: what there is to
/// say is left to them.
///
/// # Errors
/// As [`start_background`].
pub async fn ensure_background_quietly(cx: &Context) -> Result<(u16, Option<String>)> {
    if let Some(there) = background_status(cx).await {
        return Ok((there.port, None));
    }
    let mut port = DEFAULT_PORT;
    let mut note = None;
    if cadet_vm::ports::check_free(port).is_err() {
        port = cadet_vm::ports::free(1)?.first().copied().unwrap_or(port);
        note = Some(format!(
            "port {DEFAULT_PORT} is taken by another program; using {port}"
        ));
    }
    start_background(cx, port).await?;
    Ok((port, note))
}

/// The process must outlive the terminal: a session of its own.
#[cfg(unix)]
pub fn detach(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() == -1 {
                Err(std::io::Error::last_os_error())
            } else {
                Ok(())
            }
        });
    }
}

/// The process must outlive the terminal: a session of its own.
#[cfg(not(unix))]
pub fn detach(_: &mut std::process::Command) {}
