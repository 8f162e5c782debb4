//! How much of a node stays free, and how evenly.

use super::FULL;
use crate::ask::Ask;
use crate::node::{Facts, Load};

/// The emptier the better, CPU and memory alike.
pub fn least_used(ask: &Ask, facts: &Facts, load: &Load) -> i64 {
    let offers = [facts.offers.cpu, facts.offers.memory];
    let mut sum = 0;
    let mut counted = 0;
    for ((offered, used), need) in offers.into_iter().zip(load.weighed).zip(ask.weighed) {
        if offered <= 0 {
            continue;
        }
        counted += 1;
        sum += share(offered.saturating_sub(used.saturating_add(need)), offered);
    }
    if counted == 0 { 0 } else { sum / counted }
}

fn share(free: i64, offered: i64) -> i64 {
    if free <= 0 {
        return 0;
    }
    match free.checked_mul(FULL) {
        Some(full) => full / offered,
        // Bytes times a hundred, on very large machines; several times as slow.
        None => {
            let full = i128::from(free) * i128::from(FULL);
            i64::try_from(full / i128::from(offered)).unwrap_or(0)
        }
    }
}

/// The more alike CPU and memory are used the better.
pub fn balance(ask: &Ask, facts: &Facts, load: &Load) -> i64 {
    if ask.requests.cpu == 0 && ask.requests.memory == 0 {
        return 0;
    }
    let part = |need: i64, used: i64, offered: i64| {
        (offered > 0).then(|| (used.saturating_add(need) as f64 / offered as f64).min(1.0))
    };
    let cpu = part(ask.requests.cpu, load.used.cpu, facts.offers.cpu);
    let memory = part(ask.requests.memory, load.used.memory, facts.offers.memory);
    let deviation = match (cpu, memory) {
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
        _ => 0.0,
    };
    ((1.0 - deviation) * FULL as f64) as i64
}
