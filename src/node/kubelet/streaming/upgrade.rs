//! The handshake: which protocol the client asked for, and the 101 that grants it.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::websocket::channels::Layout;

/// Lists what the client speaks; the answer names the one chosen.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Lists, in a refusal, what the server speaks.
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";
/// Fixed by RFC 6455, section 1.3.
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// SPDY as messages of a WebSocket.
pub const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The protocol of port-forward over SPDY.
pub const PORT_FORWARD: &str = "portforward.k8s.io";

/// How exec and attach are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandWire {
    WebSocket {
        layout: Layout,
        /// The outcome is a Status in JSON; else it is a sentence.
        status: bool,
    },
    Spdy {
        status: bool,
        /// There is a stream for terminal sizes.
        resize: bool,
    },
}

/// How port-forward is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardWire {
    Spdy,
    Tunnel,
    Channels(Layout),
}

const COMMAND_WEBSOCKET: &[(&str, CommandWire)] = &[
    ("v5.channel.k8s.io", websocket(Layout::V5, true)),
    ("v4.channel.k8s.io", websocket(Layout::Binary, true)),
    ("v4.base64.channel.k8s.io", websocket(Layout::Base64, true)),
    ("channel.k8s.io", websocket(Layout::Binary, false)),
    ("base64.channel.k8s.io", websocket(Layout::Base64, false)),
    ("", websocket(Layout::Binary, false)),
];

const COMMAND_SPDY: &[(&str, CommandWire)] = &[
    ("v4.channel.k8s.io", spdy(true, true)),
    ("v3.channel.k8s.io", spdy(false, true)),
    ("v2.channel.k8s.io", spdy(false, false)),
    ("channel.k8s.io", spdy(false, false)),
    ("", spdy(false, false)),
];

const FORWARD_WEBSOCKET: &[(&str, ForwardWire)] = &[
    (TUNNEL, ForwardWire::Tunnel),
    ("v5.channel.k8s.io", ForwardWire::Channels(Layout::V5)),
    ("v4.channel.k8s.io", ForwardWire::Channels(Layout::Binary)),
    (
        "v4.base64.channel.k8s.io",
        ForwardWire::Channels(Layout::Base64),
    ),
    ("", ForwardWire::Channels(Layout::Binary)),
];

const FORWARD_SPDY: &[(&str, ForwardWire)] =
    &[(PORT_FORWARD, ForwardWire::Spdy), ("", ForwardWire::Spdy)];

const fn websocket(layout: Layout, status: bool) -> CommandWire {
    CommandWire::WebSocket { layout, status }
}

const fn spdy(status: bool, resize: bool) -> CommandWire {
    CommandWire::Spdy { status, resize }
}

/// The protocol and the answer for exec and attach, or a refusal.
pub fn command(headers: &HeaderMap) -> Result<(CommandWire, Response), Refusal> {
    choose(headers, COMMAND_WEBSOCKET, COMMAND_SPDY)
}

/// The protocol and the answer for port-forward, or a refusal.
pub fn forward(headers: &HeaderMap) -> Result<(ForwardWire, Response), Refusal> {
    choose(headers, FORWARD_WEBSOCKET, FORWARD_SPDY)
}

fn choose<W: Copy>(
    headers: &HeaderMap,
    websocket: &[(&'static str, W)],
    spdy: &[(&'static str, W)],
) -> Result<(W, Response), Refusal> {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    let connection = words(headers, &CONNECTION);
    let upgrade = upgrade.filter(|_| {
        connection
            .iter()
            .any(|word| word.eq_ignore_ascii_case("upgrade"))
    });
    match upgrade {
        Some(asked) if asked.eq_ignore_ascii_case("websocket") => {
            let (name, wire) = pick(headers, &SEC_WEBSOCKET_PROTOCOL, websocket)?;
            let key = headers.get(SEC_WEBSOCKET_KEY);
            let (Some(key), Some("13")) = (key, text(headers, &SEC_WEBSOCKET_VERSION)) else {
                return Err(Refusal::bad_request(
                    "unable to upgrade: not a WebSocket handshake of version 13",
                ));
            };
            let mut answer = switching("websocket");
            answer.insert(SEC_WEBSOCKET_ACCEPT, accept(key.as_bytes()));
            if !name.is_empty() {
                answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
            }
            Ok((wire, response(answer)))
        }
        Some(asked) if asked.eq_ignore_ascii_case(SPDY) => {
            let (name, wire) = pick(headers, &STREAM_PROTOCOL, spdy)?;
            let mut answer = switching(SPDY);
            if !name.is_empty() {
                answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
            }
            Ok((wire, response(answer)))
        }
        _ => Err(Refusal::bad_request(
            "unable to upgrade: missing upgrade headers in request",
        )),
    }
}

/// The first protocol of the client's list that is ours too.
fn pick<W: Copy>(
    headers: &HeaderMap,
    name: &HeaderName,
    ours: &[(&'static str, W)],
) -> Result<(&'static str, W), Refusal> {
    let mut theirs = words(headers, name);
    if theirs.is_empty() {
        theirs.push("");
    }
    let known = |word: &&str| ours.iter().copied().find(|(name, _)| name == word);
    theirs.iter().find_map(known).ok_or_else(|| {
        let accepted: Vec<&str> = ours.iter().map(|(name, _)| *name).collect();
        let text = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {theirs:?}, \
             server accepts {accepted:?}"
        );
        Refusal {
            accepted,
            ..Refusal::new(StatusCode::FORBIDDEN, text)
        }
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The words of a list, whether in one header or in several.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect()
}

fn accept(key: &[u8]) -> HeaderValue {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(WEBSOCKET_GUID)
        .finalize();
    HeaderValue::from_str(&STANDARD.encode(digest)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn switching(protocol: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static(protocol)),
    ])
}

fn response(headers: HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// A plain answer: clients show its text behind "unable to upgrade connection".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: StatusCode,
    pub text: String,
    /// Protocols that would have been taken.
    accepted: Vec<&'static str>,
}

impl Refusal {
    pub fn new(code: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal {
            code,
            text: text.into(),
            accepted: Vec::new(),
        }
    }

    pub fn bad_request(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, text)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.code, self.text).into_response();
        for name in self.accepted {
            let name = HeaderValue::from_static(name);
            response.headers_mut().append(ACCEPTED, name);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const WS: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        // Key and answer of RFC 6455, section 1.3.
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_first_protocol_both_know_is_chosen() {
        let mut asked = headers(&WS);
        let offer = HeaderValue::from_static("v9.channel.k8s.io, v5.channel.k8s.io");
        asked.insert(SEC_WEBSOCKET_PROTOCOL, offer);
        let (wire, answer) = command(&asked).unwrap();
        assert_eq!(wire, websocket(Layout::V5, true));
        assert_eq!(answer.status(), 101);
        assert_eq!(
            answer.headers()["sec-websocket-protocol"],
            "v5.channel.k8s.io"
        );
        assert_eq!(
            answer.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        let asked = headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v5.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ]);
        let (wire, answer) = command(&asked).unwrap();
        assert_eq!(wire, spdy(false, true));
        assert_eq!(
            answer.headers()["x-stream-protocol-version"],
            "v3.channel.k8s.io"
        );
    }

    #[test]
    fn what_cannot_be_agreed_is_refused_in_words() {
        assert_eq!(command(&headers(&[])).unwrap_err().code, 400);
        assert_eq!(
            command(&headers(&[WS[1], WS[2], WS[3]])).unwrap_err().code,
            400
        );
        assert_eq!(command(&headers(&WS[..3])).unwrap_err().code, 400);
        let mut asked = headers(&WS);
        asked.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
        let refused = forward(&asked).unwrap_err().into_response();
        assert_eq!(refused.status(), 403);
        assert_eq!(
            refused.headers()["x-accepted-stream-protocol-versions"],
            TUNNEL
        );
    }
}
