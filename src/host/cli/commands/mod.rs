//! One verb per file.

pub mod completion;
pub mod delete;
pub mod doctor;
pub mod help;
pub mod image;
pub mod kubectl;
pub mod list;
pub mod logs;
pub mod node;
pub mod open;
pub mod ssh;
pub mod start;
pub mod status;
pub mod stop;
pub mod trace;
pub mod tunnel;
pub mod version;
