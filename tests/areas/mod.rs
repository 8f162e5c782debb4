//! What a cluster does with real containers, asked of it by the real kubectl. Each area is a
//! file that cleans up after itself. `src/guest/tests/native` plays them all on what
//! `cadet-node up` makes of a plain Linux machine; `tests/e2e` plays in Cadet's own machine
//! those that meet its kernel and its engine, and all of them when asked (`CADET_AREAS=all`).
#![allow(dead_code)] // each suite uses its part

mod ask;
#[path = "../support/browser.rs"]
mod browser;
mod cluster;
mod dashboard;
mod ingress;
mod jobs;
pub mod load;
mod names;
mod patience;
mod pods;
mod policies;
mod probes;
pub mod registry;
mod rollouts;
mod scheduling;
mod security;
mod services;
mod sets;
mod volumes;
mod why;
mod workloads;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

pub use cluster::{BUSYBOX, Cluster, SERVE, Said, WAIT, shell};

/// What is done in an area.
type Play = fn(&dyn Cluster);

/// Rows of a phase may be played side by side: most of the time all wait. Areas of a row come one
/// after the other. Policies close the namespace to everybody, scheduling empties the node.
const PHASES: &[&[&[(&str, Play)]]] = &[
    &[
        &[
            ("pods", pods::play),
            ("workloads", workloads::play),
            ("rollouts", rollouts::play),
            ("sets", sets::play),
            ("jobs", jobs::play),
            ("dashboard", dashboard::play),
        ],
        &[
            ("services", services::play),
            ("names", names::play),
            ("ingress", ingress::play),
            ("registry", registry::play),
        ],
        &[
            ("volumes", volumes::play),
            ("probes", probes::play),
            ("security", security::play),
        ],
    ],
    &[&[("policies", policies::play)]],
    // Both close the node for a while.
    &[&[("scheduling", scheduling::play), ("why", why::play)]],
];

/// What is played under software emulation, where all areas take half an hour: what rests most
/// on the machine's own kernel and engine.
const EMULATED: &str = "pods,services";

/// Plays the areas that `CADET_AREAS` names (`pods,jobs`, or `all`), or without it the cluster's
/// usual ones, each to its end whatever the others do. Returns the names of those that failed.
pub fn play(cluster: &dyn Cluster) -> Vec<&'static str> {
    let usual = if cluster.is_fast() { "all" } else { EMULATED };
    let wanted = std::env::var("CADET_AREAS").unwrap_or_else(|_| usual.into());
    let is_wanted = |name: &str| wanted == "all" || wanted.split(',').any(|one| one == name);
    let mut failed = Vec::new();
    let row = |areas: &[(&'static str, Play)]| -> Vec<&'static str> {
        let wanted = areas.iter().filter(|(name, _)| is_wanted(name));
        wanted
            .filter(|(name, area)| !passes(cluster, name, *area))
            .map(|(name, _)| *name)
            .collect()
    };
    let row = &row;
    for rows in PHASES {
        std::thread::scope(|threads| {
            let played: Vec<_> = rows
                .iter()
                .filter_map(|areas| {
                    if cluster.is_fast() {
                        return Some(threads.spawn(move || row(areas)));
                    }
                    failed.extend(row(areas));
                    None
                })
                .collect();
            for one in played {
                failed.extend(one.join().expect("panics are caught inside"));
            }
        });
    }
    failed
}

#[allow(clippy::print_stdout)] // the test's own report
fn passes(cluster: &dyn Cluster, name: &str, area: Play) -> bool {
    let since = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| area(cluster))).is_ok();
    let words = if done { "ok" } else { "FAILED" };
    println!("{name}: {words} ({:.1} s)", since.elapsed().as_secs_f64());
    done
}
