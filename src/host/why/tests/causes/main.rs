//! Facts as real objects look, and what must be said of them: one test for each cause, and
//! pairs that look nearly the same and have another.

mod claims;
mod containers;
mod controllers;
mod images;
mod network;
mod nodes;
mod probes;
mod scheduling;
mod services;
mod wanting;
mod world;
