//! What the rules cost a connection: `connect` from a client through the node to a server,
//! by cluster IPs, in turns with our rules, the rival's and none.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cadet_proxy::nft::apply;
use cadet_proxy::table::TABLE;
use nix::sys::socket::{setsockopt, sockopt};

use crate::figures::{Figures, percentile};
use crate::services::{Ours, PORT, TARGET, cluster_ip, endpoint, endpoints_of, slice};
use crate::world::World;
use crate::{Options, Result, rival};

/// Connections of a turn, one after the other.
const ALONE: usize = 1000;
/// Clients at once, and the connections of each. With those above fewer than the server's
/// queue takes.
const CLIENTS: usize = 4;
const EACH: usize = 500;
/// Connections of a turn that are not counted.
const WARM: usize = 200;
/// A connection that takes longer has met rules that do not work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rules, and what is connected to with them.
struct Variant {
    name: &'static str,
    rules: String,
    targets: Arc<[SocketAddr]>,
    /// Microseconds of each connection that was made alone.
    connects: Vec<f64>,
    /// Connections per second of each turn.
    rates: Vec<f64>,
}

impl Variant {
    fn new(name: &'static str, rules: &str, targets: impl Iterator<Item = SocketAddr>) -> Self {
        let mut all = String::new();
        for table in [TABLE, rival::TABLE] {
            all.push_str(&format!("add table {table}\ndelete table {table}\n"));
        }
        all.push_str(rules);
        Self {
            name,
            rules: all,
            targets: targets.collect(),
            connects: Vec::new(),
            rates: Vec::new(),
        }
    }
}

pub fn measure(world: &World, options: &Options, figures: &mut Figures) -> Result<()> {
    let mut variants = variants(options.services);
    for _ in 0..options.rounds {
        for variant in &mut variants {
            turn(world, variant)?;
        }
        // Each begins a round in its turn.
        variants.rotate_left(1);
    }
    for variant in &mut variants {
        let name = variant.name;
        let connects = &mut variant.connects;
        figures.set(&format!("{name}_p50_us"), percentile(connects, 50.0));
        figures.set(&format!("{name}_p99_us"), percentile(connects, 99.0));
        let rate = percentile(&mut variant.rates, 50.0);
        figures.set(&format!("{name}_per_s"), rate);
    }
    let p50 = |name: &str| {
        let variant = variants.iter().find(|variant| variant.name == name)?;
        Some(percentile(&mut variant.connects.clone(), 50.0))
    };
    let bare = p50("bare").ok_or("nothing was measured without rules")?;
    for name in ["one", "many", "kube_one", "kube_many"] {
        let rules = p50(name).ok_or("nothing was measured with rules")?;
        figures.set(&format!("{name}_p50_to_bare"), rules / bare);
    }
    Ok(())
}

fn variants(many: usize) -> Vec<Variant> {
    let ours = |count: usize| {
        let mut ours = Ours::new();
        for service in 0..count {
            ours.set_service(service);
            ours.set_slice(service, 0, Some(slice(endpoints_of(service))));
        }
        ours.whole()
    };
    let rivals = |count: usize| {
        let mut text = rival::ruleset();
        for service in 0..count {
            let endpoints: Vec<usize> = endpoints_of(service).collect();
            text.push_str(&rival::change(service, &[], &endpoints));
        }
        text
    };
    let by_cluster_ip = |count: usize| (0..count).map(|n| SocketAddr::from((cluster_ip(n), PORT)));
    let direct = endpoints_of(0).map(|n| SocketAddr::from((endpoint(n), TARGET)));
    vec![
        Variant::new("bare", "", direct),
        Variant::new("one", &ours(1), by_cluster_ip(1)),
        Variant::new("kube_one", &rivals(1), by_cluster_ip(1)),
        Variant::new("many", &ours(many), by_cluster_ip(many)),
        Variant::new("kube_many", &rivals(many), by_cluster_ip(many)),
    ]
}

fn turn(world: &World, variant: &mut Variant) -> Result<()> {
    let rules = variant.rules.clone();
    world
        .node
        .run(move |runtime| runtime.block_on(async move { apply(&rules).await }))?;
    if variant.name != "bare" {
        world.forget_soon();
    }
    let targets = Arc::clone(&variant.targets);
    let (connects, rate) = world.client.run(move |_| play(&targets))?;
    variant.connects.extend(connects);
    variant.rates.push(rate);
    Ok(())
}

/// Microseconds of each connection made alone, and how many a second are made by several
/// clients at once.
fn play(targets: &Arc<[SocketAddr]>) -> Result<(Vec<f64>, f64)> {
    // Without a limit, which would cost calls of its own, the others would wait long.
    let first = targets.first().ok_or("there is nothing to connect to")?;
    TcpStream::connect_timeout(first, PATIENCE)?;
    connect(targets, WARM)?;
    let connects = connect(targets, ALONE)?;
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            // A thread is in the namespace of the one that started it.
            let targets = Arc::clone(targets);
            std::thread::spawn(move || connect(&targets, EACH).map(drop))
        })
        .collect();
    for client in clients {
        client.join().map_err(|_| "a client has panicked")??;
    }
    let rate = (CLIENTS * EACH) as f64 / began.elapsed().as_secs_f64();
    Ok((connects, rate))
}

/// Connects as often, to one target after the other, and returns the microseconds of each.
fn connect(targets: &[SocketAddr], times: usize) -> Result<Vec<f64>> {
    let mut took = Vec::with_capacity(times);
    for target in targets.iter().cycle().take(times) {
        let began = Instant::now();
        let stream = TcpStream::connect(target)?;
        took.push(began.elapsed().as_secs_f64() * 1e6);
        // Closed by a reset, so that no port waits to be free again.
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&stream, sockopt::Linger, &at_once)?;
    }
    Ok(took)
}
