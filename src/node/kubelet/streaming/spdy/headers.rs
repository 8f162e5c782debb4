//! Header blocks of SPDY/3 (draft, section 2.6.10): name and value pairs, compressed with
//! zlib over the whole connection and a preset dictionary. Pure.

use std::sync::LazyLock;

use bytes::Buf as _;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::frame::Violation;

/// Longest block after decompression, in bytes.
const LIMIT: usize = 64 * 1024;

/// Names the dictionary begins with, each after its length (draft, section 2.6.10.1).
const NAMES: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];
/// What follows them without lengths.
const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414\
    415416417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 \
    Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not \
    Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 \
    Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,\
    deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::with_capacity(1423);
    for name in NAMES {
        bytes.extend_from_slice(&(name.len() as u32).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes.extend_from_slice(REST.as_bytes());
    bytes
});

/// Names (lower case) and values, in the order sent.
pub type Headers = Vec<(String, String)>;

/// Reads the blocks of one direction of one connection, in order.
pub struct Reader(Decompress);

impl Default for Reader {
    fn default() -> Reader {
        Reader(Decompress::new(true))
    }
}

impl Reader {
    /// Every block must pass through here, wanted or not: they share one state.
    pub fn read(&mut self, block: &[u8]) -> Result<Headers, Violation> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, Violation> {
        const BROKEN: Violation = Violation("a header block that is not zlib");
        let mut out = Vec::with_capacity(1024);
        let before = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - before).map_err(|_| BROKEN)?;
            let rest = block.get(done..).ok_or(BROKEN)?;
            let room = out.len();
            match self.0.decompress_vec(rest, &mut out, FlushDecompress::Sync) {
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| BROKEN)?;
                    continue;
                }
                Err(_) => return Err(BROKEN),
            }
            let progress = out.len() > room || self.0.total_in() - before > done as u64;
            let full = out.len() == out.capacity();
            if !full {
                let done = usize::try_from(self.0.total_in() - before).map_err(|_| BROKEN)?;
                if done >= block.len() || !progress {
                    return Ok(out);
                }
                continue;
            }
            if out.len() >= LIMIT {
                return Err(Violation("a header block too long"));
            }
            out.reserve(out.len());
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Headers, Violation> {
    const SHORT: Violation = Violation("a header block cut short");
    let text = |block: &mut &[u8]| {
        if block.len() < 4 {
            return Err(SHORT);
        }
        let length = block.get_u32() as usize;
        let bytes = block.get(..length).ok_or(SHORT)?;
        let text = String::from_utf8_lossy(bytes).into_owned();
        block.advance(length);
        Ok(text)
    };
    if block.len() < 4 {
        return Err(SHORT);
    }
    let count = block.get_u32();
    let mut headers = Headers::new();
    // Each pair takes bytes of a bounded block, so the count cannot run away.
    for _ in 0..count {
        let name = text(&mut block)?.to_ascii_lowercase();
        headers.push((name, text(&mut block)?));
    }
    Ok(headers)
}

/// Writes the blocks of one direction of one connection, in order.
pub struct Writer(Compress);

impl Writer {
    pub fn new() -> Result<Writer, flate2::CompressError> {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&DICTIONARY)?;
        Ok(Writer(compress))
    }

    pub fn write(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, flate2::CompressError> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        // Worst case of deflate plus the sync marker fits twice over.
        let mut out = Vec::with_capacity(2 * plain.len() + 128);
        self.0.compress_vec(&plain, &mut out, FlushCompress::Sync)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_published_one() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in DICTIONARY.iter() {
            a = (a + u32::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        // The identifier every SPDY/3 stream begins with.
        assert_eq!((DICTIONARY.len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_share_one_compression_state() {
        let (mut writer, mut reader) = (Writer::new().unwrap(), Reader::default());
        let long = "x".repeat(5_000);
        for n in 0..50 {
            let number = n.to_string();
            let sent = [
                ("streamtype", "data"),
                ("requestid", &number),
                ("long", &long),
            ];
            let block = writer.write(&sent).unwrap();
            let got = reader.read(&block).unwrap();
            let got: Vec<_> = got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(got, sent);
        }
        let block = writer.write(&[]).unwrap();
        assert_eq!(reader.read(&block), Ok(vec![]));
    }

    #[test]
    fn bombs_and_garbage_are_refused() {
        let mut writer = Writer::new().unwrap();
        let bomb = writer.write(&[("a", &"\0".repeat(1 << 20))]).unwrap();
        assert!(bomb.len() < 16 * 1024);
        assert!(Reader::default().read(&bomb).is_err());
        for garbage in [
            &b""[..],
            b"x",
            b"\x78\x9c",
            b"\x78\xbb\xe3\xc6\xa7\xc2",
            &[255; 40],
        ] {
            assert!(Reader::default().read(garbage).is_err(), "{garbage:?}");
        }
        assert!(parse(&[0, 0, 0, 9, 0, 0, 0, 1]).is_err());
        assert!(parse(&[255; 12]).is_err());
    }
}
