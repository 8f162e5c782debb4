//! Lessons on this laptop: the world the tutorial engine acts in, and the learner's terminal.
//!
//! * [`library`] finds lessons, [`folder`] is the learner's own copy of their files, [`progress`]
//!   what is remembered.
//! * [`classroom`] is the engine's world, made of [`program`] (kubectl, cadet), [`guest`] and
//!   [`docker`] (the machine), [`curl`] and [`http`] (through the tunnel), [`api`], [`watch`],
//!   [`journal`] and [`explain`] (the cluster).
//! * [`session`] holds a learner's conversation with the engine; [`screen`], [`plain`] and
//!   [`events`] are the three ways of telling it, [`page`] and [`text`] lay it out; [`report`]
//!   tells the class, if there is one that may know.

pub mod api;
pub mod classroom;
pub mod curl;
pub mod docker;
pub mod events;
pub mod explain;
pub mod folder;
pub mod guest;
pub mod http;
pub mod images;
pub mod journal;
pub mod keys;
pub mod library;
pub mod page;
pub mod plain;
pub mod program;
pub mod progress;
pub mod report;
pub mod screen;
pub mod session;
pub mod tap;
pub mod text;
pub mod watch;

use cadet_tutorial::world::WorldError;

use crate::error::CliError;

/// An error of ours as the engine takes it: one line and one command.
pub fn told(e: CliError) -> WorldError {
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let what = match &e.why {
        Some(why) => format!("{} ({})", e.what, first(why)),
        None => e.what.clone(),
    };
    WorldError {
        what,
        fix: e.fix.as_deref().map(first),
    }
}

/// An error of the engine's world as ours.
pub fn back(e: WorldError) -> CliError {
    let error = CliError::new("LESSON_WORLD", e.what);
    match e.fix {
        Some(fix) => error.fix(fix),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_travel_with_their_reason_and_their_command() {
        let e = CliError::new("GUEST_NOT_RUNNING", "the machine is off")
            .why("it was stopped\nsome log")
            .fix("cadet start\ncadet list");
        let e = told(e);
        assert_eq!(e.what, "the machine is off (it was stopped)");
        assert_eq!(e.fix.as_deref(), Some("cadet start"));
        assert_eq!(back(e).fix.as_deref(), Some("cadet start"));
    }
}
