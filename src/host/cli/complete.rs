//! What a shell offers when Tab is pressed: commands and flags as they are declared, and the names
//! this computer knows of: profiles, nodes, lessons, snapshots, addons, settings, topics of help.
//!
//! The script that `cadet completion` prints has the shell ask this program each time. The answer
//! is wanted at once, so nothing is started, locked or written for it: names come from files.

use std::ffi::OsString;
use std::process::ExitCode;

use cadet_state::{Profile, ProfileName, Settings};
use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::CompleteEnv;

use crate::addons::ADDONS;
use crate::args::Cli;
use crate::defaults::KEYS;
use crate::lessons::library;
use crate::machine::FIRST_PROFILE;
use crate::world::World;
use crate::{nodes, topics};

/// The variable by which a shell asks.
pub const VARIABLE: &str = "CADET_COMPLETE";

type Finder = fn() -> Vec<CompletionCandidate>;

/// What an argument wants is told by the name of its value in the help texts.
const NAMES: [(&str, Finder); 9] = [
    ("PROFILE", profiles),
    ("list|PROFILE", profiles_and_all),
    ("NODE", nodes_of_profile),
    ("LESSON", lessons),
    ("DIR|LESSON", lessons),
    ("SNAPSHOT", snapshots),
    ("ADDON", addons),
    ("SETTING", settings),
    ("TOPIC", topics_of_help),
];

/// Answers a shell that asks; None if none does. No other thread may run yet, because the variable
/// is taken out of the environment.
pub fn answer() -> Option<ExitCode> {
    let words = unmistakable(std::env::args_os().collect());
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(command).var(VARIABLE);
    match asked.try_complete(words, here.as_deref()) {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(e) => {
            // Without standard error nobody can be told.
            let _ = e.print();
            Some(ExitCode::FAILURE)
        }
    }
}

/// The words with each profile joined to its flag: clap_complete takes every word that is a
/// command's name for that command, and a profile may be called `class`. Their number stays, as
/// shells count them; the last word is the one that is being typed.
fn unmistakable(mut words: Vec<OsString>) -> Vec<OsString> {
    for i in 0..words.len().saturating_sub(2) {
        if words[i] == "-p" || words[i] == "--profile" {
            let mut joined = OsString::from("--profile=");
            joined.push(&words[i + 1]);
            words[i] = joined.clone();
            words[i + 1] = joined;
        }
    }
    words
}

/// The command line, with what it knows of names.
fn command() -> Command {
    known(Cli::command())
}

fn known(command: Command) -> Command {
    command.mut_args(with_names).mut_subcommands(known)
}

fn with_names(arg: Arg) -> Arg {
    let value = arg.get_value_names().and_then(|names| names.first());
    let known = value.and_then(|value| NAMES.iter().find(|(name, _)| value.as_str() == *name));
    match known {
        Some((_, names)) => arg.add(ArgValueCandidates::new(*names)),
        None => arg,
    }
}

fn profiles() -> Vec<CompletionCandidate> {
    let Ok(world) = World::from_env() else {
        return Vec::new();
    };
    names_in(&world.home.profiles())
}

fn profiles_and_all() -> Vec<CompletionCandidate> {
    let mut names = vec![described("list", "show all profiles")];
    names.extend(profiles());
    names
}

fn nodes_of_profile() -> Vec<CompletionCandidate> {
    let Some((world, name)) = meant() else {
        return Vec::new();
    };
    // The readable copy: the database may be another command's at this moment.
    let record = std::fs::read(world.files(&name).record()).unwrap_or_default();
    let Ok(profile) = serde_json::from_slice::<Profile>(&record) else {
        return Vec::new();
    };
    let nodes = nodes::all(&profile);
    nodes.into_iter().map(|node| plain(node.name)).collect()
}

fn snapshots() -> Vec<CompletionCandidate> {
    let Some((world, name)) = meant() else {
        return Vec::new();
    };
    names_in(&world.files(&name).snapshots())
}

fn lessons() -> Vec<CompletionCandidate> {
    let lessons = World::from_env().and_then(|world| library::folders(&world));
    let lessons = lessons.unwrap_or_default();
    let names = lessons.iter().map(|folder| plain(folder.lesson_name()));
    names.collect()
}

fn addons() -> Vec<CompletionCandidate> {
    let named = ADDONS
        .iter()
        .map(|addon| described(addon.name, addon.about));
    named.collect()
}

fn settings() -> Vec<CompletionCandidate> {
    let named = KEYS.iter().map(|key| described(key.name, key.about));
    named.collect()
}

fn topics_of_help() -> Vec<CompletionCandidate> {
    let cli = Cli::command();
    let commands = cli.get_subcommands().map(|command| {
        let about = command.get_about().map(ToString::to_string);
        described(command.get_name(), &about.unwrap_or_default())
    });
    let topics = topics::TOPICS.iter().map(|topic| plain(topic.id));
    commands.chain(topics).collect()
}

fn plain(name: impl Into<OsString>) -> CompletionCandidate {
    CompletionCandidate::new(name)
}

fn described(name: &str, about: &str) -> CompletionCandidate {
    plain(name).help(Some(about.to_owned().into()))
}

/// Names of the folders in `place`, which are those of profiles or snapshots.
fn names_in(place: &std::path::Path) -> Vec<CompletionCandidate> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|n| ProfileName::parse(n).is_ok()).collect();
    names.sort_unstable();
    names.into_iter().map(plain).collect()
}

/// The profile that the words typed so far are about.
fn meant() -> Option<(World, ProfileName)> {
    let world = World::from_env().ok()?;
    let words: Vec<String> = std::env::args().collect();
    let chosen = || Settings::read(&world.home).ok()?.profile;
    let name = named_in(&words)
        .or_else(|| std::env::var("CADET_PROFILE").ok())
        .or_else(chosen)
        .unwrap_or_else(|| FIRST_PROFILE.into());
    let name = ProfileName::parse(&name).ok()?;
    Some((world, name))
}

/// The profile that `words` name.
fn named_in(words: &[String]) -> Option<String> {
    let pairs = words.iter().zip(words.iter().skip(1));
    let apart = pairs.filter(|(flag, _)| *flag == "-p" || *flag == "--profile");
    let joined = words.iter().filter_map(|w| w.strip_prefix("--profile="));
    let mut named = apart.map(|(_, name)| name.as_str()).chain(joined);
    named.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value name an argument of `command` has, those of its subcommands among them.
    fn value_names(command: &Command, all: &mut Vec<String>) {
        let names = command.get_arguments().filter_map(Arg::get_value_names);
        all.extend(names.flatten().map(ToString::to_string));
        for below in command.get_subcommands() {
            value_names(below, all);
        }
    }

    #[test]
    fn every_name_that_is_known_is_one_that_some_command_takes() {
        let mut all = Vec::new();
        value_names(&Cli::command(), &mut all);
        for (name, _) in NAMES {
            assert!(all.iter().any(|n| n == name), "no argument takes {name}");
        }
        command().debug_assert();
    }

    #[test]
    fn a_profile_called_as_a_command_is_no_command() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            unmistakable(words("cadet -p class node stop")),
            words("cadet --profile=class --profile=class node stop")
        );
        for typed in ["cadet -p cl", "cadet class serve", "cadet"] {
            assert_eq!(unmistakable(words(typed)), words(typed));
        }
    }

    #[test]
    fn the_profile_is_the_one_that_was_typed() {
        let named = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            named_in(&words)
        };
        assert_eq!(named("cadet -p class node stop").unwrap(), "class");
        assert_eq!(named("cadet node stop --profile=class").unwrap(), "class");
        assert_eq!(named("cadet --profile class ssh").unwrap(), "class");
        assert_eq!(named("cadet node stop"), None);
        assert_eq!(named("cadet node stop -p"), None);
    }
}
