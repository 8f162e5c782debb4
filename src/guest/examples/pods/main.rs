//! `scripts/bench pods`: the real `cadet-node up` on a real Docker Engine, against the bare
//! Engine API doing the same in the same run: two containers, one of which only holds the
//! network open. In a network and mount namespace of its own; needs root and `dockerd`.

// A program, not the library: printing is its job.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../../../../tests/areas/mod.rs"]
mod areas;
#[allow(dead_code)] // a part of it is enough here
#[path = "../../tests/docker/engine.rs"]
mod engine;
#[path = "../../../../tests/support/figures.rs"]
mod figures;
#[allow(dead_code)] // a part of it is enough here
#[path = "../../tests/native/machine.rs"]
mod machine;
mod rows;
mod seen;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use areas::{Said, WAIT};
use cadet_kubelet::clear;
use cadet_kubelet::runtime::{ContainerSpec, Namespaces, Runtime};
use figures::{Figures, percentile};
use futures::future::join_all;
use machine::{Machine, play};
use seen::Seen;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: scripts/bench pods [--json FILE] [--rounds N] [--at-once N] [--idle N]
  --rounds N     how many pods one at a time, and how many are replaced (20)
  --at-once N    how many together (30)
  --idle N       how long idling is watched, seconds (30)";
/// How often the cluster is brought up.
const UPS: usize = 3;
/// Pods of the machine whose memory is measured.
const STANDING: usize = 10;
/// The ReplicaSet whose pods are replaced.
const SET: &str = "replaced";
/// Clock ticks per second in /proc/PID/stat on every Linux architecture Rust runs on.
const TICKS: f64 = 100.0;

struct Options {
    json: Option<PathBuf>,
    rounds: usize,
    at_once: usize,
    idle: Duration,
}

fn options() -> Result<Options> {
    let mut options = Options {
        json: None,
        rounds: 20,
        at_once: 30,
        idle: Duration::from_secs(30),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
        match name.as_str() {
            "--json" => options.json = Some(value.into()),
            "--rounds" => options.rounds = value.parse()?,
            "--at-once" => options.at_once = value.parse()?,
            "--idle" => options.idle = Duration::from_secs(value.parse()?),
            _ => return Err(format!("unknown option {name}\n{USAGE}").into()),
        }
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    play(move || {
        if let Err(error) = measure(&options) {
            eprintln!("bench: {error}");
            std::process::exit(1);
        }
    });
    Ok(())
}

fn measure(options: &Options) -> Result<()> {
    let mut figures = Figures::default();
    let machine = Machine::new();
    first_ups(&machine, &mut figures)?;
    let pause = pause_image(&machine)?;
    machine.block_on(async {
        let mut seen = Seen::new(&machine.home()).await?;
        alone(options, &machine, &pause, &mut seen, &mut figures).await?;
        together(options, &machine, &pause, &mut seen, &mut figures).await?;
        replaced(options, &machine, &mut figures).await?;
        standing(options, &machine, &mut seen, &mut figures).await
    })?;
    let down = Said::of(&mut machine.cadet(&["down", "--purge"]));
    if down.code != 0 {
        return Err(down.to_string().into());
    }
    print!("{}", figures.table("engine", rows::ROWS));
    if let Some(file) = &options.json {
        std::fs::write(file, figures.json(rows::ROWS))?;
    }
    Ok(())
}

/// The very first `up`, which also builds the sandbox's image, and then later ones.
fn first_ups(machine: &Machine, figures: &mut Figures) -> Result<()> {
    let mut ready = Vec::new();
    let mut running = Vec::new();
    for round in 0..=UPS {
        let began = Instant::now();
        let up = Said::of(&mut machine.up_with(&[]));
        if up.code != 0 {
            return Err(up.to_string().into());
        }
        let at_ready = began.elapsed();
        machine.block_on(async {
            let mut seen = Seen::new(&machine.home()).await?;
            let name = format!("up-{round}");
            seen.create(&name).await?;
            seen.running(std::slice::from_ref(&name)).await?;
            let at_running = began.elapsed();
            seen.delete(&[name]).await?;
            if round == 0 {
                figures.set("first_up_ready_ms", millis(at_ready));
                figures.set("first_up_running_ms", millis(at_running));
            } else {
                ready.push(millis(at_ready));
                running.push(millis(at_running));
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        })?;
        if round < UPS {
            let down = Said::of(&mut machine.cadet(&["down"]));
            if down.code != 0 {
                return Err(down.to_string().into());
            }
        }
    }
    figures.set("up_ready_ms", percentile(&mut ready, 50.0));
    figures.set("up_running_ms", percentile(&mut running, 50.0));
    Ok(())
}

/// Name of the image our sandboxes are made of.
fn pause_image(machine: &Machine) -> Result<String> {
    let images = machine.block_on(machine.engine.runtime.images())?;
    let names = images.into_iter().flat_map(|image| image.names);
    let mut ours = names.filter(|name| name.starts_with("cadet/pause:"));
    ours.next().ok_or_else(|| "there is no pause image".into())
}

/// Taken in turns, so that both meet the same machine.
async fn alone(
    options: &Options,
    machine: &Machine,
    pause: &str,
    seen: &mut Seen,
    figures: &mut Figures,
) -> Result<()> {
    let (mut bare, mut pods) = (Vec::new(), Vec::new());
    for index in 0..options.rounds {
        let began = Instant::now();
        let ids = two_containers(machine, pause, &format!("bare-{index}")).await?;
        bare.push(millis(began.elapsed()));
        remove(machine, &ids).await?;
        let name = format!("alone-{index}");
        let began = Instant::now();
        seen.create(&name).await?;
        let at = seen.running(std::slice::from_ref(&name)).await?;
        pods.extend(at.into_iter().map(|at| millis(at - began)));
        seen.delete(&[name]).await?;
    }
    for (percent, ours, theirs) in [
        (50.0, "pod_p50_ms", "bare_p50_ms"),
        (99.0, "pod_p99_ms", "bare_p99_ms"),
    ] {
        figures.set(theirs, percentile(&mut bare, percent));
        figures.set(ours, percentile(&mut pods, percent));
    }
    Ok(())
}

async fn together(
    options: &Options,
    machine: &Machine,
    pause: &str,
    seen: &mut Seen,
    figures: &mut Figures,
) -> Result<()> {
    let began = Instant::now();
    let made = join_all((0..options.at_once).map(|index| async move {
        let ids = two_containers(machine, pause, &format!("many-{index}")).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((ids, millis(began.elapsed())))
    }))
    .await;
    let (mut all, mut bare) = (Vec::new(), Vec::new());
    for one in made {
        let (ids, at) = one?;
        all.extend(ids);
        bare.push(at);
    }
    remove(machine, &all).await?;
    figures.set("bare_all_ms", percentile(&mut bare, 100.0));
    figures.set("bare_each_p50_ms", percentile(&mut bare, 50.0));

    let names: Vec<String> = (0..options.at_once).map(|n| format!("many-{n}")).collect();
    let began = Instant::now();
    for created in join_all(names.iter().map(|name| seen.create(name))).await {
        created?;
    }
    let at = seen.running(&names).await?;
    let mut pods: Vec<f64> = at.into_iter().map(|at| millis(at - began)).collect();
    seen.delete(&names).await?;
    figures.set("pods_all_ms", percentile(&mut pods, 100.0));
    figures.set("pods_p50_ms", percentile(&mut pods, 50.0));
    Ok(())
}

/// A ReplicaSet of one: its pod is deleted, and the controller, the scheduler and the agent
/// make another.
async fn replaced(options: &Options, machine: &Machine, figures: &mut Figures) -> Result<()> {
    // A watch of its own: the server ends one after some minutes.
    let mut seen = Seen::new(&machine.home()).await?;
    seen.create_set(SET).await?;
    let (mut pod, _) = seen.running_of(SET, "").await?;
    let mut times = Vec::new();
    for _ in 0..options.rounds {
        let began = Instant::now();
        seen.ask_to_go(&pod).await?;
        let (other, at) = seen.running_of(SET, &pod).await?;
        times.push(millis(at - began));
        // The engine is at rest when the next round begins.
        seen.gone(&[pod]).await?;
        pod = other;
    }
    seen.delete_set(SET).await?;
    seen.gone(&[pod]).await?;
    figures.set("replaced_p50_ms", percentile(&mut times, 50.0));
    figures.set("replaced_p99_ms", percentile(&mut times, 99.0));
    Ok(())
}

/// Some pods that do nothing: what our programs cost meanwhile.
async fn standing(
    options: &Options,
    machine: &Machine,
    seen: &mut Seen,
    figures: &mut Figures,
) -> Result<()> {
    let names: Vec<String> = (0..STANDING).map(|n| format!("standing-{n}")).collect();
    for name in &names {
        seen.create(name).await?;
    }
    seen.running(&names).await?;
    // What starting has left to do is not idling.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let programs: Vec<i32> = ["server", "agent", "supervise"]
        .into_iter()
        .flat_map(|word| machine.processes(word))
        .collect();
    let cpu = || {
        programs
            .iter()
            .map(|pid| cpu_seconds(*pid))
            .sum::<Result<f64>>()
    };
    let before = cpu()?;
    tokio::time::sleep(options.idle).await;
    let used = cpu()? - before;
    figures.set(
        "idle_cpu_s_per_min",
        used * 60.0 / options.idle.as_secs_f64(),
    );
    let memory = programs
        .iter()
        .map(|pid| memory_mb(*pid))
        .sum::<Result<f64>>()?;
    figures.set("memory_mb", memory);
    seen.delete(&names).await
}

/// User and system time of a process (proc_pid_stat(5)).
fn cpu_seconds(pid: i32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    let used = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    Ok(used.ok_or("no times in stat")? / TICKS)
}

/// Resident memory; what several processes share counts once (proc_pid_smaps(5)).
fn memory_mb(pid: i32) -> Result<f64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: f64 = line
        .unwrap_or_default()
        .trim_end_matches(" kB")
        .trim()
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// What a pod is made of, by nobody but the engine.
async fn two_containers(machine: &Machine, pause: &str, name: &str) -> Result<[String; 2]> {
    let runtime = &machine.engine.runtime;
    let sandbox = ContainerSpec {
        name: format!("{name}-pause"),
        image: pause.to_owned(),
        namespaces: Namespaces {
            network: "none".into(),
            ipc: "shareable".into(),
            pid: String::new(),
        },
        ..ContainerSpec::default()
    };
    let first = runtime.create(&sandbox).await?;
    runtime.start(&first).await?;
    let app = ContainerSpec {
        name: format!("{name}-app"),
        image: engine::BUSYBOX.into(),
        entrypoint: Some(["sh", "-c", WAIT].map(str::to_owned).into()),
        namespaces: Namespaces {
            network: format!("container:{first}"),
            ipc: format!("container:{first}"),
            pid: String::new(),
        },
        keep_log: true,
        ..ContainerSpec::default()
    };
    let second = runtime.create(&app).await?;
    runtime.start(&second).await?;
    Ok([first, second])
}

async fn remove(machine: &Machine, ids: &[String]) -> Result<()> {
    let runtime = machine.engine.runtime.as_ref();
    for id in ids.iter().rev() {
        clear::remove(runtime, id).await?;
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
