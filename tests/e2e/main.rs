//! The whole voyage in a real machine: real QEMU, Docker Engine, kubectl and Chromium.
//!
//! One machine is booted and shared by all parts, because a boot under software
//! emulation takes half a minute; the parts therefore run in order, in one test. Several machines
//! are another test, played when asked (`CADET_NODES=1`), and so are machines that stand still in
//! files (`CADET_FROZEN=1`), and a server that becomes a cluster (`CADET_SSH_DRIVER=1`).

#[path = "../areas/mod.rs"]
mod areas;
mod class;
mod comfort;
mod doors;
mod frozen;
#[path = "../areas/image.rs"]
mod image;
mod inside;
mod lessons;
mod nodes;
mod ssh;
#[path = "../support/mod.rs"]
mod support;
mod voyage;
