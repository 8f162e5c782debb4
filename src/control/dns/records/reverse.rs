//! Names of addresses: `7.0.244.10.in-addr.arpa` (RFC 1035) and its IPv6 sister (RFC 3596).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Origin;

/// The address a name stands for, and the domain it is in. `None` if it is no whole address.
pub(super) fn address_of(name: &str) -> Option<(IpAddr, Origin)> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut labels = rest.split('.');
        for octet in octets.iter_mut().rev() {
            let label = labels.next()?;
            // One spelling each: "07" is another name.
            if label.len() > 1 && label.starts_with('0') {
                return None;
            }
            *octet = label.parse().ok()?;
        }
        let whole = labels.next().is_none();
        return whole.then(|| (Ipv4Addr::from(octets).into(), Origin::Reverse4));
    }
    let rest = name.strip_suffix(".ip6.arpa")?;
    let mut value = 0u128;
    let mut labels = rest.split('.');
    for nibble in 0..32 {
        let label = labels.next()?;
        if label.len() != 1 {
            return None;
        }
        value |= u128::from(u8::from_str_radix(label, 16).ok()?) << (4 * nibble);
    }
    let whole = labels.next().is_none();
    whole.then(|| (Ipv6Addr::from(value).into(), Origin::Reverse6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_addresses_have_names() {
        let seen = |name| address_of(name).map(|(address, _)| address.to_string());
        assert_eq!(
            seen("10.0.96.10.in-addr.arpa").as_deref(),
            Some("10.96.0.10")
        );
        for name in [
            "0.96.10.in-addr.arpa",
            "1.10.0.96.10.in-addr.arpa",
            "256.0.0.1.in-addr.arpa",
            "07.0.96.10.in-addr.arpa",
            "in-addr.arpa",
            "10.96.0.10",
            "x.ip6.arpa",
        ] {
            assert_eq!(seen(name), None, "{name}");
        }
        let six = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(seen(six).as_deref(), Some("fd00::7"));
    }
}
