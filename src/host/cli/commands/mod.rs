//! One verb per file.

pub mod completion;
pub mod config;
pub mod delete;
pub mod docker_env;
pub mod doctor;
pub mod events;
pub mod help;
pub mod image;
pub mod ip;
pub mod kubectl;
pub mod list;
pub mod logs;
pub mod open;
pub mod profile;
pub mod service;
pub mod ssh;
pub mod start;
pub mod status;
pub mod stop;
pub mod top;
pub mod trace;
pub mod tunnel;
pub mod tutorial;
pub mod update_context;
pub mod version;
pub mod why;
