//! What befalls frozen machines: a writer that was killed, files that were cut or changed,
//! another QEMU than before.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use cadet_vm::frozen::Files;
use cadet_vm::qmp::Qmp;
use cadet_vm::{Arch, Emulator, Key, Layout, Machine, Memory, State, VmError};
use serde_json::{Value, json};

use super::frozen::{counter, note, paused, said};
use super::tiny::follows;
use super::upgraded::upgraded;
use super::{Bench, emulator, impatient};

/// For a word to QEMU on a busy computer.
const PATIENCE: Duration = Duration::from_secs(60);

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).unwrap();
}

#[tokio::test]
async fn what_a_killed_writer_left_to_qemu_stops_nobody() {
    let Bench { dir, config } = counter();
    let (vm, last) = paused(&config).await;
    // A state that is taken only when we say so: as if the disk were slow, and whoever asked for
    // it were killed meanwhile.
    let sink = dir.path().join("sink");
    let listener = UnixListener::bind(&sink).unwrap();
    let (take, taken) = mpsc::channel::<()>();
    let taking = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        taken.recv().unwrap();
        let mut all = Vec::new();
        // QEMU ends it in the middle.
        let _ = stream.read_to_end(&mut all);
    });
    {
        let mut qmp = Qmp::connect(&config.qmp, PATIENCE).await.unwrap();
        let uri = json!({ "uri": format!("unix:{}", sink.display()) });
        qmp.execute("migrate", uri, PATIENCE).await.unwrap();
        loop {
            let seen = qmp.execute("query-migrate", Value::Null, PATIENCE).await;
            if seen.unwrap()["status"] == "active" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    vm.resume().await.unwrap();
    take.send(()).unwrap();
    taking.join().unwrap();
    // QEMU, left alone with it, would have stopped the guest at its end.
    let heard = usize::from(last.wrapping_sub(0x40));
    follows(0x40, &said(&config, heard + 3).await);
    assert!(matches!(vm.state().await, State::Running { .. }));

    // One that was written to its end stands still in another way, and goes on as well.
    vm.pause().await.unwrap();
    vm.save(&dir.path().join("state"), None).await.unwrap();
    let state = Machine::look(&config).await.unwrap();
    assert!(state.is_held(), "{state:?}");
    vm.resume().await.unwrap();
    assert!(matches!(vm.state().await, State::Running { .. }));
    vm.destroy(impatient()).await.unwrap();
    assert!(!Machine::look(&config).await.unwrap().is_held());
}

#[tokio::test]
async fn templates_that_were_cut_or_changed_start_nothing() {
    let Bench { dir, mut config } = counter();
    let (memory, state) = (dir.path().join("memory"), dir.path().join("state"));
    config.memory = Memory::Kept(memory.clone());
    let (vm, _) = paused(&config).await;
    let layout = vm.save(&state, Some(Layout::Outside)).await.unwrap();
    vm.destroy(impatient()).await.unwrap();
    let note = note(&config, layout, &state, Some(&memory)).await;
    config.memory = Memory::Copied(memory.clone());
    let files = Files {
        state: &state,
        memory: Some(&memory),
    };
    let refused = || {
        let (config, files, note) = (config.clone(), &files, &note);
        async move {
            let thawed = Machine::thaw(config.clone(), &emulator(), files, note).await;
            assert!(matches!(thawed, Err(VmError::NotUsable(_))), "{thawed:?}");
            assert_eq!(Machine::look(&config).await.unwrap(), State::Absent);
        }
    };
    // The guest's own code lies at the first MiB.
    let code = 1 << 20;
    for (file, at) in [(&memory, code), (&state, 200)] {
        flip(file, at);
        refused().await;
        flip(file, at);
    }
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    refused().await;
    std::fs::write(&state, &bytes).unwrap();
    let open = std::fs::OpenOptions::new()
        .write(true)
        .open(&memory)
        .unwrap();
    let whole = memory.metadata().unwrap().len();
    open.set_len(code).unwrap();
    refused().await;
    // As long as it was, and empty where something was.
    open.set_len(whole).unwrap();
    refused().await;
    std::fs::remove_file(&memory).unwrap();
    refused().await;
    // The disk is as good as before, and a machine boots from it.
    config.memory = Memory::Own;
    let vm = Machine::start(config.clone(), &emulator()).await.unwrap();
    follows(0x40, &said(&config, 2).await);
    vm.destroy(impatient()).await.unwrap();
}

#[tokio::test]
async fn another_qemu_boots_what_it_cannot_wake() {
    let Bench { dir, config } = counter();
    let (vm, last) = paused(&config).await;
    let state = dir.path().join("state");
    let layout = vm.save(&state, None).await.unwrap();
    vm.destroy(impatient()).await.unwrap();
    let note = note(&config, layout, &state, None).await;
    let files = Files {
        state: &state,
        memory: None,
    };
    let bin = dir.path().join("bin");
    upgraded(&emulator(), "99.1.0", &bin);
    let next = Emulator::find(Arch::Amd64, Some(bin.as_os_str())).unwrap();
    let error = Machine::thaw(config.clone(), &next, &files, &note).await;
    let error = error.unwrap_err();
    assert!(matches!(error, VmError::NotUsable(_)), "{error}");
    let (then, now) = (emulator().version.to_string(), next.version.to_string());
    let told = error.to_string();
    assert!(told.contains(&then) && told.contains(&now), "{told}");
    assert_eq!(Machine::look(&config).await.unwrap(), State::Absent);

    let vm = Machine::start(config.clone(), &next).await.unwrap();
    follows(0x40, &said(&config, 2).await);
    // Upgraded while it runs: what would be saved now is the new one's.
    let launched = Key::read(config.key_file.as_deref().unwrap()).unwrap();
    let why = launched.obstacle(&Key::of(&config, &emulator())).unwrap();
    assert!(why.contains("99.1.0"), "{why}");
    vm.destroy(impatient()).await.unwrap();
    // Whoever goes back to the old one finds the state as it was.
    let vm = Machine::thaw(config.clone(), &emulator(), &files, &note)
        .await
        .unwrap();
    vm.resume().await.unwrap();
    follows(last, &said(&config, 2).await);
    vm.destroy(impatient()).await.unwrap();
}
