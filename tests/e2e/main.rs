//! The whole voyage in a real machine: real QEMU, Docker Engine, kubectl and Chromium.
//!
//! One machine is booted and shared by all parts, because a boot under software
//! emulation takes half a minute; the parts therefore run in order, in one test.

#[path = "../areas/mod.rs"]
mod areas;
mod class;
mod doors;
#[path = "../areas/image.rs"]
mod image;
mod inside;
mod lessons;
#[path = "../support/mod.rs"]
mod support;
mod voyage;
