//! Web addresses as lessons ask for them: through the tunnel, so that names of Services and
//! addresses of pods work; `localhost` is the laptop itself.

use std::net::SocketAddr;
use std::time::Duration;

use cadet_tutorial::condition::HttpRequest;
use cadet_tutorial::world::HttpAnswer;
use reqwest::redirect::Policy;
use reqwest::{Method, Url};

use super::guest::Guest;
use crate::from_rooms::chain;

/// No more of a page is looked at.
pub const LIMIT: usize = 256 << 10;

/// How long a condition waits for an answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// How the requests of lessons call themselves.
const AGENT: &str = concat!("curl/8 (cadet ", env!("CARGO_PKG_VERSION"), ")");

/// One request.
pub struct Ask {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    pub follow: bool,
    /// Certificates nobody vouches for are taken.
    pub insecure: bool,
    pub deadline: Option<Duration>,
    /// A name and the address to go to in its place.
    pub resolve: Option<(String, SocketAddr)>,
}

impl Ask {
    /// A plain GET.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: None,
            follow: false,
            insecure: false,
            deadline: None,
            resolve: None,
        }
    }
}

/// What came.
pub struct Answer {
    pub version: &'static str,
    pub status: u16,
    pub reason: &'static str,
    pub headers: Vec<(String, String)>,
    /// At most [`LIMIT`] bytes.
    pub body: Vec<u8>,
}

/// Why nothing came.
pub enum Failure {
    /// What was asked for cannot be asked.
    Usage(String),
    /// Nobody answers there.
    Connect(String),
    /// Nothing came in time.
    Timeout(String),
    /// It broke off, or is no HTTP.
    Other(String),
}

impl Failure {
    /// In a few words.
    pub fn words(self) -> String {
        match self {
            Self::Usage(words)
            | Self::Connect(words)
            | Self::Timeout(words)
            | Self::Other(words) => words,
        }
    }
}

/// True for the laptop's own names.
fn is_laptop(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Asks.
///
/// # Errors
/// Nothing came.
pub async fn ask(guest: &Guest, ask: Ask) -> Result<Answer, Failure> {
    let usage = |e: reqwest::Error| Failure::Usage(chain(&e));
    let host = ask.url.host_str().unwrap_or_default().to_owned();
    let port = ask.url.port_or_known_default().unwrap_or_default();
    let policy = if ask.follow {
        Policy::limited(10)
    } else {
        Policy::none()
    };
    let mut client = reqwest::Client::builder()
        .user_agent(AGENT)
        .redirect(policy)
        .connect_timeout(Duration::from_secs(10))
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(ask.insecure);
    let here = |(_, address): &(String, SocketAddr)| address.ip().is_loopback();
    let through = !is_laptop(&ask.url) && !ask.resolve.as_ref().is_some_and(here);
    if through {
        let socks = match guest.socks().await {
            Ok(socks) => socks,
            Err(e) => return Err(Failure::Connect(e.what)),
        };
        // Names are resolved at the far end, unless one was given its address here.
        let scheme = if ask.resolve.is_some() {
            "socks5"
        } else {
            "socks5h"
        };
        let proxy = reqwest::Proxy::all(format!("{scheme}://{socks}")).map_err(usage)?;
        client = client.proxy(proxy);
    } else {
        client = client.no_proxy();
    }
    if let Some((name, address)) = &ask.resolve {
        client = client.resolve(name, *address);
    }
    let client = client.build().map_err(usage)?;
    let mut request = client.request(ask.method, ask.url);
    for (name, value) in &ask.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    if let Some(body) = ask.body {
        request = request.body(body);
    }
    if let Some(deadline) = ask.deadline {
        request = request.timeout(deadline);
    }
    let answer = match request.send().await {
        Ok(response) => read(response).await,
        Err(e) => Err(e),
    };
    match answer {
        Ok(answer) => Ok(answer),
        Err(e) if e.is_builder() => Err(usage(e)),
        Err(e) => {
            if through {
                guest.recheck().await;
            }
            Err(told(&e, &host, port))
        }
    }
}

fn told(e: &reqwest::Error, host: &str, port: u16) -> Failure {
    if e.is_timeout() {
        return Failure::Timeout(format!("{host}:{port} gave no answer in time"));
    }
    if e.is_connect() {
        return Failure::Connect(format!("nothing answers at {host}:{port}"));
    }
    Failure::Other(chain(e))
}

async fn read(mut response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let headers = response.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let mut answer = Answer {
        version: match response.version() {
            reqwest::Version::HTTP_10 => "HTTP/1.0",
            reqwest::Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        },
        status: response.status().as_u16(),
        reason: response.status().canonical_reason().unwrap_or_default(),
        headers: headers.collect(),
        body: Vec::new(),
    };
    while let Some(chunk) = response.chunk().await? {
        let room = LIMIT - answer.body.len();
        answer
            .body
            .extend_from_slice(&chunk[..chunk.len().min(room)]);
        if answer.body.len() == LIMIT {
            break;
        }
    }
    Ok(answer)
}

/// What a condition asks. Certificates are not looked at: the lesson wants to see the page, and
/// nothing secret is sent.
///
/// # Errors
/// What stood in the way, in a few words.
pub async fn condition(guest: &Guest, wanted: &HttpRequest) -> Result<HttpAnswer, String> {
    let url = Url::parse(&wanted.url).map_err(|e| format!("{} is no address: {e}", wanted.url))?;
    let request = Ask {
        headers: wanted.headers.clone(),
        insecure: true,
        deadline: Some(DEADLINE),
        ..Ask::get(url)
    };
    let answer = ask(guest, request).await.map_err(Failure::words)?;
    Ok(HttpAnswer {
        status: answer.status,
        body: String::from_utf8_lossy(&answer.body).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laptop_is_asked_directly_and_nobody_else() {
        for (url, laptop) in [
            ("http://localhost:6000/", true),
            ("http://127.0.0.1:1/", true),
            ("http://[::1]:1/", true),
            ("http://web.default.svc.cluster.local:3000/", false),
            ("http://10.244.0.7/", false),
            ("http://localhost.example/", false),
        ] {
            assert_eq!(is_laptop(&Url::parse(url).unwrap()), laptop, "{url}");
        }
    }
}
