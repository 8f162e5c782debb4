//! `cadet-node keeper`: what a machine is told from outside, through a serial port: the time when
//! it wakes, and, for the copy of a template, who it is.
//!
//! ```text
//!              Freeze                     Become
//!  booted ────────────────► template ──────────────► this machine
//!    │ (no node.json)         waits, nothing listens    │
//!    └── cold boot, with node.json from the seed disk ──┴── Wake, now and again
//! ```
//! A serial port needs neither network nor keys, so it can speak to a machine that has none yet.
//! Whoever holds QEMU's socket holds the machine's disk and memory as well.
//!
//! The clock is watched as well: a machine that stood still (its laptop slept) goes on where it
//! was, and only the clock of the board tells.

mod clock;
mod command;
mod dice;
mod identity;
mod port;
mod template;
mod warm;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cadet_api::keeper::{Ask, Outcome, Reply, Request, Told, Wake};

use crate::pki::Pki;
use crate::{Failure, config, credentials};
use clock::Clock;
use port::{Heard, Port};

/// Between two looks at the board's clock.
const LOOK: Duration = Duration::from_secs(4);
/// Between two looks for the port while its driver may yet be loaded, and for how long.
const SOON: Duration = Duration::from_secs(1);
const BOOTING: Duration = Duration::from_secs(120);
/// Afterwards: a machine of an older Cadet has none.
const NO_PORT: Duration = Duration::from_secs(30);
/// For the server to make its certificates, and between two looks whether it has. No longer,
/// because nobody else is heard meanwhile; the laptop has another way.
const MAKING: Duration = Duration::from_secs(10);
const MADE: Duration = Duration::from_millis(20);

/// Runs until the system ends it.
///
/// # Errors
/// If signals cannot be waited for.
pub fn run(config: &Path, data: &Path) -> Result<(), Failure> {
    port::block_signal()?;
    let mut keeper = Keeper {
        clock: Clock::default(),
        root: PathBuf::from("/"),
        config: config.to_path_buf(),
        data: data.to_path_buf(),
    };
    keeper.look();
    let began = Instant::now();
    loop {
        match Port::find(Path::new("/"))? {
            Some(port) => keeper.serve(port)?,
            None => {
                let booting = began.elapsed() < BOOTING;
                port::wait(if booting { SOON } else { NO_PORT })?;
                keeper.look();
            }
        }
    }
}

/// What it holds.
struct Keeper {
    clock: Clock,
    /// Where the system's files are.
    root: PathBuf,
    /// `node.json`.
    config: PathBuf,
    /// Where the server keeps its certificates.
    data: PathBuf,
}

impl Keeper {
    /// Answers until the port breaks, which then is looked for anew.
    fn serve(&mut self, mut port: Port) -> Result<(), Failure> {
        tracing::info!(port = %port.device.display(), "listening");
        loop {
            match port.hear() {
                Ok(Heard::Line(line)) => {
                    let Some(reply) = self.answer(&line) else {
                        continue;
                    };
                    if let Err(error) = port.say(&reply) {
                        tracing::warn!(%error, "an answer was not taken");
                    }
                }
                Ok(Heard::Nothing) => {
                    port::wait(LOOK)?;
                    // Somebody came, or it is time: both are moments to look.
                    self.look();
                }
                Err(error) => {
                    tracing::warn!(%error, "the port broke");
                    port::wait(LOOK)?;
                    return Ok(());
                }
            }
        }
    }

    /// Compares the clock with the board's.
    fn look(&mut self) {
        match clock::board(&self.root) {
            Ok(Some(seconds)) => {
                if let Err(error) = self.clock.by_board(seconds) {
                    tracing::warn!(%error, "the clock cannot be set");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the board's clock cannot be read"),
        }
    }

    /// The answer to a line; none to what is no request.
    fn answer(&mut self, line: &str) -> Option<String> {
        let request: Request = match serde_json::from_str(line) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(%error, "not a request");
                return None;
            }
        };
        let outcome = match self.act(request.ask) {
            Ok(kubeconfig) => Outcome::Done(Told {
                kubeconfig,
                ..self.told()
            }),
            Err(error) => {
                tracing::error!(%error, "it was not done");
                Outcome::Failed(told(error.as_ref()))
            }
        };
        let id = request.id;
        serde_json::to_string(&Reply { id, outcome }).ok()
    }

    /// Does it; what is asked for beside what every answer holds.
    fn act(&mut self, ask: Ask) -> Result<Option<String>, Failure> {
        match ask {
            Ask::Hello => {}
            Ask::Wake(wake) => self.wake(&wake)?,
            Ask::Sync => nix::unistd::sync(),
            Ask::Freeze => {
                self.must_be_nobody()?;
                template::prepare(&self.root)?;
            }
            Ask::Credentials => return self.credentials().map(Some),
            Ask::Become(identity) => {
                self.must_be_nobody()?;
                self.wake(&identity.wake)?;
                // For how long the template stood still is no story of this machine.
                self.clock = Clock::default();
                identity::take_on(&self.root, &self.config, &identity)?;
                tracing::info!(name = %identity.hostname, "the copy is a machine of its own");
            }
        }
        Ok(None)
    }

    /// What `cadet-node kubeconfig` prints. Whoever can ask here could read it from the machine's
    /// memory or disk.
    fn credentials(&self) -> Result<String, Failure> {
        let config = config::read(&self.config)?;
        let pki = Pki::at(&self.data);
        let began = Instant::now();
        while !pki.has("admin.crt") && began.elapsed() < MAKING {
            std::thread::sleep(MADE);
        }
        Ok(credentials::admin(&config, &self.data)?)
    }

    /// Dice first: setting the clock may wake somebody.
    fn wake(&mut self, wake: &Wake) -> Result<(), Failure> {
        dice::shake(&wake.seed)?;
        Ok(self.clock.by_laptop(wake.now)?)
    }

    /// A machine that serves a cluster never becomes another.
    fn must_be_nobody(&self) -> Result<(), Failure> {
        if self.config.exists() {
            return Err(format!("{} is there: this is no template", self.config.display()).into());
        }
        Ok(())
    }

    fn told(&self) -> Told {
        Told {
            version: env!("CARGO_PKG_VERSION").into(),
            configured: self.config.exists(),
            boot_id: self.boot_id(),
            ..self.clock.told()
        }
    }

    /// Empty where the system does not tell.
    fn boot_id(&self) -> String {
        let read = std::fs::read_to_string(self.root.join("proc/sys/kernel/random/boot_id"));
        read.map_or_else(|_| String::new(), |id| id.trim().to_owned())
    }
}

/// An error with its causes.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(dir: &Path) -> Keeper {
        Keeper {
            clock: Clock::default(),
            root: dir.to_path_buf(),
            config: dir.join("node.json"),
            data: dir.join("data"),
        }
    }

    fn outcome(line: Option<String>) -> Outcome {
        let reply: Reply = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(reply.id, 3);
        reply.outcome
    }

    #[test]
    fn it_says_who_it_is_and_passes_over_noise() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        for noise in ["", "x", "{}", r#"{"id":3}"#, r#"{"id":3,"ask":"dance"}"#] {
            assert_eq!(keeper.answer(noise), None, "{noise}");
        }
        let Outcome::Done(told) = outcome(keeper.answer(r#"{"id":3,"ask":"hello"}"#)) else {
            panic!("it answers");
        };
        assert!(!told.configured);
        assert_eq!(told.version, env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn it_hands_out_the_kubeconfig_that_the_server_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let ask = r#"{"id":3,"ask":"credentials"}"#;
        let Outcome::Failed(why) = outcome(keeper.answer(ask)) else {
            panic!("nobody has credentials");
        };
        assert!(why.contains("node.json"), "{why}");
        let config = r#"{"nodeName": "cadet", "clusterName": "shop",
            "clusterCidr": "10.244.0.0/16", "podCidr": "10.244.0.0/24",
            "serviceCidr": "10.96.0.0/12", "apiPort": 6443}"#;
        std::fs::write(&keeper.config, config).unwrap();
        let read = config::read(&keeper.config).unwrap();
        let here = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        Pki::at(&keeper.data).ensure(&read, here).unwrap();
        let Outcome::Done(told) = outcome(keeper.answer(ask)) else {
            panic!("it has none");
        };
        let text = told.kubeconfig.unwrap();
        assert!(text.contains("shop-admin"), "{text}");
        let Outcome::Done(told) = outcome(keeper.answer(r#"{"id":3,"ask":"hello"}"#)) else {
            panic!("it answers");
        };
        assert_eq!(
            told.kubeconfig, None,
            "whoever does not ask is told nothing"
        );
    }

    #[test]
    fn who_is_somebody_becomes_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        std::fs::write(&keeper.config, "{}").unwrap();
        let Outcome::Failed(why) = outcome(keeper.answer(r#"{"id":3,"ask":"freeze"}"#)) else {
            panic!("it froze");
        };
        assert!(why.contains("no template"), "{why}");
    }
}
