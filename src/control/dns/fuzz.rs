//! Fuzz targets: whatever bytes clients and other servers send, answers fit their packet,
//! belong to their question, and nothing breaks.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, RwLock};

use domain::base::Message;

use crate::desk::{Desk, Looked, Road};
use crate::forward::Forwarder;
use crate::message::{self, Refused};
use crate::records::{Endpoint, Kind, Part, Service, Slice, Zone, ZoneConfig};

/// `web.default.svc.cluster.local`, A, with EDNS.
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03web\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";

fn desk() -> Desk {
    let mut zone = Zone::new(&ZoneConfig {
        domain: "cluster.local".into(),
        server: "10.96.0.10".parse().unwrap(),
        ranges: vec!["10.96.0.0/12".into()],
    })
    .unwrap();
    for part in [Part::Namespaces, Part::Services, Part::Slices] {
        zone.complete(part);
    }
    zone.set_namespace("default");
    let service = Service {
        kind: Kind::Headless,
        ports: [].into(),
        publish_not_ready: false,
    };
    zone.set_service("default", "web", service);
    let endpoints = (0..=255).map(|n| Endpoint {
        address: [10, 244, 0, n].into(),
        hostname: None,
        ready: true,
    });
    zone.set_slice(
        "default",
        "web-1",
        "web",
        Slice::new(endpoints.collect(), [].into()),
    );
    Desk {
        zone: Arc::new(RwLock::new(zone)),
        forwarder: Arc::new(Forwarder::new("/nowhere".into(), vec![])),
    }
}

#[test]
fn questions_of_any_bytes() {
    // A question changes nothing in the desk that a panic could leave half done.
    let desk = AssertUnwindSafe(desk());
    bolero::check!().for_each(|bytes: &[u8]| {
        let desk = &*desk;
        // Mostly a question with a few bytes changed: pure noise ends at the header.
        let mut packet = QUESTION.to_vec();
        for pair in bytes.chunks_exact(2) {
            let at = usize::from(pair[0]) % packet.len();
            packet[at] = pair[1];
        }
        for packet in [bytes, &packet] {
            for road in [Road::Udp, Road::Tcp] {
                if let Looked::Answered(answer) = desk.look(packet, road) {
                    assert_eq!(answer[..2], packet[..2], "its own id");
                    assert!(road == Road::Tcp || answer.len() <= 1232);
                    assert!(Message::from_slice(&answer).is_ok_and(|m| m.header().qr()));
                }
            }
        }
    });
}

#[test]
fn answers_of_other_servers_of_any_bytes() {
    let desk = desk();
    let Looked::Answered(whole) = desk.look(QUESTION, Road::Tcp) else {
        panic!("no answer");
    };
    let Ok(query) = message::read(QUESTION) else {
        panic!("no question");
    };
    let alias = message::name("www.example.com");
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut answer = whole.clone();
        for pair in bytes.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([pair[0], pair[1]])) % answer.len();
            answer[at] = pair[2];
        }
        for answer in [bytes, &answer] {
            let Ok(answer) = Message::from_slice(answer) else {
                continue;
            };
            let _ = message::life(answer);
            for alias in [None, alias.as_ref()] {
                let relayed = message::relay(&query, answer, 1, alias, query.udp_room());
                // Malformed is a fair thing to say.
                assert!(relayed.is_ok_and(|bytes| bytes.len() <= 1232) || malformed(answer));
            }
        }
    });
    assert!(matches!(message::read(&whole), Err(Refused::Silently)));
}

/// Whether a message cannot be read to its end.
fn malformed(message: &Message<[u8]>) -> bool {
    use domain::rdata::AllRecordData;
    message.iter().any(|record| {
        record.map_or(true, |(record, _)| {
            record.to_any_record::<AllRecordData<_, _>>().is_err()
        })
    }) || message.question().any(|question| question.is_err())
}
