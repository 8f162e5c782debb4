//! One machine from start to end.
//!
//! ```text
//!             start                    power-off by stop
//!   Absent ──────────► Running ─────────────────────────────► Absent
//!     ▲  │              │  ▲ │
//!     │  │ thaw         │  │ └─ pause, or host disk full ─► Paused ─ resume ─► Running
//!     │  └──► Paused    │  │                                  │ save, destroy: frozen
//!     │ forget          │  └─ (another cadet attaches by pid file or socket)
//!     └──── Died ◄──────┘ process gone without stop: killed, panicked, powered off inside
//! ```
//!
//! The truth is the process and its control socket; the pid file only remembers which
//! process to look at. A machine whose starter was killed before it wrote the pid file
//! is found again through the socket.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::argv;
use crate::config::{HostOs, MachineConfig, QmpEndpoint};
use crate::diagnose::{self, Death, Exit};
use crate::error::VmError;
use crate::key::Key;
use crate::migrate;
use crate::process::{self, Identity};
use crate::qemu::Emulator;
use crate::qmp::Qmp;

/// How long QEMU may take to open its socket; a fraction of a second unless the host thrashes.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// For one question on an open socket.
const ASK_DEADLINE: Duration = Duration::from_secs(5);
/// For the connection by which `state` looks at a machine: status must never hang.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);
/// A write that fails again does so at once, for nobody waits for a disk without room.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks at a socket that is about to open.
const OPENING: Duration = Duration::from_millis(10);
/// Between two looks at a process that should end.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// What a machine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Never started, or stopped in order.
    Absent,
    /// The guest executes.
    Running { pid: u32 },
    /// QEMU holds the guest still: `paused` because somebody asked, `io-error` because the
    /// host's disk is full or broken.
    Paused { pid: u32, status: String },
    /// The process is there but its control socket does not answer.
    Unresponsive { pid: u32, why: String },
    /// The process is gone though nobody stopped it through us.
    Died(Box<Death>),
}

/// QEMU's words (RunState in its run-state.json) for a guest that goes on when it is told to:
/// somebody paused it, or its state was written and whoever asked for that is gone.
const PAUSED: &str = "paused";
const WRITTEN: [&str; 2] = ["finish-migrate", "postmigrate"];
/// Its word for a guest that waits because a write failed.
const WRITE_FAILED: &str = "io-error";

impl State {
    /// True for a guest that was made to stand still, whole and ready to go on.
    pub fn is_held(&self) -> bool {
        matches!(self, State::Paused { status, .. } if status == PAUSED) || self.is_written()
    }

    /// True for one of which a state was written, and that has not gone on since.
    pub fn is_written(&self) -> bool {
        matches!(self, State::Paused { status, .. } if WRITTEN.contains(&status.as_str()))
    }

    /// True for a guest that waits for room on the host's disk.
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, State::Paused { status, .. } if status == WRITE_FAILED)
    }
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    pub(crate) config: MachineConfig,
    pub(crate) identity: Identity,
    /// Present when this process started it: only a parent learns the exit status.
    child: Option<Child>,
}

impl Machine {
    /// Starts QEMU and waits until the guest executes. The process outlives us.
    ///
    /// The caller holds the profile's lock: of two starts at once the loser would remove
    /// the winner's sockets.
    ///
    /// # Errors
    /// [`VmError::AlreadyRunning`], [`VmError::Missing`], [`VmError::Config`],
    /// [`VmError::Died`] with the reason, [`VmError::NoAnswer`].
    pub async fn start(config: MachineConfig, emulator: &Emulator) -> Result<Machine, VmError> {
        let mut machine = Machine::launch(config, emulator, &[]).await?;
        let running = machine.await_running().await;
        machine.unless(running)
    }

    /// Starts QEMU with `more` arguments; it may not listen yet.
    pub(crate) async fn launch(
        config: MachineConfig,
        emulator: &Emulator,
        more: &[&str],
    ) -> Result<Machine, VmError> {
        let os = HostOs::current();
        config.check(os)?;
        check_files(&config)?;
        if let Some(running) = Machine::attach(&config).await? {
            let pid = running.identity.pid;
            return Err(VmError::AlreadyRunning { pid });
        }
        clear_leftovers(&config)?;
        let mut args = argv::build(&config, os);
        args.extend(more.iter().map(OsString::from));
        let mut child = process::spawn_detached(&emulator.path, &args, &config.qemu_log)?;
        let pid = child.id();
        let Some(identity) = Identity::of(pid) else {
            // It ended at once; the log says why.
            let status = child.wait().map_err(|e| run_error(emulator, e))?;
            return Err(died(&config, Exit::from_status(status, false)));
        };
        let written = process::write_pid_file(&config.pid_file, &identity)
            .and_then(|()| note_key(&config, emulator));
        let machine = Machine {
            config,
            identity,
            child: Some(child),
        };
        machine.unless(written)
    }

    /// The machine if `done` went well; else its end, and the error.
    pub(crate) fn unless(mut self, done: Result<(), VmError>) -> Result<Machine, VmError> {
        let Err(error) = done else {
            return Ok(self);
        };
        self.identity.kill();
        self.reap();
        forget(&self.config)?;
        Err(error)
    }

    /// Finds the machine of this configuration if its process lives.
    ///
    /// # Errors
    /// [`VmError::File`] if the pid file cannot be read. A damaged one is not an error as long
    /// as the socket answers or nobody does.
    pub async fn attach(config: &MachineConfig) -> Result<Option<Machine>, VmError> {
        let recorded = match process::read_pid_file(&config.pid_file) {
            Ok(recorded) => recorded,
            Err(VmError::BadPidFile { .. }) => None,
            Err(error) => return Err(error),
        };
        let identity = match recorded.filter(Identity::is_alive) {
            Some(identity) => identity,
            None => match find_by_socket(config).await {
                Some(identity) => {
                    process::write_pid_file(&config.pid_file, &identity)?;
                    identity
                }
                None => return Ok(None),
            },
        };
        Ok(Some(Machine {
            config: config.clone(),
            identity,
            child: None,
        }))
    }

    /// What the machine of this configuration is doing. Answers within a few seconds, always.
    ///
    /// # Errors
    /// [`VmError::File`], [`VmError::BadPidFile`] if the pid file cannot be read.
    pub async fn look(config: &MachineConfig) -> Result<State, VmError> {
        if let Some(machine) = Machine::attach(config).await? {
            return Ok(machine.state().await);
        }
        let Some(gone) = process::read_pid_file(&config.pid_file)? else {
            return Ok(State::Absent);
        };
        let exit = Exit {
            oom_kills: gone.oom_kills_since(),
            ..Exit::default()
        };
        Ok(State::Died(Box::new(death(config, exit))))
    }

    /// Process id of QEMU.
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// What the machine is doing now.
    pub async fn state(&self) -> State {
        let pid = self.identity.pid;
        match self.ask("query-status").await {
            Ok(answer) => match answer["status"].as_str() {
                Some("running") => State::Running { pid },
                status => State::Paused {
                    pid,
                    status: status.unwrap_or("unknown").to_owned(),
                },
            },
            Err(_) if !self.identity.is_alive() => {
                let exit = Exit {
                    oom_kills: self.identity.oom_kills_since(),
                    ..Exit::default()
                };
                State::Died(Box::new(death(&self.config, exit)))
            }
            Err(error) => State::Unresponsive {
                pid,
                why: error.to_string(),
            },
        }
    }

    /// An error if the machine has ended or its kernel has panicked; for loops that wait for ssh.
    ///
    /// # Errors
    /// [`VmError::Died`].
    pub fn check_alive(&mut self) -> Result<(), VmError> {
        if let Some(exit) = self.ended() {
            return Err(died(&self.config, exit));
        }
        let serial = diagnose::read_tail(&self.config.serial_log);
        if diagnose::kernel_panic(&serial).is_some() {
            return Err(died(&self.config, Exit::default()));
        }
        Ok(())
    }

    /// Holds the guest still; its memory stays where it is, its clock stops.
    ///
    /// # Errors
    /// Those of the control socket.
    pub async fn pause(&self) -> Result<(), VmError> {
        self.ask("stop").await.map(drop)
    }

    /// Lets a machine continue that was made to stand still.
    ///
    /// # Errors
    /// Those of the control socket.
    pub async fn resume(&self) -> Result<(), VmError> {
        let mut qmp = self.control().await?;
        // A writer that was killed leaves QEMU writing, and QEMU stops the guest when it is
        // through.
        migrate::abandon(&mut qmp).await?;
        let began = Instant::now();
        loop {
            match qmp.execute("cont", Value::Null, ASK_DEADLINE).await {
                // monitor/qmp-cmds.c: all is written, and QEMU has yet to note that it is.
                Err(VmError::QmpRefused { description, .. })
                    if description.contains("not finalized") && began.elapsed() < ASK_DEADLINE =>
                {
                    tokio::time::sleep(OPENING).await;
                }
                done => return done.map(drop),
            }
        }
    }

    /// Lets a machine continue that waits for room on the host's disk: it tries the failed write
    /// again. False if that failed again.
    ///
    /// # Errors
    /// Those of the control socket.
    pub async fn retry(&self) -> Result<bool, VmError> {
        let mut qmp = self.control().await?;
        qmp.execute("cont", Value::Null, ASK_DEADLINE).await?;
        let began = Instant::now();
        loop {
            let left = RETRY.saturating_sub(began.elapsed());
            match qmp.next_event(left).await {
                Ok(event) if event.name == "STOP" => return Ok(false),
                Ok(_) => {}
                Err(VmError::QmpDeadline { .. }) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the disk at `index` of the configuration larger; the guest sees it at once, its
    /// file system does not grow by itself.
    ///
    /// # Errors
    /// Those of the control socket.
    pub async fn grow_disk(&self, index: usize, bytes: u64) -> Result<(), VmError> {
        let arguments = json!({ "device": format!("disk{index}"), "size": bytes });
        self.ask_with("block_resize", arguments).await.map(drop)
    }

    async fn await_running(&mut self) -> Result<(), VmError> {
        let started = Instant::now();
        loop {
            let mut qmp = self.await_control(started).await?;
            let status = qmp
                .execute("query-status", Value::Null, ASK_DEADLINE)
                .await?;
            if status["running"] == true {
                return Ok(());
            }
            if status["status"] == "internal-error" {
                return Err(died(&self.config, Exit::default()));
            }
            if started.elapsed() > START_DEADLINE {
                return Err(self.no_answer());
            }
            drop(qmp);
            tokio::time::sleep(POLL).await;
        }
    }

    /// The control socket of a QEMU that was just started.
    pub(crate) async fn await_control(&mut self, started: Instant) -> Result<Qmp, VmError> {
        loop {
            if let Some(exit) = self.ended() {
                return Err(died(&self.config, exit));
            }
            if let Ok(qmp) = Qmp::connect(&self.config.qmp, LOOK_DEADLINE).await {
                return Ok(qmp);
            }
            if started.elapsed() > START_DEADLINE {
                return Err(self.no_answer());
            }
            tokio::time::sleep(OPENING).await;
        }
    }

    fn no_answer(&self) -> VmError {
        VmError::NoAnswer {
            pid: self.identity.pid,
            waited: START_DEADLINE,
        }
    }

    /// A connection for several commands; the second endpoint serves if the first is busy.
    pub(crate) async fn control(&self) -> Result<Qmp, VmError> {
        let mut last = VmError::NotRunning;
        for endpoint in std::iter::once(&self.config.qmp).chain(&self.config.qmp_spare) {
            match Qmp::connect(endpoint, LOOK_DEADLINE).await {
                Ok(qmp) => return Ok(qmp),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// One question over a fresh connection.
    pub(crate) async fn ask(&self, command: &str) -> Result<Value, VmError> {
        self.ask_with(command, Value::Null).await
    }

    async fn ask_with(&self, command: &str, arguments: Value) -> Result<Value, VmError> {
        let mut qmp = self.control().await?;
        qmp.execute(command, arguments, ASK_DEADLINE).await
    }

    /// The error for a process that ended, if that is what `error` comes from.
    pub(crate) async fn or_died(&mut self, error: VmError) -> VmError {
        if !matches!(error, VmError::QmpClosed | VmError::QmpIo { .. }) {
            return error;
        }
        // Its socket shows the end a moment before the process does.
        let began = Instant::now();
        while began.elapsed() < ASK_DEADLINE {
            if let Some(exit) = self.ended() {
                return died(&self.config, exit);
            }
            tokio::time::sleep(OPENING).await;
        }
        error
    }

    /// How the process ended, or `None` while it lives.
    pub(crate) fn ended(&mut self) -> Option<Exit> {
        let status = match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(Some(status)) => Some(status),
                Ok(None) if self.identity.is_alive() => return None,
                // It ended between the two questions: the status is ready now.
                Ok(None) => child.wait().ok(),
                Err(_) => None,
            },
            None => None,
        };
        if status.is_none() && self.identity.is_alive() {
            return None;
        }
        let oom_kills = self.identity.oom_kills_since();
        Some(match status {
            Some(status) => Exit::from_status(status, oom_kills),
            None => Exit {
                oom_kills,
                ..Exit::default()
            },
        })
    }

    fn reap(&mut self) {
        if let Some(child) = &mut self.child {
            // The process was just killed; an error would mean that it is already reaped.
            let _ = child.wait();
        }
    }
}

/// Removes what a stopped or dead machine leaves behind (not its logs).
///
/// # Errors
/// [`VmError::File`].
pub fn forget(config: &MachineConfig) -> Result<(), VmError> {
    process::remove(&config.pid_file)?;
    for path in config.key_file.iter().chain(&config.channel) {
        process::remove(path)?;
    }
    for endpoint in std::iter::once(&config.qmp).chain(&config.qmp_spare) {
        if let QmpEndpoint::Unix(path) = endpoint {
            process::remove(path)?;
        }
    }
    Ok(())
}

/// Notes what a saved state of this machine will depend on.
fn note_key(config: &MachineConfig, emulator: &Emulator) -> Result<(), VmError> {
    match &config.key_file {
        Some(path) => Key::of(config, emulator).write(path),
        None => Ok(()),
    }
}

async fn find_by_socket(config: &MachineConfig) -> Option<Identity> {
    for endpoint in std::iter::once(&config.qmp).chain(&config.qmp_spare) {
        // Nobody listens there: the usual case, answered at once.
        if let Ok(qmp) = Qmp::connect(endpoint, LOOK_DEADLINE).await {
            return Identity::of(qmp.peer_pid?);
        }
    }
    None
}

fn check_files(config: &MachineConfig) -> Result<(), VmError> {
    let disks = config.disks.iter().map(|d| ("disk image", &d.path));
    let boot = [
        ("kernel", &config.kernel),
        ("initial RAM disk", &config.initrd),
    ];
    for (what, path) in boot.into_iter().chain(disks) {
        if !path.is_absolute() {
            let why = format!("the {what} {} is not an absolute path", path.display());
            return Err(VmError::Config(why));
        }
        if !path.is_file() {
            let path = path.clone();
            return Err(VmError::Missing { what, path });
        }
    }
    Ok(())
}

/// Sockets of a dead machine, and the console of the run before, kept as `….1`.
fn clear_leftovers(config: &MachineConfig) -> Result<(), VmError> {
    forget(config)?;
    let mut previous = config.serial_log.clone().into_os_string();
    previous.push(".1");
    match std::fs::rename(&config.serial_log, PathBuf::from(previous)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(VmError::file("rename", &config.serial_log, e))
        }
        _ => Ok(()),
    }
}

fn death(config: &MachineConfig, exit: Exit) -> Death {
    let qemu = diagnose::read_tail(&config.qemu_log);
    let serial = diagnose::read_tail(&config.serial_log);
    diagnose::explain(exit, &qemu, &serial)
}

fn died(config: &MachineConfig, exit: Exit) -> VmError {
    VmError::Died(Box::new(death(config, exit)))
}

fn run_error(emulator: &Emulator, source: std::io::Error) -> VmError {
    VmError::Run {
        program: emulator.path.clone(),
        source,
    }
}
