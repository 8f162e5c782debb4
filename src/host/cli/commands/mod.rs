//! One verb per file.

pub mod class;
pub mod completion;
pub mod delete;
pub mod docker_env;
pub mod doctor;
pub mod help;
pub mod image;
pub mod kubectl;
pub mod list;
pub mod logs;
pub mod open;
pub mod service;
pub mod ssh;
pub mod start;
pub mod status;
pub mod stop;
pub mod trace;
pub mod tunnel;
pub mod tutorial;
pub mod version;
pub mod why;
