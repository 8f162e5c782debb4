//! `cadet-node`: control plane (`server`) and node agent (`agent`) of a Cadet machine.
//!
//! The two run as separate services, so that either can be killed and come back while the
//! other goes on. They share the certificates in [`pki`] and nothing else.

mod agent;
mod config;
mod credentials;
mod datastore;
mod election;
mod notify;
mod pause;
mod pki;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Control plane and node agent of a Cadet machine.
#[derive(Debug, Parser)]
#[command(name = "cadet-node", version)]
struct Cli {
    /// Folder of what must survive a restart: certificates and the store
    #[arg(
        long,
        global = true,
        default_value = "/var/lib/cadet",
        value_name = "DIR"
    )]
    data: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

/// What to be.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the control plane: API server, scheduler, controllers
    Server(ServerArgs),
    /// Run the node agent: this machine's pods
    Agent(ConfigArg),
    /// Hold a pod's network open; the first process of every pod
    Pause,
    /// Print an administrator's kubeconfig with its keys
    Kubeconfig(ConfigArg),
    /// Print the version
    Version,
}

/// Where the node's configuration is.
#[derive(Debug, clap::Args)]
struct ConfigArg {
    /// node.json as the host wrote it
    #[arg(long, default_value = "/etc/cadet/node.json", value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct ServerArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    datastore: datastore::Datastore,
}

/// Anything that ends the program; printed with its causes.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // Pausing must cost nothing: no threads, no logger, no arguments to read.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == "pause")
    {
        return pause::run();
    }
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.verb {
        Verb::Server(args) => {
            log_to_journal();
            let config = config::read(&args.config.config)?;
            runtime()?.block_on(server::run(&config, &cli.data, &args.datastore))
        }
        Verb::Agent(arg) => {
            log_to_journal();
            let config = config::read(&arg.config)?;
            runtime()?.block_on(agent::run(&config, &cli.data))
        }
        Verb::Pause => Ok(()),
        Verb::Kubeconfig(arg) => {
            let config = config::read(&arg.config)?;
            print(&credentials::admin(&config, &cli.data)?)
        }
        Verb::Version => print(&format!("cadet-node {}", env!("CARGO_PKG_VERSION"))),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // ring is the only provider compiled in; a second call would be harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

/// journald adds time and unit; RUST_LOG chooses the detail.
fn log_to_journal() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
}

#[allow(clippy::print_stdout)] // the program's result
fn print(text: &str) -> Result<(), Failure> {
    println!("{text}");
    Ok(())
}

#[allow(clippy::print_stderr)] // the program's last words
fn complain(error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    eprintln!("cadet-node: {text}");
}
