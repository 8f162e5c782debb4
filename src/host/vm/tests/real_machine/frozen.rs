//! A guest that counts: frozen, woken, copied and put back, it goes on with the next number.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cadet_vm::checksum::Mark;
use cadet_vm::frozen::{Files, Note};
use cadet_vm::{Key, Layout, Machine, MachineConfig, Memory, State, VmError, overlay, qemu};

use super::tiny::{counting, follows};
use super::{Bench, bench, emulator, free_port, impatient, search};

pub fn counter() -> Bench {
    let made = bench("");
    std::fs::write(made.dir.path().join("kernel"), counting()).unwrap();
    made
}

/// What the guest has said so far, once it is at least so much.
pub async fn said(config: &MachineConfig, at_least: usize) -> Vec<u8> {
    loop {
        let said = std::fs::read(&config.serial_log).unwrap_or_default();
        if said.len() >= at_least {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn note(
    config: &MachineConfig,
    layout: Layout,
    state: &Path,
    memory: Option<&Path>,
) -> Note {
    Note {
        key: Key::of(config, &emulator()),
        layout,
        state: Mark::begin(state).await.unwrap().unwrap(),
        memory: memory.map(|path| Mark::of(path).unwrap()),
        disk: None,
        saved: 0,
        program: String::new(),
    }
}

/// Starts a counter and lets it stand still; its last number.
pub async fn paused(config: &MachineConfig) -> (Machine, u8) {
    let vm = Machine::start(config.clone(), &emulator()).await.unwrap();
    said(config, 5).await;
    vm.pause().await.unwrap();
    let said = said(config, 5).await;
    follows(0x40, &said);
    (vm, *said.last().unwrap())
}

#[tokio::test]
async fn a_suspended_machine_goes_on_with_the_next_number() {
    let Bench { dir, config } = counter();
    let (vm, last) = paused(&config).await;
    let launched = Key::read(config.key_file.as_deref().unwrap()).unwrap();
    assert_eq!(launched, Key::of(&config, &emulator()));
    let state = dir.path().join("state");
    let layout = vm.save(&state, None).await.unwrap();
    vm.destroy(impatient()).await.unwrap();
    assert!(!config.key_file.as_ref().unwrap().exists());

    let note = note(&config, layout, &state, None).await;
    let files = Files {
        state: &state,
        memory: None,
    };
    // Another port is no obstacle.
    let mut config = config;
    config.forwards[0].host_port = free_port();
    let vm = Machine::thaw(config.clone(), &emulator(), &files, &note)
        .await
        .unwrap();
    assert!(matches!(vm.state().await, State::Paused { .. }));
    vm.resume().await.unwrap();
    assert!(matches!(vm.state().await, State::Running { .. }));
    follows(last, &said(&config, 3).await);
    vm.destroy(impatient()).await.unwrap();
}

#[tokio::test]
async fn a_save_that_is_not_wanted_harms_nobody() {
    let Bench { dir, config } = counter();
    let (vm, last) = paused(&config).await;
    let nowhere = dir.path().join("no such folder/state");
    assert!(matches!(
        vm.save(&nowhere, None).await,
        Err(VmError::File { .. })
    ));
    let state = dir.path().join("state");
    vm.save(&state, None).await.unwrap();
    vm.resume().await.unwrap();
    // And a second one, after the first.
    let whole = said(&config, usize::from(last.wrapping_sub(0x40)) + 5).await;
    follows(0x40, &whole);
    vm.pause().await.unwrap();
    vm.save(&state, None).await.unwrap();
    vm.destroy(impatient()).await.unwrap();
}

#[tokio::test]
async fn damaged_and_foreign_states_start_nothing() {
    let Bench { dir, config } = counter();
    let (vm, _) = paused(&config).await;
    let state = dir.path().join("state");
    let layout = vm.save(&state, None).await.unwrap();
    vm.destroy(impatient()).await.unwrap();
    let note = note(&config, layout, &state, None).await;
    let files = Files {
        state: &state,
        memory: None,
    };
    let mut larger = config.clone();
    larger.memory_mib += 64;
    let refused = Machine::thaw(larger, &emulator(), &files, &note).await;
    assert!(matches!(refused, Err(VmError::NotUsable(_))));

    // One bit in the middle; the file is as long as it was.
    let mut bytes = std::fs::read(&state).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&state, &bytes).unwrap();
    let refused = Machine::thaw(config.clone(), &emulator(), &files, &note).await;
    assert!(matches!(refused, Err(VmError::NotUsable(_))));
    assert_eq!(Machine::look(&config).await.unwrap(), State::Absent);

    // A state that is what was noted, and still none: QEMU says so, and is gone.
    std::fs::write(&state, b"no state at all").unwrap();
    let lie = self::note(&config, layout, &state, None).await;
    let refused = Machine::thaw(config.clone(), &emulator(), &files, &lie).await;
    assert!(refused.is_err());
    assert_eq!(Machine::look(&config).await.unwrap(), State::Absent);
    // The disk is as good as before: it boots.
    let vm = Machine::start(config.clone(), &emulator()).await.unwrap();
    follows(0x40, &said(&config, 2).await);
    vm.destroy(impatient()).await.unwrap();
}

#[tokio::test]
async fn copies_of_a_template_go_their_own_ways() {
    let Bench { dir, mut config } = counter();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    let (memory, state) = (at("memory"), at("template.state"));
    config.memory = Memory::Kept(memory.clone());
    let (vm, last) = paused(&config).await;
    let layout = vm.save(&state, Some(Layout::Outside)).await.unwrap();
    vm.destroy(impatient()).await.unwrap();
    assert!(state.metadata().unwrap().len() < 16 << 20, "without memory");
    let note = note(&config, layout, &state, Some(&memory)).await;

    let img = qemu::find_program("qemu-img", search().as_deref()).unwrap();
    let mut copies = Vec::new();
    for name in ["one", "two"] {
        let at = |file: &str| at(&format!("{name}.{file}"));
        let mut copy = config.clone();
        copy.name = name.into();
        copy.memory = Memory::Copied(memory.clone());
        copy.disks[0].path = at("qcow2");
        overlay::create(&img, &config.disks[0].path, &at("qcow2"), 16 << 20).unwrap();
        copy.forwards[0].host_port = free_port();
        copy.qmp = cadet_vm::QmpEndpoint::Unix(at("q"));
        copy.qmp_spare = None;
        copy.channel = Some(at("k"));
        copy.serial_log = at("serial");
        copy.qemu_log = at("log");
        copy.pid_file = at("pid");
        copy.key_file = Some(at("key"));
        let files = Files {
            state: &state,
            memory: Some(&memory),
        };
        let vm = Machine::thaw(copy.clone(), &emulator(), &files, &note)
            .await
            .unwrap();
        vm.resume().await.unwrap();
        copies.push((vm, copy));
    }
    for (_, copy) in &copies {
        follows(last, &said(copy, 3).await);
    }
    assert_eq!(Some(Mark::of(&memory).unwrap()), note.memory);

    // A copy is suspended as any other machine, and needs the template no more.
    let (vm, copy) = copies.remove(0);
    vm.pause().await.unwrap();
    let last = *said(&copy, 3).await.last().unwrap();
    let own = at("one.state");
    let layout = vm.save(&own, None).await.unwrap();
    vm.destroy(impatient()).await.unwrap();
    let (other, _) = copies.remove(0);
    other.destroy(impatient()).await.unwrap();
    std::fs::remove_file(&memory).unwrap();
    let mut alone = copy;
    alone.memory = Memory::Own;
    let note = self::note(&alone, layout, &own, None).await;
    let files = Files {
        state: &own,
        memory: None,
    };
    let vm = Machine::thaw(alone.clone(), &emulator(), &files, &note)
        .await
        .unwrap();
    vm.resume().await.unwrap();
    follows(last, &said(&alone, 3).await);
    vm.destroy(impatient()).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_gone_back_to_more_than_once() {
    let Bench { dir, config } = counter();
    let img = qemu::find_program("qemu-img", search().as_deref()).unwrap();
    let disk = config.disks[0].path.clone();
    let (vm, last) = paused(&config).await;
    vm.forget_disks("first").await.unwrap();
    vm.keep_disks("first").await.unwrap();
    let state = dir.path().join("state");
    let layout = vm.save(&state, None).await.unwrap();
    vm.resume().await.unwrap();
    let note = note(&config, layout, &state, None).await;
    assert!(overlay::keeps(&img, &disk, "first").unwrap());
    let whole = said(&config, usize::from(last.wrapping_sub(0x40)) + 3).await;
    follows(0x40, &whole);
    vm.destroy(impatient()).await.unwrap();

    for _ in 0..2 {
        overlay::go_back(&img, &disk, "first").unwrap();
        let files = Files {
            state: &state,
            memory: None,
        };
        let vm = Machine::thaw(config.clone(), &emulator(), &files, &note)
            .await
            .unwrap();
        vm.resume().await.unwrap();
        follows(last, &said(&config, 3).await);
        vm.destroy(impatient()).await.unwrap();
    }
    let vm = Machine::start(config.clone(), &emulator()).await.unwrap();
    vm.forget_disks("first").await.unwrap();
    vm.forget_disks("first").await.unwrap();
    assert!(!overlay::keeps(&img, &disk, "first").unwrap());
    vm.destroy(impatient()).await.unwrap();
}
