//! The front page: which pod answers, in which version. Text for curl, a page for browsers.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};

use super::Shared;
use super::html::Text;
use crate::config::Config;

pub async fn greet(State(app): Shared, headers: HeaderMap) -> Response {
    let answer = if wants_html(&headers) {
        Html(page(&app.config)).into_response()
    } else {
        text(&app.config).into_response()
    };
    ([(header::VARY, "accept")], answer).into_response()
}

/// Browsers name HTML when they ask; curl and probes take anything.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT);
    accepted
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"))
}

fn text(config: &Config) -> String {
    let first = format!("Hello from {}, version {}\n", config.host, config.version);
    match place(config) {
        Some(place) => format!("{first}{place}\n"),
        None => first,
    }
}

/// Where the pod is, as far as its manifest lets it know.
fn place(config: &Config) -> Option<String> {
    match (&config.node, &config.namespace) {
        (None, None) => None,
        (Some(node), None) => Some(format!("on node {node}")),
        (None, Some(namespace)) => Some(format!("in namespace {namespace}")),
        (Some(node), Some(namespace)) => Some(format!("on node {node}, in namespace {namespace}")),
    }
}

/// A colour for each version, dark enough for white text.
fn colour(version: &str) -> &'static str {
    match version.chars().next() {
        Some('1') => "#1f5fae",
        Some('2') => "#1d7a3e",
        Some('3') => "#a8480c",
        _ => "#6b3fa0",
    }
}

fn page(config: &Config) -> String {
    let place = place(config).map_or_else(String::new, |place| {
        format!("<p class=\"place\">{}</p>", Text(&place))
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Hello, version {version}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\nbody {{ margin: 0; min-height: 100vh; display: grid; place-content: center; \
         text-align: center; font: 1.2rem/1.5 system-ui, sans-serif; color: #fff; \
         background: {colour}; }}\nh1 {{ font-size: 2.6rem; margin: 0; }}\n\
         p {{ margin: .4rem 0; }}\n</style>\n</head>\n<body>\n<main>\n<h1>Hello</h1>\n\
         <p>from <b>{host}</b>, version <b>{version}</b></p>\n{place}\n</main>\n</body>\n</html>\n",
        version = Text(&config.version),
        host = Text(&config.host),
        colour = colour(&config.version),
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        Config::new(std::iter::empty(), |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .unwrap()
    }

    #[test]
    fn it_names_pod_version_and_place() {
        let plain = config(&[("POD_NAME", "web-1"), ("VERSION", "2")]);
        assert_eq!(text(&plain), "Hello from web-1, version 2\n");
        let placed = config(&[
            ("POD_NAME", "web-1"),
            ("NODE_NAME", "cadet"),
            ("POD_NAMESPACE", "shop"),
        ]);
        assert_eq!(
            text(&placed),
            "Hello from web-1, version 1\non node cadet, in namespace shop\n"
        );
    }

    #[test]
    fn pages_differ_by_version_and_escape_everything() {
        let pages = ["1", "2", "3", "4"].map(|version| page(&config(&[("VERSION", version)])));
        for (one, other) in [(0, 1), (1, 2), (2, 3)] {
            let style = |page: &str| page.split_once("background: ").unwrap().1[..7].to_owned();
            assert_ne!(style(&pages[one]), style(&pages[other]));
        }
        let evil = page(&config(&[("VERSION", "<script>"), ("NODE_NAME", "<b>")]));
        assert!(
            !evil.contains("<script>") && !evil.contains("node <b>"),
            "{evil}"
        );
    }

    #[test]
    fn browsers_get_a_page() {
        let mut headers = HeaderMap::new();
        assert!(!wants_html(&headers));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        assert!(!wants_html(&headers));
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/html,application/xhtml+xml;q=0.9"),
        );
        assert!(wants_html(&headers));
    }
}
