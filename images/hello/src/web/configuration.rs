//! What the program was given: its environment, and the headers of a request.

use std::fmt::Write;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Query, Request};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::say;

/// `?name=GREETING` asks for one variable.
#[derive(Debug, Deserialize)]
pub struct Which {
    name: Option<String>,
}

/// Everything, Secrets included: that a container's environment is no hiding place is part
/// of the lesson.
pub async fn env(Query(which): Query<Which>) -> Response {
    if let Some(name) = which.name {
        return match find(&name) {
            Some(value) => say(StatusCode::OK, format!("{value}\n")),
            None => say(
                StatusCode::NOT_FOUND,
                format!("there is no variable {name}\n"),
            ),
        };
    }
    let mut lines: Vec<_> = std::env::vars_os()
        .map(|(name, value)| format!("{}={}\n", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    lines.sort_unstable();
    say(StatusCode::OK, lines.concat())
}

fn find(name: &str) -> Option<String> {
    // Looked up in the list: asking for a name with `=` or NUL in it would panic.
    let (_, value) = std::env::vars_os().find(|(known, _)| known == name)?;
    Some(value.to_string_lossy().into_owned())
}

pub async fn headers(ConnectInfo(client): ConnectInfo<SocketAddr>, request: Request) -> Response {
    let mut text = format!(
        "{} {} {:?}\nfrom {}\n",
        request.method(),
        request.uri(),
        request.version(),
        client.ip().to_canonical(),
    );
    for (name, value) in request.headers() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        );
    }
    say(StatusCode::OK, text)
}
