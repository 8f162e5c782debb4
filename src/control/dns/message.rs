//! DNS messages: questions read from bytes, answers written to them (RFC 1035, 2308, 6891).

use std::net::IpAddr;
use std::str::FromStr as _;

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message_builder::{
    AdditionalBuilder, AnswerBuilder, MessageBuilder, PushError, StaticCompressor,
};
use domain::base::name::{Name, ParsedName, ToName};
use domain::base::record::ParsedRecord;
use domain::base::wire::ParseError;
use domain::base::{Message, Record, Serial, Ttl};
use domain::rdata::{A, Aaaa, AllRecordData, Cname, Ns, Ptr, Soa, Srv, Txt};

use crate::records::{Answer, Asked, Data, Origin, TTL};

/// The most a UDP answer may hold for a client that does not say more (RFC 1035).
const PLAIN_UDP: u16 = 512;
/// The most it holds for any client: no packet is cut in pieces on the way.
pub const EDNS_UDP: u16 = 1232;
/// The most a message over TCP may hold.
pub const TCP: usize = u16::MAX as usize;
/// Bytes of an OPT record without options.
const OPT: usize = 11;

type Out = StaticCompressor<Vec<u8>>;

/// A question that can be answered.
pub struct Query<'a> {
    message: &'a Message<[u8]>,
    /// The name in small letters, without the dot at the end. Bytes that no name of a
    /// cluster has are replaced.
    pub name: String,
    /// The name as it is asked for.
    pub exact: ParsedName<&'a [u8]>,
    pub rtype: Rtype,
    /// The client's EDNS, if it speaks it.
    edns: Option<Edns>,
}

#[derive(Debug, Clone, Copy)]
struct Edns {
    room: u16,
    dnssec_ok: bool,
}

/// What to do with bytes that are no question to us.
pub enum Refused {
    /// Answers, fragments: whoever answers those could be made to answer himself.
    Silently,
    /// With this answer.
    With(Vec<u8>),
}

/// Reads a question.
///
/// # Errors
/// [`Refused`].
pub fn read(packet: &[u8]) -> Result<Query<'_>, Refused> {
    let message = Message::from_slice(packet).map_err(|_| Refused::Silently)?;
    if message.header().qr() {
        return Err(Refused::Silently);
    }
    let refuse = |rcode| Err(Refused::With(begin(message, rcode).finish().into_target()));
    if message.header().opcode() != Opcode::QUERY {
        return refuse(Rcode::NOTIMP);
    }
    let Ok(question) = message.sole_question() else {
        return refuse(Rcode::FORMERR);
    };
    if !matches!(question.qclass(), Class::IN | Class::ANY) {
        return refuse(Rcode::REFUSED);
    }
    let rtype = question.qtype();
    if matches!(rtype, Rtype::AXFR | Rtype::IXFR) {
        return refuse(Rcode::REFUSED);
    }
    let opt = message.opt();
    if opt.as_ref().is_some_and(|opt| opt.version() != 0) {
        return Err(Refused::With(wrong_version(message)));
    }
    let edns = opt.map(|opt| Edns {
        room: opt.udp_payload_size(),
        dnssec_ok: opt.dnssec_ok(),
    });
    let exact = question.into_qname();
    Ok(Query {
        message,
        name: text_of(&exact),
        exact,
        rtype,
        edns,
    })
}

/// Says which version of EDNS we speak, the only one there is (RFC 6891, 6.1.3).
fn wrong_version(message: &Message<[u8]>) -> Vec<u8> {
    let mut builder = begin(message, Rcode::NOERROR).additional();
    let pushed = builder.opt(|opt| {
        opt.set_udp_payload_size(EDNS_UDP);
        opt.set_rcode(OptRcode::BADVERS);
        Ok(())
    });
    debug_assert!(pushed.is_ok(), "an OPT record fits behind a name");
    builder.finish().into_target()
}

fn text_of(name: &impl ToName) -> String {
    let mut text = String::with_capacity(64);
    for label in name.iter_labels() {
        if label.is_root() {
            break;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.as_slice().iter().map(|byte| match byte {
            b'.' => char::REPLACEMENT_CHARACTER,
            b'!'..=b'~' => char::from(byte.to_ascii_lowercase()),
            _ => char::REPLACEMENT_CHARACTER,
        }));
    }
    text
}

impl Query<'_> {
    /// What the cluster's records know of the type asked for.
    #[must_use]
    pub fn asked(&self) -> Asked {
        match self.rtype {
            Rtype::A => Asked::A,
            Rtype::AAAA => Asked::Aaaa,
            Rtype::SRV => Asked::Srv,
            Rtype::PTR => Asked::Ptr,
            Rtype::TXT => Asked::Txt,
            Rtype::SOA => Asked::Soa,
            Rtype::NS => Asked::Ns,
            Rtype::ANY => Asked::Any,
            _ => Asked::Other,
        }
    }

    /// Bytes an answer over UDP may have.
    #[must_use]
    pub fn udp_room(&self) -> usize {
        let room = self.edns.map_or(PLAIN_UDP, |edns| edns.room);
        usize::from(room.clamp(PLAIN_UDP, EDNS_UDP))
    }

    #[must_use]
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    #[must_use]
    pub fn checking_disabled(&self) -> bool {
        self.message.header().cd()
    }

    fn begin(&self, rcode: Rcode, room: usize) -> AnswerBuilder<Out> {
        let mut builder = begin(self.message, rcode);
        builder.header_mut().set_ra(true);
        // Room for the OPT record is kept until the end.
        let kept = if self.edns.is_some() { OPT } else { 0 };
        builder.set_push_limit(room.saturating_sub(kept) + 1);
        builder
    }

    fn end(&self, mut builder: AdditionalBuilder<Out>) -> Vec<u8> {
        builder.clear_push_limit();
        if let Some(edns) = self.edns {
            let opt = builder.opt(|opt| {
                opt.set_udp_payload_size(EDNS_UDP);
                opt.set_dnssec_ok(edns.dnssec_ok);
                Ok(())
            });
            if opt.is_err() {
                // Only if the message is too large for any transport.
                tracing::debug!(name = %self.name, "no room for EDNS");
            }
        }
        builder.finish().into_target()
    }

    /// An answer without records.
    #[must_use]
    pub fn fail(&self, rcode: Rcode) -> Vec<u8> {
        self.end(self.begin(rcode, TCP).additional())
    }
}

fn begin(message: &Message<[u8]>, rcode: Rcode) -> AnswerBuilder<Out> {
    let target = StaticCompressor::new(Vec::with_capacity(usize::from(PLAIN_UDP)));
    match MessageBuilder::from_target(target) {
        Ok(builder) => builder.start_error(message, rcode),
        Err(never) => match never {},
    }
}

/// Who speaks for the cluster's domain.
pub struct Authority<'a> {
    pub domain: &'a str,
    pub serial: u32,
}

type Owned = Name<Vec<u8>>;

impl Authority<'_> {
    fn soa(&self, origin: Origin) -> Option<(Owned, Soa<Owned>)> {
        let domain = match origin {
            Origin::Cluster => self.domain,
            Origin::Reverse4 => "in-addr.arpa",
            Origin::Reverse6 => "ip6.arpa",
        };
        // CoreDNS's names and times; the last one is how long "no" may be remembered.
        let soa = Soa::new(
            name(&format!("ns.dns.{domain}"))?,
            name(&format!("hostmaster.{domain}"))?,
            Serial(self.serial),
            Ttl::from_secs(7200),
            Ttl::from_secs(1800),
            Ttl::from_secs(86400),
            Ttl::from_secs(TTL),
        );
        Some((name(domain)?, soa))
    }
}

/// A name from text; `None` if it cannot be one.
pub fn name(text: &str) -> Option<Name<Vec<u8>>> {
    Name::from_str(text).ok()
}

/// Writes the cluster's own answer. `None` if it is not for the cluster to answer.
#[must_use]
pub fn answer(
    query: &Query<'_>,
    answer: &Answer,
    authority: &Authority<'_>,
    room: usize,
) -> Option<Vec<u8>> {
    let (rcode, origin) = match answer {
        Answer::Found { records, extra } => {
            let mut builder = query.begin(Rcode::NOERROR, room);
            builder.header_mut().set_aa(true);
            let mut whole = true;
            // Clients take the first of several: another one for each question.
            let turn = match records.first() {
                Some(Data::Address(_)) => usize::from(query.message.header().id()) % records.len(),
                _ => 0,
            };
            for data in records[turn..].iter().chain(&records[..turn]) {
                whole = push(&mut builder, &query.exact, data, authority).is_ok();
                if !whole {
                    builder.header_mut().set_tc(true);
                    break;
                }
            }
            let mut builder = builder.additional();
            for (owner, address) in extra.iter().filter(|_| whole) {
                // What does not fit, the client may ask for.
                let Some(owner) = name(owner) else { continue };
                let pushed = match address {
                    IpAddr::V4(a) => builder.push((owner, Class::IN, TTL, A::new(*a))),
                    IpAddr::V6(a) => builder.push((owner, Class::IN, TTL, Aaaa::new(*a))),
                };
                if pushed.is_err() {
                    break;
                }
            }
            return Some(query.end(builder));
        }
        Answer::NoData(origin) => (Rcode::NOERROR, *origin),
        Answer::NoSuchName(origin) => (Rcode::NXDOMAIN, *origin),
        Answer::NotYet => return Some(query.fail(Rcode::SERVFAIL)),
        Answer::Alias(_) | Answer::Elsewhere => return None,
    };
    let mut builder = query.begin(rcode, room);
    builder.header_mut().set_aa(true);
    let mut builder = builder.authority();
    if let Some((owner, soa)) = authority.soa(origin) {
        // A name of 255 bytes and our SOA fit into the smallest packet.
        let _ = builder.push((owner, Class::IN, TTL, soa));
    }
    Some(query.end(builder.additional()))
}

fn push(
    builder: &mut AnswerBuilder<Out>,
    owner: &impl ToName,
    data: &Data,
    authority: &Authority<'_>,
) -> Result<(), PushError> {
    match data {
        Data::Address(IpAddr::V4(a)) => builder.push((owner, Class::IN, TTL, A::new(*a))),
        Data::Address(IpAddr::V6(a)) => builder.push((owner, Class::IN, TTL, Aaaa::new(*a))),
        Data::Service {
            weight,
            port,
            target,
        } => match name(target) {
            Some(target) => {
                let data = Srv::new(0, *weight, *port, target);
                builder.push((owner, Class::IN, TTL, data))
            }
            None => Ok(()),
        },
        Data::Pointer(target) => match name(target) {
            Some(target) => builder.push((owner, Class::IN, TTL, Ptr::new(target))),
            None => Ok(()),
        },
        Data::NameServer(target) => match name(target) {
            Some(target) => builder.push((owner, Class::IN, TTL, Ns::new(target))),
            None => Ok(()),
        },
        Data::Text(text) => match Txt::<Vec<u8>>::build_from_slice(text.as_bytes()) {
            Ok(text) => builder.push((owner, Class::IN, TTL, text)),
            Err(_) => Ok(()),
        },
        Data::Start => match authority.soa(Origin::Cluster) {
            Some((_, soa)) => builder.push((owner, Class::IN, TTL, soa)),
            None => Ok(()),
        },
    }
}

/// Writes what another server answered, `age` seconds ago, under the name asked for; with
/// `alias` as the answer for that other name.
///
/// # Errors
/// If the other server's message is malformed.
pub fn relay(
    query: &Query<'_>,
    fetched: &Message<[u8]>,
    age: u32,
    alias: Option<&Name<Vec<u8>>>,
    room: usize,
) -> Result<Vec<u8>, ParseError> {
    let mut builder = query.begin(fetched.header().rcode(), room);
    builder.header_mut().set_ad(fetched.header().ad());
    let mut whole = alias.is_none_or(|target| push_alias(&mut builder, query, target).is_ok());
    let mut section = fetched.answer()?;
    for record in &mut section {
        whole = whole && builder.push(copy(record?, age)?).is_ok();
    }
    builder.header_mut().set_tc(!whole);
    let mut builder = builder.authority();
    let Some(mut section) = section.next_section()? else {
        return Ok(query.end(builder.additional()));
    };
    for record in &mut section {
        // What does not fit here is not needed to understand the answer.
        whole = whole && builder.push(copy(record?, age)?).is_ok();
    }
    let mut builder = builder.additional();
    for record in section.next_section()?.into_iter().flatten() {
        let record = record?;
        if record.rtype() != Rtype::OPT {
            whole = whole && builder.push(copy(record, age)?).is_ok();
        }
    }
    Ok(query.end(builder))
}

type Copied<'a> = Record<ParsedName<&'a [u8]>, AllRecordData<&'a [u8], ParsedName<&'a [u8]>>>;

fn copy(record: ParsedRecord<'_, [u8]>, age: u32) -> Result<Copied<'_>, ParseError> {
    let mut record: Copied<'_> = record.into_any_record()?;
    let left = record.ttl().as_secs().saturating_sub(age);
    record.set_ttl(Ttl::from_secs(left));
    Ok(record)
}

fn push_alias(
    builder: &mut AnswerBuilder<Out>,
    query: &Query<'_>,
    target: &Name<Vec<u8>>,
) -> Result<(), PushError> {
    builder.header_mut().set_aa(true);
    builder.push((&query.exact, Class::IN, TTL, Cname::new(target)))
}

/// Writes an alias and what the cluster itself knows about its target.
#[must_use]
pub fn alias(
    query: &Query<'_>,
    target: &Name<Vec<u8>>,
    answer: &Answer,
    authority: &Authority<'_>,
    room: usize,
) -> Vec<u8> {
    let (rcode, origin) = match answer {
        Answer::NoSuchName(origin) => (Rcode::NXDOMAIN, Some(*origin)),
        Answer::NoData(origin) => (Rcode::NOERROR, Some(*origin)),
        Answer::NotYet => (Rcode::SERVFAIL, None),
        _ => (Rcode::NOERROR, None),
    };
    let mut builder = query.begin(rcode, room);
    let mut whole = push_alias(&mut builder, query, target).is_ok();
    if let Answer::Found { records, .. } = answer {
        for data in records {
            whole = whole && push(&mut builder, target, data, authority).is_ok();
        }
    }
    builder.header_mut().set_tc(!whole);
    let mut builder = builder.authority();
    if let Some((owner, soa)) = origin.and_then(|origin| authority.soa(origin)) {
        // Whoever asked knows without it as well that there is nothing.
        let _ = builder.push((owner, Class::IN, TTL, soa));
    }
    query.end(builder.additional())
}

/// Writes an alias whose target nobody could be asked about.
#[must_use]
pub fn alias_unresolved(query: &Query<'_>, target: &Name<Vec<u8>>) -> Vec<u8> {
    let mut builder = query.begin(Rcode::SERVFAIL, TCP);
    let pushed = push_alias(&mut builder, query, target);
    debug_assert!(pushed.is_ok(), "a name fits into a message");
    query.end(builder.additional())
}

/// A question to another server: recursion wanted, as large an answer as goes in one packet.
#[must_use]
pub fn question(id: u16, name: &impl ToName, rtype: Rtype, flags: Flags) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    builder.header_mut().set_cd(flags.checking_disabled);
    let mut builder = builder.question();
    let pushed = builder.push((name, rtype, Class::IN));
    debug_assert!(pushed.is_ok(), "a name fits into a message");
    let mut builder = builder.additional();
    if flags.edns {
        let pushed = builder.opt(|opt| {
            opt.set_udp_payload_size(EDNS_UDP);
            opt.set_dnssec_ok(flags.dnssec_ok);
            Ok(())
        });
        debug_assert!(pushed.is_ok(), "an OPT record fits behind a name");
    }
    builder.finish()
}

/// How another server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flags {
    pub edns: bool,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
}

/// Seconds an answer of another server may be kept: the shortest of its records' lives, or, if
/// it says no, what the zone's SOA allows (RFC 2308). `None` if it may not be kept.
#[must_use]
pub fn life(message: &Message<[u8]>) -> Option<u32> {
    if !matches!(message.header().rcode(), Rcode::NOERROR | Rcode::NXDOMAIN)
        || message.header().tc()
    {
        return None;
    }
    let mut section = message.answer().ok()?;
    let mut shortest = None;
    for record in &mut section {
        let ttl = record.ok()?.ttl().as_secs();
        shortest = Some(shortest.map_or(ttl, |least: u32| least.min(ttl)));
    }
    if shortest.is_some() && message.header().rcode() == Rcode::NOERROR {
        return shortest;
    }
    let soa = section
        .next_section()
        .ok()??
        .limit_to::<Soa<_>>()
        .next()?
        .ok()?;
    let no = soa.ttl().as_secs().min(soa.data().minimum().as_secs());
    Some(shortest.map_or(no, |least| least.min(no)))
}
