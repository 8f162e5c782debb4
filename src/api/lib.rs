//! Kinds, versions and documents shared by host and guest. No I/O.

pub mod install;
