//! A tiny HTTP server that follows a script, one connection per request.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

/// What the server heard, and where it is.
pub struct Server {
    pub base: String,
    heard: Arc<Mutex<Vec<String>>>,
}

/// How one request is answered: gets the request's head, writes what it likes.
pub type Answer = Box<dyn FnMut(&str, &mut TcpStream) + Send>;

impl Server {
    /// Answers the n-th request with the n-th answer, further ones with the last.
    pub fn start(mut answers: Vec<Answer>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let head = read_head(&mut stream);
                log.lock().unwrap().push(head.clone());
                let last = answers.len() - 1;
                answers[n.min(last)](&head, &mut stream);
            }
        });
        Server { base, heard }
    }

    pub fn url(&self) -> String {
        format!("{}/file.img", self.base)
    }

    /// Heads of all requests so far, in lower case.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn read_head(stream: &mut impl Read) -> String {
    let mut head = String::new();
    let mut reader = BufReader::new(stream);
    loop {
        let before = head.len();
        let n = reader.read_line(&mut head).unwrap_or(0);
        if n == 0 || head[before..].trim().is_empty() {
            return head.to_lowercase();
        }
    }
}

/// Bytes that differ everywhere.
pub fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// First byte asked for by a Range header.
pub fn range(head: &str) -> Option<usize> {
    let line = head.lines().find_map(|l| l.strip_prefix("range: bytes="))?;
    line.trim_end_matches('-').parse().ok()
}

fn send(stream: &mut TcpStream, head: &str, body: &[u8]) {
    // The client may have gone; that is part of some tests.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

/// A file server with ranges that closes the connection after `limit` bytes of body.
pub fn serve(body: Vec<u8>, limit: usize) -> Answer {
    Box::new(move |head, stream| {
        let total = body.len();
        let from = range(head).unwrap_or(0);
        let status = if from > 0 {
            let last = total - 1;
            format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{total}")
        } else {
            "200 OK".into()
        };
        let length = total - from;
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"v1\"\r\nConnection: close\r\n\r\n"
        );
        send(stream, &answer, &body[from..(from + limit).min(total)]);
    })
}

/// The whole file whatever is asked.
pub fn serve_without_ranges(body: Vec<u8>) -> Answer {
    Box::new(move |_, stream| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        send(stream, &head, &body);
    })
}

/// A bare status, with further header lines.
pub fn status(line: &str, headers: &str) -> Answer {
    let head =
        format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n");
    Box::new(move |_, stream| send(stream, &head, b""))
}
