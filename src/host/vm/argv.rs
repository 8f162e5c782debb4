//! From a [`MachineConfig`] to QEMU's argument list: a pure function.
//!
//! `-nodefaults` and `-no-user-config` first, so that the machine is exactly what is
//! written here whatever the distribution or the user configured.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::accel::Accel;
use crate::config::{Arch, CHANNEL, HostOs, MachineConfig, Memory, QmpEndpoint};

/// Translation cache under TCG in MiB. QEMU's own choice grows with the machine and is
/// a large part of its resident memory; 256 was enough for the guest with containers.
const TCG_CACHE_MIB: u32 = 256;

/// QEMU's name for the guest's memory.
const MEMORY: &str = "ram";

/// The argument list, program name excluded.
pub fn build(machine: &MachineConfig, os: HostOs) -> Vec<OsString> {
    let mut args = Args(Vec::new());
    args.pair("-name", format!("guest={0},process={0}", machine.name));
    if os != HostOs::Linux {
        // `process=` renames the task through prctl, which only Linux has.
        args.0.pop();
        args.plain(format!("guest={}", machine.name));
    }
    args.plain("-nodefaults");
    args.plain("-no-user-config");
    args.pair("-display", "none");
    processor(&mut args, machine);
    args.pair("-smp", machine.cpus.to_string());
    memory(&mut args, machine);
    args.path("-kernel", &machine.kernel);
    args.path("-initrd", &machine.initrd);
    args.pair("-append", machine.command_line());
    disks(&mut args, machine);
    network(&mut args, machine);
    args.pair("-device", "virtio-rng-pci");
    channel(&mut args, machine);
    args.option("-chardev", "file,id=serial0,path=", &machine.serial_log, "");
    args.pair("-serial", "chardev:serial0");
    endpoint(&mut args, "qmp0", &machine.qmp);
    if let Some(spare) = &machine.qmp_spare {
        endpoint(&mut args, "qmp1", spare);
    }
    confinement(&mut args, machine, os);
    args.0
}

/// What a saved machine can only be loaded into: the argument list without what the guest
/// cannot see (paths, ports of this computer, names) or carries itself (addresses of its cards).
pub fn shape(machine: &MachineConfig, os: HostOs) -> Vec<String> {
    let mut bare = machine.clone();
    let nowhere = |name: &str| PathBuf::from(name);
    bare.name = "machine".into();
    bare.kernel = nowhere("kernel");
    bare.initrd = nowhere("initrd");
    for disk in &mut bare.disks {
        disk.path = nowhere("disk");
    }
    bare.forwards.clear();
    bare.mac = "52:54:00:00:00:00".into();
    if let Some(segment) = &mut bare.segment {
        segment.group = Ipv4Addr::new(239, 192, 0, 0);
        segment.port = 1;
        segment.mac = "02:ca:de:00:00:00".into();
    }
    bare.qmp = QmpEndpoint::Unix(nowhere("qmp"));
    bare.qmp_spare = None;
    bare.channel = bare.channel.map(|_| nowhere("keeper"));
    bare.serial_log = nowhere("serial");
    bare.memory = Memory::Own;
    bare.key_file = None;
    bare.run_as = None;
    let words = build(&bare, os);
    words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// Machine type, accelerator and processor model; also what the accelerator probe must use.
pub fn processor_args(arch: Arch, accel: Accel) -> Vec<OsString> {
    let mut args = Args(Vec::new());
    args.pair("-machine", board(arch));
    args.0.extend(accelerator_args(arch, accel));
    args.0
}

fn board(arch: Arch) -> &'static str {
    match arch {
        // The old board boots as fast as q35 and is what every snapshot test used.
        Arch::Amd64 => "pc,usb=off,vmport=off,dump-guest-core=off",
        Arch::Arm64 => "virt,dump-guest-core=off",
    }
}

fn accelerator_args(arch: Arch, accel: Accel) -> Vec<OsString> {
    let mut args = Args(Vec::new());
    let (accelerator, model) = match (accel, arch) {
        (Accel::Kvm, _) => ("kvm".to_owned(), "host"),
        (Accel::Hvf, _) => ("hvf".to_owned(), "host"),
        // Windows' hypervisor hangs with models richer than it can virtualise, and
        // cannot host QEMU's in-kernel interrupt controller.
        (Accel::Whpx, Arch::Amd64) => ("whpx,kernel-irqchip=off".to_owned(), "qemu64"),
        (Accel::Whpx, Arch::Arm64) => ("whpx,kernel-irqchip=off".to_owned(), "host"),
        (Accel::Tcg, arch) => (
            format!("tcg,thread=multi,tb-size={TCG_CACHE_MIB}"),
            match arch {
                Arch::Amd64 => "max",
                // Emulating the architected pointer signatures costs a hash per call.
                Arch::Arm64 => "max,pauth-impdef=on",
            },
        ),
    };
    args.pair("-accel", accelerator);
    args.pair("-cpu", model);
    args.0
}

/// The seccomp filter: no old calls, no child processes, no priority games.
///
/// `elevateprivileges` is left out when QEMU itself must change its user: the filter
/// is already up then and would kill it. Without root and without `execve`, which
/// `spawn=deny` forbids, there is nothing left to elevate with.
pub fn sandbox_args(os: HostOs, changes_user: bool) -> Vec<OsString> {
    if os != HostOs::Linux {
        return Vec::new();
    }
    let elevate = if changes_user {
        ""
    } else {
        ",elevateprivileges=deny"
    };
    let filter = format!("on,obsolete=deny,spawn=deny,resourcecontrol=deny{elevate}");
    vec!["-sandbox".into(), filter.into()]
}

fn processor(args: &mut Args, machine: &MachineConfig) {
    // The name of the memory is part of what is saved, wherever the memory lies.
    let board = format!("{},memory-backend={MEMORY}", board(machine.arch));
    args.pair("-machine", board);
    args.0.extend(accelerator_args(machine.arch, machine.accel));
}

fn memory(args: &mut Args, machine: &MachineConfig) {
    let size = format!("{}M", machine.memory_mib);
    args.pair("-m", size.clone());
    let file = |args: &mut Args, path: &Path, share: &str| {
        let before = format!("memory-backend-file,id={MEMORY},size={size},mem-path=");
        args.option("-object", &before, path, &format!(",share={share}"));
    };
    match &machine.memory {
        Memory::Own => args.pair(
            "-object",
            format!("memory-backend-ram,id={MEMORY},size={size}"),
        ),
        Memory::Kept(path) => file(args, path, "on"),
        Memory::Copied(path) => file(args, path, "off"),
    }
}

fn channel(args: &mut Args, machine: &MachineConfig) {
    let Some(path) = &machine.channel else {
        return;
    };
    args.option(
        "-chardev",
        "socket,id=keeper0,path=",
        path,
        ",server=on,wait=off",
    );
    args.pair("-device", "virtio-serial-pci,max_ports=2");
    args.pair(
        "-device",
        format!("virtserialport,chardev=keeper0,name={CHANNEL}"),
    );
}

fn disks(args: &mut Args, machine: &MachineConfig) {
    for (index, disk) in machine.disks.iter().enumerate() {
        let mode = if disk.read_only {
            ",readonly=on".to_owned()
        } else {
            // A full host disk pauses the guest instead of corrupting it; freed blocks go back.
            ",discard=unmap,detect-zeroes=unmap,werror=enospc,rerror=report".to_owned()
        };
        let after = format!(
            ",format={},if=none,id=disk{index}{mode}",
            disk.format.name()
        );
        args.option("-drive", "file=", &disk.path, &after);
        args.pair("-device", format!("virtio-blk-pci,drive=disk{index}"));
    }
}

fn network(args: &mut Args, machine: &MachineConfig) {
    // IPv6 is off: QEMU's user network announces a route that leads nowhere.
    let mut user = String::from("user,id=net0,ipv6=off");
    for forward in &machine.forwards {
        let (host, guest) = (forward.host_port, forward.guest_port);
        user.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
    }
    args.pair("-netdev", user);
    // No boot ROM: the kernel is given directly, and the file need not be installed.
    let card = format!("virtio-net-pci,netdev=net0,mac={},romfile=", machine.mac);
    args.pair("-device", card);
    if let Some(segment) = &machine.segment {
        // Of all kinds of network without root this one has no end that others depend on.
        let (group, port) = (segment.group, segment.port);
        let net = format!("socket,id=net1,mcast={group}:{port},localaddr=127.0.0.1");
        args.pair("-netdev", net);
        let mac = &segment.mac;
        let card = format!("virtio-net-pci,netdev=net1,mac={mac},romfile=");
        args.pair("-device", card);
    }
}

fn endpoint(args: &mut Args, id: &str, endpoint: &QmpEndpoint) {
    match endpoint {
        QmpEndpoint::Unix(path) => {
            let before = format!("socket,id={id},path=");
            args.option("-chardev", &before, path, ",server=on,wait=off");
        }
        QmpEndpoint::Tcp(port) => args.pair(
            "-chardev",
            format!("socket,id={id},host=127.0.0.1,port={port},server=on,wait=off"),
        ),
    }
    args.pair("-mon", format!("chardev={id},mode=control"));
}

fn confinement(args: &mut Args, machine: &MachineConfig, os: HostOs) {
    if let Some(user) = &machine.run_as {
        args.pair("-run-with", format!("user={user}"));
    }
    args.0.extend(sandbox_args(os, machine.run_as.is_some()));
}

/// The growing list.
struct Args(Vec<OsString>);

impl Args {
    fn plain(&mut self, word: impl Into<OsString>) {
        self.0.push(word.into());
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) {
        self.plain(flag);
        self.plain(value);
    }

    fn path(&mut self, flag: &str, path: &Path) {
        self.pair(flag, path.as_os_str());
    }

    /// A value of the comma-separated kind with a path inside; commas in it are doubled.
    fn option(&mut self, flag: &str, before: &str, path: &Path, after: &str) {
        let mut value = OsString::from(before);
        value.push(double_commas(path));
        value.push(after);
        self.pair(flag, value);
    }
}

/// QEMU splits option values at commas and reads a doubled comma as one.
#[cfg(unix)]
fn double_commas(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::with_capacity(path.as_os_str().len());
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(not(unix))]
fn double_commas(path: &Path) -> OsString {
    path.to_string_lossy().replace(',', ",,").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Segment, samples};

    fn text(machine: &MachineConfig, os: HostOs) -> String {
        let words = build(machine, os);
        let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
        // One flag with its value per line, as a person would write it.
        words.join(" ").replace(" -", "\n-")
    }

    fn golden(name: &str, machine: &MachineConfig, os: HostOs, expected: &str) {
        let got = text(machine, os);
        assert_eq!(got.trim(), expected.trim(), "{name}");
    }

    #[test]
    fn linux_amd64_tcg_word_for_word() {
        let machine = samples::machine(Path::new("/s"));
        golden(
            "linux amd64 tcg",
            &machine,
            HostOs::Linux,
            "-name guest=cadet-test,process=cadet-test
-nodefaults
-no-user-config
-display none
-machine pc,usb=off,vmport=off,dump-guest-core=off,memory-backend=ram
-accel tcg,thread=multi,tb-size=256
-cpu max
-smp 2
-m 1024M
-object memory-backend-ram,id=ram,size=1024M
-kernel /s/vmlinuz
-initrd /s/initrd
-append root=LABEL=root rw console=ttyS0 panic=10
-drive file=/s/disk.qcow2,format=qcow2,if=none,id=disk0,discard=unmap,detect-zeroes=unmap,werror=enospc,rerror=report
-device virtio-blk-pci,drive=disk0
-drive file=/s/seed.img,format=raw,if=none,id=disk1,readonly=on
-device virtio-blk-pci,drive=disk1
-netdev user,id=net0,ipv6=off,hostfwd=tcp:127.0.0.1:40022-:22,hostfwd=tcp:127.0.0.1:46443-:6443
-device virtio-net-pci,netdev=net0,mac=52:54:00:d0:71:e5,romfile=
-device virtio-rng-pci
-chardev file,id=serial0,path=/s/serial.log
-serial chardev:serial0
-chardev socket,id=qmp0,path=/s/qmp.sock,server=on,wait=off
-mon chardev=qmp0,mode=control
-chardev socket,id=qmp1,path=/s/qmp2.sock,server=on,wait=off
-mon chardev=qmp1,mode=control
-sandbox on,obsolete=deny,spawn=deny,resourcecontrol=deny,elevateprivileges=deny",
        );
    }

    #[test]
    fn every_system_accelerator_and_architecture() {
        let cases = [
            (HostOs::Linux, Arch::Amd64, Accel::Kvm, "pc", "kvm", "host"),
            (
                HostOs::Linux,
                Arch::Arm64,
                Accel::Kvm,
                "virt",
                "kvm",
                "host",
            ),
            (
                HostOs::Linux,
                Arch::Arm64,
                Accel::Tcg,
                "virt",
                "tcg,thread=multi,tb-size=256",
                "max,pauth-impdef=on",
            ),
            (
                HostOs::MacOs,
                Arch::Arm64,
                Accel::Hvf,
                "virt",
                "hvf",
                "host",
            ),
            (HostOs::MacOs, Arch::Amd64, Accel::Hvf, "pc", "hvf", "host"),
            (
                HostOs::MacOs,
                Arch::Amd64,
                Accel::Tcg,
                "pc",
                "tcg,thread=multi,tb-size=256",
                "max",
            ),
            (
                HostOs::Windows,
                Arch::Amd64,
                Accel::Whpx,
                "pc",
                "whpx,kernel-irqchip=off",
                "qemu64",
            ),
            (
                HostOs::Windows,
                Arch::Arm64,
                Accel::Whpx,
                "virt",
                "whpx,kernel-irqchip=off",
                "host",
            ),
        ];
        for (os, arch, accel, board, accelerator, model) in cases {
            let mut machine = samples::machine(Path::new("/s"));
            machine.arch = arch;
            machine.accel = accel;
            let got = text(&machine, os);
            let case = format!("{os:?} {arch:?} {accel:?}\n{got}");
            assert!(got.contains(&format!("-machine {board},")), "{case}");
            assert!(got.contains(&format!("-accel {accelerator}\n")), "{case}");
            assert!(got.contains(&format!("-cpu {model}\n")), "{case}");
            let on_linux = os == HostOs::Linux;
            assert_eq!(got.contains("-sandbox"), on_linux, "{case}");
            assert_eq!(got.contains("process="), on_linux, "{case}");
            let console = format!("console={} ", arch.console());
            assert!(got.contains(&console), "{case}");
        }
    }

    #[test]
    fn nothing_listens_beyond_loopback() {
        let mut machine = samples::machine(Path::new("/s"));
        machine.qmp = QmpEndpoint::Tcp(4444);
        let got = text(&machine, HostOs::Windows);
        assert!(got.contains("socket,id=qmp0,host=127.0.0.1,port=4444,"));
        for word in got
            .split([' ', ',', '\n'])
            .filter(|w| w.contains("hostfwd"))
        {
            assert!(word.starts_with("hostfwd=tcp:127.0.0.1:"), "{word}");
        }
    }

    #[test]
    fn a_second_card_joins_a_group_on_loopback() {
        let mut machine = samples::machine(Path::new("/s"));
        let without = text(&machine, HostOs::Linux);
        machine.segment = Some(Segment {
            group: [239, 192, 1, 2].into(),
            port: 40_123,
            mac: "02:ca:de:00:00:02".into(),
        });
        for os in [HostOs::Linux, HostOs::MacOs] {
            let got = text(&machine, os);
            assert!(
                got.contains(
                    "\n-netdev socket,id=net1,mcast=239.192.1.2:40123,localaddr=127.0.0.1\n\
                     -device virtio-net-pci,netdev=net1,mac=02:ca:de:00:00:02,romfile=\n"
                ),
                "{got}"
            );
        }
        // The first card stays what it is.
        let first = "-device virtio-net-pci,netdev=net0,mac=52:54:00:d0:71:e5,romfile=";
        assert!(without.contains(first) && text(&machine, HostOs::Linux).contains(first));
        assert!(!without.contains("mcast"));
    }

    #[test]
    fn memory_lies_where_it_should_and_has_one_name() {
        let mut machine = samples::machine(Path::new("/s"));
        for (memory, expected) in [
            (Memory::Own, "memory-backend-ram,id=ram,size=1024M\n"),
            (
                Memory::Kept("/t,1/ram".into()),
                "memory-backend-file,id=ram,size=1024M,mem-path=/t,,1/ram,share=on\n",
            ),
            (
                Memory::Copied("/t/ram".into()),
                "memory-backend-file,id=ram,size=1024M,mem-path=/t/ram,share=off\n",
            ),
        ] {
            machine.memory = memory;
            let got = text(&machine, HostOs::Linux);
            assert!(got.contains(&format!("-object {expected}")), "{got}");
            assert_eq!(got.matches("memory-backend=ram").count(), 1, "{got}");
        }
    }

    #[test]
    fn the_keeper_is_behind_a_named_port() {
        let mut machine = samples::machine(Path::new("/s"));
        assert!(!text(&machine, HostOs::Linux).contains("virtserialport"));
        machine.channel = Some("/s/keeper.sock".into());
        let got = text(&machine, HostOs::Linux);
        assert!(
            got.contains(
                "-chardev socket,id=keeper0,path=/s/keeper.sock,server=on,wait=off\n\
                 -device virtio-serial-pci,max_ports=2\n\
                 -device virtserialport,chardev=keeper0,name=cadet.keeper\n"
            ),
            "{got}"
        );
    }

    #[test]
    fn the_shape_is_what_the_guest_sees() {
        let shape = |m: &MachineConfig| super::shape(m, HostOs::Linux);
        let first = samples::machine(Path::new("/s"));
        let mut second = samples::machine(Path::new("/elsewhere"));
        second.name = "another".into();
        second.mac = "52:54:00:00:00:07".into();
        second.forwards.clear();
        second.memory = Memory::Copied("/t/ram".into());
        second.run_as = Some("nobody".into());
        second.qmp_spare = None;
        assert_eq!(shape(&first), shape(&second));
        type Change = fn(&mut MachineConfig);
        let seen: [Change; 6] = [
            |m| m.memory_mib = 2048,
            |m| m.cpus = 1,
            |m| m.accel = Accel::Kvm,
            |m| drop(m.disks.pop()),
            |m| m.channel = Some("/s/k".into()),
            |m| {
                m.segment = Some(Segment {
                    group: [239, 192, 0, 1].into(),
                    port: 7,
                    mac: "02:ca:de:00:00:02".into(),
                });
            },
        ];
        for change in seen {
            let mut other = first.clone();
            change(&mut other);
            assert_ne!(shape(&first), shape(&other), "{other:?}");
        }
    }

    #[test]
    fn a_path_cannot_smuggle_options() {
        let mut machine = samples::machine(Path::new("/a,readonly=on b"));
        machine.kernel = "/k,x".into();
        let words = build(&machine, HostOs::Linux);
        let has = |w: &str| words.iter().any(|x| x.to_string_lossy().contains(w));
        assert!(has("file=/a,,readonly=on b/disk.qcow2,format=qcow2"));
        assert!(has("path=/a,,readonly=on b/serial.log"));
        // -kernel takes a plain path.
        assert!(words.iter().any(|w| w == "/k,x"));
    }

    #[test]
    fn changing_user_drops_only_the_filter_that_would_kill_it() {
        let mut machine = samples::machine(Path::new("/s"));
        machine.run_as = Some("nobody".into());
        let got = text(&machine, HostOs::Linux);
        assert!(got.contains("-run-with user=nobody"));
        assert!(got.contains("spawn=deny"));
        assert!(!got.contains("elevateprivileges"));
    }
}
