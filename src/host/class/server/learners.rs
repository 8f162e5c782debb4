//! What learners ask. Each request but the first look is signed, and each answer is about the
//! learner who signed it: nobody sees anybody else.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::answer::{Refusal, json, peer, same, whole};
use super::{Class, Notice, now, root};
use crate::identity::{KEY, NUMBER, PublicKey, SIGNATURE};
use crate::message::{Call, Joining, LONGEST, LONGEST_WORDS, Leaving, Mine, Report};
use crate::roll::{No, tidy};

/// Lets in those who have the class's token.
pub(super) async fn guard(
    State(class): State<Arc<Class>>,
    request: Request,
    next: Next,
) -> Response {
    let wanted = root(&class);
    let path = request.uri().path();
    let given = path.get(..wanted.len()).unwrap_or_default();
    let ends = path.get(wanted.len()..).unwrap_or("?");
    if !same(given.as_bytes(), wanted.as_bytes()) || !(ends.is_empty() || ends.starts_with('/')) {
        return Refusal::NotThisClass.into_response();
    }
    class.is_guest(peer(&request));
    next.run(request).await
}

/// `GET /class/TOKEN`.
pub(super) async fn welcome(State(class): State<Arc<Class>>) -> Response {
    json(StatusCode::OK, &class.welcome())
}

/// A request whose signature was checked.
struct Signed<T> {
    key: PublicKey,
    number: u64,
    said: T,
}

async fn signed<T: DeserializeOwned>(request: Request) -> Result<Signed<T>, Refusal> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let key = header(KEY).and_then(|text| PublicKey::parse(&text));
    let number = header(NUMBER).and_then(|text| text.parse().ok());
    let (Some(key), Some(number), Some(signature)) = (key, number, header(SIGNATURE)) else {
        return Err(Refusal::Signature);
    };
    let body = whole(body, LONGEST).await?;
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    if !key.signed(&signature, method, path, number, &body) {
        return Err(Refusal::Signature);
    }
    let said = serde_json::from_slice(&body)
        .map_err(|_| Refusal::Malformed("the request cannot be understood"))?;
    Ok(Signed { key, number, said })
}

fn answered(class: &Class, outcome: Result<Mine, Refusal>) -> Response {
    match outcome {
        Ok(mine) => {
            class.changed();
            json(StatusCode::OK, &mine)
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// `POST …/join`.
pub(super) async fn join(State(class): State<Arc<Class>>, request: Request) -> Response {
    // Before the signature: a flood is to cost as little as can be.
    let allowed = class.inner().joins.take(peer(&request), Instant::now());
    if let Err(wait) = allowed {
        return Refusal::TooMany(wait).into_response();
    }
    let outcome = match signed::<Joining>(request).await {
        Ok(signed) => joins(&class, &signed),
        Err(refusal) => Err(refusal),
    };
    answered(&class, outcome)
}

fn joins(class: &Class, signed: &Signed<Joining>) -> Result<Mine, Refusal> {
    let mut inner = class.inner();
    let before = inner.roll.len();
    let mine = inner
        .roll
        .join(&signed.key, signed.number, &signed.said, now())?;
    let learners = inner.roll.len();
    drop(inner);
    if learners > before {
        let name = mine.name.clone();
        class.tell(Notice::Joined { name, learners });
    }
    Ok(mine)
}

/// `POST …/report`.
pub(super) async fn report(State(class): State<Arc<Class>>, request: Request) -> Response {
    act::<Report>(&class, request, |class, signed| {
        let (key, number) = (&signed.key, signed.number);
        class.inner().roll.report(key, number, signed.said, now())
    })
    .await
}

/// `POST …/help`.
pub(super) async fn help(State(class): State<Arc<Class>>, request: Request) -> Response {
    act::<Call>(&class, request, |class, signed| {
        let (key, number) = (&signed.key, signed.number);
        let outcome = class.inner().roll.call(key, number, &signed.said, now());
        if let Ok(mine) = &outcome
            && mine.asked
        {
            let name = mine.name.clone();
            let words = tidy(&signed.said.words, LONGEST_WORDS);
            class.tell(Notice::Asks { name, words });
        }
        outcome
    })
    .await
}

/// `POST …/me`: the learner's own row.
pub(super) async fn me(State(class): State<Arc<Class>>, request: Request) -> Response {
    act::<IgnoredAny>(&class, request, |class, signed| {
        class.inner().roll.me(&signed.key, signed.number, now())
    })
    .await
}

/// `POST …/leave`.
pub(super) async fn leave(State(class): State<Arc<Class>>, request: Request) -> Response {
    act::<Leaving>(&class, request, |class, signed| {
        let (key, number, forget) = (&signed.key, signed.number, signed.said.forget);
        class.inner().roll.leave(key, number, forget, now())
    })
    .await
}

async fn act<T: DeserializeOwned>(
    class: &Class,
    request: Request,
    act: impl FnOnce(&Class, Signed<T>) -> Result<Mine, No>,
) -> Response {
    let outcome = match signed::<T>(request).await {
        Ok(signed) => act(class, signed).map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    answered(class, outcome)
}
