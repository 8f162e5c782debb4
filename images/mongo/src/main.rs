//! Cadet's stand-in for MongoDB, not MongoDB.
//!
//! The oldest lesson runs a `mongo` container. Where no registry can be reached, this
//! program takes its place: it speaks enough of MongoDB's wire protocol for the
//! official drivers, keeps acknowledged writes through `kill -9`, and says in its log,
//! in `hello` and in `buildInfo` what it is. What it does not know, it refuses with
//! MongoDB's own error codes; nothing is silently ignored.
//!
//! Walk: `options` → `store` opens the folder → `server` reads messages (`wire`) →
//! `command` finds the command → `query`, `update`, `aggregate` do the work.

mod aggregate;
mod command;
mod number;
mod options;
mod order;
mod query;
mod refusal;
mod server;
mod store;
mod update;
mod wire;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use command::{NOTICE, Server};
use options::{Action, Options};
use store::{Store, StoreError};

/// Exit codes of mongod: bad options, a port that cannot be had, data that cannot be used.
const EXIT_BAD_OPTIONS: u8 = 2;
const EXIT_NETWORK: u8 = 48;
const EXIT_DATA: u8 = 100;

/// Threads that run commands; sled and the write lock gain nothing from more.
const COMMAND_THREADS: usize = 8;

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl RunError {
    fn exit_code(&self) -> u8 {
        match self {
            RunError::Listen { .. } => EXIT_NETWORK,
            RunError::Store(_) | RunError::Runtime(_) => EXIT_DATA,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let options = match Options::parse(arguments.iter().skip(1).cloned()) {
        Ok(Action::Serve(options)) => options,
        Ok(Action::Version) => {
            return say(
                io::stdout(),
                &format!("{NOTICE}, {}", env!("CARGO_PKG_VERSION")),
                0,
            );
        }
        Ok(Action::Help) => return say(io::stdout(), HELP, 0),
        Err(problem) => {
            return say(
                io::stderr(),
                &format!(
                    "Error parsing command line: {problem}\ntry 'mongod --help' for more information"
                ),
                EXIT_BAD_OPTIONS,
            );
        }
    };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .init();
    match run(options, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{problem}");
            ExitCode::from(problem.exit_code())
        }
    }
}

const HELP: &str = "Cadet's stand-in for MongoDB, not MongoDB.\n\n\
  --dbpath DIR     where data is kept (default /data/db), created if missing\n\
  --port N         TCP port (default 27017; 0: any free one)\n\
  --bind_ip LIST   addresses to listen on (default 0.0.0.0)\n\
  --bind_ip_all    all IPv4 addresses\n\
  --version        print the version\n\n\
Ignored, with a line in the log: --smallfiles --nojournal --noprealloc --journal\n\
--quiet --ipv6 --noauth --oplogSize N --wiredTigerCacheSizeGB N";

/// Prints a line to a terminal that may have gone away, and leaves with this code.
fn say(mut out: impl Write, text: &str, code: u8) -> ExitCode {
    match writeln!(out, "{text}") {
        Ok(()) => ExitCode::from(code),
        // Nobody is left to tell; the exit code still does.
        Err(_) => ExitCode::from(code.max(1)),
    }
}

fn run(options: Options, arguments: Vec<String>) -> Result<(), RunError> {
    info!("This is {NOTICE} (version {})", env!("CARGO_PKG_VERSION"));
    for flag in &options.ignored {
        warn!(
            "{flag} has no meaning for the stand-in and is ignored; acknowledged writes are always on disk"
        );
    }
    let folder: PathBuf = options.folder.clone();
    let store = Store::open(&folder)?;
    info!(
        "data folder {} with {} collections",
        folder.display(),
        store.collections().len()
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(COMMAND_THREADS)
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(listen_and_serve(options, arguments, store))
}

async fn listen_and_serve(
    options: Options,
    arguments: Vec<String>,
    store: Store,
) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
    let mut listeners = Vec::new();
    let mut port = options.port;
    for ip in options.addresses {
        let address = SocketAddr::new(ip, port);
        let problem = |source| RunError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(problem)?;
        // With port 0, further addresses use the port the first one was given.
        let bound = listener.local_addr().map_err(problem)?;
        port = bound.port();
        info!("waiting for connections on {bound}");
        listeners.push(listener);
    }
    let server = Arc::new(Server::new(store, arguments, port));
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(server::serve(Arc::clone(&server), listeners, stopped));
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM received, shutting down"),
        _ = interrupt.recv() => info!("SIGINT received, shutting down"),
    }
    stop.send_replace(true);
    if let Err(problem) = serving.await {
        error!("the server task stopped working: {problem}");
    }
    server.store.make_durable()?;
    info!("all data is on disk, goodbye");
    Ok(())
}
