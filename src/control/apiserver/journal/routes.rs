//! `/debug/journal`: the journal as one document, or line by line as requests come.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use cadet_api::status::Status;
use http::StatusCode;
use serde_json::json;

use super::Entry;
use crate::app::App;
use crate::moment::Moment;
use crate::query::Parameters;
use crate::respond;

pub fn routes() -> Router<App> {
    Router::new().route("/debug/journal", get(journal))
}

async fn journal(State(app): State<App>, request: Request) -> Response {
    match answer(app, &request) {
        Ok(response) => response,
        Err(status) => respond::status(&status),
    }
}

fn answer(app: App, request: &Request) -> Result<Response, Status> {
    let parameters = Parameters::of(request.uri())?;
    let since = parameters.get("since").map(|text| {
        let words = || format!("since: {text:?} is no time as RFC 3339 writes it");
        Moment::parse(text).ok_or_else(|| Status::bad_request(words()))
    });
    let since = since.transpose()?;
    if !parameters.flag("watch") {
        let (now, entries) = app.journal.after(since.unwrap_or_default());
        let items: Vec<&Entry> = entries.iter().map(Arc::as_ref).collect();
        let document = json!({"now": now, "items": items});
        return Ok(respond::json(StatusCode::OK, document.to_string()));
    }
    let seen = match since {
        Some(since) => since,
        None => app.journal.after(Moment::now()).0,
    };
    let lines = futures::stream::unfold((app, seen), |(app, seen)| async move {
        let (frame, seen) = next(&app, seen).await?;
        Some((Ok::<Bytes, Infallible>(frame), (app, seen)))
    });
    let mut response = respond::json(StatusCode::OK, Bytes::new());
    *response.body_mut() = Body::from_stream(lines);
    Ok(response)
}

/// What is newer than `seen`, as soon as there is something; `None` when the server stops.
async fn next(app: &App, seen: Moment) -> Option<(Bytes, Moment)> {
    loop {
        let mut arrival = pin!(app.journal.arrived.notified());
        // Before looking, so that nothing slips in between.
        arrival.as_mut().enable();
        let (_, entries) = app.journal.after(seen);
        if let Some(newest) = entries.last() {
            let mut frame: Vec<u8> = Vec::new();
            for entry in &entries {
                // Texts and numbers only: writing them into memory cannot fail.
                let _ = serde_json::to_writer(&mut frame, &**entry);
                frame.push(b'\n');
            }
            return Some((frame.into(), newest.time));
        }
        tokio::select! {
            () = app.stopping.cancelled() => return None,
            () = arrival => {}
        }
    }
}
