//! What the teacher sees and does. A browser keeps the token in a cookie that no script reads and
//! no other site sends; a program sends it as a bearer token.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::answer::{Refusal, json, same, whole};
use super::{Class, now};
use crate::export;
use crate::need::{self, Row};
use crate::pace::{self, Paces};
use crate::roll::Moment;

const COOKIE: &str = "cadet-teacher";
/// The board is drawn at most this often, and at least that often: times go on.
const SOONEST: Duration = Duration::from_millis(900);
const LATEST: Duration = Duration::from_secs(10);
/// Longest body of a request of the teacher.
const LONGEST: usize = 4 * 1024;

/// All that the board shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Board {
    title: String,
    /// The join code, empty while no address is known.
    code: String,
    /// Newcomers are let in.
    open: bool,
    /// Why rows are not on the disk.
    trouble: Option<String>,
    now: Moment,
    rows: Vec<Row>,
    lessons: Vec<Lesson>,
    /// Transfers of the bundle going on, and bytes a second.
    transfers: usize,
    rate: u64,
    live: bool,
}

/// A lesson's titles and figures.
#[derive(Debug, Serialize)]
struct Lesson {
    name: String,
    title: String,
    steps: Vec<String>,
    paces: Vec<pace::Pace>,
}

/// Lets the teacher in.
pub(super) async fn guard(
    State(class): State<Arc<Class>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let knows = bearer(headers)
        .or_else(|| cookie(headers))
        .is_some_and(|token| same(token.as_bytes(), class.teacher.as_bytes()));
    // Another site's page cannot act: the cookie is not sent with it, and browsers say where a
    // request comes from.
    let site = headers.get("sec-fetch-site").map(|v| v.as_bytes());
    let own = site.is_none_or(|site| site == b"same-origin" || site == b"none");
    if !knows || !own {
        return Refusal::NotTheTeacher.into_response();
    }
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter();
    all.filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE).then_some(value)
        })
}

#[derive(Deserialize)]
struct Entering {
    token: String,
}

/// `POST /board/enter`: the token becomes a cookie.
pub(super) async fn enter(State(class): State<Arc<Class>>, request: Request) -> Response {
    let body = match whole(request.into_body(), LONGEST).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let knows = serde_json::from_slice::<Entering>(&body)
        .is_ok_and(|e| same(e.token.trim().as_bytes(), class.teacher.as_bytes()));
    if !knows {
        return Refusal::NotTheTeacher.into_response();
    }
    let cookie = format!(
        "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=86400",
        class.teacher
    );
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

fn board(class: &Class) -> Board {
    let (transfers, rate) = {
        let fair = class.fair();
        (fair.transfers(), fair.rate())
    };
    let inner = class.inner();
    let now = now();
    let paces = pace::paces(&inner.roll);
    Board {
        title: class.title.clone(),
        code: inner
            .code
            .as_ref()
            .map_or(String::new(), |shown| shown.code.to_string()),
        open: !inner.roll.closed,
        trouble: inner.trouble.clone(),
        now,
        rows: need::rows(&inner.roll, &class.lessons, &paces, now),
        lessons: lessons(class, paces),
        transfers,
        rate,
        live: class.commands.is_some(),
    }
}

/// The class's lessons, and those that learners took besides.
fn lessons(class: &Class, mut paces: Paces) -> Vec<Lesson> {
    let mut lessons: Vec<Lesson> = class
        .lessons
        .iter()
        .map(|outline| Lesson {
            name: outline.name.clone(),
            title: outline.title.clone(),
            steps: outline.steps.clone(),
            paces: paces.remove(&outline.name).unwrap_or_default(),
        })
        .collect();
    lessons.extend(paces.into_iter().map(|(name, paces)| Lesson {
        title: name.clone(),
        name,
        steps: Vec::new(),
        paces,
    }));
    lessons
}

/// `GET /board/data`: the board once.
pub(super) async fn data(State(class): State<Arc<Class>>) -> Response {
    json(StatusCode::OK, &board(&class))
}

/// `GET /board/events`: the board whenever it changes.
pub(super) async fn events(State(class): State<Arc<Class>>) -> Response {
    let news = class.version.subscribe();
    let boards =
        futures::stream::unfold((class, news, true), |(class, mut news, first)| async move {
            if !first && !next(&class, &mut news).await {
                return None;
            }
            news.mark_unchanged();
            let event = Event::default().json_data(board(&class));
            Some((event, (class, news, false)))
        });
    Sse::new(boards)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}

/// Waits until the board is to be drawn again; false at the end of the class.
async fn next(class: &Class, news: &mut watch::Receiver<u64>) -> bool {
    let wait = async {
        tokio::time::sleep(SOONEST).await;
        // No news until then are news too: the times went on.
        let _ = tokio::time::timeout(LATEST, news.changed()).await;
    };
    tokio::select! {
        () = class.stop.cancelled() => false,
        () = wait => true,
    }
}

/// What the teacher does.
#[derive(Deserialize)]
#[serde(tag = "act", rename_all = "lowercase")]
enum Act {
    /// Has been with a learner who asked.
    Helped { learner: String },
    /// Takes a learner off the board.
    Remove { learner: String },
    /// Lets nobody new in.
    Close,
    /// Lets newcomers in again.
    Open,
}

/// `POST /board/do`.
pub(super) async fn act(State(class): State<Arc<Class>>, request: Request) -> Response {
    let body = match whole(request.into_body(), LONGEST).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let Ok(act) = serde_json::from_slice::<Act>(&body) else {
        return Refusal::Malformed("the request cannot be understood").into_response();
    };
    let mut inner = class.inner();
    let known = match act {
        Act::Helped { learner } => inner.roll.helped(&learner),
        Act::Remove { learner } => inner.roll.remove(&learner),
        Act::Close => {
            inner.roll.closed = true;
            true
        }
        Act::Open => {
            inner.roll.closed = false;
            true
        }
    };
    drop(inner);
    if !known {
        return Refusal::Missing.into_response();
    }
    class.changed();
    StatusCode::NO_CONTENT.into_response()
}

/// `GET /board/code.svg`: what a learner types, as a QR code.
pub(super) async fn code(State(class): State<Arc<Class>>) -> Response {
    let svg = class.inner().code.as_ref().map(|shown| shown.svg.clone());
    match svg {
        Some(svg) => ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response(),
        None => Refusal::Missing.into_response(),
    }
}

/// `GET /board/pace`: figures per lesson and step.
pub(super) async fn pace(State(class): State<Arc<Class>>) -> Response {
    let paces = pace::paces(&class.inner().roll);
    json(StatusCode::OK, &lessons(&class, paces))
}

/// `GET /board/export.csv`: without names.
pub(super) async fn export(State(class): State<Arc<Class>>) -> Response {
    let table = export::steps(&class.inner().roll);
    match table {
        Ok(table) => (
            [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
                (
                    header::CONTENT_DISPOSITION,
                    "attachment; filename=\"cadet-class.csv\"",
                ),
            ],
            table,
        )
            .into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_where_browsers_and_programs_put_them() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers), None);
        let value = "theme=dark; cadet-teacher=ABC; x=y";
        headers.insert(header::COOKIE, value.parse().unwrap());
        assert_eq!(cookie(&headers), Some("ABC"));
        headers.insert(header::COOKIE, "xcadet-teacher=ABC".parse().unwrap());
        assert_eq!(cookie(&headers), None);
        headers.insert(header::AUTHORIZATION, "Bearer T".parse().unwrap());
        assert_eq!(bearer(&headers), Some("T"));
    }
}
