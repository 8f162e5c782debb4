//! `cadet class`: a classroom without a cloud, on the teacher's laptop and the learners'.

mod board;
mod bundle;
mod cards;
mod help;
mod install;
mod join;
mod leave;
mod place;
mod serve;
mod source;
mod status;
mod work;

use clap::{Args, Subcommand};

use crate::Context;
use crate::error::Result;

/// Flags of `cadet class`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  cadet class bundle telescope telescope-heals     one file with all a learner needs\n  cadet class install cadet-class.cadet            on the learner's laptop, also offline\n  cadet class cards CODE --names names.txt         a page of join cards to print\n  cadet class serve                                hold the class; shows the join code\n  cadet class join CODE                            take part\n  cadet class help my pod stays Pending            call the teacher"
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
    /// Hold a class from this laptop: bundle, images and board, until Ctrl-C
    Serve(serve::ServeArgs),
    /// Show the board's address, the pace of the class, or write its table without names
    Board(board::BoardArgs),
    /// Join a class with the code on the teacher's screen, and begin its first lesson
    Join(join::JoinArgs),
    /// Call the teacher
    Help(help::HelpArgs),
    /// Show which class you are in and what it sees
    #[command(after_help = "Examples:\n  cadet class status\n  cadet class status -o json")]
    Status,
    /// Leave the class
    Leave(leave::LeaveArgs),
}

impl ClassArgs {
    /// True for commands that end in their own way: the signal is part of what they do.
    pub fn own_signals(&self) -> bool {
        matches!(self.command, ClassCommand::Serve(_) | ClassCommand::Join(_))
    }
}

/// Does it.
pub async fn run(cx: &Context, args: ClassArgs) -> Result<u8> {
    match args.command {
        ClassCommand::Bundle(args) => bundle::run(cx, args).await,
        ClassCommand::Install(args) => install::run(cx, args).await,
        ClassCommand::Cards(args) => cards::run(cx, &args),
        ClassCommand::Serve(args) => serve::run(cx, args).await,
        ClassCommand::Board(args) => board::run(cx, args).await,
        ClassCommand::Join(args) => join::run(cx, args).await,
        ClassCommand::Help(args) => help::run(cx, args).await,
        ClassCommand::Status => status::run(cx).await,
        ClassCommand::Leave(args) => leave::run(cx, args).await,
    }
}

/// A few names, or how many there are.
fn listed(names: &[String]) -> String {
    match names.len() {
        0..=4 => names.join(", "),
        n => format!("{n} lessons, {} to {}", names[0], names[n - 1]),
    }
}
