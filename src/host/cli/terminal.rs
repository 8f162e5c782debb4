//! The terminal: raw mode and changes of size for `cadet ssh`, single keys for lessons.

use crate::error::{CliError, Result};

/// Raw mode: keys go to the guest as they are. Left again when dropped.
#[cfg(unix)]
pub struct Raw {
    before: libc::termios,
}

#[cfg(unix)]
impl Raw {
    /// Enters raw mode on standard input.
    ///
    /// # Errors
    /// PROGRAM_INTERNAL if standard input is no terminal.
    pub fn enter() -> Result<Self> {
        let failed = |_| {
            CliError::new(
                "PROGRAM_INTERNAL",
                "the terminal cannot be put into raw mode",
            )
            .why(std::io::Error::last_os_error().to_string())
        };
        let check = |code: i32| if code == 0 { Ok(()) } else { Err(code) };
        // SAFETY: termios is plain data; both calls only read or fill the struct given.
        unsafe {
            let mut before: libc::termios = std::mem::zeroed();
            check(libc::tcgetattr(libc::STDIN_FILENO, &mut before)).map_err(failed)?;
            let mut raw = before;
            libc::cfmakeraw(&mut raw);
            check(libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw)).map_err(failed)?;
            Ok(Self { before })
        }
    }
}

#[cfg(unix)]
impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: restores the settings read in `enter`. If it fails the terminal is gone.
        unsafe {
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &self.before);
        }
    }
}

/// Returns when the terminal's size has changed (SIGWINCH).
#[cfg(unix)]
pub async fn resized() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::window_change()) {
        Ok(mut changes) => {
            changes.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// Raw mode is not written for this system yet: the guest sees whole lines.
#[cfg(not(unix))]
pub struct Raw;

#[cfg(not(unix))]
impl Raw {
    /// Does nothing here.
    ///
    /// # Errors
    /// Never.
    pub fn enter() -> Result<Self> {
        Ok(Self)
    }
}

/// Sizes are not watched on this system yet.
#[cfg(not(unix))]
pub async fn resized() {
    std::future::pending().await
}

/// Single keys without Enter and without echo; Ctrl-C stays a signal and output stays as it is.
/// Left again when dropped.
#[cfg(unix)]
pub struct Keys {
    before: libc::termios,
}

#[cfg(unix)]
impl Keys {
    /// Enters the mode on standard input.
    ///
    /// # Errors
    /// PROGRAM_INTERNAL if standard input is no terminal.
    pub fn enter() -> Result<Self> {
        let failed = |_| {
            CliError::new("PROGRAM_INTERNAL", "the terminal gives no single keys")
                .why(std::io::Error::last_os_error().to_string())
        };
        let check = |code: i32| if code == 0 { Ok(()) } else { Err(code) };
        // SAFETY: termios is plain data; both calls only read or fill the struct given.
        unsafe {
            let mut before: libc::termios = std::mem::zeroed();
            check(libc::tcgetattr(libc::STDIN_FILENO, &mut before)).map_err(failed)?;
            let mut keys = before;
            keys.c_lflag &= !(libc::ICANON | libc::ECHO);
            keys.c_cc[libc::VMIN] = 1;
            keys.c_cc[libc::VTIME] = 0;
            check(libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &keys)).map_err(failed)?;
            Ok(Self { before })
        }
    }
}

#[cfg(unix)]
impl Drop for Keys {
    fn drop(&mut self) {
        // SAFETY: restores the settings read in `enter`. If it fails the terminal is gone.
        unsafe {
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &self.before);
        }
    }
}

/// Single keys are not written for this system yet: whole lines are read.
#[cfg(not(unix))]
pub struct Keys;

#[cfg(not(unix))]
impl Keys {
    /// Never gives any here.
    ///
    /// # Errors
    /// Always.
    pub fn enter() -> Result<Self> {
        Err(CliError::new(
            "PROGRAM_INTERNAL",
            "single keys are not written for this system yet",
        ))
    }
}
