//! The `cadet` program seen from outside, without a machine: words, errors, state.

#[cfg(target_os = "linux")]
#[path = "../support/room.rs"]
mod room;
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod choices;
mod class;
#[cfg(target_os = "linux")]
mod class_disk;
mod class_errors;
#[cfg(target_os = "linux")]
mod class_room;
mod class_sleep;
mod classroom;
mod doctor;
mod faults;
mod kubectl;
mod lessons;
mod mirror;
mod servers;
mod state;
mod words;
