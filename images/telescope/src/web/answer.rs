//! Answers: a page in its frame, the waiting page, refusals, redirects.

use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use tracing::warn;

use super::App;
use super::html::{self, Frame, Text};
use super::visitor::Visitor;
use crate::database::DatabaseError;

/// Seconds after which a waiting page asks again by itself.
const ASK_AGAIN: u32 = 2;

impl App {
    /// A page, or the waiting page if the database did not answer for it.
    pub async fn show(
        &self,
        visitor: &Visitor,
        title: &str,
        current: &str,
        content: Result<String, DatabaseError>,
    ) -> Response {
        let answered = match content {
            Ok(content) => self.database.server().await.map(|server| (content, server)),
            Err(problem) => Err(problem),
        };
        match answered {
            Ok((content, server)) => self.frame(
                visitor,
                StatusCode::OK,
                title,
                current,
                "",
                &content,
                &server,
            ),
            Err(problem) => self.waiting(visitor, &problem),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a page, each used once"
    )]
    fn frame(
        &self,
        visitor: &Visitor,
        status: StatusCode,
        title: &str,
        current: &str,
        head: &str,
        content: &str,
        server: &str,
    ) -> Response {
        let database = format!("{} · {}", Text(server), Text(self.database.address()));
        let frame = Frame {
            title,
            current,
            head,
            host: &self.config.host,
            database: &database,
        };
        let mut response = (status, Html(html::page(&frame, content))).into_response();
        if let Some(cookie) = visitor.cookie() {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }

    /// The page for the time in which the database does not answer.
    fn waiting(&self, visitor: &Visitor, problem: &DatabaseError) -> Response {
        warn!("database not usable: {problem}");
        let content = format!(
            "<section class=\"card problem\"><h1>Waiting for the database</h1>\
             <p>Telescope is up, but MongoDB at <b>{}</b> does not answer yet. \
             This page asks again by itself every {ASK_AGAIN} seconds.</p><code>{}</code></section>",
            Text(self.database.address()),
            Text(&problem.to_string()),
        );
        let head = format!("<meta http-equiv=\"refresh\" content=\"{ASK_AGAIN}\">\n");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut response = self.frame(
            visitor,
            status,
            "Waiting for the database",
            "",
            &head,
            &content,
            "no answer",
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(ASK_AGAIN));
        response
    }

    /// A page that tells what went wrong with a request, and what to do.
    pub async fn problem(
        &self,
        visitor: &Visitor,
        status: StatusCode,
        title: &str,
        text: &str,
        detail: Option<&str>,
    ) -> Response {
        let detail = detail.map_or(String::new(), |d| format!("<code>{}</code>", Text(d)));
        let content = format!(
            "<section class=\"card problem\"><h1>{}</h1><p>{}</p>{detail}\
             <p><a href=\"/\">To the best links</a></p></section>",
            Text(title),
            Text(text)
        );
        let server = self
            .database
            .server()
            .await
            .unwrap_or_else(|_| "no answer".into());
        self.frame(visitor, status, title, "", "", &content, &server)
    }

    /// The page after a write the database did not take.
    pub async fn not_saved(&self, visitor: &Visitor, problem: &DatabaseError) -> Response {
        warn!("not saved: {problem}");
        let text = "The database did not take it. Go back in your browser, where your words still are, and send them again in a moment.";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.problem(
            visitor,
            status,
            "Not saved",
            text,
            Some(&problem.to_string()),
        )
        .await
    }

    /// The page after a form that cannot be read.
    pub async fn bad_form(&self, visitor: &Visitor, rejection: &FormRejection) -> Response {
        let text = "The form that arrived cannot be read, or it is too long.";
        self.problem(
            visitor,
            rejection.status(),
            "Not sent",
            text,
            Some(&rejection.body_text()),
        )
        .await
    }

    /// Refuses forms that did not come from one of our own pages in this browser.
    pub async fn refuse_foreign(
        &self,
        visitor: &Visitor,
        token: &str,
        headers: &HeaderMap,
    ) -> Option<Response> {
        let site = headers
            .get("sec-fetch-site")
            .and_then(|value| value.to_str().ok());
        if visitor.sent(token) && matches!(site, None | Some("same-origin" | "none")) {
            return None;
        }
        let text = "This form did not come from a page of this app, or your browser keeps no cookies. \
                    Load the page again and retry.";
        Some(
            self.problem(visitor, StatusCode::FORBIDDEN, "Not sent", text, None)
                .await,
        )
    }
}

/// Gives a page that went well another status.
pub fn with_status(mut response: Response, status: StatusCode) -> Response {
    if response.status() == StatusCode::OK {
        *response.status_mut() = status;
    }
    response
}

/// Sends the browser on with a GET.
pub fn to(address: &str) -> Response {
    (
        StatusCode::SEE_OTHER,
        [(header::LOCATION, address.to_owned())],
    )
        .into_response()
}

/// An address to go back to, if it is one of our own; else the front page.
pub fn local(back: &str) -> &str {
    let ours = back.starts_with('/')
        && !back.starts_with("//")
        && back
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'#');
    if ours { back } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_addresses_are_gone_back_to() {
        assert_eq!(local("/new?page=2"), "/new?page=2");
        for bad in [
            "",
            "//evil.example",
            "http://evil.example",
            "/\\evil.example",
            "/a\r\nb",
            "new",
        ] {
            assert_eq!(local(bad), "/");
        }
    }
}
