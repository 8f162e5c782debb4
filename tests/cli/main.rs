//! The `cadet` program seen from outside, without a machine: words, errors, state.

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod class;
mod class_errors;
mod classroom;
mod lessons;
mod state;
mod words;
