//! `cadet config`: what `start` takes where its flags say nothing.

use cadet_state::Settings;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::Context;
use crate::defaults::{Defaults, KEYS, key};
use crate::error::{CliError, Result};

/// Flags of `cadet config`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "A flag of `start` wins over a setting; a profile that exists keeps what it has.\n\nExamples:\n  cadet config set memory 3g\n  cadet config get memory\n  cadet config list               all there is to choose\n  cadet config unset memory"
)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

/// What to do with the settings.
#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print what was chosen
    #[command(after_help = "Example:\n  cadet config get memory")]
    Get {
        /// Name of the setting
        #[arg(value_name = "SETTING")]
        key: String,
    },
    /// Choose a value
    #[command(
        after_help = "Examples:\n  cadet config set memory 3g\n  cadet config set image ubuntu-24.04"
    )]
    Set {
        /// Name of the setting
        #[arg(value_name = "SETTING")]
        key: String,
        /// The value, as the flag of `start` takes it
        value: String,
    },
    /// Forget what was chosen
    #[command(after_help = "Example:\n  cadet config unset memory")]
    Unset {
        /// Name of the setting
        #[arg(value_name = "SETTING")]
        key: String,
    },
    /// Print all that was chosen
    #[command(after_help = "Examples:\n  cadet config view\n  cadet config view -o json")]
    View,
    /// Print all that can be chosen
    #[command(visible_alias = "ls")]
    #[command(after_help = "Example:\n  cadet config list")]
    List,
}

/// Does it.
pub fn run(cx: &Context, args: ConfigArgs) -> Result<u8> {
    match args.command {
        ConfigCommand::Get { key } => get(cx, &key),
        ConfigCommand::Set { key, value } => set(cx, &key, &value),
        ConfigCommand::Unset { key } => unset(cx, &key),
        ConfigCommand::View => view(cx),
        ConfigCommand::List => list(cx),
    }
}

fn get(cx: &Context, name: &str) -> Result<u8> {
    let key = key(name)?;
    let settings = Settings::read(&cx.world.home)?;
    let Some(value) = settings.start.get(key.name) else {
        let what = format!("the setting {} was not chosen", key.name);
        return Err(CliError::new("PROGRAM_USAGE", what)
            .why(format!("start takes {}", key.usual))
            .fix(format!("cadet config set {} VALUE", key.name)));
    };
    if cx.ui.json() {
        cx.ui.object(&json!({"key": key.name, "value": value}));
    } else {
        cx.ui.line(value);
    }
    Ok(0)
}

fn set(cx: &Context, name: &str, value: &str) -> Result<u8> {
    let key = key(name)?;
    let value = value.trim();
    // Looked at together: a value may be fine by itself only.
    let mut wanted = Settings::read(&cx.world.home)?;
    wanted.start.insert(key.name.into(), value.into());
    Defaults::of(&wanted)?.check(cx)?;
    Settings::change(&cx.world.home, |s| {
        s.start.insert(key.name.into(), value.into());
    })?;
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "key": key.name, "value": value}));
    } else {
        cx.ui.line(format!(
            "New profiles get {} {value}; those that exist keep what they have.",
            key.name
        ));
    }
    Ok(0)
}

fn unset(cx: &Context, name: &str) -> Result<u8> {
    let key = key(name)?;
    let was = Settings::read(&cx.world.home)?.start.remove(key.name);
    if was.is_some() {
        Settings::change(&cx.world.home, |s| {
            s.start.remove(key.name);
        })?;
    }
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "key": key.name, "was": was}));
    } else {
        cx.ui
            .line(format!("New profiles get {} {}.", key.name, key.usual));
    }
    Ok(0)
}

fn view(cx: &Context) -> Result<u8> {
    let chosen = Settings::read(&cx.world.home)?.start;
    if cx.ui.json() {
        let object: Map<String, Value> = chosen.into_iter().map(|(k, v)| (k, v.into())).collect();
        cx.ui.object(&Value::Object(object));
        return Ok(0);
    }
    if chosen.is_empty() {
        cx.ui.line("Nothing was chosen.\n  next: cadet config list");
    }
    for (name, value) in chosen {
        cx.ui.line(format!("{name:<10} {value}"));
    }
    Ok(0)
}

fn list(cx: &Context) -> Result<u8> {
    let chosen = Settings::read(&cx.world.home)?.start;
    for key in &KEYS {
        let value = chosen.get(key.name);
        if cx.ui.json() {
            cx.ui.object(&json!({
                "key": key.name, "value": value, "default": key.usual, "about": key.about}));
        } else {
            let value = value.map_or(key.usual, String::as_str);
            cx.ui
                .line(format!("{:<10} {:<28} {}", key.name, value, key.about));
        }
    }
    Ok(0)
}
