//! The steps of a start, in order. Each knows whether it is done, how to do it, and
//! how to undo it; a second `start` goes on with the first step that is not done.
//!
//! ```text
//! host → image → template → seed → machine → connect → install → ready → kubectl → workers → join
//!                            ◀──────────── delete undoes, last step first ─────────────────
//! ```
//! `template` is only there for disks that are to be made; `machine` wakes, copies or boots
//! (`arrive`).
//! The last two are only there for profiles of several machines. They come after the first
//! machine is usable, because it makes what the others prove themselves with.
//!
//! On servers that the user has already (`servers`) no machine is made:
//! ```text
//! servers → install → connect → tunnel → ready → kubectl → workers → join
//! ```

mod arrive;
mod connect;
mod door;
mod host;
mod image;
mod install;
mod join;
mod kubectl;
mod look;
mod machine;
mod place;
mod ready;
mod seed;
mod template;
mod workers;

pub use arrive::Arrival;
pub use host::{emulator, fit_together, fits};
pub use seed::lessons_table;

use std::collections::BTreeMap;
use std::time::Instant;

use async_trait::async_trait;
use cadet_api::kubeconfig::Access;
use cadet_state::{Profile, ProfilePaths};
use cadet_tunnel::Tunnel;
use cadet_vm::Emulator;

use crate::Context;
use crate::commands::start::StartArgs;
use crate::error::{CliError, Result};
use crate::nodes::{self, Node};

/// What the steps share.
pub struct Voyage<'a> {
    /// Environment, name and voice.
    pub cx: &'a Context,
    /// What the user asked for.
    pub args: &'a StartArgs,
    /// The record; steps write into it and it is kept after each.
    pub profile: Profile,
    /// The profile's files.
    pub files: ProfilePaths,
    /// The machines beside the first that are to run.
    pub workers: Vec<Node>,
    /// Whether steps that are done are passed over in silence.
    pub quiet: bool,
    /// When the command began.
    pub began: Instant,
    /// Set by `host`.
    pub emulator: Option<Emulator>,
    /// True when the machine ran already as this start began.
    pub was_running: bool,
    /// Set by `seed` when it wrote the seed disk in this start.
    pub was_seeded: bool,
    /// How machines came to run in this start, by their numbers.
    pub arrivals: BTreeMap<u8, Arrival>,
    /// Set by `connect`.
    pub tunnel: Option<Tunnel>,
    /// Set by `ready`.
    pub access: Option<Access>,
}

/// What a step says of itself: its line, and what stands in the place of the time.
pub struct Note {
    text: String,
    time: Option<&'static str>,
}

impl Note {
    /// A note with the step's own time.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            time: None,
        }
    }

    /// A note about something that was there already.
    pub fn there(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            time: Some("there"),
        }
    }

    /// A note about something found in the cache.
    pub fn cached(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            time: Some("cached"),
        }
    }
}

/// One step.
#[async_trait]
pub trait Step: Sync {
    /// Its name in lines and events; never changes.
    fn name(&self) -> &'static str;

    /// Whether it belongs to this start at all.
    fn applies(&self, _v: &Voyage<'_>) -> bool {
        true
    }

    /// One line for `--dry-run`.
    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String>;

    /// Looks at the world: `Some` if there is nothing to do.
    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>>;

    /// Does it. May be killed at any moment and must then be doable again.
    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note>;

    /// Removes what it made; called by `delete` on profiles in any state.
    async fn undo(&self, _cx: &Context, _profile: &Profile) -> Result<()> {
        Ok(())
    }
}

/// The list; with more machines than one it is longer, and on servers another.
pub fn steps(profile: &Profile, several: bool) -> Vec<&'static dyn Step> {
    if profile.server.is_some() {
        return on_servers(several);
    }
    let mut steps: Vec<&'static dyn Step> = vec![
        &host::Host,
        &image::Image,
        &template::Template,
        &seed::Seed,
        &machine::Machine,
        &connect::Connect,
        &install::Install,
        &ready::Ready,
        &kubectl::Kubectl,
    ];
    if several {
        steps.push(&workers::Workers);
        steps.push(&join::Join);
    }
    steps
}

fn on_servers(several: bool) -> Vec<&'static dyn Step> {
    let mut steps: Vec<&'static dyn Step> = vec![
        &look::Look,
        &place::Place,
        &connect::Connect,
        &door::Door,
        &ready::Ready,
        &kubectl::Kubectl,
    ];
    if several {
        steps.push(&place::Followers);
        steps.push(&join::Join);
    }
    steps
}

/// Runs what is not done yet, up to and including the last step of these names, else to the end.
///
/// # Errors
/// The first step's error that fails; the steps before it stay done.
pub async fn run_all(v: &mut Voyage<'_>, last: Option<&[&str]>) -> Result<()> {
    let mut steps = steps(&v.profile, !v.workers.is_empty());
    steps.retain(|step| step.applies(v));
    let wanted = match last {
        Some(names) => steps
            .iter()
            .rposition(|step| names.contains(&step.name()))
            .map_or(0, |index| index + 1),
        None => steps.len(),
    };
    for (index, step) in steps[..wanted].iter().enumerate() {
        if v.quiet && step.done(v).await?.is_some() {
            continue;
        }
        v.cx.ui.step_started(step.name(), index + 1, wanted);
        v.profile.step = Some(step.name().into());
        let note = match step.done(v).await? {
            Some(note) => note,
            None => step.run(v).await?,
        };
        if !v.args.download_only {
            crate::machine::save(v.cx, &v.profile)?;
        }
        v.cx.ui.step_done(&note.text, note.time);
    }
    Ok(())
}

/// Undoes every step, last first. Goes on after an error, so that one stuck file does
/// not keep the rest; the first error is told.
///
/// # Errors
/// The first error met.
pub async fn undo_all(cx: &Context, profile: &Profile) -> Result<()> {
    let mut first: Option<CliError> = None;
    let several = !nodes::workers(profile).is_empty();
    for step in steps(profile, several).iter().rev() {
        if let Err(e) = step.undo(cx, profile).await {
            first.get_or_insert(e);
        }
    }
    first.map_or(Ok(()), Err)
}
