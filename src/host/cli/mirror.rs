//! The cache of container images as a process of its own, and the machine told of it.
//!
//! One process serves all profiles of a cache folder. It begins with a start, ends some time
//! after the last machine, and nobody needs it: where it is not, Docker asks the registry.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cadet_mirror::upstream::Upstream;
use cadet_mirror::{Counts, Mirror, STATUS_PATH};
use cadet_state::{ProfileName, Settings, Store};
use cadet_tunnel::Tunnel;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::docker_settings::{self, Place};
use crate::error::{CliError, Result};
use crate::{Context, images, line, machine, nodes};

/// Docker Hub's registry, the only one Docker Engine takes a cache for (dockerd(8),
/// "registry-mirrors").
const REGISTRY: &str = "https://registry-1.docker.io";
/// The laptop's loopback as a machine in QEMU's user network sees it.
const LAPTOP: &str = "http://10.0.2.2";
/// How long it may take to begin.
const BEGIN: Duration = Duration::from_secs(20);
/// How long an answer on the laptop may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two looks whether a machine is left.
const LOOK: Duration = Duration::from_secs(60);
/// After so many looks without one it ends.
const LONELY: u32 = 2;

/// What a process leaves for others to find it by.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    port: u16,
    pid: u32,
}

/// The process that serves now.
pub struct Running {
    pub port: u16,
    pub counts: Counts,
}

/// The registry behind the cache.
pub fn registry(cx: &Context) -> &str {
    cx.world.registry.as_deref().unwrap_or(REGISTRY)
}

/// Looks for the process that serves this user's cache.
pub async fn running(cx: &Context) -> Option<Running> {
    let noted = noted(cx)?;
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    let client = client.timeout(ANSWER).build().ok()?;
    let url = format!("http://127.0.0.1:{}{STATUS_PATH}", noted.port);
    let text = client.get(url).send().await.ok()?.bytes().await.ok()?;
    let counts: Counts = serde_json::from_slice(&text).ok()?;
    // Another program may have the port of one that is gone.
    (counts.pid == noted.pid).then_some(Running {
        port: noted.port,
        counts,
    })
}

fn noted(cx: &Context) -> Option<Noted> {
    let text = std::fs::read(cx.world.home.registry_note()).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Its port; started now if it does not run.
///
/// # Errors
/// NET_MIRROR with the end of its log.
pub async fn ensure(cx: &Context) -> Result<u16> {
    if let Some(there) = running(cx).await {
        return Ok(there.port);
    }
    let home = &cx.world.home;
    let log = home.registry_log();
    let failed = |why: String| {
        CliError::new("NET_MIRROR", "the cache of images did not come up")
            .why(why)
            .fix("cadet mirror status\ncadet mirror off")
            .log(log.display().to_string())
    };
    let cache = home.cache();
    std::fs::create_dir_all(cache).map_err(|e| machine::io("create", cache, &e))?;
    let out = File::create(&log).map_err(|e| machine::io("write", &log, &e))?;
    let err = out.try_clone();
    let err = err.map_err(|e| machine::io("write", &log, &e))?;
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let mut command = Command::new(program);
    command
        .args(["mirror", "serve"])
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    line::detach(&mut command);
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let give_up = Instant::now() + BEGIN;
    let mut pause = Duration::from_millis(20);
    // Nothing tells that another process listens, on every system.
    while Instant::now() < give_up {
        if let Some(there) = running(cx).await {
            return Ok(there.port);
        }
        if let Ok(Some(status)) = child.try_wait() {
            // Two at once: the other one serves.
            if let Some(there) = running(cx).await {
                return Ok(there.port);
            }
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(failed(format!("it ended with {status}\n{}", said.trim())));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
    // It may be hanging; nobody else knows of it.
    let _ = child.kill();
    Err(failed(format!("no answer within {} s", BEGIN.as_secs())))
}

/// Ends it; false if none ran.
///
/// # Errors
/// NET_MIRROR when it does not end.
pub async fn stop(cx: &Context) -> Result<bool> {
    let Some(there) = running(cx).await else {
        return Ok(false);
    };
    let pid = there.counts.pid;
    #[cfg(unix)]
    {
        let pid = libc::pid_t::try_from(pid).unwrap_or(0);
        // SAFETY: the process has just told that it is ours; kill touches no memory.
        if pid > 0 {
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
    }
    let give_up = Instant::now() + BEGIN;
    while Instant::now() < give_up {
        if running(cx).await.is_none() {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let what = format!("the cache of images (process {pid}) does not end");
    Err(CliError::new("NET_MIRROR", what).fix(format!("kill -9 {pid}")))
}

/// Serves until somebody ends it or no machine is left.
///
/// # Errors
/// NET_MIRROR when another process serves already, or the folder cannot be used.
pub async fn serve(cx: &Context) -> Result<()> {
    let home = &cx.world.home;
    let failed = |why: String| {
        CliError::new("NET_MIRROR", "the cache of images cannot be served")
            .why(why)
            .fix("cadet mirror status")
    };
    let cache = home.cache();
    std::fs::create_dir_all(cache).map_err(|e| machine::io("create", cache, &e))?;
    let path = home.registry_lock();
    let lock = File::create(&path).map_err(|e| machine::io("write", &path, &e))?;
    lock.try_lock()
        .map_err(|_| failed("another process serves it".into()))?;
    let base = registry(cx);
    let client = cadet_image::http::client(&images::network(cx))?;
    let folder = home.registry();
    let mirror = Mirror::new(&folder, Upstream::new(base, client))
        .map_err(|e| machine::io("use", &folder, &e))?;
    let listener = listen(noted(cx).map(|noted| noted.port))
        .await
        .map_err(|e| failed(e.to_string()))?;
    let port = listener.local_addr().map_err(|e| failed(e.to_string()))?;
    let note = Noted {
        port: port.port(),
        pid: std::process::id(),
    };
    let text = serde_json::to_vec(&note).unwrap_or_default();
    machine::write_private(&home.registry_note(), &text)?;
    let serving = mirror.serve(listener, std::future::pending());
    tokio::select! {
        ended = serving => ended.map_err(|e| failed(e.to_string())),
        _ = crate::interrupted() => Ok(()),
        () = lonely(cx) => Ok(()),
    }
}

/// At the port of before, so that machines that know it go on; else at any.
async fn listen(before: Option<u16>) -> std::io::Result<TcpListener> {
    if let Some(port) = before
        && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
    {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// Returns when no machine has been there for a while.
async fn lonely(cx: &Context) {
    let mut alone = 0;
    while alone < LONELY {
        tokio::time::sleep(LOOK).await;
        alone = match any_machine(cx).await {
            true => 0,
            false => alone + 1,
        };
    }
}

async fn any_machine(cx: &Context) -> bool {
    if !cx.world.home.database().exists() {
        return false;
    }
    let list = Store::open(&cx.world.home).and_then(|store| store.list());
    // Records that cannot be read now say nothing: it stays.
    let Ok(list) = list else { return true };
    for profile in list {
        let Ok(name) = ProfileName::parse(&profile.name) else {
            continue;
        };
        let files = cx.world.files(&name);
        for node in nodes::all(&profile) {
            let state = machine::state_of_node(&files, &profile, &node).await;
            if state.has_process() {
                return true;
            }
        }
    }
    false
}

/// What a start does, with a line to the first machine: nothing where the user did not ask for
/// it, and never fails.
pub async fn at_start(cx: &Context, tunnel: &Tunnel) {
    let is_on = Settings::read(&cx.world.home).is_ok_and(|s| s.mirror);
    if !is_on {
        return;
    }
    let done = async {
        let port = Some(ensure(cx).await?);
        offer(tunnel, port).await?;
        for (_, other) in line::connect_others(cx).await? {
            offer(&other, port).await?;
            other.close().await;
        }
        Ok::<(), CliError>(())
    };
    if let Err(e) = done.await {
        let why = e.why.unwrap_or_default();
        cx.ui.warn("mirror", &format!("{}: {why}", e.what));
    }
}

/// Tells the machine's Docker where the cache is, or that there is none.
///
/// # Errors
/// GUEST_DOCKER and those of the line.
pub async fn offer(tunnel: &Tunnel, port: Option<u16>) -> Result<()> {
    let address = port.map(|port| format!("{LAPTOP}:{port}"));
    docker_settings::set_mirror(tunnel, LAPTOP, address.as_deref(), Place::Last).await
}
