//! The machine's clock after it stood still: while the laptop sleeps, or QEMU holds the guest,
//! the system's clock stops and the clock chip goes on, for QEMU reads it from the laptop's.
//!
//! Only a machine does this; a server's chip may hold any time of any zone. The clock is moved
//! forward, never back: leases, certificates and programs rely on time going on. What was done
//! is told in the journal, in a file for the laptop and in an annotation of the Node.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cadet_api::install::CLOCK;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The clock chip, in seconds since 1970 (rtc in the kernel's sysfs-class-rtc).
const CHIP: &str = "/sys/class/rtc/rtc0/since_epoch";
/// What the laptop reads; gone after a boot, as what it tells of is.
const STORY: &str = "/run/cadet-clock.json";
/// Between two looks; the clock is right within so much of waking.
const LOOK: Duration = Duration::from_secs(5);
/// What is less is not worth a jump; the chip tells whole seconds only.
const TOLERANCE: i64 = 2;
/// Between two looks at the chip while its next second is waited for.
const FINE: Duration = Duration::from_millis(10);

/// What was done since the machine was booted.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Story {
    asleep_seconds: i64,
    corrections: u32,
}

/// How the clock stands to the chip.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Right,
    Behind(i64),
    Ahead(i64),
}

fn judge(chip: i64, system: i64) -> Found {
    match chip - system {
        off if off > TOLERANCE => Found::Behind(off),
        off if off < -TOLERANCE => Found::Ahead(-off),
        _ => Found::Right,
    }
}

/// Keeps the clock of node `name` right until `shutdown`.
pub async fn keep(name: String, client: kube::Client, shutdown: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let nodes: Api<Node> = Api::all(client);
    let mut story = kept();
    // What stands there may be of an earlier boot.
    let (mut is_told, mut was_ahead) = (false, false);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        let found = match look() {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, CHIP, "the clock chip cannot be read: the clock is left alone");
                return;
            }
        };
        let is_ahead = matches!(found, Found::Ahead(_));
        match found {
            Found::Right => {}
            Found::Ahead(seconds) if !was_ahead => {
                tracing::warn!(
                    seconds,
                    "the clock is ahead of the laptop's and is not moved back"
                );
            }
            Found::Ahead(_) => {}
            Found::Behind(seconds) => match correct().await {
                Ok(()) => {
                    tracing::info!(
                        seconds,
                        "the machine stood still: its clock was moved forward"
                    );
                    story.asleep_seconds += seconds;
                    story.corrections += 1;
                    is_told = false;
                    write(&story);
                }
                Err(error) => tracing::error!(%error, seconds, "the clock cannot be set"),
            },
        }
        was_ahead = is_ahead;
        if !is_told {
            // The server may be away for a moment after a sleep: the next look tries again.
            is_told = tell(&nodes, &name, &story).await;
        }
    }
}

fn look() -> io::Result<Found> {
    Ok(judge(chip()?, system()))
}

fn chip() -> io::Result<i64> {
    let text = std::fs::read_to_string(CHIP)?;
    text.trim().parse().map_err(io::Error::other)
}

fn system() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Sets the clock at the moment the chip's next second begins.
async fn correct() -> io::Result<()> {
    let first = chip()?;
    let mut now = first;
    // One second and some more: a chip that stands still is believed as it is.
    for _ in 0..150 {
        tokio::time::sleep(FINE).await;
        now = chip()?;
        if now != first {
            break;
        }
    }
    let time = libc::timespec {
        tv_sec: now,
        tv_nsec: 0,
    };
    // SAFETY: the kernel reads the struct and keeps nothing of it.
    match unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What an agent before this one did; nothing if there was none since the boot.
fn kept() -> Story {
    let text = std::fs::read(STORY).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write(story: &Story) {
    if let Err(error) = std::fs::write(STORY, json!(story).to_string()) {
        tracing::warn!(%error, STORY, "what was done to the clock is not told to the laptop");
    }
}

async fn tell(nodes: &Api<Node>, name: &str, story: &Story) -> bool {
    let text = (story.corrections > 0).then(|| json!(story).to_string());
    let patch = json!({"metadata": {"annotations": {CLOCK: text}}});
    let params = PatchParams::default();
    match nodes.patch(name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(%error, "the Node does not tell of the clock yet");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_no_sleep_and_the_direction_counts() {
        assert_eq!(judge(100, 99), Found::Right);
        assert_eq!(judge(100, 98), Found::Right);
        assert_eq!(judge(100, 97), Found::Behind(3));
        assert_eq!(judge(100, 160), Found::Ahead(60));
        let year = 31_536_000;
        assert_eq!(judge(2 * year, year), Found::Behind(year));
    }

    #[test]
    fn the_laptop_reads_what_is_told() {
        let story = Story {
            asleep_seconds: 2460,
            corrections: 2,
        };
        let told = json!(story);
        assert_eq!(told, json!({"asleepSeconds": 2460, "corrections": 2}));
        assert_eq!(serde_json::from_value::<Story>(told).unwrap(), story);
    }
}
