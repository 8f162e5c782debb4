//! `cadet-node`: control plane (`server`) and node agent (`agent`) of a Cadet machine.
//!
//! The two run as separate services, so that either can be killed and come back while the
//! other goes on. They share the certificates in [`pki`] and nothing else. [`up`] sets both
//! up on a server without a virtual machine, and takes them down again.

mod agent;
mod beginning;
mod config;
mod connect;
mod credentials;
mod datastore;
mod election;
mod enroll;
mod hollow;
mod images;
mod keeper;
mod names;
mod notify;
mod pause;
mod pki;
mod routes;
mod server;
mod settle;
mod share;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use cadet_api::install::DASHBOARD_PORT;
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
    /// Make this Linux server a cluster of its own, with Docker
    Up(up::UpArgs),
    /// Stop the cluster made by `up`, or undo it altogether
    Down(up::DownArgs),
    /// Keep server and agent running, for `up`
    #[command(hide = true)]
    Supervise(up::SuperviseArgs),
    /// Run the control plane: API server, scheduler, controllers
    Server(ServerArgs),
    /// Run the node agent: this machine's pods
    Agent(AgentArgs),
    /// Play many nodes that have no containers, for tests of scale
    Hollow(hollow::Args),
    /// Put the images of a lesson into Docker: pull them, or build what stands in for them
    #[command(hide = true)]
    Images(images::Args),
    /// Mount a folder of the laptop, which answers on standard input and output
    #[command(hide = true)]
    Share(share::Args),
    /// Keep the clock right, and do what the laptop asks through the serial port
    #[command(hide = true)]
    Keeper(ConfigArg),
    /// Hold a pod's network open; the first process of every pod
    Pause,
    /// Build the image of the first process of every pod
    #[command(hide = true)]
    PauseImage,
    /// Print an administrator's kubeconfig with its keys
    Kubeconfig(ConfigArg),
    /// Print the certificates and keys of another node's agent
    #[command(hide = true)]
    Enroll(enroll::EnrollArgs),
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
    /// Port of the dashboard on 127.0.0.1; 0: none
    #[arg(long, default_value_t = DASHBOARD_PORT, value_name = "PORT")]
    dashboard_port: u16,
}

#[derive(Debug, clap::Args)]
struct AgentArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Docker's socket
    #[arg(long, default_value = "/var/run/docker.sock", value_name = "PATH")]
    docker_host: PathBuf,
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
            if let Some(code) = up::exit_code(&error) {
                say(&error.to_string());
                return ExitCode::from(code);
            }
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.verb {
        Verb::Up(args) => Ok(up::up(&args, &cli.data)?),
        Verb::Down(args) => Ok(up::down(&args, &cli.data)?),
        Verb::Supervise(args) => Ok(up::supervise(&args, &cli.data)?),
        Verb::Server(args) => {
            log_to_journal();
            let config = config::read(&args.config.config)?;
            let runtime = runtime()?;
            runtime.spawn(settle::run());
            let serving = server::run(&config, &cli.data, &args.datastore, args.dashboard_port);
            runtime.block_on(serving)
        }
        Verb::Agent(args) => {
            log_to_journal();
            let config = config::read(&args.config.config)?;
            let runtime = runtime()?;
            runtime.spawn(settle::run());
            runtime.block_on(agent::run(&config, &cli.data, &args.docker_host))
        }
        Verb::Hollow(args) => {
            log_to_journal();
            runtime()?.block_on(hollow::run(&args))
        }
        Verb::Images(args) => runtime()?.block_on(images::run(&args)),
        Verb::Share(args) => share::run(&args),
        Verb::Keeper(arg) => {
            log_to_journal();
            keeper::run(&arg.config, &cli.data)
        }
        Verb::Pause => Ok(()),
        Verb::PauseImage => runtime()?.block_on(pause::build_image()),
        Verb::Kubeconfig(arg) => {
            let config = config::read(&arg.config)?;
            print(&credentials::admin(&config, &cli.data)?)
        }
        Verb::Enroll(args) => print(&enroll::run(&args, &cli.data)?),
        Verb::Version => print(&format!("cadet-node {}", env!("CARGO_PKG_VERSION"))),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    allow_many_files();
    // ring is the only provider compiled in; a second call would be harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

/// As many open files as the system allows this process: every watch of every agent is a
/// connection, and shells and systemd begin with 1024.
fn allow_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
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
fn say(text: &str) {
    eprintln!("{text}");
}

fn complain(error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    say(&format!("cadet-node: {text}"));
}
