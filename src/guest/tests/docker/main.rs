//! The real agent over a real Docker Engine: pods as a learner meets them. Every test has
//! an engine, a network namespace and an API server of its own; it needs root and
//! `dockerd`, which scripts/test installs.

mod cluster;
mod configuration;
mod engine;
mod failures;
mod life;
mod probes;
mod security;
mod stand_ins;
mod usage;
mod volumes;
