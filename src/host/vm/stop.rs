//! Ending a machine: politely, then firmly, then by force, each with its deadline.

use std::time::{Duration, Instant};

use crate::error::VmError;
use crate::lifecycle::{Machine, POLL, forget};

/// Between two presses of the power button.
const PRESS_AGAIN: Duration = Duration::from_secs(5);

/// Patience for each stage of [`Machine::stop`].
#[derive(Debug, Clone, Copy)]
pub struct StopDeadlines {
    /// For the guest to power itself off. Twenty seconds were seen with three stubborn containers.
    pub graceful: Duration,
    /// For QEMU to end when told so.
    pub quit: Duration,
    /// For the kernel to remove a killed process.
    pub kill: Duration,
}

impl Default for StopDeadlines {
    fn default() -> Self {
        StopDeadlines {
            graceful: Duration::from_secs(60),
            quit: Duration::from_secs(10),
            kill: Duration::from_secs(10),
        }
    }
}

/// How the machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was not running.
    Already,
    /// The guest powered itself off.
    Gracefully,
    /// QEMU was told to quit: the guest lost what it had not written.
    Forced,
    /// The process was killed.
    Killed,
}

/// What [`Machine::stop`] is waiting for, for progress lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopStage {
    PowerOff,
    Quit,
    Kill,
}

impl Machine {
    /// Ends the machine: power button, then `quit`, then SIGKILL, each with its deadline.
    /// Forgets it afterwards (pid file and sockets are removed).
    ///
    /// # Errors
    /// [`VmError::Unkillable`]; failures of a stage only lead to the next one.
    pub async fn stop(
        mut self,
        deadlines: StopDeadlines,
        mut progress: impl FnMut(StopStage),
    ) -> Result<Stopped, VmError> {
        if self.ended().is_some() {
            forget(&self.config)?;
            return Ok(Stopped::Already);
        }
        progress(StopStage::PowerOff);
        let how = match self.power_off(deadlines.graceful).await {
            Some(how) => how,
            None => {
                progress(StopStage::Quit);
                self.force(deadlines, &mut progress).await?
            }
        };
        forget(&self.config)?;
        Ok(how)
    }

    /// Ends the machine at once, for `delete`: `quit`, then SIGKILL.
    ///
    /// # Errors
    /// [`VmError::Unkillable`].
    pub async fn destroy(mut self, deadlines: StopDeadlines) -> Result<Stopped, VmError> {
        let how = self.force(deadlines, &mut |_| {}).await?;
        forget(&self.config)?;
        Ok(how)
    }

    /// Presses the power button until the guest is off; `None` if it does not go off.
    ///
    /// Again and again, because a guest that is still booting does not notice the first time.
    async fn power_off(&mut self, deadline: Duration) -> Option<Stopped> {
        let started = Instant::now();
        let mut pressed = false;
        loop {
            if self.ask("system_powerdown").await.is_err() {
                // Either it just ended, or QEMU does not listen and a button is of no use.
                let how = if pressed {
                    Stopped::Gracefully
                } else {
                    Stopped::Already
                };
                return self.ended().map(|_| how);
            }
            pressed = true;
            let left = deadline.saturating_sub(started.elapsed());
            if self.wait_end(left.min(PRESS_AGAIN)).await {
                return Some(Stopped::Gracefully);
            }
            if left <= PRESS_AGAIN {
                return None;
            }
        }
    }

    async fn force(
        &mut self,
        deadlines: StopDeadlines,
        progress: &mut impl FnMut(StopStage),
    ) -> Result<Stopped, VmError> {
        // QEMU may close the socket before it answers, or be ending already: only the
        // process counts. Waiting makes no sense for one that does not listen at all.
        let asked = self.ask("quit").await;
        let frozen = asked.as_ref().is_err_and(is_frozen);
        if !frozen && self.wait_end(deadlines.quit).await {
            return Ok(match asked {
                Ok(_) | Err(VmError::QmpClosed) => Stopped::Forced,
                Err(_) => Stopped::Already,
            });
        }
        progress(StopStage::Kill);
        self.identity.kill();
        if self.wait_end(deadlines.kill).await {
            return Ok(Stopped::Killed);
        }
        Err(VmError::Unkillable {
            pid: self.identity.pid,
            waited: deadlines.kill,
        })
    }

    async fn wait_end(&mut self, deadline: Duration) -> bool {
        let started = Instant::now();
        while self.ended().is_none() {
            if started.elapsed() > deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }
}

/// QEMU is there but takes no connections: silence, or a queue that is full of earlier ones.
fn is_frozen(error: &VmError) -> bool {
    match error {
        VmError::QmpDeadline { .. } => true,
        VmError::QmpIo { source, .. } => source.kind() == std::io::ErrorKind::WouldBlock,
        _ => false,
    }
}
