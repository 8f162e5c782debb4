//! `cadet tutorial`: lessons that check themselves.

mod import;
mod lint;
mod list;
mod new;
mod play;
mod start;
mod steps;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Context;
use crate::args;
use crate::error::Result;

/// Flags of `cadet tutorial`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet tutorial                     the list; on a terminal, choose one\n  cadet tutorial telescope           begin it, or go on where you left\n  cadet tutorial hint                one more hint for the step you are in\n  cadet tutorial play telescope      play it unattended, as CI does\n\nA lesson runs in one terminal, or in two: its text here, your own kubectl there.\nIts files are put into ~/cadet-lessons/NAME (CADET_LESSONS names another place)."
)]
pub struct TutorialArgs {
    /// Lesson to begin or go on with, as `start` does
    #[arg(value_name = "LESSON")]
    name: Option<String>,
    /// Say lines and draw nothing: for screen readers
    #[arg(long, global = true)]
    plain: bool,
    #[command(subcommand)]
    command: Option<TutorialCommand>,
}

/// What to do with lessons.
#[derive(Debug, Subcommand)]
enum TutorialCommand {
    /// List the lessons: how long, what they build on, how far you are
    #[command(visible_alias = "ls")]
    #[command(after_help = "Examples:\n  cadet tutorial list\n  cadet tutorial list -o json")]
    List,
    /// Begin a lesson, or go on with it
    #[command(
        after_help = "Examples:\n  cadet tutorial start telescope\n  cadet tutorial start telescope --step 3\n  cadet tutorial start ./my-lesson"
    )]
    Start(StartArgs),
    /// Go on to the next step if this one is done
    #[command(after_help = "Example:\n  cadet tutorial next")]
    Next(Which),
    /// Say how the step stands and why it is not done yet
    #[command(after_help = "Examples:\n  cadet tutorial check\n  cadet tutorial check -o json")]
    Check(Which),
    /// Give one more hint
    #[command(
        after_help = "Examples:\n  cadet tutorial hint\n  cadet tutorial hint --lesson telescope"
    )]
    Hint(Which),
    /// Do the step for you
    #[command(after_help = "Example:\n  cadet tutorial solve")]
    Solve(Which),
    /// Leave the step as it is and go on
    #[command(after_help = "Example:\n  cadet tutorial skip")]
    Skip(Which),
    /// Bring the cluster back to where the lesson, or one step, found it
    #[command(after_help = "Examples:\n  cadet tutorial reset\n  cadet tutorial reset --step 3")]
    Reset(ResetArgs),
    /// Show the step you are in
    #[command(after_help = "Examples:\n  cadet tutorial status\n  cadet tutorial status -o json")]
    Status(Which),
    /// Find the mistakes in a lesson's files
    #[command(after_help = "Examples:\n  cadet tutorial lint\n  cadet tutorial lint ./my-lesson")]
    Lint {
        /// Folder or name of a lesson, or a folder of lessons; all of Cadet's by default
        #[arg(value_name = "DIR|LESSON")]
        lesson: Option<String>,
    },
    /// Play lessons unattended, as CI does
    Play(PlayArgs),
    /// Write the skeleton of a lesson
    #[command(after_help = "Example:\n  cadet tutorial new my-lesson --title \"My lesson\"")]
    New {
        /// Name of the lesson: the folder ./NAME is made
        name: String,
        /// Its title
        #[arg(long)]
        title: Option<String>,
    },
    /// Make a lesson of a Killercoda scenario
    #[command(after_help = "Example:\n  cadet tutorial import ./scenario --to ./my-lesson")]
    Import {
        /// Folder with the scenario's index.json
        dir: PathBuf,
        /// Folder to write; a new one
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// Flags of `start`.
#[derive(Debug, Args)]
struct StartArgs {
    /// Name, number or folder of the lesson; the one you were in by default
    #[arg(value_name = "LESSON")]
    name: Option<String>,
    /// Go to this step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    step: Option<u16>,
}

/// Which lesson is meant.
#[derive(Debug, Args)]
struct Which {
    /// Another lesson than the one you were in last
    #[arg(long, value_name = "LESSON")]
    lesson: Option<String>,
}

/// Flags of `reset`.
#[derive(Debug, Args)]
struct ResetArgs {
    #[command(flatten)]
    which: Which,
    /// Bring back this step only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    step: Option<u16>,
}

/// Flags of `play`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet tutorial play telescope --mistakes\n  cadet tutorial play --all --timeout 10m -o json"
)]
struct PlayArgs {
    /// Lessons to play, in this order: names, or folders
    #[arg(value_name = "LESSON", required_unless_present = "all")]
    names: Vec<String>,
    /// Play all that this cluster can play
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Also make every mistake the lessons foresee, and want the right words for it
    #[arg(long)]
    mistakes: bool,
    /// How long one step may take
    #[arg(long, value_parser = args::duration, default_value = "8m", value_name = "TIME")]
    timeout: std::time::Duration,
    /// Leave what the last lesson made in the cluster
    #[arg(long)]
    keep: bool,
}

/// Begins a lesson, or goes on with it, as `cadet tutorial NAME` does.
pub async fn begin(cx: &Context, lesson: &str) -> Result<u8> {
    start::run(cx, Some(lesson), None, false).await
}

/// Seconds since 1970.
pub fn now() -> u64 {
    start::now()
}

/// Does it.
pub async fn run(cx: &Context, args: TutorialArgs) -> Result<u8> {
    let plain = args.plain;
    let Some(command) = args.command else {
        return match args.name {
            Some(name) => start::run(cx, Some(&name), None, plain).await,
            None => list::choose(cx, plain).await,
        };
    };
    match command {
        TutorialCommand::List => list::list(cx),
        TutorialCommand::Start(args) => {
            let step = args.step.map(|step| usize::from(step) - 1);
            start::run(cx, args.name.as_deref(), step, plain).await
        }
        TutorialCommand::Next(which) => steps::next(cx, which.lesson).await,
        TutorialCommand::Check(which) => steps::check(cx, which.lesson).await,
        TutorialCommand::Hint(which) => steps::hint(cx, which.lesson),
        TutorialCommand::Solve(which) => steps::solve(cx, which.lesson).await,
        TutorialCommand::Skip(which) => steps::skip(cx, which.lesson),
        TutorialCommand::Reset(args) => {
            let step = args.step.map(|step| usize::from(step) - 1);
            steps::reset(cx, args.which.lesson, step).await
        }
        TutorialCommand::Status(which) => steps::status(cx, which.lesson),
        TutorialCommand::Lint { lesson } => lint::run(cx, lesson.as_deref()),
        TutorialCommand::Play(args) => play::run(cx, args).await,
        TutorialCommand::New { name, title } => new::run(cx, &name, title.as_deref()),
        TutorialCommand::Import { dir, to } => import::run(cx, &dir, to.as_deref()),
    }
}
