//! From the bytes of a question to the bytes of its answer.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use domain::base::Message;
use domain::base::iana::{Rcode, Rtype};
use domain::base::name::{Name, ToName as _};

use crate::forward::{Forwarder, Outside};
use crate::message::{self, Authority, Flags, Query, Refused};
use crate::records::{Answer, Zone};

/// Aliases of aliases followed inside the cluster; more is somebody's mistake.
const ALIASES: usize = 8;

/// How a question came, which says how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    Udp,
    Tcp,
}

/// What answers questions.
#[derive(Debug, Clone)]
pub struct Desk {
    pub zone: Arc<RwLock<Zone>>,
    pub forwarder: Arc<Forwarder>,
}

/// A question looked at.
pub enum Looked {
    /// Answered from what is known.
    Answered(Vec<u8>),
    /// Others must be asked.
    Open,
    /// Not worth a word.
    Nothing,
}

impl Desk {
    /// Answers what the cluster knows by itself; never waits.
    #[must_use]
    pub fn look(&self, packet: &[u8], road: Road) -> Looked {
        let query = match message::read(packet) {
            Ok(query) => query,
            Err(Refused::Silently) => return Looked::Nothing,
            Err(Refused::With(answer)) => return Looked::Answered(answer),
        };
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        let answer = zone.answer(&query.name, query.asked());
        if let Some(bytes) = message::answer(&query, &answer, &authority(&zone), room(&query, road))
        {
            return Looked::Answered(bytes);
        }
        // Whoever asks for the alias itself does not ask where it leads.
        if let (Answer::Alias(target), Rtype::CNAME) = (&answer, query.rtype)
            && let Some(target) = message::name(target)
        {
            let nothing = Answer::Found {
                records: Vec::new(),
                extra: Vec::new(),
            };
            let room = room(&query, road);
            let bytes = message::alias(&query, &target, &nothing, &authority(&zone), room);
            return Looked::Answered(bytes);
        }
        if self.forwarder.is_mirrored(&query.name, query.rtype) {
            return Looked::Answered(query.fail(Rcode::REFUSED));
        }
        Looked::Open
    }

    /// Answers what [`Desk::look`] left open.
    pub async fn ask(&self, packet: &[u8], road: Road) -> Option<Vec<u8>> {
        let query = message::read(packet).ok()?;
        let room = room(&query, road);
        let (alias, inside) = self.follow(&query, room);
        if let Some(answered) = inside {
            return Some(answered);
        }
        let outside = Outside {
            name: alias.clone().unwrap_or_else(|| query.exact.to_name()),
            rtype: query.rtype,
            flags: Flags {
                edns: true,
                dnssec_ok: query.dnssec_ok(),
                checking_disabled: query.checking_disabled(),
            },
        };
        let relayed = match self.forwarder.resolve(&outside).await {
            Ok(fetched) => match Message::from_slice(&fetched.message) {
                Ok(message) => {
                    let age = fetched.age(Instant::now());
                    let relayed = message::relay(&query, message, age, alias.as_ref(), room);
                    relayed.map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        Some(relayed.unwrap_or_else(|why| {
            tracing::debug!(name = %query.name, %why, "not resolved");
            match alias {
                Some(alias) => message::alias_unresolved(&query, &alias),
                None => query.fail(Rcode::SERVFAIL),
            }
        }))
    }

    /// The name that a name of the cluster is an alias of, and the answer if the cluster itself
    /// has it. Only the last alias of a chain is told: the ones between lead nowhere else.
    fn follow(&self, query: &Query<'_>, room: usize) -> (Option<Name<Vec<u8>>>, Option<Vec<u8>>) {
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        let mut name = query.name.clone();
        let mut last = None;
        for _ in 0..ALIASES {
            match zone.answer(&name, query.asked()) {
                Answer::Alias(target) => {
                    last = message::name(&target);
                    if last.is_none() {
                        return (None, Some(query.fail(Rcode::SERVFAIL)));
                    }
                    name = target;
                }
                Answer::Elsewhere => return (last, None),
                answer => {
                    let authority = authority(&zone);
                    let bytes = match &last {
                        Some(target) => {
                            Some(message::alias(query, target, &answer, &authority, room))
                        }
                        None => message::answer(query, &answer, &authority, room),
                    };
                    return (last, bytes);
                }
            }
        }
        (None, Some(query.fail(Rcode::SERVFAIL)))
    }
}

fn authority(zone: &Zone) -> Authority<'_> {
    Authority {
        domain: zone.domain(),
        serial: zone.serial(),
    }
}

fn room(query: &Query<'_>, road: Road) -> usize {
    match road {
        Road::Udp => query.udp_room(),
        Road::Tcp => message::TCP,
    }
}
