//! Telling systemd that the service is ready (sd_notify(3)): one datagram, no library.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends READY=1 if systemd asked for it; outside systemd it does nothing.
///
/// # Errors
/// If the socket systemd named cannot be written to.
pub fn ready() -> std::io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let name = name.as_encoded_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(rest) => SocketAddr::from_abstract_name(rest)?,
        None => SocketAddr::from_pathname(std::path::Path::new(
            std::str::from_utf8(name).map_err(std::io::Error::other)?,
        ))?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    Ok(())
}
