//! `cadet-node images`: what the host calls when a lesson starts.
//!
//! Tells each step in a line of its own on standard output, `doing …`, `done …` or
//! `instead …`, while it happens; what went wrong is the last line on standard error.

use std::io::{self, Write as _};
use std::path::PathBuf;

use cadet_kubelet::DockerRuntime;
use cadet_kubelet::stock::{Told, stock};

use crate::{ConfigArg, Failure, config};

/// Which images, and where what they are made of is.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Docker's socket
    #[arg(long, default_value = "/var/run/docker.sock", value_name = "PATH")]
    docker_host: PathBuf,
    /// Images by name, each perhaps with the words its container runs with: "mongo --nojournal"
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Ends when all are there.
///
/// # Errors
/// For the first that can neither be had nor built.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let config = config::read(&args.config.config)?;
    let lessons = PathBuf::from(&config.lessons_dir);
    let runtime = DockerRuntime::new(args.docker_host.display().to_string());
    let tell = |told: Told| {
        // Who no longer listens still gets the images.
        let _ = writeln!(io::stdout(), "{told}");
    };
    stock(&*runtime, &lessons, &args.images, &tell).await?;
    Ok(())
}
