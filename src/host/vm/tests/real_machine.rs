//! Real QEMU processes with a guest of a few bytes: start, look, stop and every way to die.
#![cfg(target_os = "linux")]

#[path = "real_machine/faults.rs"]
mod faults;
#[path = "real_machine/frozen.rs"]
mod frozen;
#[path = "../../../../tests/support/ports.rs"]
mod ports;
#[path = "../../../../tests/support/tiny.rs"]
mod tiny;
#[path = "../../../../tests/support/upgraded.rs"]
mod upgraded;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cadet_vm::config::mac_for;
use cadet_vm::diagnose::Reason;
use cadet_vm::{
    Accel, Arch, Disk, DiskFormat, Emulator, Forward, HostOs, Machine, MachineConfig, Memory,
    QmpEndpoint, State, StopDeadlines, StopStage, Stopped, VmError, accel, overlay, process, qemu,
};
use ports::free_port;

fn search() -> Option<std::ffi::OsString> {
    std::env::var_os("PATH")
}

fn emulator() -> Emulator {
    Emulator::find(Arch::Amd64, search().as_deref()).expect("the tests need qemu-system-x86")
}

/// A multiboot kernel that prints `says` on the first serial port and then halts for ever.
fn kernel(says: &str) -> Vec<u8> {
    const BASE: u32 = 0x10_0000;
    let mut code = vec![0xbe, 0, 0, 0, 0]; // mov esi, text
    code.extend([0xb9]); // mov ecx, length
    code.extend(u32::try_from(says.len()).unwrap().to_le_bytes());
    code.extend([0x66, 0xba, 0xf8, 0x03]); // mov dx, 0x3f8
    code.extend([0xe3, 0x03]); // jecxz halt
    code.extend([0xf3, 0x6e, 0x90]); // rep outsb; nop
    code.extend([0xf4, 0xeb, 0xfd]); // halt: hlt; jmp halt
    let text = BASE + 32 + u32::try_from(code.len()).unwrap();
    code[1..5].copy_from_slice(&text.to_le_bytes());
    let (magic, flags) = (0x1bad_b002_u32, 1u32 << 16);
    let sum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    let header = [magic, flags, sum, BASE, BASE, 0, 0, BASE + 32];
    let mut image: Vec<u8> = header.iter().flat_map(|w| w.to_le_bytes()).collect();
    image.extend(code);
    image.extend(says.as_bytes());
    image
}

struct Bench {
    dir: tempfile::TempDir,
    config: MachineConfig,
}

fn bench(says: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    std::fs::write(at("kernel"), kernel(says)).unwrap();
    std::fs::write(at("initrd"), b"x").unwrap();
    let qemu_img = qemu::find_program("qemu-img", search().as_deref()).unwrap();
    let base = at("base.qcow2");
    let status = std::process::Command::new(&qemu_img)
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&base)
        .arg("8M")
        .status();
    assert!(status.unwrap().success());
    overlay::create(&qemu_img, &base, &at("disk.qcow2"), 16 << 20).unwrap();
    let port = free_port();
    let config = MachineConfig {
        name: "cadet-bench".into(),
        arch: Arch::Amd64,
        accel: Accel::Tcg,
        cpus: 1,
        memory_mib: 256,
        memory: Memory::Own,
        kernel: at("kernel"),
        initrd: at("initrd"),
        kernel_args: vec![],
        disks: vec![Disk {
            path: at("disk.qcow2"),
            format: DiskFormat::Qcow2,
            read_only: false,
        }],
        forwards: vec![Forward {
            host_port: port,
            guest_port: 22,
        }],
        mac: mac_for("bench"),
        segment: None,
        qmp: QmpEndpoint::Unix(at("q1")),
        qmp_spare: Some(QmpEndpoint::Unix(at("q2"))),
        channel: Some(at("k")),
        serial_log: at("serial.log"),
        qemu_log: at("qemu.log"),
        pid_file: at("vm.pid"),
        key_file: Some(at("vm.key")),
        run_as: None,
    };
    Bench { dir, config }
}

fn impatient() -> StopDeadlines {
    StopDeadlines {
        // The tiny guest ignores the power button.
        graceful: Duration::from_millis(100),
        quit: Duration::from_secs(180),
        kill: Duration::from_secs(180),
    }
}

fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

fn gone(path: &Path) -> bool {
    !path.exists()
}

fn reason(error: VmError) -> Reason {
    match error {
        VmError::Died(death) => death.reason,
        other => panic!("expected a death, got {other}"),
    }
}

#[test]
fn the_probe_runs_under_software_emulation_and_a_choice_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let verdict = accel::try_accel(&emulator(), Accel::Tcg, HostOs::Linux, dir.path()).unwrap();
    assert_eq!(verdict, None, "TCG works everywhere");
    let choice = accel::choose(&emulator(), HostOs::current(), dir.path()).unwrap();
    match choice.accel {
        Accel::Kvm => assert_eq!(choice.reason, None),
        Accel::Tcg => {
            let reason = choice.reason.unwrap();
            assert!(reason.len() > 10, "{reason}");
        }
        other => panic!("{other:?} on Linux"),
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "the probe left {left:?}");
}

#[test]
fn an_accelerator_of_another_system_is_refused_with_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let verdict = accel::try_accel(&emulator(), Accel::Hvf, HostOs::Linux, dir.path()).unwrap();
    let evidence = verdict.expect("there is no hvf on Linux");
    assert!(evidence.contains("hvf"), "{evidence}");
}

#[tokio::test]
async fn start_look_attach_stop() {
    let Bench { dir: _dir, config } = bench("hello from the guest\n");
    assert_eq!(Machine::look(&config).await.unwrap(), State::Absent);
    let machine = Machine::start(config.clone(), &emulator()).await.unwrap();
    let pid = machine.pid();
    assert_eq!(
        Machine::look(&config).await.unwrap(),
        State::Running { pid }
    );
    let again = Machine::start(config.clone(), &emulator()).await;
    assert!(matches!(again, Err(VmError::AlreadyRunning { pid: p }) if p == pid));

    // As if the starter had been killed before it wrote the pid file.
    std::fs::remove_file(&config.pid_file).unwrap();
    let found = Machine::attach(&config).await.unwrap().unwrap();
    assert_eq!(found.pid(), pid);
    assert!(config.pid_file.exists());
    // Or the file was damaged.
    std::fs::write(&config.pid_file, "rubbish").unwrap();
    let found = Machine::attach(&config).await.unwrap().unwrap();
    assert_eq!(found.pid(), pid);

    let said = || std::fs::read_to_string(&config.serial_log).unwrap_or_default();
    while !said().contains("from the guest") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut stages = vec![];
    let how = machine.stop(impatient(), |s| stages.push(s)).await.unwrap();
    assert_eq!(how, Stopped::Forced);
    assert_eq!(stages, [StopStage::PowerOff, StopStage::Quit]);
    assert_eq!(Machine::look(&config).await.unwrap(), State::Absent);
    assert!(gone(&config.pid_file));
    assert_eq!(said().trim(), "hello from the guest");
}

#[tokio::test]
async fn a_machine_killed_under_us_is_noticed_and_explained() {
    let Bench { dir: _dir, config } = bench("");
    let mut machine = Machine::start(config.clone(), &emulator()).await.unwrap();
    machine.check_alive().unwrap();
    signal(machine.pid(), "KILL");
    let death = loop {
        match machine.check_alive() {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break reason(error),
        }
    };
    assert!(
        matches!(death, Reason::Signal { number: 9, .. }),
        "{death:?}"
    );
    // A later cadet, who was not the parent, sees the death too, and can start anew.
    assert!(matches!(
        Machine::look(&config).await.unwrap(),
        State::Died(_)
    ));
    let machine = Machine::start(config.clone(), &emulator()).await.unwrap();
    machine.destroy(impatient()).await.unwrap();
    assert!(config.serial_log.with_extension("log.1").exists());
}

#[tokio::test]
async fn a_polite_kill_leaves_its_name_in_the_log() {
    let Bench { dir: _dir, config } = bench("");
    let machine = Machine::start(config.clone(), &emulator()).await.unwrap();
    signal(machine.pid(), "TERM");
    let stopped = machine.stop(impatient(), |_| {}).await.unwrap();
    assert!(matches!(
        stopped,
        Stopped::Already | Stopped::Gracefully | Stopped::Forced
    ));
    let log = std::fs::read_to_string(&config.qemu_log).unwrap();
    assert!(log.contains("terminating on signal 15"), "{log}");
}

#[tokio::test]
async fn a_frozen_qemu_is_unresponsive_and_still_gets_stopped() {
    let Bench { dir: _dir, config } = bench("");
    let machine = Machine::start(config.clone(), &emulator()).await.unwrap();
    let pid = machine.pid();
    signal(pid, "STOP");
    let state = Machine::look(&config).await.unwrap();
    assert!(
        matches!(state, State::Unresponsive { pid: p, .. } if p == pid),
        "{state:?}"
    );
    let how = machine.stop(impatient(), |_| {}).await.unwrap();
    assert_eq!(how, Stopped::Killed);
    assert!(!Path::new(&format!("/proc/{pid}/exe")).exists());
}

#[tokio::test]
async fn a_kernel_panic_is_read_from_the_console() {
    let says = "[0.0] Linux version 6\n[1.0] Kernel panic - not syncing: no root\n";
    let Bench { dir: _dir, config } = bench(says);
    let mut machine = Machine::start(config, &emulator()).await.unwrap();
    let death = loop {
        match machine.check_alive() {
            Ok(()) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => break error,
        }
    };
    assert!(death.to_string().contains("no root"), "{death}");
    machine.destroy(impatient()).await.unwrap();
}

#[tokio::test]
async fn what_prevents_a_start_is_told_by_its_name() {
    let Bench { dir, config } = bench("");
    let machine = Machine::start(config.clone(), &emulator()).await.unwrap();

    let mut second = config.clone();
    second.qmp = QmpEndpoint::Unix(dir.path().join("q3"));
    second.qmp_spare = None;
    second.pid_file = dir.path().join("second.pid");
    second.qemu_log = dir.path().join("second.log");
    second.serial_log = dir.path().join("second-serial.log");
    let start = |c: &MachineConfig| Machine::start(c.clone(), Box::leak(Box::new(emulator())));
    let error = start(&second).await.unwrap_err();
    assert!(matches!(
        reason(error),
        Reason::DiskInUse | Reason::PortTaken { .. }
    ));

    second.disks[0].path = dir.path().join("base.qcow2");
    let taken = config.forwards[0].host_port;
    machine.destroy(impatient()).await.unwrap();
    let holder = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let error = start(&second).await.unwrap_err();
    assert_eq!(reason(error), Reason::PortTaken { port: Some(taken) });
    drop(holder);

    std::fs::write(dir.path().join("broken"), [0u8; 4096]).unwrap();
    second.disks[0].path = dir.path().join("broken");
    assert_eq!(
        reason(start(&second).await.unwrap_err()),
        Reason::CorruptImage
    );
    second.disks[0].path = dir.path().join("absent");
    assert!(matches!(
        start(&second).await.unwrap_err(),
        VmError::Missing {
            what: "disk image",
            ..
        }
    ));
    assert!(gone(&second.pid_file));
}

#[tokio::test]
async fn started_by_root_it_becomes_nobody_behind_a_filter() {
    let Bench { dir, mut config } = bench("");
    let root = std::process::Command::new("id").arg("-u").output().unwrap();
    let is_root = root.stdout.trim_ascii() == b"0";
    config.run_as = emulator().run_as_for_root(if is_root { 0 } else { 1000 });
    // Not even the folder may be readable for the user it becomes.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    let machine = Machine::start(config.clone(), &emulator()).await.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.pid())).unwrap();
    let field = |name: &str| -> String {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2", "the system call filter is not up");
    if config.run_as.is_some() {
        assert_ne!(field("Uid:"), "0");
    }
    assert!(process::Identity::of(machine.pid()).is_some());
    machine.destroy(impatient()).await.unwrap();
    assert!(gone(&dir.path().join("q1")));
}

#[tokio::test]
async fn a_paused_guest_stands_still_until_it_is_let_go_and_a_disk_grows() {
    let Bench { dir: _dir, config } = bench("");
    let machine = Machine::start(config.clone(), &emulator()).await.unwrap();
    let pid = machine.pid();
    machine.pause().await.unwrap();
    let status = "paused".to_owned();
    assert_eq!(machine.state().await, State::Paused { pid, status });
    // Asking twice is no error, and another process sees the same.
    machine.pause().await.unwrap();
    let seen = Machine::look(&config).await.unwrap();
    assert!(matches!(seen, State::Paused { .. }), "{seen:?}");
    machine.resume().await.unwrap();
    assert_eq!(machine.state().await, State::Running { pid });
    // Its disk grows meanwhile.
    machine.grow_disk(0, 32 << 20).await.unwrap();
    let qemu_img = qemu::find_program("qemu-img", search().as_deref()).unwrap();
    let seen = overlay::info(&qemu_img, &config.disks[0].path).unwrap();
    assert_eq!(seen.virtual_size, 32 << 20);
    machine.destroy(impatient()).await.unwrap();
}
