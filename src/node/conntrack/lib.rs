//! Making the kernel forget UDP connections. A UDP client that keeps sending from one port never
//! opens a new connection in the kernel's eyes, so it would be sent to an endpoint that is gone
//! for as long as it goes on. Which are to be forgotten is for others to say: the proxy of
//! Services, the network of host ports.
//!
//! Netlink by hand (`linux/netfilter/nfnetlink_conntrack.h`): one dump and one message for
//! each connection to forget.

use std::io;
use std::net::Ipv4Addr;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

const UDP: u8 = 17;
const AF_INET: u8 = 2;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;

/// `NFNL_SUBSYS_CTNETLINK << 8`, with `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const CT_GET: u16 = 0x101;
const CT_DELETE: u16 = 0x102;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// `NLA_F_NESTED | NLA_F_NET_BYTEORDER`.
const FLAGS: u16 = 0xc000;
const NESTED: u16 = 0x8000;

const HEADER: usize = 16;
/// `struct nfgenmsg`.
const FAMILY: usize = 4;

const ENOENT: i32 = 2;

/// A connection as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Where the client sends to.
    pub to: (Ipv4Addr, u16),
    /// Who answers.
    pub from: (Ipv4Addr, u16),
    /// The kernel's own attributes: the tuple of the client and the connection's number.
    pub raw: Vec<u8>,
}

/// Forgets all UDP flows that are `stale`; returns how many. Blocks for the time of a dump.
///
/// # Errors
/// The kernel cannot be asked.
pub fn forget(stale: impl Fn(&Flow) -> bool) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut gone = 0;
    for flow in dump(&socket)?.iter().filter(|flow| stale(flow)) {
        socket.send(&request(CT_DELETE, NLM_F_ACK, &flow.raw), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        match messages(&answer).find_map(|(_, body)| status(body)) {
            Some(0) => gone += 1,
            // Ended by itself meanwhile.
            Some(code) if code == -ENOENT => {}
            Some(code) => return Err(io::Error::from_raw_os_error(-code)),
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(gone)
}

fn dump(socket: &Socket) -> io::Result<Vec<Flow>> {
    socket.send(&request(CT_GET, NLM_F_DUMP, &[]), 0)?;
    let mut flows = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        for (kind, body) in messages(&answer) {
            match kind {
                NLMSG_DONE => return Ok(flows),
                NLMSG_ERROR => {
                    let code = status(body).unwrap_or_default();
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => flows.extend(body.get(FAMILY..).and_then(flow)),
            }
        }
    }
}

fn request(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + FAMILY + attributes.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([AF_INET, 0, 0, 0]);
    message.extend(attributes);
    message
}

/// Type and body of each netlink message.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The code of an error message; 0 is an acknowledgement.
fn status(body: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(body.get(..4)?.try_into().ok()?))
}

/// Type and value of each attribute.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & !FLAGS;
        let value = bytes.get(4..usize::from(length))?;
        let next = usize::from(length).next_multiple_of(4);
        bytes = bytes.get(next..).unwrap_or_default();
        Some((kind, value))
    })
}

fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(k, value)| (k == kind).then_some(value))
}

/// Addresses and ports of one direction of a UDP connection.
struct Tuple {
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let addresses = attribute(bytes, CTA_TUPLE_IP)?;
    let ports = attribute(bytes, CTA_TUPLE_PROTO)?;
    if attribute(ports, CTA_PROTO_NUM)? != [UDP] {
        return None;
    }
    let address = |kind| {
        let octets: [u8; 4] = attribute(addresses, kind)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let port = |kind| {
        let bytes: [u8; 2] = attribute(ports, kind)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    Some(Tuple {
        source: (address(CTA_IP_V4_SRC)?, port(CTA_PROTO_SRC_PORT)?),
        destination: (address(CTA_IP_V4_DST)?, port(CTA_PROTO_DST_PORT)?),
    })
}

/// A UDP connection over IPv4; nothing for others.
fn flow(bytes: &[u8]) -> Option<Flow> {
    let original = attribute(bytes, CTA_TUPLE_ORIG)?;
    let there = tuple(original)?;
    let back = tuple(attribute(bytes, CTA_TUPLE_REPLY)?)?;
    let mut raw = Vec::new();
    put(&mut raw, CTA_TUPLE_ORIG | NESTED, original);
    // With its number, so that a connection just made in its place is left alone.
    if let Some(id) = attribute(bytes, CTA_ID) {
        put(&mut raw, CTA_ID, id);
    }
    Some(Flow {
        to: there.destination,
        from: back.source,
        raw,
    })
}

fn put(into: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    into.extend(length.to_ne_bytes());
    into.extend(kind.to_ne_bytes());
    into.extend(value);
    into.resize(into.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction(source: ([u8; 4], u16), destination: ([u8; 4], u16), protocol: u8) -> Vec<u8> {
        let (mut ip, mut ports, mut both) = (Vec::new(), Vec::new(), Vec::new());
        put(&mut ip, CTA_IP_V4_SRC, &source.0);
        put(&mut ip, CTA_IP_V4_DST, &destination.0);
        put(&mut ports, CTA_PROTO_NUM, &[protocol]);
        put(&mut ports, CTA_PROTO_SRC_PORT, &source.1.to_be_bytes());
        put(&mut ports, CTA_PROTO_DST_PORT, &destination.1.to_be_bytes());
        put(&mut both, CTA_TUPLE_IP | NESTED, &ip);
        put(&mut both, CTA_TUPLE_PROTO | NESTED, &ports);
        both
    }

    const CLIENT: ([u8; 4], u16) = ([10, 244, 0, 9], 4000);
    const SERVICE: ([u8; 4], u16) = ([10, 96, 0, 10], 53);
    const POD: ([u8; 4], u16) = ([10, 244, 0, 2], 5353);

    fn message(protocol: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(
            &mut bytes,
            CTA_TUPLE_ORIG | NESTED,
            &direction(CLIENT, SERVICE, protocol),
        );
        put(
            &mut bytes,
            CTA_TUPLE_REPLY | NESTED,
            &direction(POD, CLIENT, protocol),
        );
        put(&mut bytes, CTA_ID, &[1, 2, 3, 4]);
        bytes
    }

    #[test]
    fn a_flow_is_read_and_named_as_the_kernel_does() {
        let flow = flow(&message(UDP)).unwrap();
        assert_eq!(flow.to, (SERVICE.0.into(), 53));
        assert_eq!(flow.from, (POD.0.into(), 5353));
        assert_eq!(attribute(&flow.raw, CTA_ID), Some(&[1, 2, 3, 4][..]));
        assert_eq!(super::flow(&message(6)), None);
        let whole = message(UDP);
        for cut in 0..whole.len() {
            // Cut short, it is no flow or one without a number, and never a panic.
            let flow = super::flow(&whole[..cut]);
            assert!(flow.is_none_or(|flow| attribute(&flow.raw, CTA_ID).is_none()));
        }
    }

    #[test]
    fn messages_are_taken_apart() {
        let mut bytes = request(CT_GET, NLM_F_DUMP, &[]);
        bytes.extend(request(CT_DELETE, NLM_F_ACK, &[8, 0, 1, 0, 1, 2, 3, 4]));
        let kinds: Vec<(u16, usize)> = messages(&bytes).map(|(k, b)| (k, b.len())).collect();
        assert_eq!(kinds, [(CT_GET, 4), (CT_DELETE, 12)]);
    }
}
