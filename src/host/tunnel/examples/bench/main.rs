//! `scripts/bench tunnel`: our SOCKS tunnel against OpenSSH's `ssh -D`, both into the
//! same sshd, in turns, in one run.
//!
//! Three processes take part: this one makes the load, a child of this same program runs
//! our tunnel (so that its memory can be seen alone), and `ssh -D` is the rival. The far
//! end of the load runs on this computer, or, with `--target`, in the guest: this static
//! program copies itself there.

// A program, not the library: printing is its job.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod far;
mod load;
mod rivals;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;

use load::{Direction, Measure};
use rivals::{Kind, Rival, Route};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Options {
    target: Option<String>,
    key: Option<PathBuf>,
    host_key: Option<PathBuf>,
    rounds: usize,
    megabytes: u64,
    connections: usize,
    json: Option<PathBuf>,
    chacha: bool,
}

const USAGE: &str =
    "usage: scripts/bench tunnel [--target USER@HOST:PORT --key FILE --host-key FILE]
    [--rounds N] [--megabytes N] [--connections N] [--json FILE] [--chacha]
without --target a private sshd is started on this computer";

fn options() -> Result<Options> {
    let mut options = Options {
        target: None,
        key: None,
        host_key: None,
        rounds: 5,
        megabytes: 256,
        connections: 400,
        json: None,
        chacha: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{name} wants a value\n{USAGE}"))
        };
        match name.as_str() {
            "--target" => options.target = Some(value()?),
            "--key" => options.key = Some(value()?.into()),
            "--host-key" => options.host_key = Some(value()?.into()),
            "--rounds" => options.rounds = value()?.parse()?,
            "--megabytes" => options.megabytes = value()?.parse()?,
            "--connections" => options.connections = value()?.parse()?,
            "--json" => options.json = Some(value()?.into()),
            "--chacha" => options.chacha = true,
            _ => return Err(format!("unknown option {name}\n{USAGE}").into()),
        }
    }
    Ok(options)
}

/// One line of the table: what is measured, and the figures of each round.
struct Row {
    name: &'static str,
    unit: &'static str,
    measure: Measure,
    ours: Vec<f64>,
    ssh: Vec<f64>,
}

fn rows(megabytes: u64, connections: usize) -> Vec<Row> {
    let bytes = megabytes << 20;
    let flow = |direction, streams| Measure::Flow {
        direction,
        streams,
        bytes,
    };
    [
        ("download, 1 stream", "MB/s", flow(Direction::Down, 1)),
        ("download, 16 streams", "MB/s", flow(Direction::Down, 16)),
        ("upload, 1 stream", "MB/s", flow(Direction::Up, 1)),
        ("upload, 16 streams", "MB/s", flow(Direction::Up, 16)),
        (
            "connections, one by one",
            "1/s",
            Measure::Connections {
                count: connections,
                at_once: 1,
            },
        ),
        (
            "connections, 16 at once",
            "1/s",
            Measure::Connections {
                count: connections,
                at_once: 16,
            },
        ),
    ]
    .into_iter()
    .map(|(name, unit, measure)| Row {
        name,
        unit,
        measure,
        ours: vec![],
        ssh: vec![],
    })
    .collect()
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("far") => return far::serve_forever(std::env::args().len() > 2),
        Some("ours") => return rivals::run_ours(),
        _ => {}
    }
    let options = options()?;
    let route = match (&options.target, &options.key, &options.host_key) {
        (Some(target), Some(key), Some(host_key)) => Route::remote(target, key, host_key)?,
        (None, None, None) => Route::local()?,
        _ => return Err(format!("--target, --key and --host-key go together\n{USAGE}").into()),
    };
    let far = far::start(&route)?;
    let mut rows = rows(options.megabytes, options.connections);
    let mut memory = [vec![], vec![]];
    let mut processor = [0.0, 0.0];
    if let Some(direct) = far.direct() {
        let generator = load::run(None, direct, &rows[0].measure)?;
        println!("the load generator alone, without any tunnel: {generator:.0} MB/s");
    }
    println!(
        "cipher of ours: {}",
        if options.chacha {
            "chacha20-poly1305"
        } else {
            "aes256-gcm"
        }
    );
    for round in 0..options.rounds {
        // Who goes first changes with the round, so that neither always meets a warm cache.
        let order = if round % 2 == 0 {
            [Kind::Ours, Kind::Ssh]
        } else {
            [Kind::Ssh, Kind::Ours]
        };
        let mut pair = Vec::new();
        for kind in order {
            pair.push(Rival::start(kind, &route, options.chacha)?);
        }
        for row in &mut rows {
            for rival in &pair {
                let figure = load::run(Some(rival.socks), far.inside(), &row.measure)?;
                match rival.kind {
                    Kind::Ours => row.ours.push(figure),
                    Kind::Ssh => row.ssh.push(figure),
                }
            }
        }
        for rival in &pair {
            let (peak, seconds) = rival.cost()?;
            memory[rival.kind as usize].push(peak);
            processor[rival.kind as usize] += seconds;
        }
        eprintln!("round {} of {} done", round + 1, options.rounds);
    }
    report(&options, &rows, &memory, processor)
}

fn report(
    options: &Options,
    rows: &[Row],
    memory: &[Vec<f64>; 2],
    processor: [f64; 2],
) -> Result<()> {
    println!("\n{:<28}{:>12}{:>12}{:>9}", "", "cadet", "ssh -D", "ratio");
    let mut figures = Vec::new();
    for row in rows {
        let (ours, ssh) = (median(&row.ours), median(&row.ssh));
        println!(
            "{:<28}{ours:>7.1} {:<4}{ssh:>7.1} {:<4}{:>8.2}x",
            row.name,
            row.unit,
            row.unit,
            ours / ssh
        );
        figures.push(serde_json::json!({
            "what": row.name, "unit": row.unit, "cadet": ours, "ssh": ssh,
            "ratio": ours / ssh, "cadetRounds": row.ours, "sshRounds": row.ssh,
        }));
    }
    let (ours, ssh) = (median(&memory[0]), median(&memory[1]));
    println!(
        "{:<28}{ours:>7.1} {:<4}{ssh:>7.1} {:<4}{:>8.2}x",
        "memory, peak",
        "MB",
        "MB",
        ours / ssh
    );
    println!(
        "{:<28}{:>7.1} {:<4}{:>7.1} {:<4}{:>8.2}x",
        "processor time, in all",
        processor[0],
        "s",
        processor[1],
        "s",
        processor[0] / processor[1]
    );
    println!(
        "medians of {} rounds; the ratio of the last two is better when below 1",
        options.rounds
    );
    if let Some(path) = &options.json {
        let document = serde_json::json!({
            "target": options.target.as_deref().unwrap_or("local sshd"),
            "cipher": if options.chacha { "chacha20-poly1305" } else { "aes256-gcm" },
            "rounds": options.rounds, "megabytes": options.megabytes,
            "figures": figures,
            "memoryMB": { "cadet": ours, "ssh": ssh },
            "processorSeconds": { "cadet": processor[0], "ssh": processor[1] },
        });
        std::fs::write(path, serde_json::to_vec_pretty(&document)?)?;
    }
    Ok(())
}

/// A loopback address.
fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
