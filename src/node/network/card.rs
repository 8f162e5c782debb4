//! The card in a network between nodes: its address, and no advice to others about their ways.

use std::net::Ipv4Addr;

use crate::NetworkError;
use crate::firewall;
use crate::link::Links;

/// Gives the card with this hardware address (`02:ca:de:00:00:01`) its address and sets it up.
/// Safe to call again at every start.
///
/// # Errors
/// [`NetworkError::NoCard`] while the machine has no such card; needs `CAP_NET_ADMIN`.
pub async fn set_up_card(mac: &str, address: Ipv4Addr, prefix: u8) -> Result<(), NetworkError> {
    let none = || NetworkError::NoCard(mac.to_owned());
    let bytes = hardware(mac).ok_or_else(none)?;
    let links = Links::open()?;
    let name = links.with_address(&bytes).await?.ok_or_else(none)?;
    links.configure(&name, None, address, prefix).await?;
    // A packet for a pod elsewhere may come in and go out by this card; that is no detour.
    firewall::disable_redirects_of(&name)
}

/// The bytes of an address written as six pairs of digits.
fn hardware(text: &str) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|pair| {
            u8::from_str_radix(pair, 16)
                .ok()
                .filter(|_| pair.len() == 2)
        })
        .collect::<Option<_>>()?;
    (bytes.len() == 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_or_refused() {
        let bytes = hardware("02:ca:DE:00:00:0f").unwrap();
        assert_eq!(bytes, [0x02, 0xca, 0xde, 0, 0, 0x0f]);
        for bad in [
            "",
            "02:ca:de:00:00",
            "02:ca:de:00:00:1",
            "02:ca:de:00:00:0g",
            "02cade00000f",
        ] {
            assert_eq!(hardware(bad), None, "{bad:?}");
        }
    }
}
