//! Hello: the web server that lessons deploy, scale, break and mend.
//!
//! One program under several names: versions differ by `VERSION`, so that a rolling update
//! can be seen. It says which pod answers, and has a door for each thing that a lesson wants
//! to show: probes, configuration, files of volumes, other services, load, crashes. With
//! `--proxy` it is the ambassador beside another container instead.
//!
//! Walk: `config` → `web` (routes, pages) or `proxy`; `access_log` is for both eyes and
//! other containers.

mod access_log;
mod config;
mod proxy;
mod web;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use access_log::{AccessLog, LogError};
use config::{Config, ConfigError, Mode};

/// Exit codes: settings that cannot be used, and a port that cannot be had.
const EXIT_SETTINGS: u8 = 2;
const EXIT_NETWORK: u8 = 48;
/// What `--crash` ends with.
const EXIT_CRASH: u8 = 1;

/// After SIGTERM new requests are still answered for a while: those who send them learn a
/// moment later than we do that the pod leaves.
const LINGER: Duration = Duration::from_secs(2);
/// How long open requests may go on after that; a pod gets 30 s before SIGKILL.
const DRAIN: Duration = Duration::from_secs(10);

/// What the program is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Runs,
    /// Asked to stop, and still answering.
    Leaving,
    /// Takes no new requests, and ends with this code when the open ones are answered.
    Ends(u8),
}

/// Where the state is set.
pub type Stop = watch::Sender<State>;

/// Why the program could not run.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot listen on port {port}: {source}")]
    Listen { port: u16, source: io::Error },
    #[error("cannot serve: {0}")]
    Serve(io::Error),
}

impl RunError {
    fn exit_code(&self) -> u8 {
        match self {
            RunError::Settings(_) | RunError::Log(_) => EXIT_SETTINGS,
            RunError::Listen { .. } | RunError::Serve(_) => EXIT_NETWORK,
        }
    }
}

fn main() -> ExitCode {
    // Standard output belongs to the access log.
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run());
            // A thread that burns CPU does not hold up the end.
            runtime.shutdown_background();
            outcome
        }
        Err(source) => Err(RunError::Serve(source)),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            error!("{problem}");
            ExitCode::from(problem.exit_code())
        }
    }
}

async fn run() -> Result<u8, RunError> {
    let variable = |name: &str| std::env::var(name).ok();
    let config = Config::new(std::env::args().skip(1), variable)?;
    match &config.mode {
        Mode::Help => {
            // Nobody may be listening; the exit code tells the rest.
            let _ = io::stdout().write_all(config::HELP.as_bytes());
            return Ok(0);
        }
        Mode::Crash => {
            error!("--crash is given: ending with code {EXIT_CRASH}");
            return Ok(EXIT_CRASH);
        }
        Mode::Serve | Mode::Proxy(_) => {}
    }
    let stop: Arc<Stop> = Arc::new(watch::channel(State::Runs).0);
    let stopping = stop.subscribe();
    let port = config.port;
    let failed = |source| RunError::Listen { port, source };
    let listener = listen(port).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    follow_signals(stop.clone()).map_err(RunError::Serve)?;
    let deadline = after_drain(stop.subscribe());
    if let Mode::Proxy(target) = config.mode {
        info!("listening on {bound}, forwarding to {target}");
        tokio::select! {
            () = proxy::run(listener, target, stopping.clone()) => {}
            () = deadline => warn!("some connections did not end in {DRAIN:?}"),
        }
    } else {
        let log = AccessLog::open(config.access_log.as_deref())?;
        info!(
            "listening on {bound} as {}, version {}",
            config.host, config.version
        );
        let app = web::App::new(config, log, stop.clone());
        tokio::select! {
            outcome = web::serve(listener, app, stopping.clone()) => outcome.map_err(RunError::Serve)?,
            () = deadline => warn!("some requests did not finish in {DRAIN:?}"),
        }
    }
    info!("goodbye");
    match *stopping.borrow() {
        State::Ends(code) => Ok(code),
        State::Runs | State::Leaving => Ok(0),
    }
}

/// Turns SIGTERM and SIGINT into a stop.
fn follow_signals(stop: Arc<Stop>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {
                info!("SIGTERM received, not ready any more");
                pass_on(&stop, State::Leaving);
                tokio::time::sleep(LINGER).await;
                info!("finishing open requests");
            }
            _ = interrupt.recv() => info!("SIGINT received, finishing open requests"),
        }
        pass_on(&stop, State::Ends(0));
    });
    Ok(())
}

/// Sets the state, unless the program ends already, perhaps with a code that was asked for.
fn pass_on(stop: &Stop, next: State) {
    stop.send_if_modified(|state| {
        let goes_on = !matches!(state, State::Ends(_));
        if goes_on {
            *state = next;
        }
        goes_on
    });
}

/// Returns when open requests have had their time.
async fn after_drain(mut stopping: watch::Receiver<State>) {
    stopped(&mut stopping).await;
    tokio::time::sleep(DRAIN).await;
}

/// Returns when no new requests are to be taken.
async fn stopped(stopping: &mut watch::Receiver<State>) {
    let ends = |state: &State| matches!(state, State::Ends(_));
    // Without a sender nobody can ask any more; whoever waits here ends with the program.
    if stopping.wait_for(ends).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Listens on IPv6 and IPv4 alike, or on IPv4 alone where there is no IPv6.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from(([0u16; 8], port))).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await,
    }
}
