//! This computer's own addresses, and which of them learners reach.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// An address of this computer and the network it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    pub address: Ipv4Addr,
    /// Bits of the network's prefix.
    pub prefix: u32,
}

impl Own {
    /// True if `other` is in the same network.
    pub fn reaches(self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other) & mask
    }
}

/// The IPv4 addresses of this computer that others could reach, the likeliest first: the one that
/// leads to the internet, then home and school networks, then the rest; container bridges last.
pub fn own() -> Vec<Own> {
    let leads = leads_out();
    let mut all = interfaces();
    if let Some(leads) = leads
        && !all.iter().any(|(_, own)| own.address == leads)
    {
        let own = Own {
            address: leads,
            prefix: 24,
        };
        all.push((String::new(), own));
    }
    all.retain(|(_, own)| is_reachable(own.address));
    all.sort_by_key(|(name, own)| (Some(own.address) != leads, rank(name, own.address)));
    let mut found: Vec<Own> = Vec::new();
    for (_, own) in all {
        if !found.iter().any(|known| known.address == own.address) {
            found.push(own);
        }
    }
    found
}

/// All of them as addresses for a certificate, this computer's own name for itself included.
pub fn for_certificate() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = own().iter().map(|own| own.address.into()).collect();
    all.push(Ipv4Addr::LOCALHOST.into());
    all
}

fn is_reachable(address: Ipv4Addr) -> bool {
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

/// Bridges of containers and virtual machines are nobody's Wi-Fi; link-local addresses are what
/// is left when a network gives none.
fn rank(name: &str, address: Ipv4Addr) -> u8 {
    const INNER: [&str; 8] = [
        "docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "cni", "cadet",
    ];
    if INNER.iter().any(|inner| name.starts_with(inner)) {
        3
    } else if address.is_link_local() {
        2
    } else if address.is_private() {
        0
    } else {
        1
    }
}

/// The address with which this computer would speak to the internet. Nothing is sent: connecting
/// a datagram socket only chooses a route.
fn leads_out() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address of RFC 5737 that no network has.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

#[cfg(unix)]
fn interfaces() -> Vec<(String, Own)> {
    use std::ffi::CStr;
    let mut found = Vec::new();
    // SAFETY: getifaddrs(3) fills a list that stays valid until freeifaddrs; every pointer in it
    // is checked for null before it is read, and an address is read as what its family says.
    unsafe {
        let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
        if libc::getifaddrs(&raw mut first) != 0 {
            return found;
        }
        let mut next = first;
        while let Some(entry) = next.as_ref() {
            next = entry.ifa_next;
            let is_up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
            let (Some(address), Some(mask)) = (ipv4(entry.ifa_addr), ipv4(entry.ifa_netmask))
            else {
                continue;
            };
            if is_up {
                let name = CStr::from_ptr(entry.ifa_name);
                let prefix = u32::from(mask).count_ones();
                let name = name.to_string_lossy().into_owned();
                found.push((name, Own { address, prefix }));
            }
        }
        libc::freeifaddrs(first);
    }
    found
}

/// # Safety
/// `address` is null, or points to a socket address of the size of its family.
#[cfg(unix)]
unsafe fn ipv4(address: *const libc::sockaddr) -> Option<Ipv4Addr> {
    // SAFETY: the caller's promise.
    let family = unsafe { address.as_ref() }?.sa_family;
    if i32::from(family) != libc::AF_INET {
        return None;
    }
    // SAFETY: the family says that it is a sockaddr_in; it may lie at any alignment.
    let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
    Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)))
}

#[cfg(not(unix))]
fn interfaces() -> Vec<(String, Own)> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_told_apart() {
        let own = Own {
            address: Ipv4Addr::new(192, 168, 1, 20),
            prefix: 24,
        };
        assert!(own.reaches(Ipv4Addr::new(192, 168, 1, 254)));
        assert!(!own.reaches(Ipv4Addr::new(192, 168, 2, 20)));
        let wide = Own { prefix: 16, ..own };
        assert!(wide.reaches(Ipv4Addr::new(192, 168, 2, 20)));
        let all = Own { prefix: 0, ..own };
        assert!(all.reaches(Ipv4Addr::new(8, 8, 8, 8)));
        let one = Own { prefix: 32, ..own };
        assert!(!one.reaches(Ipv4Addr::new(192, 168, 1, 21)));
    }

    #[test]
    fn bridges_of_containers_come_last() {
        let home = Ipv4Addr::new(192, 168, 1, 20);
        assert!(rank("wlan0", home) < rank("docker0", Ipv4Addr::new(172, 17, 0, 1)));
        assert!(rank("wlan0", home) < rank("eth0", Ipv4Addr::new(169, 254, 3, 4)));
    }

    #[test]
    fn no_address_is_the_computers_own_alone() {
        for own in own() {
            assert!(!own.address.is_loopback(), "{own:?}");
        }
        assert!(for_certificate().contains(&Ipv4Addr::LOCALHOST.into()));
    }
}
