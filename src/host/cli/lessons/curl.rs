//! `curl` of a lesson, done by Cadet itself: the words are the engine's to read, output and exit
//! codes are curl's (curl(1), "EXIT CODES").

use std::net::SocketAddr;

use cadet_tutorial::curl::Curl;
use cadet_tutorial::model::Command;
use cadet_tutorial::world::{Ended, Sink, Stream};
use reqwest::{Method, Url};

use super::guest::Guest;
use super::http::{self, Answer, Ask, Failure};
use super::tap::Tap;

/// Runs it. Never an error of ours: what goes wrong has curl's exit code.
pub async fn run(guest: &Guest, command: &Command, show: Option<Sink>) -> Ended {
    let mut out = Tap::new(show.clone(), Stream::Out);
    let mut error = Tap::new(show, Stream::Error);
    let code = match Curl::parse(command.arguments()) {
        Err(why) => {
            error.push(format!("curl: {why}\n").as_bytes());
            2
        }
        Ok(curl) => match ask(guest, &curl).await {
            Ok(answer) => {
                out.push(&told(&curl, &answer));
                0
            }
            Err(failure) => {
                let (code, words) = exit(failure);
                error.push(format!("curl: ({code}) {words}\n").as_bytes());
                code
            }
        },
    };
    Ended {
        code,
        out: out.end(),
        error: error.end(),
    }
}

fn exit(failure: Failure) -> (i32, String) {
    match failure {
        Failure::Usage(words) => (3, words),
        Failure::Connect(words) => (7, words),
        Failure::Timeout(words) => (28, words),
        Failure::Other(words) => (56, words),
    }
}

async fn ask(guest: &Guest, curl: &Curl) -> Result<Answer, Failure> {
    http::ask(guest, request(curl)?).await
}

fn request(curl: &Curl) -> Result<Ask, Failure> {
    let url = Url::parse(&curl.url).map_err(|e| Failure::Usage(format!("{}: {e}", curl.url)))?;
    let method = Method::from_bytes(curl.method().as_bytes())
        .map_err(|_| Failure::Usage(format!("there is no method {}", curl.method())))?;
    let mut ask = Ask::get(url);
    ask.method = method;
    ask.headers.clone_from(&curl.headers);
    if let Some(body) = &curl.body {
        let named = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-type");
        if !curl.headers.iter().any(named) {
            let form = "application/x-www-form-urlencoded".to_owned();
            ask.headers.push(("Content-Type".into(), form));
        }
        ask.body = Some(body.clone());
    }
    ask.follow = curl.follow;
    ask.insecure = curl.insecure;
    ask.deadline = curl.max_time;
    for given in &curl.resolve {
        let same = ask.url.host_str() == Some(given.host.as_str())
            && ask.url.port_or_known_default() == Some(given.port);
        if same {
            let bare = given.address.trim_matches(['[', ']']);
            let address = bare.parse().map_err(|_| {
                Failure::Usage(format!("{} is no address to resolve to", given.address))
            })?;
            ask.resolve = Some((given.host.clone(), SocketAddr::new(address, given.port)));
        }
    }
    Ok(ask)
}

/// What curl prints of an answer.
fn told(curl: &Curl, answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    if curl.discard {
        return out;
    }
    if curl.include {
        let status = format!("{} {} {}\r\n", answer.version, answer.status, answer.reason);
        out.extend_from_slice(status.as_bytes());
        for (name, value) in &answer.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(&answer.body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Curl {
        let command = cadet_tutorial::command::parse(text, 0).unwrap();
        Curl::parse(command.arguments()).unwrap()
    }

    #[test]
    fn the_words_become_a_request() {
        let ask = request(&read(
            "curl -sik -XPUT -d a=1 -d b=2 --max-time 2.5 --resolve a.example:80:10.0.0.1 \
             http://a.example/x",
        ))
        .ok()
        .unwrap();
        assert_eq!(ask.method, Method::PUT);
        assert_eq!(ask.body.as_deref(), Some("a=1&b=2"));
        assert_eq!(ask.headers[0].0, "Content-Type");
        assert!(ask.insecure && !ask.follow);
        let (host, address) = ask.resolve.unwrap();
        assert_eq!(
            (host.as_str(), address.to_string().as_str()),
            ("a.example", "10.0.0.1:80")
        );
        let other = request(&read("curl --resolve a:443:[::1] http://a/")).ok();
        assert!(other.unwrap().resolve.is_none(), "another port");
        assert!(request(&read("curl --resolve a:80:b http://a/")).is_err());
    }

    #[test]
    fn headers_and_body_come_as_curl_writes_them() {
        let answer = Answer {
            version: "HTTP/1.1",
            status: 404,
            reason: "Not Found",
            headers: vec![("server".into(), "x".into())],
            body: b"gone\n".to_vec(),
        };
        let told = |text: &str| String::from_utf8(told(&read(text), &answer)).unwrap();
        assert_eq!(told("curl a"), "gone\n");
        assert_eq!(
            told("curl -i a"),
            "HTTP/1.1 404 Not Found\r\nserver: x\r\n\r\ngone\n"
        );
        assert_eq!(told("curl -o /dev/null -s a"), "");
    }
}
