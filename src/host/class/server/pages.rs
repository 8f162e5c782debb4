//! The pages: what a browser needs to show a board, and none of its data.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;

use super::Class;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Path, kind and content of each.
const PAGES: [(&str, &str, &str); 9] = [
    ("/", HTML, include_str!("../board/index.html")),
    ("/board", HTML, include_str!("../board/board.html")),
    ("/projector", HTML, include_str!("../board/projector.html")),
    ("/live", HTML, include_str!("../board/live.html")),
    ("/style.css", CSS, include_str!("../board/style.css")),
    ("/enter.js", JS, include_str!("../board/enter.js")),
    ("/board.js", JS, include_str!("../board/board.js")),
    ("/projector.js", JS, include_str!("../board/projector.js")),
    ("/live.js", JS, include_str!("../board/live.js")),
];

/// Their paths.
pub(super) fn router() -> Router<Arc<Class>> {
    PAGES
        .into_iter()
        .fold(Router::new(), |router, (path, kind, text)| {
            router.route(path, get(move || async move { page(kind, text) }))
        })
}

fn page(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_bring_nothing_from_elsewhere() {
        for (path, _, text) in PAGES {
            for foreign in ["http://", "https://", "//cdn", "@import", "url("] {
                assert!(!text.contains(foreign), "{path} has {foreign}");
            }
            // What learners typed is put in as text, never as HTML.
            for door in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!text.contains(door), "{path} has {door}");
            }
            assert!(
                !text.contains(" onclick=") && !text.contains(" style="),
                "{path}"
            );
        }
    }

    #[test]
    fn pages_say_their_language_and_fit_a_phone() {
        for (path, kind, text) in PAGES {
            if kind == HTML {
                assert!(
                    text.starts_with("<!doctype html>\n<html lang=\"en\">"),
                    "{path}"
                );
                assert!(text.contains("width=device-width"), "{path}");
                assert!(text.contains("<title>"), "{path}");
            }
        }
    }
}
