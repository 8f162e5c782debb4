//! The dashboard: a page about the cluster, and the way from it to the API.
//!
//! ```text
//!   browser ──/──────────► assets: the page, as it lies in this folder
//!           ──/api, /apis► the API server, as whoever the page's token names
//!           ──/watch─────► many watches in one answer (browsers open six connections)
//! ```
//! It has no rights of its own: what comes with a token is answered as the token's account,
//! what comes without as anybody's. It keeps nothing, no session and no cookie; the page
//! holds the token and shows it with every request, so no other site can borrow it.
//!
//! It listens on the loopback of the server's machine alone, in plain HTTP: the way there
//! is the tunnel, which is SSH, or the machine itself. Neither pods nor other machines reach
//! it, and a token never crosses a wire unprotected.

mod assets;
mod gate;
mod listen;
mod routes;
mod watches;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower::util::BoxCloneSyncService;

/// The API server, to be asked as nobody in particular.
pub(crate) type Api = BoxCloneSyncService<Request<Body>, Response, Infallible>;

/// Wait until a port is tried again that another program has.
const RETRY: Duration = Duration::from_secs(10);

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    #[error(
        "cannot serve the dashboard at {address}; another program may listen there, and --dashboard-port names another: {source}"
    )]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// Opens a port of the loopback.
///
/// # Errors
/// [`DashboardError::Bind`].
pub async fn bind(port: u16) -> Result<TcpListener, DashboardError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| DashboardError::Bind { address, source })
}

/// Serves at `port` of the loopback until `shutdown`. A port that another program has keeps
/// nothing else from working; it is tried again for as long as this runs.
///
/// `api` answers for who shows a token, and must give nobody more than anonymous rights.
pub async fn run<S>(port: u16, api: S, shutdown: CancellationToken)
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let mut told = false;
    let listener = loop {
        match bind(port).await {
            Ok(listener) => break listener,
            Err(error) if told => tracing::debug!(%error, "still"),
            Err(error) => tracing::error!(%error, "there is no dashboard"),
        }
        told = true;
        // Nothing tells that a port has become free.
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    };
    tracing::info!(port, "serving the dashboard on the loopback");
    serve(listener, api, shutdown).await;
}

/// Serves at a port that is open already.
pub async fn serve<S>(listener: TcpListener, api: S, shutdown: CancellationToken)
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let router = routes::router(Api::new(api), shutdown.clone());
    listen::serve(listener, router, shutdown).await;
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_told_and_does_not_delay_an_end() {
        let other = bind(0).await.expect("a port");
        let port = other.local_addr().expect("address").port();
        let error = bind(port).await.expect_err("taken");
        assert!(error.to_string().contains("--dashboard-port"), "{error}");
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        run(port, Router::<()>::new(), shutdown).await;
    }
}
