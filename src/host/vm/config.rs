//! What a machine is: plain data, checked once, from which everything else follows.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::accel::Accel;
use crate::error::VmError;

/// Processor family of the guest (and, for speed, of the host).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// The family this program was built for; `None` where Cadet has no guest.
    pub fn host() -> Option<Arch> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Arch::Amd64),
            "aarch64" => Some(Arch::Arm64),
            _ => None,
        }
    }

    /// Name used by Debian, Ubuntu and Kubernetes.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// Name of the emulator binary, without `.exe`.
    pub fn emulator(self) -> &'static str {
        match self {
            Arch::Amd64 => "qemu-system-x86_64",
            Arch::Arm64 => "qemu-system-aarch64",
        }
    }

    /// Linux name of the first serial port on the machine type we use.
    pub fn console(self) -> &'static str {
        match self {
            Arch::Amd64 => "ttyS0",
            Arch::Arm64 => "ttyAMA0",
        }
    }
}

/// Operating system QEMU runs on; decides flags, never the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostOs {
    Linux,
    MacOs,
    Windows,
    Other,
}

impl HostOs {
    /// The one this program was built for.
    pub fn current() -> HostOs {
        match std::env::consts::OS {
            "linux" => HostOs::Linux,
            "macos" => HostOs::MacOs,
            "windows" => HostOs::Windows,
            _ => HostOs::Other,
        }
    }

    /// Bytes a unix socket path may have, terminating zero excluded (`sun_path`).
    pub fn socket_path_limit(self) -> usize {
        match self {
            HostOs::Linux | HostOs::Windows => 107,
            HostOs::MacOs | HostOs::Other => 103,
        }
    }
}

/// Image format of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    Raw,
    Qcow2,
}

impl DiskFormat {
    pub fn name(self) -> &'static str {
        match self {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        }
    }
}

/// One virtio disk; the order in [`MachineConfig::disks`] is the order in the guest (vda, vdb …).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub path: PathBuf,
    pub format: DiskFormat,
    pub read_only: bool,
}

/// A TCP port on the host's 127.0.0.1 that leads to a port of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    pub host_port: u16,
    pub guest_port: u16,
}

/// A second network card, on a segment shared with other machines of this computer: frames
/// travel as datagrams to a multicast group on the loopback interface, so no machine is another's
/// server, and one that dies is not missed by the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The group; each segment has its own.
    pub group: Ipv4Addr,
    /// UDP port of the group.
    pub port: u16,
    /// MAC address of the card; different for each machine of the segment.
    pub mac: String,
}

/// Name of the serial port that leads from [`MachineConfig::channel`] to the guest's keeper.
pub const CHANNEL: &str = "cadet.keeper";

/// Where the guest's memory lies. The guest cannot tell; what was saved with one can be loaded
/// into another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// In memory of QEMU's own.
    #[default]
    Own,
    /// In a file that holds all of it once QEMU has ended: how a template is made.
    Kept(PathBuf),
    /// In pages of such a file for as long as they are not written to; the file stays as it is,
    /// and any number of machines may use it.
    Copied(PathBuf),
}

/// Where QEMU listens for QMP. It serves one client per endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QmpEndpoint {
    /// Unix socket; the directory's mode (0700) is the access control.
    Unix(PathBuf),
    /// Port on 127.0.0.1, for Windows. Any local user can connect: QMP has no password.
    Tcp(u16),
}

/// Everything QEMU is told. Pure data: the argument list is a function of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// Shown in process lists; letters, digits, `-`, `_` and `.`.
    pub name: String,
    pub arch: Arch,
    pub accel: Accel,
    /// Virtual processors.
    pub cpus: u32,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Where it lies.
    #[serde(default)]
    pub memory: Memory,
    /// Linux kernel, booted directly.
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// `root=` and the like; the console is added by [`MachineConfig::command_line`].
    pub kernel_args: Vec<String>,
    /// First the root disk, then the seed.
    pub disks: Vec<Disk>,
    pub forwards: Vec<Forward>,
    /// MAC address of the network card, `52:54:00:xx:xx:xx`.
    pub mac: String,
    /// The card between machines, if this one has it.
    pub segment: Option<Segment>,
    /// Control endpoint that this crate uses.
    pub qmp: QmpEndpoint,
    /// Second endpoint for people and later rooms (snapshots), because QEMU serves one client each.
    pub qmp_spare: Option<QmpEndpoint>,
    /// Unix socket that leads to the guest's keeper, through a serial port it knows by
    /// [`CHANNEL`]; needs neither network nor keys.
    #[serde(default)]
    pub channel: Option<PathBuf>,
    /// Everything the guest's kernel and init print.
    pub serial_log: PathBuf,
    /// QEMU's own stderr.
    pub qemu_log: PathBuf,
    /// Which process is the machine, written by [`crate::process`].
    pub pid_file: PathBuf,
    /// What a saved state of the running machine depends on, written by [`crate::key`].
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// User QEMU becomes after it opened its files; only root may ask (QEMU 9.0 or newer).
    pub run_as: Option<String>,
}

impl MachineConfig {
    /// Smallest memory that was seen to boot the guest and run containers, in MiB.
    pub const MEMORY_FLOOR_MIB: u32 = 256;

    /// Checks what can be checked without touching the disk.
    ///
    /// # Errors
    /// [`VmError::Config`] or [`VmError::SocketPathTooLong`], with the offending value.
    pub fn check(&self, os: HostOs) -> Result<(), VmError> {
        let bad = |why: String| Err(VmError::Config(why));
        let name_ok = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(name_ok) {
            return bad(format!("name {:?}", self.name));
        }
        if self.cpus == 0 || self.cpus > 255 {
            return bad(format!("{} processors", self.cpus));
        }
        if self.memory_mib < Self::MEMORY_FLOOR_MIB {
            return bad(format!(
                "{} MiB of memory, at least {} are needed",
                self.memory_mib,
                Self::MEMORY_FLOOR_MIB
            ));
        }
        if self.disks.is_empty() {
            return bad("no disk".into());
        }
        if !is_mac(&self.mac) {
            return bad(format!("MAC address {:?}", self.mac));
        }
        if let Some(segment) = &self.segment {
            if !is_mac(&segment.mac) || segment.mac == self.mac {
                return bad(format!("MAC address {:?} of the second card", segment.mac));
            }
            if !segment.group.is_multicast() || segment.port == 0 {
                return bad(format!("segment {}:{}", segment.group, segment.port));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        for forward in &self.forwards {
            if forward.host_port == 0 || forward.guest_port == 0 {
                return bad("a forwarded port is 0".into());
            }
            if !seen.insert(forward.host_port) {
                return bad(format!("port {} is forwarded twice", forward.host_port));
            }
        }
        if let Some(user) = &self.run_as {
            let user_ok = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if user.is_empty() || !user.chars().all(user_ok) {
                return bad(format!("user {user:?}"));
            }
        }
        for endpoint in std::iter::once(&self.qmp).chain(&self.qmp_spare) {
            if let QmpEndpoint::Unix(path) = endpoint {
                check_socket_path(path, os)?;
            }
        }
        if let Some(path) = &self.channel {
            check_socket_path(path, os)?;
        }
        Ok(())
    }

    /// The kernel's command line: what was asked for, then the console.
    ///
    /// `panic=10` restarts a panicked guest after ten seconds; the panic stays in the serial log.
    pub fn command_line(&self) -> String {
        let mut words: Vec<&str> = self.kernel_args.iter().map(String::as_str).collect();
        let console = format!("console={}", self.arch.console());
        words.push(&console);
        words.push("panic=10");
        words.join(" ")
    }

    /// Host port that leads to `guest_port`.
    pub fn host_port(&self, guest_port: u16) -> Option<u16> {
        let hit = self.forwards.iter().find(|f| f.guest_port == guest_port);
        hit.map(|f| f.host_port)
    }
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let hex = |p: &&str| p.len() == 2 && p.chars().all(|c| c.is_ascii_hexdigit());
    // The lowest bit of the first byte marks a group address, which no card may have.
    parts.len() == 6
        && parts.iter().all(hex)
        && u8::from_str_radix(parts[0], 16).is_ok_and(|first| first & 1 == 0)
}

/// Refuses socket paths the kernel would truncate or refuse with a puzzling message.
///
/// # Errors
/// [`VmError::SocketPathTooLong`].
pub fn check_socket_path(path: &Path, os: HostOs) -> Result<(), VmError> {
    let length = path.as_os_str().len();
    let limit = os.socket_path_limit();
    if length > limit {
        let path = path.to_path_buf();
        return Err(VmError::SocketPathTooLong {
            path,
            length,
            limit,
        });
    }
    Ok(())
}

/// A stable, locally administered MAC address for a profile, in QEMU's range `52:54:00`.
///
/// Each machine has a private network, so collisions do no harm.
pub fn mac_for(name: &str) -> String {
    let [_, a, b, c] = fnv(name).to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

/// MAC address of a machine's card on its segment, by its number there; locally administered.
/// `images/guest/files/nodes.network` lists the first nine.
pub fn segment_mac(number: u8) -> String {
    format!("02:ca:de:00:00:{number:02x}")
}

/// A multicast group for a segment, by a text that names it: of those an organisation gives out
/// itself (239.192.0.0/14, RFC 2365), which no router passes on.
pub fn segment_group(name: &str) -> Ipv4Addr {
    let [_, a, b, c] = fnv(name).to_be_bytes();
    Ipv4Addr::new(239, 192 | (a & 3), b, c)
}

/// FNV-1a.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
pub(crate) mod samples {
    //! A complete machine for tests of this crate.
    use super::*;

    pub fn machine(dir: &Path) -> MachineConfig {
        MachineConfig {
            name: "cadet-test".into(),
            arch: Arch::Amd64,
            accel: Accel::Tcg,
            cpus: 2,
            memory_mib: 1024,
            memory: Memory::Own,
            kernel: dir.join("vmlinuz"),
            initrd: dir.join("initrd"),
            kernel_args: vec!["root=LABEL=root".into(), "rw".into()],
            disks: vec![
                Disk {
                    path: dir.join("disk.qcow2"),
                    format: DiskFormat::Qcow2,
                    read_only: false,
                },
                Disk {
                    path: dir.join("seed.img"),
                    format: DiskFormat::Raw,
                    read_only: true,
                },
            ],
            forwards: vec![
                Forward {
                    host_port: 40022,
                    guest_port: 22,
                },
                Forward {
                    host_port: 46443,
                    guest_port: 6443,
                },
            ],
            mac: mac_for("test"),
            segment: None,
            qmp: QmpEndpoint::Unix(dir.join("qmp.sock")),
            qmp_spare: Some(QmpEndpoint::Unix(dir.join("qmp2.sock"))),
            channel: None,
            serial_log: dir.join("serial.log"),
            qemu_log: dir.join("qemu.log"),
            pid_file: dir.join("vm.pid"),
            key_file: None,
            run_as: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_machine_passes_and_each_flaw_is_named() {
        let good = samples::machine(Path::new("/s"));
        good.check(HostOs::Linux).unwrap();
        type Flaw = (&'static str, fn(&mut MachineConfig));
        let segment = |group: [u8; 4], port, mac: &str| {
            Some(Segment {
                group: group.into(),
                port,
                mac: mac.into(),
            })
        };
        let mut many = good.clone();
        many.segment = segment([239, 192, 0, 1], 4000, "02:ca:de:00:00:01");
        many.check(HostOs::Linux).unwrap();
        for (word, bad) in [
            ("second", segment([239, 192, 0, 1], 4000, "nonsense")),
            ("second", segment([239, 192, 0, 1], 4000, &good.mac)),
            (
                "segment",
                segment([127, 0, 0, 1], 4000, "02:ca:de:00:00:01"),
            ),
            ("segment", segment([239, 192, 0, 1], 0, "02:ca:de:00:00:01")),
        ] {
            many.segment = bad;
            let text = many.check(HostOs::Linux).unwrap_err().to_string();
            assert!(text.contains(word), "{text} should name {word}");
        }
        let flaws: [Flaw; 9] = [
            ("name", |m| m.name = "a b".into()),
            ("processors", |m| m.cpus = 0),
            ("memory", |m| m.memory_mib = 255),
            ("disk", |m| m.disks.clear()),
            ("MAC", |m| m.mac = "52:54:00:12:34".into()),
            ("MAC", |m| m.mac = "53:54:00:12:34:56".into()),
            ("port", |m| m.forwards[0].host_port = 0),
            ("twice", |m| {
                m.forwards[0].host_port = m.forwards[1].host_port
            }),
            ("user", |m| m.run_as = Some("a,b".into())),
        ];
        for (word, spoil) in flaws {
            let mut bad = good.clone();
            spoil(&mut bad);
            let text = bad.check(HostOs::Linux).unwrap_err().to_string();
            assert!(text.contains(word), "{text} should name {word}");
        }
    }

    #[test]
    fn socket_paths_are_measured_per_system() {
        let path = PathBuf::from(format!("/{}", "x".repeat(104)));
        check_socket_path(&path, HostOs::Linux).unwrap();
        let err = check_socket_path(&path, HostOs::MacOs).unwrap_err();
        assert!(matches!(
            err,
            VmError::SocketPathTooLong {
                length: 105,
                limit: 103,
                ..
            }
        ));
    }

    #[test]
    fn mac_is_stable_and_differs_between_profiles() {
        assert_eq!(mac_for("cadet"), mac_for("cadet"));
        assert_ne!(mac_for("cadet"), mac_for("cadet2"));
        assert!(is_mac(&mac_for("")));
    }

    #[test]
    fn segments_have_groups_of_their_own_and_cards_of_their_own() {
        let group = segment_group("/home/a cadet 1");
        assert_eq!(group, segment_group("/home/a cadet 1"));
        assert_ne!(group, segment_group("/home/b cadet 1"));
        assert!(group.is_multicast());
        assert_eq!(group.octets()[0], 239);
        assert!((192..196).contains(&group.octets()[1]));
        assert_eq!(segment_mac(2), "02:ca:de:00:00:02");
        assert!(is_mac(&segment_mac(255)));
    }

    #[test]
    fn the_console_matches_the_architecture() {
        let mut machine = samples::machine(Path::new("/s"));
        assert_eq!(
            machine.command_line(),
            "root=LABEL=root rw console=ttyS0 panic=10"
        );
        machine.arch = Arch::Arm64;
        assert!(machine.command_line().contains("console=ttyAMA0"));
    }
}
