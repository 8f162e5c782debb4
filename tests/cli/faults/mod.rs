//! What goes wrong beside and beneath the program: it is killed, files are damaged, QEMU stands
//! where nobody left it, two commands come at once.

mod at_once;
mod files;
mod killed;
mod numbers;
mod qemu;
mod states;

use std::path::PathBuf;
use std::process::Command;

use cadet_state::{Profile, ProfileName, ProfilePaths, Store};
use cadet_vm::config::mac_for;
use cadet_vm::{
    Accel, Arch, Disk, DiskFormat, Forward, MachineConfig, Memory, QmpEndpoint, Version,
};

use crate::support::{Run, Sealed, free_port};

/// What QEMU says to be where no real one is needed.
const VERSION: Version = Version(10, 0, 2);

/// A home with a profile that has come as far as a machine.
struct Bench {
    home: Sealed,
    /// Folders before those of the PATH.
    bin: Option<PathBuf>,
    profile: Profile,
}

impl Bench {
    /// What the machine lies on is a name in a file.
    fn new(accel: Accel, memory_mib: u64) -> Self {
        let home = Sealed::new();
        let at = |name: &str| home.dir.path().join(name);
        let port = || free_port().parse::<u16>().unwrap();
        for name in ["cadet-node", "base.qcow2", "kernel", "initrd"] {
            std::fs::write(at(name), name).unwrap();
        }
        let profile = serde_json::json!({
            "name": "cadet", "created": 1, "phase": "running",
            "spec": {"cpus": 1, "memoryMib": memory_mib, "diskGib": 8, "image": "debian-13"},
            "base": {"id": "tiny", "title": "a tiny guest", "disk": at("base.qcow2"),
                "kernel": at("kernel"), "initrd": at("initrd"), "cmdline": "quiet"},
            "ports": {"ssh": port(), "api": port()},
            "accelerator": accel.name(),
        });
        let profile: Profile = serde_json::from_value(profile).unwrap();
        Store::open(&home.state()).unwrap().put(&profile).unwrap();
        std::fs::create_dir_all(home.state().cache()).unwrap();
        Self {
            home,
            bin: None,
            profile,
        }
    }

    fn files(&self) -> ProfilePaths {
        let name = ProfileName::parse("cadet").unwrap();
        self.home.state().profile(&name)
    }

    /// The profile's record as it is now.
    fn record(&self) -> Option<Profile> {
        let name = ProfileName::parse("cadet").unwrap();
        let store = Store::open(&self.home.state()).unwrap();
        store.get(&name).unwrap()
    }

    /// The machine as the program describes it to QEMU.
    fn config(&self, accel: Accel) -> MachineConfig {
        let files = self.files();
        let base = self.profile.base.clone().unwrap();
        let ports = self.profile.ports.unwrap();
        let disk = |path, format, read_only| Disk {
            path,
            format,
            read_only,
        };
        let forward = |host_port, guest_port| Forward {
            host_port,
            guest_port,
        };
        MachineConfig {
            name: "cadet".into(),
            arch: Arch::host().unwrap(),
            accel,
            cpus: 1,
            memory_mib: u32::try_from(self.profile.spec.memory_mib).unwrap(),
            memory: Memory::Own,
            kernel: base.kernel,
            initrd: base.initrd,
            kernel_args: vec![base.cmdline],
            disks: vec![
                disk(files.disk(), DiskFormat::Qcow2, false),
                disk(files.seed(), DiskFormat::Raw, true),
            ],
            forwards: vec![forward(ports.ssh, 22), forward(ports.api, 6443)],
            mac: mac_for("cadet"),
            segment: None,
            qmp: QmpEndpoint::Unix(files.qmp()),
            qmp_spare: None,
            channel: Some(files.keeper()),
            serial_log: files.serial_log(),
            qemu_log: files.qemu_log(),
            pid_file: files.pid(),
            key_file: Some(files.key()),
            run_as: None,
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        command.env("CADET_NODE_BINARY", self.home.dir.path().join("cadet-node"));
        if let Some(bin) = &self.bin {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", bin.display()));
        }
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Run {
        let run = self.run(args);
        assert!(run.code == 0, "cadet {args:?}: {run}");
        run
    }

    /// Looking tells what there is, whatever was done to it; a word of the machine's state.
    #[track_caller]
    fn is_understood(&self) -> String {
        let run = self.run(&["status", "-o", "json"]);
        // Bits of what is not as it should be.
        assert!((0..=7).contains(&run.code), "{run}");
        assert!(!run.err.contains("panicked"), "{run}");
        let told: serde_json::Value = serde_json::from_str(run.out.trim()).expect("one object");
        told["machine"].as_str().expect("a word").to_owned()
    }
}

/// How often something is played; a few times unless the environment says more.
fn times(variable: &str, few: u32) -> u32 {
    let said = std::env::var(variable).ok();
    said.map_or(few, |n| n.parse().expect("a number of times"))
}

/// Points between 0 and 1, spread evenly however many there are (the golden ratio's multiples).
fn point(number: u32) -> f64 {
    (f64::from(number + 1) * 0.618_033_988_75).fract()
}
