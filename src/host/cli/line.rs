//! The line into a profile's machine, as commands use it: connect, run, background tunnel.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cadet_state::Profile;
use cadet_tunnel::{Target, Tunnel, Tuning, exec, keys};

use crate::Context;
use crate::error::{CliError, Result};
use crate::machine;

/// User in the guest that Cadet's key opens.
pub const USER: &str = "cadet";

/// The profile's keys: the client's and the guest's host key, made on first use.
pub struct Keys {
    /// Opens the guest.
    pub client: keys::KeyPair,
    /// Proves the guest.
    pub host: keys::KeyPair,
}

/// Reads or makes the profile's key files.
///
/// # Errors
/// HOST_NOT_READABLE or HOST_DISK_FULL.
pub fn keys(cx: &Context) -> Result<Keys> {
    let files = cx.world.files(&cx.name);
    let pair = |file: &std::path::Path, comment: String| -> Result<keys::KeyPair> {
        let public = machine::with_suffix(file, ".pub");
        if file.exists() && public.exists() {
            let read = |f: &std::path::Path| {
                std::fs::read_to_string(f).map_err(|e| machine::io("read", f, &e))
            };
            return Ok(keys::KeyPair { private: read(file)?, public: read(&public)?.trim().to_string() });
        }
        let made = keys::generate(&comment)?;
        machine::write_private(file, made.private.as_bytes())?;
        machine::write_private(&public, format!("{}\n", made.public).as_bytes())?;
        Ok(made)
    };
    Ok(Keys {
        client: pair(&files.client_key(), format!("cadet client of {}", cx.name))?,
        host: pair(&files.host_key(), format!("cadet machine {}", cx.name))?,
    })
}

/// Where the profile's machine answers and how it is known.
///
/// # Errors
/// GUEST_NOT_RUNNING when it never got a port.
pub fn target(cx: &Context, profile: &Profile) -> Result<Target> {
    let keys = keys(cx)?;
    let ports = profile.ports.ok_or_else(|| machine::not_running(cx, None))?;
    Ok(Target {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, ports.ssh)),
        user: USER.into(),
        client_key: keys.client.private,
        host_key: keys.host.public,
    })
}

/// A session to a machine that is running.
///
/// # Errors
/// GUEST_NOT_RUNNING, GUEST_HOST_KEY, GUEST_SSH_TIMEOUT …
pub async fn connect(cx: &Context) -> Result<Tunnel> {
    let profile = machine::running(cx).await?;
    Ok(Tunnel::wait_until_ready(target(cx, &profile)?, Tuning::default(), Duration::from_secs(30), |_| true).await?)
}

/// Runs `command` in the guest; its failure is an error with its own words.
///
/// # Errors
/// GUEST_SSH with what the program said.
pub async fn guest(tunnel: &Tunnel, command: &str) -> Result<String> {
    let output = tunnel.exec(command).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr }).into_owned();
    Err(CliError::new("GUEST_SSH", format!("`{command}` failed in the machine ({})", output.status))
        .why(said.trim().to_string()))
}

/// The guest's command line for `words`: one word is a shell line, several are quoted.
pub fn command_line(words: &[String]) -> String {
    match words {
        [one] => one.clone(),
        many => exec::quote_all(many.iter().map(String::as_str)),
    }
}
