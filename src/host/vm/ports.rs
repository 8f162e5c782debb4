//! Free ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::error::VmError;

/// Picks `count` different free TCP ports on 127.0.0.1.
///
/// All are held while the last is chosen, so they differ; they are released on return,
/// so another program can still win the race until QEMU binds them.
///
/// # Errors
/// [`VmError::NoPort`].
pub fn free(count: usize) -> Result<Vec<u16>, VmError> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(VmError::NoPort)?);
    }
    let ports = held.iter().map(|l| l.local_addr().map(|a| a.port()));
    ports.collect::<Result<_, _>>().map_err(VmError::NoPort)
}

/// Checks that a port the user named can be bound now.
///
/// # Errors
/// [`VmError::PortTaken`] if somebody listens there, [`VmError::NoPort`] otherwise.
pub fn check_free(port: u16) -> Result<(), VmError> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Err(VmError::PortTaken { port }),
        Err(e) => Err(VmError::NoPort(e)),
    }
}

/// Picks a UDP port that is free on 127.0.0.1, for a segment.
///
/// # Errors
/// [`VmError::NoPort`].
pub fn free_datagram() -> Result<u16, VmError> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.local_addr())
        .map(|address| address.port())
        .map_err(VmError::NoPort)
}

/// Checks that a segment's group can be bound now: false while another program, or a machine
/// of the segment, has it.
#[must_use]
pub fn is_segment_free(group: Ipv4Addr, port: u16) -> bool {
    match UdpSocket::bind((group, port)) {
        Ok(_) => true,
        // Systems that let nobody bind a group (Windows) do not tell.
        Err(e) => e.kind() != std::io::ErrorKind::AddrInUse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let ports = free(20).unwrap();
        let unique: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(unique.len(), 20);
        assert!(ports.iter().all(|&p| p > 0));
    }

    #[test]
    fn a_listening_port_is_reported_as_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(matches!(check_free(port), Err(VmError::PortTaken { port: p }) if p == port));
    }

    #[test]
    fn a_taken_group_is_seen() {
        let group = Ipv4Addr::new(239, 195, 7, 9);
        let port = free_datagram().unwrap();
        assert!(is_segment_free(group, port));
        let _taken = UdpSocket::bind((group, port)).unwrap();
        assert!(!is_segment_free(group, port));
    }
}
