//! `cadet help`: commands, the long story behind an error id, the names of events.

use clap::{Args, CommandFactory};
use serde_json::json;

use crate::Context;
use crate::args::Cli;
use crate::error::{CliError, Result};
use crate::event_names::EVENTS;
use crate::{topics, ui};

/// Flags of `cadet help`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet help start\n  cadet help node add\n  cadet help HOST_DISK_FULL\n  cadet help errors\n  cadet help event-names   names in the output of -o json"
)]
pub struct HelpArgs {
    /// A command, an error id, `errors` for the list of all ids, `events` for that of all events
    #[arg(value_name = "TOPIC")]
    topic: Vec<String>,
}

/// Prints it.
pub fn run(cx: &Context, args: HelpArgs) -> Result<u8> {
    match args.topic.as_slice() {
        [] => cx.ui.line(Cli::command().render_help().to_string()),
        [one] if one == "errors" => {
            for topic in topics::TOPICS {
                let text = format!("{:<28} exit {}", topic.id, topic.exit);
                tell_topic(cx, topic, &text);
            }
        }
        [one] if one == "event-names" => events(cx),
        [one] => match topics::find(one) {
            Some(topic) => {
                let story = ui::wrap(topic.story, 78);
                let text = format!("{} (exit {})\n\n{story}", topic.id, topic.exit);
                tell_topic(cx, topic, &text);
            }
            None => command(cx, &args.topic)?,
        },
        words => command(cx, words)?,
    }
    Ok(0)
}

fn command(cx: &Context, words: &[String]) -> Result<()> {
    let mut cli = Cli::command();
    cli.build();
    let mut command = &mut cli;
    for word in words {
        command = command.find_subcommand_mut(word).ok_or_else(|| {
            let words = words.join(" ");
            let what = format!("there is no command and no error id {words:?}");
            CliError::new("PROGRAM_USAGE", what).fix("cadet help\ncadet help errors")
        })?;
    }
    cx.ui.line(command.render_long_help().to_string());
    Ok(())
}

fn events(cx: &Context) {
    for (name, about) in EVENTS {
        if cx.ui.json() {
            cx.ui.object(&json!({"event": name, "about": about}));
        } else {
            cx.ui.line(format!("{name:<17} {about}"));
        }
    }
}

fn tell_topic(cx: &Context, topic: &topics::Topic, text: &str) {
    if cx.ui.json() {
        cx.ui
            .object(&json!({"id": topic.id, "exitCode": topic.exit, "story": topic.story}));
    } else {
        cx.ui.line(text);
    }
}
