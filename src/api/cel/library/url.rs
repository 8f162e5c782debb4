//! URLs: `url("https://example.com:80/a?b=c").getHost()`.

use std::collections::HashMap;

use cel::Value;
use cel::objects::Opaque;

use super::{Function, Owner, function, opaque, ours, string, strings, text_of};

const NAME: &str = "kubernetes.URL";
const OURS: Owner = Owner::Ours(NAME);

#[derive(Debug, PartialEq, Eq, Default)]
struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Opaque for Url {
    fn runtime_type_name(&self) -> &str {
        NAME
    }
}

pub(super) const ALL: &[Function] = &[
    function!(Owner::Nobody, "url", 1, |args| {
        let text = text_of(args, 0)?;
        let bad = || format!("URL parse error during conversion from string: {text:?}");
        read(text).map(opaque).ok_or_else(bad)
    }),
    function!(Owner::Nobody, "isURL", 1, |args| {
        Ok(Value::Bool(read(text_of(args, 0)?).is_some()))
    }),
    function!(OURS, "getScheme", 0, |args| {
        Ok(string(&ours::<Url>(args, 0)?.scheme))
    }),
    function!(OURS, "getHost", 0, |args| {
        Ok(string(&ours::<Url>(args, 0)?.host))
    }),
    function!(OURS, "getHostname", 0, |args| {
        Ok(string(host(&ours::<Url>(args, 0)?.host).0))
    }),
    function!(OURS, "getPort", 0, |args| {
        Ok(string(host(&ours::<Url>(args, 0)?.host).1))
    }),
    function!(OURS, "getEscapedPath", 0, |args| {
        Ok(string(escaped(&ours::<Url>(args, 0)?.path)))
    }),
    function!(OURS, "getQuery", 0, |args| {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        let query = &ours::<Url>(args, 0)?.query;
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if let (Some(key), Some(value)) = (decoded(key), decoded(value)) {
                found.entry(key).or_default().push(value);
            }
        }
        let found: HashMap<String, Value> = found
            .into_iter()
            .map(|(key, values)| (key, strings(values)))
            .collect();
        Ok(found.into())
    }),
];

/// Reads an absolute URL or an absolute path.
fn read(text: &str) -> Option<Url> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    let mut url = Url::default();
    let mut rest = text;
    if !text.starts_with('/') {
        let (scheme, after) = text.split_once(':')?;
        let mut letters = scheme.chars();
        let right = letters.next()?.is_ascii_alphabetic()
            && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !right || after.is_empty() {
            return None;
        }
        url.scheme = scheme.to_ascii_lowercase();
        rest = after;
        if let Some(after) = rest.strip_prefix("//") {
            let end = after.find(['/', '?']).unwrap_or(after.len());
            let (authority, after) = after.split_at(end);
            let place = authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host);
            url.host = is_host(place).then(|| place.to_owned())?;
            rest = after;
        }
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    decoded(path)?;
    url.path = path.to_owned();
    url.query = query.to_owned();
    Some(url)
}

fn is_host(place: &str) -> bool {
    let (name, port) = host(place);
    let plain = !name.contains([' ', '<', '>', '"', '^', '`', '{', '}', '|', '\\']);
    let colons = !place.starts_with('[') && place.matches(':').count() > 1;
    plain && !colons && port.chars().all(|c| c.is_ascii_digit())
}

/// Name and port of a host.
fn host(place: &str) -> (&str, &str) {
    if let Some(inner) = place.strip_prefix('[')
        && let Some((name, rest)) = inner.split_once(']')
    {
        return (name, rest.strip_prefix(':').unwrap_or(rest));
    }
    place.rsplit_once(':').unwrap_or((place, ""))
}

/// Text with `%20` read; `None` if a percent sign stands for nothing.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [a, b, ..]) => {
                let code = std::str::from_utf8(&[*a, *b]).ok().map(str::to_owned)?;
                bytes.push(u8::from_str_radix(&code, 16).ok()?);
                rest = &after[2..];
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn escaped(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(&byte);
        match plain {
            true => out.push(byte.into()),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
