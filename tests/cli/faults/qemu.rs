//! A stand-in for QEMU behind a profile's control socket. It says what state it is in, does what
//! it is told as QEMU does (qapi/run-state.json, qapi/migration.json), and can kill the program
//! that speaks to it at a word of the test's choice.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use cadet_vm::process::{Identity, write_pid_file};
use cadet_vm::{Accel, Emulator, Key};
use serde_json::{Value, json};

use super::{Bench, VERSION};

/// What becomes of the state it was told to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Never,
    Active,
    Done,
    Cancelled,
}

struct Inner {
    status: String,
    writing: Writing,
    /// Whether a write that failed would work now.
    has_room: bool,
    heard: Vec<String>,
    /// At which word, counted from 0, this process is killed.
    victim: Option<(usize, u32)>,
    was_killed: bool,
    /// Its process: one that does nothing.
    process: Child,
    has_ended: bool,
}

/// A machine that is not there.
pub struct Qemu(Arc<Mutex<Inner>>);

impl Qemu {
    /// Stands behind the profile of `bench`, as if `cadet start` had started it.
    pub fn new(bench: &mut Bench, status: &str) -> Self {
        let bin = bench.home.dir.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for name in ["qemu-system-x86_64", "qemu-system-aarch64"] {
            let text = format!("#!/bin/sh\necho 'QEMU emulator version {VERSION} (none)'\n");
            std::fs::write(bin.join(name), text).unwrap();
            let mode = PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(bin.join(name), mode).unwrap();
        }
        let config = bench.config(Accel::Tcg);
        let emulator = Emulator::find(config.arch, Some(bin.as_os_str())).unwrap();
        bench.bin = Some(bin);
        let files = bench.files();
        Key::of(&config, &emulator).write(&files.key()).unwrap();
        std::fs::write(files.disk(), "a disk").unwrap();
        std::fs::write(files.seed(), "a seed").unwrap();
        let process = Command::new("sleep")
            .arg("3600")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let identity = Identity::of(process.id()).unwrap();
        write_pid_file(&files.pid(), &identity).unwrap();
        let inner = Arc::new(Mutex::new(Inner {
            status: status.into(),
            writing: Writing::Never,
            has_room: true,
            heard: Vec::new(),
            victim: None,
            was_killed: false,
            process,
            has_ended: false,
        }));
        let listener = UnixListener::bind(files.qmp()).unwrap();
        let served = Arc::clone(&inner);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // Whoever goes away in the middle is no matter of QEMU's.
                let _ = talk(&stream, &served);
                if served.lock().unwrap().has_ended {
                    return;
                }
            }
        });
        Self(inner)
    }

    pub fn has_no_room(self) -> Self {
        self.0.lock().unwrap().has_room = false;
        self
    }

    pub fn has_ended(&self) -> bool {
        self.0.lock().unwrap().has_ended
    }

    pub fn status(&self) -> String {
        self.0.lock().unwrap().status.clone()
    }

    pub fn heard(&self, word: &str) -> bool {
        self.0
            .lock()
            .unwrap()
            .heard
            .iter()
            .any(|heard| heard == word)
    }

    /// Runs `command` and kills it when it has said so many words; false if it ended before. With
    /// `goes_through`, a state that was being written then is written to its end.
    pub fn kills(&self, command: &mut Command, word: usize, goes_through: bool) -> bool {
        // It can say nothing before it is known.
        let mut inner = self.0.lock().unwrap();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let already = inner.heard.len();
        inner.victim = Some((already + word, child.id()));
        drop(inner);
        child.wait().unwrap();
        let mut inner = self.0.lock().unwrap();
        inner.victim = None;
        if goes_through && inner.writing == Writing::Active {
            inner.writing = Writing::Done;
            inner.status = "postmigrate".into();
        }
        std::mem::take(&mut inner.was_killed)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        if let Ok(mut inner) = self.0.lock() {
            inner.end();
        }
    }
}

impl Inner {
    fn end(&mut self) {
        self.has_ended = true;
        // Both fail only for a process that has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Does it; what is returned, or why not.
    fn act(&mut self, word: &str) -> Result<Value, &'static str> {
        let stands_still = self.status != "running";
        match word {
            "query-status" => {
                return Ok(json!({"status": self.status, "running": !stands_still}));
            }
            "stop" if !stands_still => self.status = "paused".into(),
            "cont" => match self.status.as_str() {
                "inmigrate" | "internal-error" | "guest-panicked" => {
                    return Err("Resetting the Virtual Machine is required");
                }
                "finish-migrate" => {
                    // Noticed a moment later.
                    self.status = "postmigrate".into();
                    return Err("Migration is not finalized yet");
                }
                "io-error" if !self.has_room => {}
                _ => self.status = "running".into(),
            },
            "migrate-set-capabilities" | "migrate" if self.writing == Writing::Active => {
                return Err("There's a migration process in progress");
            }
            "migrate" if self.status == "postmigrate" => {
                return Err("Can't migrate the vm that was paused due to previous migration");
            }
            "migrate" => self.writing = Writing::Active,
            "migrate_cancel" if self.writing == Writing::Active => {
                self.writing = Writing::Cancelled;
            }
            "query-migrate" => {
                let told = match self.writing {
                    Writing::Never => return Ok(json!({})),
                    Writing::Active => "active",
                    Writing::Done => "completed",
                    Writing::Cancelled => "cancelled",
                };
                if self.writing == Writing::Active && self.victim_hears_more() {
                    self.writing = Writing::Done;
                    self.status = "postmigrate".into();
                }
                return Ok(json!({"status": told}));
            }
            "add-fd" => return Ok(json!({"fdset-id": 1, "fd": 9})),
            "quit" => self.end(),
            // A guest that stands still does not hear it.
            "system_powerdown" if !stands_still => self.end(),
            _ => {}
        }
        Ok(json!({}))
    }

    /// Whether whoever asked lives on to be told that it is through.
    fn victim_hears_more(&self) -> bool {
        let now = self.heard.len();
        self.victim.is_none_or(|(at, _)| at + 1 != now)
    }
}

fn talk(mut stream: &UnixStream, inner: &Mutex<Inner>) -> std::io::Result<()> {
    let hello = json!({"QMP": {"capabilities": [], "version": {
        "qemu": {"major": VERSION.0, "minor": VERSION.1, "micro": VERSION.2}, "package": ""}}});
    stream.write_all(format!("{hello}\r\n").as_bytes())?;
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let request: Value = serde_json::from_str(&line)?;
        line.clear();
        let word = request["execute"].as_str().unwrap_or_default().to_owned();
        let mut inner = inner.lock().unwrap();
        let said = if word == "qmp_capabilities" {
            Ok(json!({}))
        } else {
            inner.heard.push(word.clone());
            inner.act(&word)
        };
        let spoken = inner.heard.len();
        if let Some((at, pid)) = inner.victim
            && word != "qmp_capabilities"
            && at + 1 == spoken
        {
            let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
            assert!(killed.unwrap().success());
            inner.was_killed = true;
            return Ok(());
        }
        let reply = match said {
            Ok(value) => json!({"return": value, "id": request["id"]}),
            Err(why) => json!({"id": request["id"],
                "error": {"class": "GenericError", "desc": why}}),
        };
        let mut text = format!("{reply}\r\n");
        if word == "cont" && inner.status == "io-error" {
            for event in ["RESUME", "STOP"] {
                let event = json!({"event": event, "timestamp": {}});
                text.push_str(&format!("{event}\r\n"));
            }
        }
        let has_ended = inner.has_ended;
        drop(inner);
        stream.write_all(text.as_bytes())?;
        if has_ended {
            return Ok(());
        }
    }
    Ok(())
}
