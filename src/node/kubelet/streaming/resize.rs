//! Terminal sizes as clients send them: JSON objects, one after the other. Pure.

use bytes::BytesMut;
use serde::Deserialize;

/// Longest size message, in bytes; real ones have about 25.
const LIMIT: usize = 1024;

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Size {
    pub width: u16,
    pub height: u16,
}

/// Takes every whole size out of `buffer` and gives the newest. What cannot become one is
/// thrown away: a terminal of the wrong size is better than a lost session.
pub fn newest(buffer: &mut BytesMut) -> Option<Size> {
    let mut sizes = serde_json::Deserializer::from_slice(buffer).into_iter::<Size>();
    let mut newest = None;
    let broken = loop {
        match sizes.next() {
            Some(Ok(size)) => newest = Some(size),
            Some(Err(error)) => break !error.is_eof(),
            None => break false,
        }
    };
    let read = sizes.byte_offset().min(buffer.len());
    let _ = buffer.split_to(read);
    if broken || buffer.len() > LIMIT {
        buffer.clear();
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_size_counts() {
        let mut buffer = BytesMut::from(
            &b"{\"Width\":80,\"Height\":24}\n{\"Width\":100,\"Height\":30}{\"Wi"[..],
        );
        let size = Size {
            width: 100,
            height: 30,
        };
        assert_eq!(newest(&mut buffer), Some(size));
        assert_eq!(&buffer[..], b"{\"Wi");
        buffer.extend_from_slice(b"dth\":1,\"Height\":2}");
        assert_eq!(newest(&mut buffer).map(|size| size.width), Some(1));
    }

    #[test]
    fn nonsense_is_thrown_away() {
        for nonsense in ["{\"Width\":-1,\"Height\":2}", "xyz", "{\"Width\":99999}"] {
            let mut buffer = BytesMut::from(nonsense);
            assert_eq!(newest(&mut buffer), None, "{nonsense}");
            assert!(buffer.is_empty(), "{nonsense}");
        }
        let mut endless = BytesMut::from(&vec![b' '; 2 * LIMIT][..]);
        assert_eq!(newest(&mut endless), None);
        assert!(endless.len() <= LIMIT);
    }
}
