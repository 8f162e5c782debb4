//! The `cadet` program seen from outside, without a machine: words, errors, state.

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod choices;
mod class;
mod class_errors;
mod classroom;
mod doctor;
mod kubectl;
mod lessons;
mod mirror;
mod servers;
mod state;
mod words;
