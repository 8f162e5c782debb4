//! The whole voyage in a real machine: real QEMU, Docker Engine, kubectl and Chromium.
//!
//! One machine is booted and shared by all parts, because a boot under software
//! emulation takes half a minute; the parts therefore run in order, in one test. Several machines
//! are another test, played when asked (`CADET_NODES=1`), and so are machines that stand still in
//! files (`CADET_FROZEN=1`), with what may befall them: commands killed at `CADET_KILLS` points,
//! `CADET_CUTS` power cuts under load; so are a class of two laptops (`CADET_CLASS=1`) and a
//! server that becomes a cluster (`CADET_SSH_DRIVER=1`).

#[path = "../areas/mod.rs"]
mod areas;
mod class;
#[cfg(target_os = "linux")]
mod classroom;
mod comfort;
mod doors;
mod faults;
mod frozen;
#[path = "../areas/image.rs"]
mod image;
mod inside;
mod lessons;
mod nodes;
#[cfg(target_os = "linux")]
#[path = "../support/room.rs"]
mod room;
mod ssh;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/upgraded.rs"]
mod upgraded;
mod voyage;
