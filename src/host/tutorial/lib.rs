//! Lessons: what they say, whether they are sound, and how they are played.
//!
//! * [`model`] is a lesson in memory; [`condition`] what a step waits for.
//! * [`folder`] reads a lesson's files; [`load`] makes the model of them and keeps every mistake
//!   with its line; [`lint`] finds the mistakes that need more than the text.
//! * [`engine`] drives one lesson over a [`World`]; [`play`] drives it unattended and says
//!   whether the lesson is true.
//! * [`progress`] is what is remembered of a learner.
//! * [`import`] and [`skeleton`] write lessons.
//!
//! The terminal, the home directory, kubectl and the cluster are the caller's: this room sees
//! them through [`World`] only.

pub mod command;
pub mod condition;
pub mod curl;
pub mod engine;
pub mod event;
pub mod finding;
pub mod folder;
pub mod front;
pub mod import;
pub mod lint;
pub mod load;
mod markdown;
pub mod model;
pub mod play;
pub mod progress;
pub mod skeleton;
pub mod world;
mod yaml;

pub use condition::{Condition, Need};
pub use engine::drive;
pub use event::{Event, Verb};
pub use finding::{Finding, Severity};
pub use folder::Folder;
pub use model::{Block, Command, Lesson, Step};
pub use progress::LessonProgress;
pub use world::World;
