//! The learner's end: one class, known by its key; requests signed with the learner's.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::code::{JoinCode, TOKEN, token_text};
use crate::error::{ClassError, Result, Silence};
use crate::identity::{Identity, KEY, NUMBER, SIGNATURE};
use crate::membership::Membership;
use crate::message::{Call, Joining, Leaving, Mine, Refused, Report, Welcome};
use crate::pin::{Pinned, Seen, Trust, Verdict};

/// How long the teacher may take to show themselves.
const CONNECT: Duration = Duration::from_secs(8);
/// How long nothing may come in the middle of an answer.
const STALL: Duration = Duration::from_secs(30);
/// Longest answer that is not a file.
const LONGEST: usize = 1 << 20;

/// The class as a learner's laptop reaches it.
pub struct Teacher {
    http: reqwest::Client,
    address: SocketAddr,
    root: String,
    seen: Seen,
    /// The number of the last request.
    number: AtomicU64,
}

impl Teacher {
    /// The class of a join code.
    ///
    /// # Errors
    /// [`ClassError::Tls`].
    pub fn of_code(code: &JoinCode) -> Result<Self> {
        Self::new(code.address, Trust::Pin(code.pin), &code.token)
    }

    /// The class that was joined.
    ///
    /// # Errors
    /// [`ClassError::Tls`].
    pub fn of(membership: &Membership) -> Result<Self> {
        let (address, trust) = (membership.address, membership.trust());
        Self::new(address, trust, membership.token())
    }

    fn new(address: SocketAddr, trust: Trust, token: &[u8; TOKEN]) -> Result<Self> {
        let pinned = Pinned::new(trust)?;
        let seen = pinned.seen();
        let http = http(pinned)?;
        Ok(Self {
            http,
            address,
            root: format!("/class/{}", token_text(token)),
            seen,
            number: AtomicU64::new(0),
        })
    }

    /// The client that trusts this class alone, for files.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Where a file of the bundle is.
    pub fn file(&self, name: &str) -> String {
        let mut url = format!("https://{}{}/bundle/", self.address, self.root);
        // Whatever the teacher called it is one part of a path (RFC 3986, section 2.1).
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                url.push(char::from(byte));
            } else {
                url.push_str(&format!("%{byte:02X}"));
            }
        }
        url
    }

    /// The page of the teacher's commands.
    pub fn live_page(&self) -> String {
        let token = self.root.rsplit('/').next().unwrap_or_default();
        format!("https://{}/live#{token}", self.address)
    }

    /// The fingerprint of the class, once it has answered.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        match self.seen.last() {
            Some(Verdict::Teacher(fingerprint)) => Some(fingerprint),
            _ => None,
        }
    }

    /// What the class has.
    ///
    /// # Errors
    /// [`ClassError::Silent`], [`ClassError::Stranger`], [`ClassError::Date`],
    /// [`ClassError::Refused`].
    pub async fn welcome(&self) -> Result<Welcome> {
        let url = format!("https://{}{}", self.address, self.root);
        let sent = self.http.get(url).send().await;
        self.read(sent.map_err(|e| self.failed(&e))?).await
    }

    /// Joins, or changes name or consent.
    ///
    /// # Errors
    /// As [`Teacher::welcome`].
    pub async fn join(&self, me: &Identity, joining: &Joining) -> Result<Mine> {
        self.signed(me, "join", joining).await
    }

    /// Tells how a lesson stands.
    ///
    /// # Errors
    /// As [`Teacher::welcome`].
    pub async fn report(&self, me: &Identity, report: &Report) -> Result<Mine> {
        self.signed(me, "report", report).await
    }

    /// Calls for help, or takes the call back.
    ///
    /// # Errors
    /// As [`Teacher::welcome`].
    pub async fn help(&self, me: &Identity, call: &Call) -> Result<Mine> {
        self.signed(me, "help", call).await
    }

    /// How the class sees this learner.
    ///
    /// # Errors
    /// As [`Teacher::welcome`].
    pub async fn me(&self, me: &Identity) -> Result<Mine> {
        self.signed(me, "me", &()).await
    }

    /// Leaves.
    ///
    /// # Errors
    /// As [`Teacher::welcome`].
    pub async fn leave(&self, me: &Identity, forget: bool) -> Result<Mine> {
        self.signed(me, "leave", &Leaving { forget }).await
    }

    async fn signed(&self, me: &Identity, act: &str, said: &impl Serialize) -> Result<Mine> {
        let body = serde_json::to_vec(said).map_err(|e| ClassError::Answer(e.to_string()))?;
        let first = self.once(me, act, &body, self.next(0)).await;
        match first {
            // Another program of this learner was quicker, or the clock went back.
            Err(Failure::Late(last)) => match self.once(me, act, &body, self.next(last)).await {
                Err(Failure::Late(_)) => Err(ClassError::Answer(
                    "another program of yours talks to the class at the same moment".into(),
                )),
                Err(Failure::Other(e)) => Err(e),
                Ok(mine) => Ok(mine),
            },
            Err(Failure::Other(e)) => Err(e),
            Ok(mine) => Ok(mine),
        }
    }

    async fn once(
        &self,
        me: &Identity,
        act: &str,
        body: &[u8],
        number: u64,
    ) -> Result<Mine, Failure> {
        let path = format!("{}/{act}", self.root);
        let signature = me.sign("POST", &path, number, body);
        let request = self
            .http
            .request(Method::POST, format!("https://{}{path}", self.address))
            .header("content-type", "application/json")
            .header(KEY, me.public())
            .header(NUMBER, number.to_string())
            .header(SIGNATURE, signature)
            .body(body.to_vec());
        let sent = request.send().await;
        let answer = sent.map_err(|e| Failure::Other(self.failed(&e)))?;
        if answer.status() == StatusCode::CONFLICT {
            let text = self.whole(answer).await.map_err(Failure::Other)?;
            let refused: Refused = parse(&text).map_err(Failure::Other)?;
            return Err(match refused.last {
                Some(last) => Failure::Late(last),
                None => Failure::Other(ClassError::Refused {
                    status: StatusCode::CONFLICT.as_u16(),
                    id: refused.id,
                    message: refused.message,
                }),
            });
        }
        self.read(answer).await.map_err(Failure::Other)
    }

    /// A number above `last` and above all that were used here.
    fn next(&self, last: u64) -> u64 {
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(0));
        let above = |used: u64| {
            clock
                .max(used.saturating_add(1))
                .max(last.saturating_add(1))
        };
        let before = self
            .number
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                Some(above(used))
            });
        // The update always gives a number, so both arms are the one before.
        above(before.unwrap_or_else(|used| used))
    }

    async fn whole(&self, answer: reqwest::Response) -> Result<Vec<u8>> {
        whole(answer, |e| self.failed(e)).await
    }

    async fn read<T: DeserializeOwned>(&self, answer: reqwest::Response) -> Result<T> {
        let status = answer.status();
        let body = self.whole(answer).await?;
        if status.is_success() {
            return parse(&body);
        }
        Err(refusal(status, &body))
    }

    /// Why nothing came: somebody else answers, the dates are wrong, or nobody is there.
    pub fn failed(&self, e: &reqwest::Error) -> ClassError {
        match self.seen.last() {
            Some(Verdict::Stranger) if e.is_connect() => ClassError::Stranger {
                address: self.address,
            },
            Some(Verdict::Date { from, until, now }) if e.is_connect() => {
                ClassError::Date { from, until, now }
            }
            _ => ClassError::Silent {
                address: self.address,
                silence: silence(e),
                why: chain(e),
            },
        }
    }
}

/// An HTTP client that trusts one class.
pub(crate) fn http(pinned: Pinned) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("cadet/", env!("CARGO_PKG_VERSION")))
        // The teacher is in this room: no proxy leads there.
        .no_proxy()
        .connect_timeout(CONNECT)
        .read_timeout(STALL)
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(pinned.config)
        .build()
        .map_err(|e| ClassError::Tls(chain(&e)))
}

/// All of an answer that is not a file.
///
/// # Errors
/// It is longer than any answer, or broke off.
pub(crate) async fn whole(
    mut answer: reqwest::Response,
    failed: impl Fn(&reqwest::Error) -> ClassError,
) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| failed(&e))? {
        if body.len() + chunk.len() > LONGEST {
            return Err(ClassError::Answer("it is too long".into()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What an answer that is no success says.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> ClassError {
    let (id, message) = match parse::<Refused>(body) {
        Ok(refused) => (refused.id, refused.message),
        Err(_) => (String::new(), format!("status {status}")),
    };
    ClassError::Refused {
        status: status.as_u16(),
        id,
        message,
    }
}

enum Failure {
    /// The request's number was not above this one.
    Late(u64),
    Other(ClassError),
}

pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| ClassError::Answer(e.to_string()))
}

pub(crate) fn silence(e: &reqwest::Error) -> Silence {
    let mut cause = e.source();
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind;
            match io.kind() {
                ErrorKind::ConnectionRefused => return Silence::Refused,
                ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
                    return Silence::NoRoute;
                }
                ErrorKind::TimedOut => return Silence::Timeout,
                _ => {}
            }
        }
        cause = e.source();
    }
    if e.is_timeout() {
        Silence::Timeout
    } else {
        Silence::Broken
    }
}

/// The causes in one line, without the outer ones that only repeat the address.
pub(crate) fn chain(e: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = e.source();
    while let Some(e) = cause {
        let own = e.to_string();
        if !text.contains(&own) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&own);
        }
        cause = e.source();
    }
    if text.is_empty() { e.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_only_grow() {
        let code = JoinCode {
            address: "127.0.0.1:1".parse().unwrap(),
            pin: [0; 8],
            token: [0; 5],
        };
        let teacher = Teacher::of_code(&code).unwrap();
        let first = teacher.next(0);
        let second = teacher.next(0);
        assert!(second > first);
        let ahead = second + 1_000_000_000;
        assert_eq!(teacher.next(ahead), ahead + 1);
        assert_eq!(teacher.next(0), ahead + 2);
    }
}
