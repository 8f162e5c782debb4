//! The machine's clock, put right after it stood still.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cadet_api::keeper::Told;

/// The board's clock, which QEMU keeps at the laptop's time.
const BOARD: &str = "sys/class/rtc/rtc0/since_epoch";
/// The board tells whole seconds, and reading it takes its time: less is no difference.
const BOARD_BEHIND: i64 = 2 * SECOND;
/// A clock that is ahead is left alone up to here: a second told twice harms more.
const BOARD_AHEAD: i64 = 60 * SECOND;
/// As above, for the laptop's exact word.
const LAPTOP_BEHIND: i64 = SECOND / 20;
const LAPTOP_AHEAD: i64 = 2 * SECOND;

const SECOND: i64 = 1_000_000_000;

/// What was done to the clock.
#[derive(Debug, Default)]
pub struct Clock {
    corrections: u64,
    forward: Duration,
    back: Duration,
}

impl Clock {
    /// Puts the clock right by the board's seconds since 1970.
    ///
    /// # Errors
    /// Without the right to set it.
    pub fn by_board(&mut self, seconds: i64) -> std::io::Result<()> {
        // In the middle of the second that the board tells.
        let board = seconds.saturating_mul(SECOND).saturating_add(SECOND / 2);
        self.set(step(board.saturating_sub(now()), BOARD_BEHIND, BOARD_AHEAD))
    }

    /// Puts the clock right by the laptop's nanoseconds since 1970.
    ///
    /// # Errors
    /// Without the right to set it.
    pub fn by_laptop(&mut self, nanoseconds: u64) -> std::io::Result<()> {
        let laptop = i64::try_from(nanoseconds).unwrap_or(i64::MAX);
        let off = laptop.saturating_sub(now());
        self.set(step(off, LAPTOP_BEHIND, LAPTOP_AHEAD))
    }

    /// What is told of it.
    pub fn told(&self) -> Told {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Told {
            corrections: self.corrections,
            corrected_ms: ms(self.forward),
            put_back_ms: ms(self.back),
            ..Told::default()
        }
    }

    fn set(&mut self, step: Option<i64>) -> std::io::Result<()> {
        let Some(step) = step else {
            return Ok(());
        };
        set_to(now().saturating_add(step))?;
        self.corrections += 1;
        let size = Duration::from_nanos(step.unsigned_abs());
        if step > 0 {
            self.forward += size;
            tracing::info!(seconds = size.as_secs_f64(), "the clock was behind");
        } else {
            // Never in silence: what was written meanwhile bears a time that is yet to come.
            self.back += size;
            tracing::warn!(seconds = size.as_secs_f64(), "the clock was put back");
        }
        Ok(())
    }
}

/// The step to make for a clock that is off by so much; none if it is right enough.
fn step(off: i64, behind: i64, ahead: i64) -> Option<i64> {
    (off > behind || off < -ahead).then_some(off)
}

/// Seconds since 1970 by the board's clock; none where there is no such clock.
///
/// # Errors
/// If it cannot be read.
pub fn board(root: &Path) -> std::io::Result<Option<i64>> {
    let text = match std::fs::read_to_string(root.join(BOARD)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let seconds = text.trim().parse().map_err(std::io::Error::other)?;
    Ok(Some(seconds))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// clock_settime(2).
fn set_to(nanoseconds: i64) -> std::io::Result<()> {
    let time = libc::timespec {
        tv_sec: nanoseconds.div_euclid(SECOND),
        tv_nsec: nanoseconds.rem_euclid(SECOND),
    };
    // SAFETY: it reads one timespec, which is ours.
    if unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) } == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forward_soon_backward_late() {
        let board = |off: i64| step(off, BOARD_BEHIND, BOARD_AHEAD);
        assert_eq!(board(SECOND), None);
        assert_eq!(board(3 * SECOND), Some(3 * SECOND));
        assert_eq!(board(-30 * SECOND), None);
        let year = 365 * 86_400 * SECOND;
        assert_eq!(board(year), Some(year));
        assert_eq!(board(-year), Some(-year));
        let laptop = |off: i64| step(off, LAPTOP_BEHIND, LAPTOP_AHEAD);
        assert_eq!(laptop(SECOND / 100), None);
        assert_eq!(laptop(SECOND / 5), Some(SECOND / 5));
        assert_eq!(laptop(-SECOND), None);
        assert_eq!(laptop(-3 * SECOND), Some(-3 * SECOND));
    }

    #[test]
    fn a_clock_that_is_right_is_left_alone() {
        let mut clock = Clock::default();
        // Needs no rights, because nothing is set.
        clock.by_board(now() / SECOND).unwrap();
        clock.by_laptop(now().unsigned_abs()).unwrap();
        assert_eq!(clock.told(), Told::default());
    }

    #[test]
    fn the_board_tells_seconds_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(board(dir.path()).unwrap(), None);
        let file = dir.path().join(BOARD);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "1795813645\n").unwrap();
        assert_eq!(board(dir.path()).unwrap(), Some(1_795_813_645));
        std::fs::write(&file, "soon\n").unwrap();
        assert!(board(dir.path()).is_err());
    }
}
