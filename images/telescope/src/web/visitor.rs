//! Who is asking: a random cookie, and the proof that a form came from our own page.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

/// Name of the cookie. It holds no personal data, only two random numbers.
const COOKIE: &str = "telescope";
/// How long a browser keeps it, in seconds: a year.
const MAX_AGE: u32 = 365 * 24 * 3600;
/// Hex digits of each of the two numbers (128 bits).
const DIGITS: usize = 32;

/// One browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// Stands for the browser in votes.
    pub id: String,
    /// Comes back in every form; another site cannot know it.
    pub token: String,
    /// True if the browser sent no cookie yet.
    pub fresh: bool,
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

impl Visitor {
    fn from_headers(headers: &HeaderMap) -> Self {
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| {
                if name == COOKIE {
                    Self::from_cookie(value)
                } else {
                    None
                }
            })
            .unwrap_or_else(Self::fresh)
    }

    fn from_cookie(value: &str) -> Option<Self> {
        let plain = value.len() == 2 * DIGITS
            && value
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let (id, token) = value.split_at_checked(DIGITS)?;
        plain.then(|| Self {
            id: id.to_owned(),
            token: token.to_owned(),
            fresh: false,
        })
    }

    fn fresh() -> Self {
        Self {
            id: random(),
            token: random(),
            fresh: true,
        }
    }

    /// Whether a form with this token came from a page we gave this browser.
    pub fn sent(&self, token: &str) -> bool {
        !self.fresh && !token.is_empty() && self.token == token
    }

    /// The header that gives a fresh browser its cookie.
    pub fn cookie(&self) -> Option<HeaderValue> {
        if !self.fresh {
            return None;
        }
        let (id, token) = (&self.id, &self.token);
        let text =
            format!("{COOKIE}={id}{token}; Path=/; Max-Age={MAX_AGE}; HttpOnly; SameSite=Lax");
        HeaderValue::from_str(&text).ok()
    }
}

fn random() -> String {
    let mut bytes = [0; DIGITS / 2];
    // Without randomness every token would be guessable; better no page than that.
    if let Err(problem) = getrandom::fill(&mut bytes) {
        panic!("the system gives no random numbers: {problem}");
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cookie(text: &str) -> Visitor {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(text).unwrap());
        Visitor::from_headers(&headers)
    }

    #[test]
    fn a_cookie_round_trips() {
        let fresh = Visitor::from_headers(&HeaderMap::new());
        assert!(fresh.fresh && !fresh.sent(&fresh.token));
        let cookie = fresh.cookie().unwrap();
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        let back = with_cookie(&format!("other=1; {pair}"));
        assert_eq!(
            (&back.id, &back.token, back.fresh),
            (&fresh.id, &fresh.token, false)
        );
        assert!(back.sent(&fresh.token) && !back.sent("") && !back.sent(&fresh.id));
        assert!(back.cookie().is_none());
    }

    #[test]
    fn odd_cookies_are_replaced() {
        for bad in [
            "telescope=",
            "telescope=$where",
            &format!("telescope={}", "Z".repeat(64)),
        ] {
            assert!(with_cookie(bad).fresh, "{bad}");
        }
        assert_ne!(Visitor::fresh().id, Visitor::fresh().id);
    }
}
