//! Everything that can go wrong with a machine, named by the act that failed.

use std::path::PathBuf;
use std::time::Duration;

use crate::diagnose::Death;
use crate::qemu::Version;

/// One failed act. The text says what and why; the caller adds id, hint and exit code.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// A program of QEMU is not on the search path.
    #[error("{program} was not found ({hint})")]
    QemuNotFound {
        /// Binary that was looked for, e.g. `qemu-system-x86_64`.
        program: String,
        /// How to install it on this operating system.
        hint: String,
    },
    /// QEMU is there but older than what the argument list needs.
    #[error("QEMU {found} at {} is older than {minimum} ({hint})", program.display())]
    QemuTooOld {
        program: PathBuf,
        found: Version,
        minimum: Version,
        hint: String,
    },
    /// `--version` printed something unexpected.
    #[error("cannot tell the version of {}: it printed {output:?}", program.display())]
    QemuVersion { program: PathBuf, output: String },
    /// A program could not be run at all.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        program: PathBuf,
        source: std::io::Error,
    },
    /// The configuration cannot become a machine.
    #[error("the machine's configuration is not usable: {0}")]
    Config(String),
    /// A unix socket path longer than the kernel accepts.
    #[error("the socket path {} has {length} bytes, the limit is {limit}: use a shorter state directory", path.display())]
    SocketPathTooLong {
        path: PathBuf,
        length: usize,
        limit: usize,
    },
    /// No loopback port could be bound.
    #[error("no free port on 127.0.0.1: {0}")]
    NoPort(std::io::Error),
    /// A port the caller insists on is taken.
    #[error("port {port} on 127.0.0.1 is already in use")]
    PortTaken { port: u16 },
    /// A file next to the machine could not be read or written.
    #[error("cannot {act} {}: {source}", path.display())]
    File {
        /// Infinitive, e.g. `write`.
        act: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// The file that says which process is the machine is damaged.
    #[error("{} does not describe a process: {why}", path.display())]
    BadPidFile { path: PathBuf, why: String },
    /// `start` was asked for a machine that is running.
    #[error("the machine is already running (process {pid})")]
    AlreadyRunning { pid: u32 },
    /// An act that needs a running machine.
    #[error("the machine is not running")]
    NotRunning,
    /// QEMU ended before or while the guest ran.
    #[error("the machine died: {0}")]
    Died(Box<Death>),
    /// QEMU did not open its control socket in time.
    #[error("QEMU (process {pid}) did not answer on its control socket within {} s", waited.as_secs())]
    NoAnswer { pid: u32, waited: Duration },
    /// Even SIGKILL did not end the process (it hangs in the kernel).
    #[error("process {pid} is still there {} s after SIGKILL", waited.as_secs())]
    Unkillable { pid: u32, waited: Duration },
    /// The control socket could not be used.
    #[error("cannot {act} on the control socket: {source}")]
    QmpIo {
        act: &'static str,
        source: std::io::Error,
    },
    /// The control socket closed: QEMU ended or somebody else holds the only seat.
    #[error("the control socket was closed by QEMU")]
    QmpClosed,
    /// The other end does not speak QMP.
    #[error("unexpected answer on the control socket: {0}")]
    QmpProtocol(String),
    /// QEMU refused a command.
    #[error("QEMU refused {command}: {class}: {description}")]
    QmpRefused {
        command: String,
        class: String,
        description: String,
    },
    /// A QMP act took longer than its deadline.
    #[error("QEMU did not answer {what} within {} ms", deadline.as_millis())]
    QmpDeadline { what: String, deadline: Duration },
    /// A machine's state could not be written or read.
    #[error("the machine's state could not be moved: {0}")]
    Migration(String),
    /// What was saved does not fit, or is not what was saved.
    #[error("{0}")]
    NotUsable(String),
    /// The disk image cannot be read as what it should be.
    #[error("the disk image {} is damaged: {why}", path.display())]
    CorruptImage { path: PathBuf, why: String },
    /// The host's disk is full.
    #[error("no space left on the disk that holds {}", path.display())]
    DiskFull { path: PathBuf },
    /// A file the machine needs is missing.
    #[error("{what} {} is missing", path.display())]
    Missing { what: &'static str, path: PathBuf },
    /// A disk can grow, never shrink.
    #[error("the disk {} has {current} bytes and cannot shrink to {asked}", path.display())]
    Shrink {
        path: PathBuf,
        current: u64,
        asked: u64,
    },
    /// `qemu-img` failed for a reason we do not know better.
    #[error("{program} {act} failed ({status}): {stderr}")]
    Tool {
        program: String,
        act: String,
        status: String,
        stderr: String,
    },
}

impl VmError {
    /// Wraps an I/O error with the act and the path, turning ENOSPC into [`VmError::DiskFull`].
    pub(crate) fn file(
        act: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> VmError {
        let path = path.into();
        if source.kind() == std::io::ErrorKind::StorageFull {
            return VmError::DiskFull { path };
        }
        VmError::File { act, path, source }
    }
}
