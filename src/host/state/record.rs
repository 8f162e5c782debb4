//! What Cadet remembers of a profile between two commands.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the user asked for. Fixed at creation except where a command says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual size of the disk in GiB; it only takes what is written.
    pub disk_gib: u64,
    /// Catalogue name of the guest image, or `auto`.
    pub image: String,
}

/// The prepared base image a profile's disk lies on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Base {
    /// Catalogue name with its version or recipe hash.
    pub id: String,
    /// One line for people, such as "Debian 13 guest, built from packages".
    pub title: String,
    /// qcow2 file of the base.
    pub disk: PathBuf,
    /// Kernel for direct boot.
    pub kernel: PathBuf,
    /// Initial RAM disk for direct boot.
    pub initrd: PathBuf,
    /// Kernel command line.
    pub cmdline: String,
}

/// Loopback ports of the laptop that lead into the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// To the guest's port 22.
    pub ssh: u16,
    /// To the API server's port.
    pub api: u16,
}

/// How far a profile has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// `start` has begun and not yet finished.
    Starting,
    /// `start` finished; the machine is meant to run.
    Running,
    /// `stop` finished.
    Stopped,
    /// `delete` has begun; whatever is left is to be removed.
    Deleting,
}

/// The record of one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Profile name; also host name, node name and kubeconfig context.
    pub name: String,
    /// Seconds since 1970.
    pub created: u64,
    /// What was asked for.
    pub spec: Spec,
    /// How far the profile has come.
    pub phase: Phase,
    /// The step `start` was in when it was last seen; for `status` and messages.
    #[serde(default)]
    pub step: Option<String>,
    /// Set once the image step is done.
    #[serde(default)]
    pub base: Option<Base>,
    /// Set once the machine step has chosen ports.
    #[serde(default)]
    pub ports: Option<Ports>,
    /// Accelerator the machine was last started with, such as `tcg`.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// OpenSSH line of the pinned host key.
    #[serde(default)]
    pub host_key: Option<String>,
    /// kubeconfig file Cadet wrote its context into.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
}
