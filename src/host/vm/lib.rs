//! The one keeper of QEMU: what a machine is, how it is started, watched, frozen and stopped.
//!
//! Paths and values come in as arguments; nothing here reads the environment (except
//! that programs are looked up in a `PATH` value the caller passes) and nothing prints.

pub mod accel;
pub mod argv;
pub mod checksum;
pub mod config;
pub mod diagnose;
pub mod error;
#[cfg(all(test, unix))]
mod fake_qmp;
pub mod frozen;
pub mod key;
pub mod lifecycle;
pub mod migrate;
pub mod overlay;
pub mod ports;
pub mod probe;
pub mod process;
pub mod qemu;
pub mod qmp;
pub mod stop;

pub use accel::{Accel, AccelChoice};
pub use config::{
    Arch, Disk, DiskFormat, Forward, HostOs, MachineConfig, Memory, QmpEndpoint, Segment,
};
pub use diagnose::Death;
pub use error::VmError;
pub use key::Key;
pub use lifecycle::{Machine, State};
pub use migrate::Layout;
pub use qemu::{Emulator, MINIMUM_VERSION, Version};
pub use stop::{StopDeadlines, StopStage, Stopped};
