//! `scripts/bench scale`: many nodes and many pods on this machine.
//!
//! Two clusters are made one after the other. In the first, nodes are objects only, so that
//! what is measured is creating and binding: as fast as it goes, then at a steady rate. In
//! the second, `cadet-node hollow` plays the nodes with the real agent in a process beside
//! the server, and pods come at a rate until there are very many; meanwhile the API is
//! asked this and that.

mod load;
mod pods;
mod rows;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Result;
use super::client::{self, Client};
use super::figures::{Figures, percentile};
use super::server::Server;
use pods::Pods;

const USAGE: &str =
    "usage: scripts/bench scale [--server FILE] [--json FILE] [--nodes N] [--pods N] [--rate N]
                           [--bound-nodes N] [--bound-pods N] [--idle N]
  --server FILE    the cadet-node program to measure
  --nodes N        hollow nodes (1000)
  --pods N         pods on them (30000)
  --rate N         pods created there per second (100)
  --bound-nodes N  nodes while only binding is measured (500)
  --bound-pods N   pods then, as fast as it goes (5000)
  --idle N         how long the hollow cluster is watched before pods come, seconds (30)";

/// Pods per second while the time to bind one is measured, and for how long.
const STEADY_RATE: u32 = 50;
const STEADY_SECONDS: usize = 15;
/// Connections that create pods.
const CREATORS: usize = 32;
/// A cluster that does not get on for so long is broken.
const PATIENCE: Duration = Duration::from_secs(180);

struct Options {
    server: PathBuf,
    json: Option<PathBuf>,
    nodes: usize,
    pods: usize,
    rate: u32,
    bound_nodes: usize,
    bound_pods: usize,
    idle: Duration,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        server: "cadet-node".into(),
        json: None,
        nodes: 1000,
        pods: 30_000,
        rate: 100,
        bound_nodes: 500,
        bound_pods: 5000,
        idle: Duration::from_secs(30),
    };
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
        match name.as_str() {
            "--server" => options.server = value.into(),
            "--json" => options.json = Some(value.into()),
            "--nodes" => options.nodes = value.parse()?,
            "--pods" => options.pods = value.parse()?,
            "--rate" => options.rate = value.parse()?,
            "--bound-nodes" => options.bound_nodes = value.parse()?,
            "--bound-pods" => options.bound_pods = value.parse()?,
            "--idle" => options.idle = Duration::from_secs(value.parse()?),
            _ => return Err(format!("unknown option {name}\n{USAGE}").into()),
        }
    }
    if options.rate == 0 {
        return Err("--rate must be more than nothing".into());
    }
    Ok(options)
}

/// Measures, prints and writes.
pub async fn run(arguments: impl Iterator<Item = String>) -> Result<()> {
    let options = options(arguments)?;
    let mut figures = Figures::default();
    binding(&options, &mut figures).await?;
    life(&options, &mut figures).await?;
    print!("{}", figures.table("upstream", rows::ROWS));
    if let Some(path) = &options.json {
        std::fs::write(path, figures.json(rows::ROWS))?;
    }
    Ok(())
}

/// Creating and binding alone.
async fn binding(options: &Options, figures: &mut Figures) -> Result<()> {
    let server = Server::start(&options.server).await?;
    let client = server.client()?;
    for number in 0..options.bound_nodes {
        load::make_node(&client, number).await?;
    }
    load::until_ready(&client, options.bound_nodes, PATIENCE).await?;

    let pods = Pods::follow(&client, "burst", options.bound_pods).await?;
    let before = server.cpu();
    let began = Instant::now();
    load::create(&client, "burst", options.bound_pods, CREATORS, None).await?;
    let seen = pods.until(pods::Stage::Bound, PATIENCE).await?;
    let used = server.cpu() - before;
    let last = seen.iter().max().copied().unwrap_or(began);
    let count = options.bound_pods as f64;
    figures.set("bound_per_s", count / (last - began).as_secs_f64());
    figures.set("bound_cpu_ms", used.as_secs_f64() * 1e3 / count);

    let count = STEADY_SECONDS * STEADY_RATE as usize;
    let pods = Pods::follow(&client, "steady", count).await?;
    let created = load::create(&client, "steady", count, 4, Some(STEADY_RATE)).await?;
    let seen = pods.until(pods::Stage::Bound, PATIENCE).await?;
    let answered = created.iter().map(|c| c.answered);
    let mut times = load::times(answered.zip(seen));
    figures.set("steady_p50_ms", percentile(&mut times, 50.0));
    figures.set("steady_p99_ms", percentile(&mut times, 99.0));
    Ok(())
}

/// Pods that live on hollow nodes.
async fn life(options: &Options, figures: &mut Figures) -> Result<()> {
    let server = Server::start(&options.server).await?;
    let client = server.client()?;
    let began = Instant::now();
    let hollow = server.hollow(options.nodes)?;
    load::until_ready(&client, options.nodes, PATIENCE).await?;
    figures.set("nodes_ready_s", began.elapsed().as_secs_f64());

    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = server.cpu();
    tokio::time::sleep(options.idle).await;
    let used = (server.cpu() - before).as_secs_f64();
    let minutes = options.idle.as_secs_f64() / 60.0;
    figures.set("nodes_cpu_s_per_min", used / minutes);
    figures.set("nodes_rss_mib", server.resident_mib());

    let pods = Pods::follow(&client, "life", options.pods).await?;
    let asked = tokio::spawn(load::ask(
        client.clone(),
        "life",
        options.pods,
        options.rate,
    ));
    let before = server.cpu();
    let created = load::create(&client, "life", options.pods, CREATORS, Some(options.rate));
    let created = created.await?;
    let seen = pods.until(pods::Stage::Running, PATIENCE).await?;
    let used = server.cpu() - before;
    figures.set(
        "life_cpu_ms",
        used.as_secs_f64() * 1e3 / options.pods as f64,
    );
    let sent = || created.iter().map(|c| c.sent);
    let mut times = load::times(sent().zip(seen));
    for (row, percent) in [("running_p50_s", 50.0), ("running_p99_s", 99.0)] {
        figures.set(row, percentile(&mut times, percent) / 1e3);
    }
    let mut creates = load::times(sent().zip(created.iter().map(|c| c.answered)));
    figures.set("create_p50_ms", percentile(&mut creates, 50.0));
    figures.set("create_p99_ms", percentile(&mut creates, 99.0));
    for (verb, mut times) in asked.await?? {
        figures.set(&format!("{verb}_p50_ms"), percentile(&mut times, 50.0));
        figures.set(&format!("{verb}_p99_ms"), percentile(&mut times, 99.0));
    }
    figures.set("server_rss_mib", server.resident_mib());
    figures.set("hollow_rss_mib", hollow.resident_mib());
    figures.set("list_all_ms", list_all(&client).await?);
    Ok(())
}

async fn list_all(client: &Client) -> Result<f64> {
    let mut connection = client.connect().await?;
    let sent = Instant::now();
    let code = connection.exchange(&client::get("/api/v1/pods")).await?;
    if code != 200 {
        return Err(format!("the list of all pods was answered with {code}").into());
    }
    Ok(sent.elapsed().as_secs_f64() * 1e3)
}
