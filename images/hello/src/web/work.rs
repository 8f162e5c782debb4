//! Load and sudden ends, on demand.

use std::hint::black_box;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tracing::info;

use super::{Shared, say};

/// Milliseconds that one request burns if it does not say, and at most.
const USUAL_BURN: u64 = 100;
const LONGEST_BURN: u64 = 60_000;

/// `?ms=500`.
#[derive(Debug, Deserialize)]
pub struct Burn {
    ms: Option<String>,
}

/// `?code=3`.
#[derive(Debug, Deserialize)]
pub struct Exit {
    code: Option<String>,
}

/// Keeps one processor busy for a while.
pub async fn burn(State(app): Shared, Query(burn): Query<Burn>) -> Response {
    let asked = burn.ms.as_deref().map_or(Ok(USUAL_BURN), str::parse::<u64>);
    let ms = match asked {
        Ok(ms) if ms <= LONGEST_BURN => ms,
        _ => {
            let words = format!("ms must be a number from 0 to {LONGEST_BURN}\n");
            return say(StatusCode::BAD_REQUEST, words);
        }
    };
    let Ok(_turn) = app.burners.acquire().await else {
        return say(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    };
    match tokio::task::spawn_blocking(move || spin(Duration::from_millis(ms))).await {
        Ok(rounds) => say(
            StatusCode::OK,
            format!(
                "{} burned {ms} ms of CPU: {rounds} rounds\n",
                app.config.host
            ),
        ),
        Err(error) => say(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Counts until the time is over.
fn spin(time: Duration) -> u64 {
    let end = Instant::now() + time;
    let mut rounds = 0_u64;
    while Instant::now() < end {
        for _ in 0..1_000 {
            rounds = black_box(rounds.wrapping_add(1));
        }
    }
    rounds
}

/// Ends the program with this code, once the answer is on its way.
pub async fn exit(State(app): Shared, Query(exit): Query<Exit>) -> Response {
    let Ok(code) = exit.code.as_deref().unwrap_or("0").parse::<u8>() else {
        return say(
            StatusCode::BAD_REQUEST,
            "code must be a number from 0 to 255\n",
        );
    };
    info!("GET /exit: ending with code {code}");
    app.stop.send_replace(crate::State::Ends(code));
    say(
        StatusCode::OK,
        format!("{} ends with code {code}\n", app.config.host),
    )
}
