//! The part of curl that lessons may use: Cadet itself asks the address, through the tunnel, so
//! that names of Services work from the laptop.

use std::time::Duration;

/// A request as curl's words say it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Curl {
    pub url: String,
    /// `-X`; None is GET, or POST with a body.
    pub method: Option<String>,
    /// `-H`, name and value.
    pub headers: Vec<(String, String)>,
    /// `-d`, several joined by `&`.
    pub body: Option<String>,
    /// `-i`: show status and headers of the answer.
    pub include: bool,
    /// `-k`: take any certificate.
    pub insecure: bool,
    /// `-L`: follow redirects.
    pub follow: bool,
    /// `-o /dev/null`: show no body.
    pub discard: bool,
    /// `--max-time`.
    pub max_time: Option<Duration>,
    /// `--resolve HOST:PORT:ADDRESS`.
    pub resolve: Vec<Resolve>,
}

/// One `--resolve`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    pub host: String,
    pub port: u16,
    pub address: String,
}

/// Why the words are not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CurlError {
    #[error("curl in lessons has no flag `{0}`")]
    Flag(String),
    #[error("curl's `{0}` needs a value")]
    NoValue(String),
    #[error("`{value}` is no value for curl's `{flag}`")]
    BadValue { flag: String, value: String },
    #[error("curl needs an address")]
    NoUrl,
    #[error("curl in lessons asks one address at a time; a second is `{0}`")]
    TwoUrls(String),
}

/// The flags that are understood, for help.
pub const FLAGS: &str = "-s -i -k -L -H -X -d -o /dev/null --max-time --resolve";

impl Curl {
    /// Reads the words after `curl`.
    ///
    /// # Errors
    /// See [`CurlError`].
    pub fn parse<S: AsRef<str>>(arguments: &[S]) -> Result<Curl, CurlError> {
        let mut curl = Curl::default();
        let mut words = arguments.iter().map(AsRef::as_ref);
        while let Some(word) = words.next() {
            if let Some(long) = word.strip_prefix("--") {
                let (name, inline) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                let flag = short_of(name).ok_or_else(|| CurlError::Flag(word.to_owned()))?;
                let value = match takes_value(flag) {
                    true => Some(
                        inline
                            .or_else(|| words.next())
                            .ok_or_else(|| no_value(word))?,
                    ),
                    false => None,
                };
                curl.set(flag, word, value)?;
            } else if let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                // `-sk`, `-XPOST`, `-H 'A: b'`.
                for (at, letter) in letters.char_indices() {
                    if !takes_value(letter) {
                        curl.set(letter, word, None)?;
                        continue;
                    }
                    let rest = &letters[at + letter.len_utf8()..];
                    let value = match rest {
                        "" => words.next().ok_or_else(|| no_value(word))?,
                        rest => rest,
                    };
                    curl.set(letter, word, Some(value))?;
                    break;
                }
            } else if curl.url.is_empty() {
                curl.url = word.to_owned();
            } else {
                return Err(CurlError::TwoUrls(word.to_owned()));
            }
        }
        if curl.url.is_empty() {
            return Err(CurlError::NoUrl);
        }
        // As curl does.
        if !curl.url.contains("://") {
            curl.url = format!("http://{}", curl.url);
        }
        Ok(curl)
    }

    /// The method that is used.
    pub fn method(&self) -> &str {
        match (&self.method, &self.body) {
            (Some(method), _) => method,
            (None, Some(_)) => "POST",
            (None, None) => "GET",
        }
    }

    fn set(&mut self, flag: char, word: &str, value: Option<&str>) -> Result<(), CurlError> {
        let value = value.unwrap_or_default();
        let bad = || CurlError::BadValue {
            flag: word.to_owned(),
            value: value.to_owned(),
        };
        match flag {
            // Without a terminal there is no meter to silence; errors are shown all the same.
            's' | 'S' => {}
            'i' => self.include = true,
            'k' => self.insecure = true,
            'L' => self.follow = true,
            'X' => self.method = Some(value.to_uppercase()),
            'H' => {
                let (name, value) = value.split_once(':').ok_or_else(bad)?;
                self.headers
                    .push((name.trim().to_owned(), value.trim().to_owned()));
            }
            'd' => {
                // `@file` would read a file of the laptop.
                if value.starts_with('@') {
                    return Err(bad());
                }
                self.body = Some(match self.body.take() {
                    Some(before) => format!("{before}&{value}"),
                    None => value.to_owned(),
                });
            }
            'o' if value == "/dev/null" => self.discard = true,
            'o' => return Err(bad()),
            'm' => {
                let seconds: f64 = value.parse().map_err(|_| bad())?;
                let time = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
                self.max_time = Some(time);
            }
            RESOLVE => {
                let mut parts = value.splitn(3, ':');
                let (host, port, address) = (parts.next(), parts.next(), parts.next());
                let port = port.and_then(|port| port.parse().ok());
                match (host, port, address) {
                    (Some(host), Some(port), Some(address)) if !address.is_empty() => {
                        self.resolve.push(Resolve {
                            host: host.to_owned(),
                            port,
                            address: address.to_owned(),
                        });
                    }
                    _ => return Err(bad()),
                }
            }
            _ => return Err(CurlError::Flag(word.to_owned())),
        }
        Ok(())
    }
}

/// `--resolve` has no short form; this letter stands for it here.
const RESOLVE: char = '\u{1}';

fn short_of(long: &str) -> Option<char> {
    Some(match long {
        "silent" => 's',
        "show-error" => 'S',
        "include" => 'i',
        "insecure" => 'k',
        "location" => 'L',
        "request" => 'X',
        "header" => 'H',
        "data" => 'd',
        "output" => 'o',
        "max-time" => 'm',
        "resolve" => RESOLVE,
        _ => return None,
    })
}

fn takes_value(flag: char) -> bool {
    ['X', 'H', 'd', 'o', 'm', RESOLVE].contains(&flag)
}

fn no_value(word: &str) -> CurlError {
    CurlError::NoValue(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Curl, CurlError> {
        Curl::parse(&crate::command::split(text).unwrap())
    }

    #[test]
    fn flags_are_understood_short_long_and_together() {
        let curl = parsed(
            "-sk -XPOST -H 'Host: a.example' --header=B:c -d a=1 -d b=2 --max-time 2.5 \
             -o /dev/null -L -i --resolve a.example:443:10.0.0.1 https://a.example/x",
        )
        .unwrap();
        assert_eq!(curl.url, "https://a.example/x");
        assert_eq!(curl.method(), "POST");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(curl.headers, [pair("Host", "a.example"), pair("B", "c")]);
        assert_eq!(curl.body.as_deref(), Some("a=1&b=2"));
        assert_eq!(curl.max_time, Some(Duration::from_millis(2500)));
        assert!(curl.insecure && curl.discard && curl.follow && curl.include);
        assert_eq!(curl.resolve[0].port, 443);
        assert_eq!(curl.resolve[0].address, "10.0.0.1");
        let curl = parsed("web:3000").unwrap();
        assert_eq!(
            (curl.url.as_str(), curl.method()),
            ("http://web:3000", "GET")
        );
        assert_eq!(parsed("-d x web").unwrap().method(), "POST");
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        for (text, error) in [
            ("", CurlError::NoUrl),
            ("-s", CurlError::NoUrl),
            ("a b", CurlError::TwoUrls("b".into())),
            ("-T x a", CurlError::Flag("-T".into())),
            ("--upload-file x a", CurlError::Flag("--upload-file".into())),
            ("a -H", CurlError::NoValue("-H".into())),
            ("a --max-time", CurlError::NoValue("--max-time".into())),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
        for text in [
            "-o f a",
            "-d @f a",
            "-H x a",
            "-m x a",
            "-m -1 a",
            "--resolve a:b a",
        ] {
            assert!(
                matches!(parsed(text), Err(CurlError::BadValue { .. })),
                "{text}"
            );
        }
    }
}
