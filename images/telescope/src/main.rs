//! Telescope: a small app for sharing links, for Cadet's first lesson.
//!
//! A pod of two containers needs an app that shows its parts: every page says at the
//! bottom which pod served it and which database it talks to. It starts before the
//! database is there, says so until it is, and keeps nothing itself.
//!
//! Walk: `config` → `web` (routes, pages) → `form` checks what visitors send →
//! `database` → `model`.

mod config;
mod database;
mod form;
mod model;
mod web;

use std::future::IntoFuture;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use config::{Config, ConfigError};
use database::{Database, DatabaseError};

/// Exit codes: settings that cannot be used, and a port that cannot be had.
const EXIT_SETTINGS: u8 = 2;
const EXIT_NETWORK: u8 = 48;

/// How long open requests may go on after SIGTERM; a pod gets 30 s before SIGKILL.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the app could not run.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot listen on port {port}: {source}")]
    Listen { port: u16, source: io::Error },
    #[error("cannot serve: {0}")]
    Serve(io::Error),
}

impl RunError {
    fn exit_code(&self) -> u8 {
        match self {
            RunError::Settings(_) | RunError::Database(_) => EXIT_SETTINGS,
            RunError::Listen { .. } | RunError::Serve(_) => EXIT_NETWORK,
        }
    }
}

fn main() -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        let text =
            "telescope takes no arguments; set MONGO_URL, ROOT_URL and PORT in the environment";
        let wanted = matches!(argument.as_str(), "--help" | "-h");
        // Nobody may be listening; the exit code tells the rest.
        let _ = writeln!(io::stderr(), "{text}");
        return ExitCode::from(if wanted { 0 } else { EXIT_SETTINGS });
    }
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run()),
        Err(source) => Err(RunError::Serve(source)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{problem}");
            ExitCode::from(problem.exit_code())
        }
    }
}

async fn run() -> Result<(), RunError> {
    let config = Config::from_environment()?;
    let database = Database::new(&config.mongo_url).await?;
    let port = config.port;
    let listener = listen(port)
        .await
        .map_err(|source| RunError::Listen { port, source })?;
    let bound = listener
        .local_addr()
        .map_err(|source| RunError::Listen { port, source })?;
    info!(
        "listening on {bound} as {}, database at {}",
        config.host,
        database.address()
    );
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Serve)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Serve)?;
    let (stop, mut stopping) = watch::channel(false);
    let app = web::router(config, database);
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM received, finishing open requests"),
            _ = interrupt.recv() => info!("SIGINT received, finishing open requests"),
        }
        stop.send_replace(true);
    });
    let deadline = async {
        // The sender lives in the future above; if that is gone, serving has ended too.
        if stopping.wait_for(|stop| *stop).await.is_ok() {
            tokio::time::sleep(DRAIN).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        outcome = serving.into_future() => outcome.map_err(RunError::Serve)?,
        () = deadline => warn!("some requests did not finish in {DRAIN:?}"),
    }
    info!("goodbye");
    Ok(())
}

/// Listens on IPv6 and IPv4 alike, or on IPv4 alone where there is no IPv6.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from(([0u16; 8], port))).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await,
    }
}
