//! The newest links as an Atom feed; here links are absolute, under ROOT_URL.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use mongodb::bson::DateTime;

use super::App;
use super::html::Text;
use crate::database::Order;

/// Entries of the feed.
const ENTRIES: u32 = 30;

pub async fn feed(State(app): State<Arc<App>>) -> Response {
    let posts = match app.database.page(Order::New, None, 0, ENTRIES, "").await {
        Ok(page) => page.posts,
        Err(problem) => {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("waiting for the database: {problem}\n"),
            )
                .into_response();
        }
    };
    let root = Text(&app.config.root_url);
    let stamp = |moment: DateTime| moment.try_to_rfc3339_string().unwrap_or_default();
    let updated = posts
        .first()
        .map_or(DateTime::from_millis(0), |post| post.created);
    let mut entries = String::new();
    for post in &posts {
        let id = post.id.to_hex();
        let _ = writeln!(
            entries,
            "<entry><id>{root}/posts/{id}</id><title>{title}</title><link href=\"{url}\"/>\
             <link rel=\"replies\" href=\"{root}/posts/{id}\"/><updated>{time}</updated>\
             <author><name>{author}</name></author></entry>",
            title = Text(&post.title),
            url = Text(&post.url),
            time = stamp(post.created),
            author = Text(&post.author),
        );
    }
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n\
         <id>{root}/</id><title>Telescope</title><link href=\"{root}/\"/>\
         <link rel=\"self\" href=\"{root}/feed.atom\"/><updated>{}</updated>\n{entries}</feed>\n",
        stamp(updated),
    );
    (
        [(header::CONTENT_TYPE, "application/atom+xml; charset=utf-8")],
        body,
    )
        .into_response()
}
