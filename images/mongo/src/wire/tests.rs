//! Good messages are understood, bad ones refused, none panics.

use super::*;
use bson::doc;

fn message(flags: u32, sections: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(7i32.to_le_bytes());
    out.extend(0i32.to_le_bytes());
    out.extend(OP_MSG.to_le_bytes());
    out.extend(flags.to_le_bytes());
    out.extend(sections);
    let length = out.len() as i32 + if flags & 1 == 1 { 4 } else { 0 };
    out[..4].copy_from_slice(&length.to_le_bytes());
    if flags & 1 == 1 {
        let sum = crc32c(&out);
        out.extend(sum.to_le_bytes());
    }
    out
}

fn body(document: &Document) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(document.to_vec().unwrap());
    out
}

fn sequence(name: &str, documents: &[Document]) -> Vec<u8> {
    let mut inner = name.as_bytes().to_vec();
    inner.push(0);
    documents
        .iter()
        .for_each(|d| inner.extend(d.to_vec().unwrap()));
    let mut out = vec![1];
    out.extend((inner.len() as i32 + 4).to_le_bytes());
    out.extend(inner);
    out
}

#[test]
fn checksum_matches_the_published_vector() {
    // RFC 3720, B.4: 32 bytes of zeros.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn messages_with_sequences_and_checksum() {
    let mut sections = sequence("documents", &[doc! { "a": 1 }, doc! { "a": 2 }]);
    sections.extend(body(&doc! { "insert": "c", "$db": "d" }));
    for flags in [0, 1, 1 << 16] {
        let request = parse(&message(flags, &sections)).unwrap();
        assert_eq!(
            request.body,
            doc! { "insert": "c", "$db": "d", "documents": [ { "a": 1 }, { "a": 2 } ] }
        );
        assert_eq!(request.style, Style::Message { silent: false });
        assert_eq!(request.id, 7);
    }
    assert_eq!(
        parse(&message(2, &sections)).unwrap().style,
        Style::Message { silent: true }
    );
}

#[test]
fn refusals() {
    let good = body(&doc! { "ping": 1 });
    assert_eq!(parse(&message(4, &good)), Err(WireError::Flags(4)));
    assert_eq!(parse(&message(0, &[])), Err(WireError::Sections("no body")));
    assert_eq!(
        parse(&message(0, &[9])),
        Err(WireError::Sections("unknown kind"))
    );
    let twice = [good.clone(), good.clone()].concat();
    assert_eq!(
        parse(&message(0, &twice)),
        Err(WireError::Sections("two bodies"))
    );
    let clash = [good.clone(), sequence("ping", &[])].concat();
    assert_eq!(
        parse(&message(0, &clash)),
        Err(WireError::Sections("a field is given twice"))
    );
    let mut broken = message(1, &good);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    assert_eq!(parse(&broken), Err(WireError::Checksum));
    assert!(message_length(15i32.to_le_bytes()).is_err());
    assert!(message_length((-1i32).to_le_bytes()).is_err());
    assert!(message_length(48_000_001i32.to_le_bytes()).is_err());
}

#[test]
fn queries_of_old_drivers() {
    let mut out = vec![0; 4];
    out.extend(9i32.to_le_bytes());
    out.extend(0i32.to_le_bytes());
    out.extend(OP_QUERY.to_le_bytes());
    out.extend(0i32.to_le_bytes());
    out.extend(b"admin.$cmd\0");
    out.extend(0i32.to_le_bytes());
    out.extend((-1i32).to_le_bytes());
    out.extend(
        doc! { "$query": { "isMaster": 1 }, "$readPreference": {} }
            .to_vec()
            .unwrap(),
    );
    let length = out.len() as i32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    let request = parse(&out).unwrap();
    assert_eq!(request.body, doc! { "isMaster": 1 });
    assert_eq!(
        request.style,
        Style::Query {
            namespace: "admin.$cmd".into()
        }
    );
    let answer = reply(9, &request.style, 1, &doc! { "ok": 1.0 }).unwrap();
    assert_eq!(answer[12..16], OP_REPLY.to_le_bytes());
    assert_eq!(answer[8..12], 9i32.to_le_bytes());
}

#[test]
fn deep_documents_are_refused() {
    let mut deep = doc! {};
    for _ in 0..170 {
        deep = doc! { "d": deep };
    }
    assert!(check_depth(&deep.to_vec().unwrap()).is_ok());
    for _ in 0..20 {
        deep = doc! { "d": [deep] };
    }
    assert_eq!(check_depth(&deep.to_vec().unwrap()), Err(WireError::Depth));
    // 100 000 levels, built by hand, since building it by values would be too deep already.
    let levels = 100_000;
    let mut bytes = vec![5, 0, 0, 0, 0];
    for _ in 0..levels / 100 {
        for _ in 0..100 {
            let mut outer = ((bytes.len() + 8) as i32).to_le_bytes().to_vec();
            outer.extend([3, b'd', 0]);
            outer.extend(&bytes);
            outer.push(0);
            bytes = outer;
        }
        if bytes.len() > 60_000 {
            break;
        }
    }
    assert_eq!(check_depth(&bytes), Err(WireError::Depth));
}

/// A small generator of repeatable noise (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn noise_never_panics() {
    let mut noise = Noise(0x5eed);
    for _ in 0..20_000 {
        let length = (noise.next() % 200) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| noise.next() as u8).collect();
        if length >= 16 {
            bytes[..4].copy_from_slice(&(length as i32).to_le_bytes());
            let operation = if noise.next().is_multiple_of(2) {
                OP_MSG
            } else {
                OP_QUERY
            };
            bytes[12..16].copy_from_slice(&operation.to_le_bytes());
            if length >= 20 && noise.next().is_multiple_of(2) {
                bytes[16..20].copy_from_slice(&[0; 4]);
            }
        }
        let _ = parse(&bytes);
    }
}

#[test]
fn damaged_messages_never_panic() {
    let mut sections = body(&doc! {
        "find": "c", "filter": { "a": { "$in": [1, 2.5, "x", null] }, "d": bson::DateTime::now() },
        "b": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2, 3] },
        "r": bson::Regex { pattern: "a".try_into().unwrap(), options: "i".try_into().unwrap() },
    });
    sections.extend(sequence(
        "documents",
        &[doc! { "x": { "y": [1, { "z": true }] } }],
    ));
    let good = message(0, &sections);
    let mut noise = Noise(42);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=noise.next() % 4 {
            let at = 16 + (noise.next() as usize) % (bytes.len() - 16);
            bytes[at] = noise.next() as u8;
        }
        if let Ok(request) = parse(&bytes) {
            // What was believed must be usable.
            let _ = request.body.to_vec();
            let _ = crate::query::filter::Filter::parse(&request.body);
        }
    }
}
