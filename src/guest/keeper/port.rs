//! The serial port to the laptop: lines in, lines out, and no work while nobody speaks.
//!
//! A virtio port tells by SIGIO that somebody came, went or spoke (drivers/char/virtio_console.c,
//! `send_sigio_to_port`); poll(2) would report the absent other end for ever.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cadet_api::keeper::PORT;

/// Longest line: keys and certificates of a node take a tenth of it.
const LONGEST: usize = 1 << 20;
/// How long an answer may wait for somebody to take it.
const TAKE: Duration = Duration::from_secs(5);
/// Between two tries to write.
const AGAIN: Duration = Duration::from_millis(5);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A whole line, without its end.
    Line(String),
    /// Nothing more for now.
    Nothing,
}

/// The open port.
pub struct Port {
    /// Its file.
    pub device: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl Port {
    /// Opens the port by its name; none where the machine has no such port.
    ///
    /// # Errors
    /// If it is there and cannot be used.
    pub fn find(root: &Path) -> std::io::Result<Option<Self>> {
        let listed = match std::fs::read_dir(root.join("sys/class/virtio-ports")) {
            Ok(listed) => listed,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        for entry in listed {
            let entry = entry?;
            let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT {
                let device = root.join("dev").join(entry.file_name());
                return Self::open(device).map(Some);
            }
        }
        Ok(None)
    }

    fn open(device: PathBuf) -> std::io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&device)?;
        let fd = file.as_raw_fd();
        // SAFETY: fcntl with integers on a descriptor that is open.
        let owned = unsafe { libc::fcntl(fd, libc::F_SETOWN, libc::getpid()) };
        // SAFETY: as above.
        let told = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK | libc::O_ASYNC) };
        if owned != 0 || told != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Self {
            device,
            file,
            buffer: Vec::new(),
        })
    }

    /// The next line, if one is there.
    ///
    /// # Errors
    /// If the port is gone.
    pub fn hear(&mut self) -> std::io::Result<Heard> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]);
                return Ok(Heard::Line(line.trim_end_matches('\r').to_owned()));
            }
            if self.buffer.len() > LONGEST {
                self.buffer.clear();
                return Err(std::io::Error::other("a line without an end"));
            }
            let mut chunk = [0; 4096];
            match self.file.read(&mut chunk) {
                // Nobody is at the other end; half a line of somebody who left is nothing.
                Ok(0) => {
                    self.buffer.clear();
                    return Ok(Heard::Nothing);
                }
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Heard::Nothing),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// If nobody takes it in time.
    pub fn say(&mut self, line: &str) -> std::io::Result<()> {
        let text = format!("{line}\n");
        let mut left = text.as_bytes();
        let began = Instant::now();
        while !left.is_empty() {
            match self.file.write(left) {
                Ok(written) => left = &left[written..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock && began.elapsed() < TAKE => {
                    std::thread::sleep(AGAIN);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Keeps SIGIO for [`wait`]; must come before any thread is made.
///
/// # Errors
/// Never on a sound system.
pub fn block_signal() -> std::io::Result<()> {
    let set = signal_set();
    // SAFETY: the set is whole, and the old one is not asked for.
    let blocked =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    match blocked {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(error)),
    }
}

/// Returns when something happens at the port, or after so long.
///
/// # Errors
/// Never on a sound system.
pub fn wait(longest: Duration) -> std::io::Result<()> {
    let set = signal_set();
    let time = libc::timespec {
        tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: longest.subsec_nanos().into(),
    };
    // SAFETY: set and time are whole; what came is not asked for.
    let came = unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const time) };
    if came >= 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}

fn signal_set() -> libc::sigset_t {
    // SAFETY: a set of all zeros is whole memory, and both functions only write to it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGIO);
        set
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;

    use super::*;

    /// A port that is a pipe in, and a file out.
    fn piped() -> (Port, File) {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors, which become files that own them.
        let (read, write) = unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK), 0);
            (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
        };
        let port = Port {
            device: "pipe".into(),
            file: read,
            buffer: Vec::new(),
        };
        (port, write)
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let (mut port, mut other) = piped();
        assert_eq!(port.hear().unwrap(), Heard::Nothing);
        other.write_all(b"one\ntw").unwrap();
        assert_eq!(port.hear().unwrap(), Heard::Line("one".into()));
        assert_eq!(port.hear().unwrap(), Heard::Nothing);
        other.write_all(b"o\r\n\nthree\n").unwrap();
        for line in ["two", "", "three"] {
            assert_eq!(port.hear().unwrap(), Heard::Line(line.into()));
        }
        other.write_all(b"half a li").unwrap();
        drop(other);
        assert_eq!(port.hear().unwrap(), Heard::Nothing);
        assert!(port.buffer.is_empty());
    }

    #[test]
    fn a_line_without_end_is_cut_off() {
        let (mut port, mut other) = piped();
        let mut written = 0;
        let error = loop {
            other.write_all(&[b'x'; 4096]).unwrap();
            written += 4096;
            match port.hear() {
                Ok(Heard::Nothing) => assert!(written < 4 * LONGEST),
                Ok(line) => panic!("{line:?}"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("without an end"), "{error}");
    }

    #[test]
    fn the_port_is_found_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        assert!(Port::find(root.path()).unwrap().is_none());
        let class = root.path().join("sys/class/virtio-ports");
        for (device, name) in [
            ("vport2p1", "org.qemu.guest_agent.0\n"),
            ("vport3p1", "cadet.keeper\n"),
        ] {
            std::fs::create_dir_all(class.join(device)).unwrap();
            std::fs::write(class.join(device).join("name"), name).unwrap();
        }
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join("dev/vport3p1"), "").unwrap();
        let port = Port::find(root.path()).unwrap().unwrap();
        assert!(port.device.ends_with("vport3p1"));
    }

    #[test]
    fn waiting_ends_by_itself() {
        block_signal().unwrap();
        wait(Duration::from_millis(1)).unwrap();
    }
}
