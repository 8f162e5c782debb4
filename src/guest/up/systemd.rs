//! Server and agent as services of systemd: the units of the machine `cadet start` makes,
//! with this machine's paths in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::tree::Place;

/// Where an administrator's units are.
const UNITS: &str = "/etc/systemd/system";
/// The data folder the units were written for.
const USUAL_DATA: &str = "/var/lib/cadet";

const SERVER_UNIT: &str = "cadet-server.service";
const AGENT_UNIT: &str = "cadet-agent.service";
const SERVER: &str = include_str!("../../../cloud-init/cadet-server.service");
const AGENT: &str = include_str!("../../../cloud-init/cadet-agent.service");

/// A call of systemctl that failed; its words.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// A unit file could not be written or removed.
    #[error("cannot {act} {path}: {source}")]
    File {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// systemctl could not be started.
    #[error("cannot run systemctl: {0}")]
    Run(#[source] io::Error),
    /// systemctl refused.
    #[error("systemctl {act}: {words}")]
    Refused { act: String, words: String },
}

/// Whether systemd runs this machine (sd_booted(3)).
#[must_use]
pub fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Puts the program where it stays: below the data folder, whatever becomes of the file it
/// was started from. Returns its path and whether it is a new one.
///
/// # Errors
/// If it cannot be copied.
pub fn install(program: &Path, data: &Path) -> io::Result<(PathBuf, bool)> {
    let folder = data.join("bin");
    let installed = folder.join("cadet-node");
    let same = program == installed || same_bytes(program, &installed);
    if !same {
        fs::create_dir_all(&folder)?;
        // Beside, then renamed: the old one may be running.
        let beside = folder.join("cadet-node.new");
        fs::copy(program, &beside)?;
        fs::File::open(&beside)?.sync_all()?;
        fs::rename(&beside, &installed)?;
    }
    Ok((installed, !same))
}

fn same_bytes(a: &Path, b: &Path) -> bool {
    let size = |path: &Path| fs::metadata(path).map(|meta| meta.len()).ok();
    size(a).is_some()
        && size(a) == size(b)
        && fs::read(a)
            .ok()
            .zip(fs::read(b).ok())
            .is_some_and(|(a, b)| a == b)
}

/// Writes the units, starts both services now and at every boot, and returns when the API
/// server has said that it answers. With `renewed` they start again if they run.
///
/// # Errors
/// [`SystemdError`].
pub fn start(place: &Place, renewed: bool) -> Result<(), SystemdError> {
    let mut changed = renewed;
    for (name, text) in [
        (SERVER_UNIT, unit(SERVER, place)),
        (AGENT_UNIT, unit(AGENT, place)),
    ] {
        let path = Path::new(UNITS).join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        changed = true;
        fs::write(&path, text).map_err(|source| SystemdError::File {
            act: "write",
            path,
            source,
        })?;
    }
    if changed {
        systemctl(&["daemon-reload"])?;
        systemctl(&["try-restart", SERVER_UNIT, AGENT_UNIT])?;
    }
    systemctl(&["enable", "--now", SERVER_UNIT, AGENT_UNIT])
}

/// Whether one of the services runs: its ports are not free, and need not be. The other is
/// started by [`start`].
///
/// # Errors
/// If systemctl cannot be run.
pub fn is_active() -> Result<bool, SystemdError> {
    let asked = call(&["is-active", "--quiet", SERVER_UNIT, AGENT_UNIT])?;
    Ok(asked.status.success())
}

/// Stops both, the agent first, and keeps them from starting at boot; that one of them had
/// failed is forgotten.
///
/// # Errors
/// [`SystemdError`].
pub fn stop() -> Result<(), SystemdError> {
    for unit in [AGENT_UNIT, SERVER_UNIT] {
        if Path::new(UNITS).join(unit).exists() {
            systemctl(&["disable", "--now", unit])?;
        }
    }
    // Refused where nothing has failed.
    call(&["reset-failed", AGENT_UNIT, SERVER_UNIT])?;
    Ok(())
}

/// Removes the units of stopped services.
///
/// # Errors
/// [`SystemdError`].
pub fn remove() -> Result<(), SystemdError> {
    for unit in [AGENT_UNIT, SERVER_UNIT] {
        let path = Path::new(UNITS).join(unit);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let act = "remove";
                return Err(SystemdError::File { act, path, source });
            }
            _ => {}
        }
    }
    // Elsewhere, say in a container made of this machine's disk, there is nobody to tell.
    if runs() {
        systemctl(&["daemon-reload"])?;
    }
    Ok(())
}

fn systemctl(args: &[&str]) -> Result<(), SystemdError> {
    let done = call(args)?;
    if done.status.success() {
        return Ok(());
    }
    Err(SystemdError::Refused {
        act: args.join(" "),
        words: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
    })
}

fn call(args: &[&str]) -> Result<Output, SystemdError> {
    Command::new("systemctl")
        .args(args)
        .output()
        .map_err(SystemdError::Run)
}

/// A unit of the guest with the paths of `place`.
fn unit(template: &str, place: &Place) -> String {
    let below = |folders: &[&str]| {
        let is_below = |path: &Path| folders.iter().any(|folder| path.starts_with(folder));
        is_below(&place.data) || is_below(&place.config)
    };
    let usual = place.data == Path::new(USUAL_DATA);
    let at_home = below(&["/home", "/root", "/run/user"]);
    let temporary = below(&["/tmp", "/var/tmp"]);
    let mut text = String::with_capacity(template.len() + 256);
    for line in template.lines() {
        let (key, _) = line.split_once('=').unwrap_or((line, ""));
        let line = match key {
            "ExecStart" if line.contains(" agent ") => format!(
                "ExecStart={} --data {} agent --config {} --docker-host {}",
                word(&place.program),
                argument(&place.data),
                argument(&place.config),
                argument(&place.docker)
            ),
            "ExecStart" => format!(
                "ExecStart={} --data {} server --config {}",
                word(&place.program),
                argument(&place.data),
                argument(&place.config)
            ),
            "ReadWritePaths" | "RequiresMountsFor" => format!("{key}={}", word(&place.data)),
            // systemd makes only folders below /var/lib; ours exists.
            "StateDirectory" | "StateDirectoryMode" if !usual => continue,
            "ProtectHome" if at_home => continue,
            // A home may be closed to root itself, who has no other right to pass here.
            "CapabilityBoundingSet" if at_home => format!("{line} CAP_DAC_READ_SEARCH"),
            // It would hide the data from the server.
            "PrivateTmp" if temporary => continue,
            _ => line.to_owned(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// A word of a unit file (systemd.syntax(7), systemd.unit(5)).
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('%', "%%"))
}

/// A word after the program in a command line, where variables are replaced
/// (systemd.service(5)).
fn argument(path: &Path) -> String {
    word(path).replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(data: &str) -> Place {
        Place {
            program: Path::new(data).join("bin/cadet-node"),
            data: data.into(),
            config: "/etc/cadet/node.json".into(),
            docker: "/run/docker.sock".into(),
        }
    }

    #[test]
    fn units_say_this_machines_paths() {
        let server = unit(SERVER, &place("/var/lib/cadet"));
        assert!(server.contains(
            "\nExecStart=/var/lib/cadet/bin/cadet-node --data /var/lib/cadet server \
             --config /etc/cadet/node.json\n"
        ));
        assert!(
            server.contains("\nStateDirectory=cadet\n") && server.contains("\nProtectHome=yes\n")
        );
        let agent = unit(AGENT, &place("/srv/my data"));
        assert!(agent.contains(
            "\nExecStart=\"/srv/my data/bin/cadet-node\" --data \"/srv/my data\" agent \
             --config /etc/cadet/node.json --docker-host /run/docker.sock\n"
        ));
        for data in ["/home/ann/cadet", "/srv/cadet", "/var/tmp/c"] {
            let server = unit(SERVER, &place(data));
            assert!(!server.contains("StateDirectory"), "{server}");
            assert!(server.contains(&format!("\nReadWritePaths={data}\n")));
            assert_eq!(server.contains("ProtectHome"), !data.starts_with("/home"));
            assert!(server.contains(&format!("\nRequiresMountsFor={data}\n")));
            assert_eq!(server.contains("PrivateTmp"), !data.starts_with("/var/tmp"));
            assert_eq!(
                server.contains("CAP_DAC_READ_SEARCH"),
                data.starts_with("/home")
            );
        }
        let config = Place {
            config: "/root/node.json".into(),
            ..place("/var/lib/cadet")
        };
        assert!(!unit(SERVER, &config).contains("ProtectHome"));
    }

    #[test]
    fn the_agent_lives_among_the_mounts_of_the_machine() {
        let agent = unit(AGENT, &place("/var/lib/cadet"));
        // Each of these gives a service a mount namespace (systemd.exec(5)).
        let own = [
            "Private",
            "Protect",
            "Read",
            "Inaccessible",
            "Temporary",
            "Bind",
            "Root",
        ];
        let has = |line: &&str| own.iter().any(|start| line.starts_with(start));
        assert_eq!(agent.lines().find(has), None);
        assert!(
            agent.contains("\nKillMode=process\n"),
            "helpers of pods go on"
        );
        assert!(agent.contains("\nAfter=cadet-server.service "));
    }

    #[test]
    fn the_program_is_kept_and_copied_only_when_it_differs() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("built");
        fs::write(&program, "one").unwrap();
        let (installed, new) = install(&program, dir.path()).unwrap();
        assert!(new);
        assert_eq!(fs::read(&installed).unwrap(), b"one");
        assert!(!install(&program, dir.path()).unwrap().1);
        assert!(!install(&installed, dir.path()).unwrap().1, "itself");
        fs::write(&program, "two").unwrap();
        assert!(install(&program, dir.path()).unwrap().1);
        assert_eq!(fs::read(&installed).unwrap(), b"two");
    }

    #[test]
    fn special_characters_stay_what_they_are() {
        assert_eq!(word(Path::new("/a/b-c.d")), "/a/b-c.d");
        let odd = Path::new("/a b$c%d\"");
        assert_eq!(word(odd), "\"/a b$c%%d\\\"\"");
        assert_eq!(argument(odd), "\"/a b$$c%%d\\\"\"");
    }
}
