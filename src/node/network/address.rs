//! The node's own address.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// Why the node's address cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum RouteAddressError {
    /// The kernel knows no way out.
    #[error("this machine has no IPv4 route to the outside: {0}")]
    NoRoute(#[source] std::io::Error),
    /// The kernel named an unusable source address.
    #[error("the outgoing address of this machine is {0}, which other machines cannot reach")]
    Unusable(IpAddr),
}

/// The address this machine uses towards the outside: the Node's InternalIP. Asks the
/// routing table only; connecting a datagram socket sends nothing.
///
/// # Errors
/// If there is no default route (yet).
pub fn route_address() -> Result<Ipv4Addr, RouteAddressError> {
    // A documentation address (RFC 5737): never local, so the default route answers.
    let outside = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(RouteAddressError::NoRoute)?;
    socket
        .connect(outside)
        .map_err(RouteAddressError::NoRoute)?;
    match socket
        .local_addr()
        .map_err(RouteAddressError::NoRoute)?
        .ip()
    {
        IpAddr::V4(address) if !address.is_loopback() && !address.is_unspecified() => Ok(address),
        other => Err(RouteAddressError::Unusable(other)),
    }
}
