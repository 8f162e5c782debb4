//! The pause process: first of every pod, holds its namespaces, reaps its orphans.

use std::process::ExitCode;

use cadet_kubelet::{DockerRuntime, PauseImage};

use crate::Failure;

/// Docker's socket, as on every machine of ours.
const DOCKER: &str = "/var/run/docker.sock";

/// Builds the image that the agent starts it from, unless Docker has it.
///
/// # Errors
/// If Docker does not answer or cannot build.
pub async fn build_image() -> Result<(), Failure> {
    let image = PauseImage::new(std::env::current_exe()?, &cadet_apiserver::git_version());
    let docker = DockerRuntime::new(DOCKER);
    image.ensure(&*docker).await?;
    Ok(())
}

/// Waits for SIGTERM or SIGINT, collecting children that nobody else waits for.
pub fn run() -> ExitCode {
    // SAFETY: plain libc calls on a zeroed signal set owned by this frame; the process has
    // one thread, so blocking signals here blocks them for all.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut signals);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGCHLD] {
            libc::sigaddset(&mut signals, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut()) != 0 {
            return ExitCode::FAILURE;
        }
        loop {
            let mut signal = 0;
            if libc::sigwait(&signals, &mut signal) != 0 {
                return ExitCode::FAILURE;
            }
            if signal != libc::SIGCHLD {
                return ExitCode::SUCCESS;
            }
            // One signal may stand for several dead children.
            while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
        }
    }
}
