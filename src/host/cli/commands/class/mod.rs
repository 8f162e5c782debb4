//! `cadet class`: a classroom without a cloud, on the teacher's laptop and the learners'.

mod bundle;
mod cards;
mod install;
mod place;
mod source;
mod work;

use clap::{Args, Subcommand};

use crate::Context;
use crate::error::Result;

/// Flags of `cadet class`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  cadet class bundle telescope telescope-heals     one file with all a learner needs\n  cadet class install cadet-class.cadet            on the learner's laptop, also offline\n  cadet class cards CODE --names names.txt         a page of join cards to print"
)]
pub struct ClassArgs {
    #[command(subcommand)]
    command: ClassCommand,
}

/// What to do for a class.
#[derive(Debug, Subcommand)]
enum ClassCommand {
    /// Put everything a learner needs for the chosen lessons into one signed file
    Bundle(bundle::BundleArgs),
    /// Install a bundle; what is there already is kept, and no internet is needed
    Install(install::InstallArgs),
    /// Write a page of join cards to print
    Cards(cards::CardsArgs),
}

/// Does it.
pub async fn run(cx: &Context, args: ClassArgs) -> Result<u8> {
    match args.command {
        ClassCommand::Bundle(args) => bundle::run(cx, args).await,
        ClassCommand::Install(args) => install::run(cx, args).await,
        ClassCommand::Cards(args) => cards::run(cx, &args),
    }
}

/// A few names, or how many there are.
fn listed(names: &[String]) -> String {
    match names.len() {
        0..=4 => names.join(", "),
        n => format!("{n} lessons, {} to {}", names[0], names[n - 1]),
    }
}
