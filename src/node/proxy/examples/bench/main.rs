//! `scripts/bench proxy`: what the service network costs, against the same Services written
//! as kube-proxy's nftables mode writes them, on the same machine in the same run.
//!
//! All of it happens in network namespaces of its own, so it needs root, and `nft` and `ip`:
//!
//! ```text
//!  client ── 10.244.0.2 ── node, with the rules ── 10.244.128.0/17 ── server
//! ```

// A program, not the library: printing is its job.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod connections;
#[path = "../../../../../tests/support/figures.rs"]
mod figures;
mod nft;
mod rival;
mod rows;
mod services;
#[allow(dead_code)] // a part of it is enough here
#[path = "../../tests/kernel/space.rs"]
mod space;
mod world;

use std::path::PathBuf;

use figures::Figures;
use world::World;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str =
    "usage: scripts/bench proxy [--json FILE] [--endpoints N] [--rounds N] [--services N]
  --endpoints N  of the one Service whose rules are made and changed (5000)
  --rounds N     how often everything is measured (30)
  --services N   how many many Services are (1000)";

pub struct Options {
    json: Option<PathBuf>,
    pub endpoints: usize,
    pub rounds: usize,
    pub services: usize,
}

fn options() -> Result<Options> {
    let mut options = Options {
        json: None,
        endpoints: 5000,
        rounds: 30,
        services: 1000,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
        match name.as_str() {
            "--json" => options.json = Some(value.into()),
            "--endpoints" => options.endpoints = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            "--services" => options.services = value.parse()?,
            _ => return Err(format!("unknown option {name}\n{USAGE}").into()),
        }
    }
    let most = services::MOST_ENDPOINTS;
    let slice = services::SLICE;
    if !(slice..=most / 3).contains(&options.endpoints) {
        return Err(format!("--endpoints must be from {slice} to {}", most / 3).into());
    }
    if !(1..=most / services::EACH).contains(&options.services) {
        return Err(format!("--services must be from 1 to {}", most / services::EACH).into());
    }
    if options.rounds == 0 {
        return Err("--rounds must be more than nothing".into());
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces need root".into());
    }
    let world = World::new();
    let mut figures = Figures::default();
    nft::measure(&world, &options, &mut figures)?;
    connections::measure(&world, &options, &mut figures)?;
    print!("{}", figures.table("kube-proxy", rows::ROWS));
    if let Some(file) = &options.json {
        std::fs::write(file, figures.json(rows::ROWS))?;
    }
    Ok(())
}
