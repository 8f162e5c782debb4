//! Addresses and networks: `ip("::1").family()`, `cidr("10.0.0.0/8").containsIP("10.1.1.1")`.

use std::net::IpAddr;

use cel::Value;
use cel::objects::Opaque;

use super::{Function, Owner, function, opaque, ours, string, text_of};

const ADDRESS: &str = "net.IP";
const NETWORK: &str = "net.CIDR";
const IP: Owner = Owner::Ours(ADDRESS);
const CIDR: Owner = Owner::Ours(NETWORK);

#[derive(Debug, PartialEq, Eq)]
struct Ip(IpAddr);

impl Opaque for Ip {
    fn runtime_type_name(&self) -> &str {
        ADDRESS
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Opaque for Cidr {
    fn runtime_type_name(&self) -> &str {
        NETWORK
    }
}

pub(super) const ALL: &[Function] = &[
    function!(Owner::Nobody, "ip", 1, |args| address(text_of(args, 0)?)
        .map(|ip| opaque(Ip(ip)))),
    function!(Owner::Nobody, "isIP", 1, |args| {
        Ok(Value::Bool(address(text_of(args, 0)?).is_ok()))
    }),
    function!(Owner::Nobody, "ip.isCanonical", 1, |args| {
        let text = text_of(args, 0)?;
        Ok(Value::Bool(address(text)?.to_string() == text))
    }),
    function!(Owner::About(ADDRESS), "string", 1, |args| {
        Ok(string(ours::<Ip>(args, 0)?.0.to_string()))
    }),
    function!(Owner::About(NETWORK), "string", 1, |args| {
        let cidr = ours::<Cidr>(args, 0)?;
        Ok(string(format!("{}/{}", cidr.address, cidr.length)))
    }),
    function!(IP, "family", 0, |args| {
        let v4 = ours::<Ip>(args, 0)?.0.is_ipv4();
        Ok(Value::Int(if v4 { 4 } else { 6 }))
    }),
    function!(IP, "isUnspecified", 0, |args| {
        Ok(Value::Bool(ours::<Ip>(args, 0)?.0.is_unspecified()))
    }),
    function!(IP, "isLoopback", 0, |args| {
        Ok(Value::Bool(ours::<Ip>(args, 0)?.0.is_loopback()))
    }),
    function!(IP, "isLinkLocalMulticast", 0, |args| {
        Ok(Value::Bool(match ours::<Ip>(args, 0)?.0 {
            IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        }))
    }),
    function!(IP, "isLinkLocalUnicast", 0, |args| {
        Ok(Value::Bool(link_local(ours::<Ip>(args, 0)?.0)))
    }),
    function!(IP, "isGlobalUnicast", 0, |args| {
        let ip = ours::<Ip>(args, 0)?.0;
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        let local = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
        Ok(Value::Bool(!broadcast && !local && !link_local(ip)))
    }),
    function!(Owner::Nobody, "cidr", 1, |args| network(text_of(args, 0)?)
        .map(opaque)),
    function!(Owner::Nobody, "isCIDR", 1, |args| {
        Ok(Value::Bool(network(text_of(args, 0)?).is_ok()))
    }),
    function!(CIDR, "containsIP", 1, |args| {
        let inner = match args.get(1) {
            Some(Value::String(text)) => address(text)?,
            _ => ours::<Ip>(args, 1)?.0,
        };
        Ok(Value::Bool(ours::<Cidr>(args, 0)?.contains(inner)))
    }),
    function!(CIDR, "containsCIDR", 1, |args| {
        let inner = match args.get(1) {
            Some(Value::String(text)) => network(text)?,
            _ => ours::<Cidr>(args, 1)?.clone(),
        };
        let outer = ours::<Cidr>(args, 0)?;
        let within = outer.length <= inner.length && outer.contains(inner.address);
        Ok(Value::Bool(within))
    }),
    function!(CIDR, "ip", 0, |args| {
        Ok(opaque(Ip(ours::<Cidr>(args, 0)?.address)))
    }),
    function!(CIDR, "masked", 0, |args| {
        let cidr = ours::<Cidr>(args, 0)?;
        Ok(opaque(Cidr {
            address: masked(cidr.address, cidr.length),
            length: cidr.length,
        }))
    }),
    function!(CIDR, "prefixLength", 0, |args| {
        Ok(Value::Int(ours::<Cidr>(args, 0)?.length.into()))
    }),
];

fn address(text: &str) -> Result<IpAddr, String> {
    let bad = || format!("IP Address {text:?} parse error during conversion from string");
    let ip: IpAddr = text.parse().map_err(|_| bad())?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn network(text: &str) -> Result<Cidr, String> {
    let bad = || format!("network address parse error during conversion from string: {text:?}");
    let (ip, length) = text.split_once('/').ok_or_else(bad)?;
    let address = address(ip).map_err(|_| bad())?;
    let plain = length == "0" || (!length.starts_with('0') && !length.starts_with('+'));
    let length: u8 = length.parse().map_err(|_| bad())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match plain && length <= most {
        true => Ok(Cidr { address, length }),
        false => Err(bad()),
    }
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn masked(ip: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

impl Cidr {
    fn contains(&self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4()
            && masked(ip, self.length) == masked(self.address, self.length)
    }
}
