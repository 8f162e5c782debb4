//! What Cadet remembers of a profile between two commands.

use std::net::Ipv4Addr;
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

/// The template a machine's disk was copied from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateUse {
    /// The template's key.
    pub key: String,
    /// Its disk, on which the machine's own lies.
    pub disk: PathBuf,
    /// Whether the copy has become this machine; before that it is nobody, and made anew.
    pub settled: bool,
}

/// Loopback ports of the laptop that lead into the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// To the guest's port 22; 0 where a server is in its place.
    pub ssh: u16,
    /// To the API server's port.
    pub api: u16,
}

/// Whether a machine has the card that joins it to the profile's other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Card {
    /// It was made by a Cadet that knew of no other machines: its system would wait for somebody
    /// to offer the card an address.
    #[default]
    Absent,
    /// Its system has been told; the next boot may bring the card.
    Expected,
    /// It was booted with it, or will be.
    Present,
}

/// The network between a profile's machines: a multicast group on the loopback interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Address of the group.
    pub group: Ipv4Addr,
    /// Its UDP port.
    pub port: u16,
}

/// A server that the user has already, in the place of a machine that Cadet makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Name or address by which it is reached from here.
    pub host: String,
    /// Its SSH server's port.
    pub port: u16,
    /// Whom to be there.
    pub user: String,
    /// The user's own private key.
    pub key: PathBuf,
    /// OpenSSH line of the host key that was trusted.
    pub host_key: String,
    /// What marks it as this profile's while Cadet has anything there; nobody else's is touched.
    pub mark: String,
    /// Its address among the cluster's nodes, once it was looked at.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// What it says it runs, for people.
    #[serde(default)]
    pub system: String,
    /// Whether anything was put there.
    #[serde(default)]
    pub placed: bool,
    /// Whether its services were stopped.
    #[serde(default)]
    pub stopped: bool,
}

/// A machine beside the first one: it runs pods and no control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// From 2 on; name, folder and addresses follow from it.
    pub number: u8,
    /// What was asked for.
    pub spec: Spec,
    /// Set once its image was chosen.
    #[serde(default)]
    pub base: Option<Base>,
    /// Loopback port of the laptop that leads to its port 22.
    #[serde(default)]
    pub ssh: Option<u16>,
    /// Accelerator it was last started with.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// Set for a machine that was copied from a template.
    #[serde(default)]
    pub template: Option<TemplateUse>,
    /// Set for a server that the user had already.
    #[serde(default)]
    pub server: Option<Server>,
}

impl Worker {
    /// One that was asked for and not yet made.
    pub fn new(number: u8, spec: Spec) -> Self {
        Self {
            number,
            spec,
            base: None,
            ssh: None,
            accelerator: None,
            template: None,
            server: None,
        }
    }
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
    /// Set for a first machine that was copied from a template.
    #[serde(default)]
    pub template: Option<TemplateUse>,
    /// OpenSSH line of the pinned host key.
    #[serde(default)]
    pub host_key: Option<String>,
    /// kubeconfig file Cadet wrote its context into.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The first machine's card in the network between machines.
    #[serde(default)]
    pub card: Card,
    /// That network, once a machine was started with its card.
    #[serde(default)]
    pub wire: Option<Wire>,
    /// The other machines, by number.
    #[serde(default)]
    pub workers: Vec<Worker>,
    /// Set where the first machine, and then every other one, is a server the user had already.
    #[serde(default)]
    pub server: Option<Server>,
}

impl Profile {
    /// One whose start has begun, and of which nothing is made yet.
    pub fn begun(name: &str, created: u64, spec: Spec) -> Self {
        Self {
            name: name.into(),
            created,
            spec,
            phase: Phase::Starting,
            step: None,
            base: None,
            ports: None,
            accelerator: None,
            template: None,
            host_key: None,
            kubeconfig: None,
            card: Card::Absent,
            wire: None,
            workers: Vec::new(),
            server: None,
        }
    }

    /// The machine with this number, unless it is the first.
    pub fn worker(&self, number: u8) -> Option<&Worker> {
        self.workers.iter().find(|w| w.number == number)
    }

    /// The server in the place of the machine with this number.
    pub fn server(&self, number: u8) -> Option<&Server> {
        match number {
            1 => self.server.as_ref(),
            other => self.worker(other)?.server.as_ref(),
        }
    }

    /// As [`Profile::server`], to be changed.
    pub fn server_mut(&mut self, number: u8) -> Option<&mut Server> {
        match number {
            1 => self.server.as_mut(),
            other => self.worker_mut(other)?.server.as_mut(),
        }
    }

    /// As [`Profile::worker`], to be changed.
    pub fn worker_mut(&mut self, number: u8) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|w| w.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Cadet wrote it before it knew of several machines.
    const OLD: &str = r#"{
        "name": "cadet", "created": 1764271234,
        "spec": {"cpus": 2, "memoryMib": 2048, "diskGib": 20, "image": "auto"},
        "phase": "stopped", "step": null,
        "base": {"id": "debian-13-amd64-0011", "title": "Debian 13", "disk": "/c/d.qcow2",
            "kernel": "/c/vmlinuz", "initrd": "/c/initrd", "cmdline": "root=LABEL=root rw"},
        "ports": {"ssh": 40213, "api": 40117}, "accelerator": "tcg",
        "hostKey": "ssh-ed25519 AAAA", "kubeconfig": "/home/you/.kube/config"
    }"#;

    #[test]
    fn a_record_of_the_days_of_one_machine_is_read_as_one_machine() {
        let profile: Profile = serde_json::from_str(OLD).unwrap();
        assert_eq!(profile.card, Card::Absent);
        assert_eq!((profile.wire, profile.workers.len()), (None, 0));
        assert_eq!(profile.server, None);
        assert_eq!(profile.ports.map(|p| p.ssh), Some(40213));
        let text = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), profile);
    }

    #[test]
    fn workers_are_found_by_their_number_and_kept() {
        let mut profile: Profile = serde_json::from_str(OLD).unwrap();
        profile.card = Card::Present;
        profile.wire = Some(Wire {
            group: Ipv4Addr::new(239, 192, 0, 1),
            port: 40_000,
        });
        for number in [2, 4] {
            let worker = Worker::new(number, profile.spec.clone());
            profile.workers.push(worker);
        }
        profile.worker_mut(4).unwrap().ssh = Some(7);
        assert!(profile.worker(1).is_none() && profile.worker(3).is_none());
        let server = serde_json::json!({"host": "box", "port": 22, "user": "ann",
            "key": "/k", "hostKey": "ssh-ed25519 AAAA", "mark": "m"});
        profile.worker_mut(2).unwrap().server = Some(serde_json::from_value(server).unwrap());
        assert!(profile.server(1).is_none() && profile.server(4).is_none());
        profile.server_mut(2).unwrap().stopped = true;
        assert!(profile.server(2).unwrap().stopped && !profile.server(2).unwrap().placed);
        let text = serde_json::to_string(&profile).unwrap();
        let again: Profile = serde_json::from_str(&text).unwrap();
        assert_eq!(again.worker(4).unwrap().ssh, Some(7));
        assert_eq!(again, profile);
    }
}
