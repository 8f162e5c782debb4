//! `cadet help`: commands, and the long story behind an error id.

use clap::{Args, CommandFactory};

use crate::args::Cli;
use crate::error::{CliError, Result};
use crate::{topics, ui};

/// Flags of `cadet help`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet help start\n  cadet help HOST_DISK_FULL\n  cadet help errors"
)]
pub struct HelpArgs {
    /// A command, an error id, or `errors` for the list of all ids
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

/// Prints it.
pub fn run(args: HelpArgs) -> Result<u8> {
    let mut cli = Cli::command();
    let Some(topic) = args.topic else {
        ui::say(&cli.render_help().to_string());
        return Ok(0);
    };
    if topic == "errors" {
        for topic in topics::TOPICS {
            ui::say(&format!("{:<28} exit {}", topic.id, topic.exit));
        }
        return Ok(0);
    }
    if let Some(topic) = topics::find(&topic) {
        ui::say(&format!(
            "{} (exit {})\n\n{}",
            topic.id,
            topic.exit,
            ui::wrap(topic.story, 78)
        ));
        return Ok(0);
    }
    cli.build();
    if let Some(command) = cli.find_subcommand_mut(&topic) {
        ui::say(&command.render_long_help().to_string());
        return Ok(0);
    }
    Err(CliError::new(
        "PROGRAM_USAGE",
        format!("there is no command and no error id {topic:?}"),
    )
    .fix("cadet help\ncadet help errors"))
}
