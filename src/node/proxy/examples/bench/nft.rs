//! How long it takes until the kernel has what has changed of a Service with very many
//! endpoints.

use std::collections::BTreeMap;
use std::time::Instant;

use cadet_proxy::nft::apply;
use cadet_proxy::table::TABLE;

use crate::figures::{Figures, percentile};
use crate::services::{self, Ours, SLICE, slice};
use crate::world::World;
use crate::{Options, Result, rival};

/// Milliseconds of each round, by what was done.
type Times = BTreeMap<&'static str, Vec<f64>>;

/// Some rounds of the same steps, for us and for the rival.
pub fn measure(world: &World, options: &Options, figures: &mut Figures) -> Result<()> {
    let (rounds, endpoints) = (options.rounds, options.endpoints);
    let times = world
        .node
        .run(move |runtime| runtime.block_on(all_rounds(rounds, endpoints)))?;
    for (name, mut values) in times {
        figures.set(&format!("{name}_p50_ms"), percentile(&mut values, 50.0));
        figures.set(&format!("{name}_p99_ms"), percentile(&mut values, 99.0));
    }
    Ok(())
}

async fn all_rounds(rounds: usize, endpoints: usize) -> Result<Times> {
    let mut times = Times::new();
    for _ in 0..rounds {
        // One table at a time: nft reads of all that there are.
        our_round(endpoints, &mut times).await?;
        apply(&format!("delete table {TABLE}\n")).await?;
        rivals_round(endpoints, &mut times).await?;
        apply(&format!("delete table {}\n", rival::TABLE)).await?;
    }
    Ok(times)
}

/// From the objects to the kernel, as after a batch of messages from the API.
async fn our_round(endpoints: usize, times: &mut Times) -> Result<()> {
    apply(&services::ruleset()).await?;
    let mut ours = Ours::new();
    let numbers: Vec<usize> = (0..endpoints).collect();
    let all = slices(&numbers);

    let began = Instant::now();
    ours.set_service(0);
    for (at, slice) in all {
        ours.set_slice(0, at, Some(slice));
    }
    ours.sync().await?;
    note(times, "first", began);

    let last = endpoints / SLICE + 1;
    let more = slice(std::iter::once(endpoints));
    let began = Instant::now();
    ours.set_slice(0, last, Some(more));
    ours.sync().await?;
    note(times, "more", began);

    let began = Instant::now();
    ours.set_slice(0, last, None);
    ours.sync().await?;
    note(times, "less", began);

    let others = slice(endpoints..endpoints + SLICE);
    let began = Instant::now();
    ours.set_slice(0, 0, Some(others));
    ours.sync().await?;
    note(times, "slice", began);

    let numbers: Vec<usize> = (2 * endpoints..3 * endpoints).collect();
    let all = slices(&numbers);
    let began = Instant::now();
    for (at, slice) in all {
        ours.set_slice(0, at, Some(slice));
    }
    ours.sync().await?;
    note(times, "all", began);

    let began = Instant::now();
    apply(&ours.whole()).await?;
    note(times, "anew", began);
    Ok(())
}

/// The same steps in the same order.
async fn rivals_round(endpoints: usize, times: &mut Times) -> Result<()> {
    apply(&rival::ruleset()).await?;
    let none = Vec::new();
    let first: Vec<usize> = (0..endpoints).collect();
    let more: Vec<usize> = (0..=endpoints).collect();
    let slice: Vec<usize> = (SLICE..endpoints + SLICE).collect();
    let all: Vec<usize> = (2 * endpoints..3 * endpoints).collect();
    for (name, old, new) in [
        ("kube_first", &none, &first),
        ("kube_more", &first, &more),
        ("kube_less", &more, &first),
        ("kube_slice", &first, &slice),
        ("kube_all", &slice, &all),
    ] {
        let began = Instant::now();
        apply(&rival::change(0, old, new)).await?;
        note(times, name, began);
        apply(&rival::tidy(0, old, new)).await?;
    }
    Ok(())
}

/// Endpoints as the controller divides them, each slice with its number.
fn slices(numbers: &[usize]) -> Vec<(usize, cadet_proxy::services::Slice)> {
    let parts = numbers.chunks(SLICE).enumerate();
    parts
        .map(|(at, part)| (at, slice(part.iter().copied())))
        .collect()
}

fn note(times: &mut Times, name: &'static str, began: Instant) {
    let took = began.elapsed().as_secs_f64() * 1e3;
    times.entry(name).or_default().push(took);
}
