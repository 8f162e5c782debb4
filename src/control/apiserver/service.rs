//! The server as a tower service with a fixed identity: what a connection is given after
//! its handshake, and what the loops inside the server process talk to.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Request, Uri};
use tower::{BoxError, Service, ServiceExt};

use crate::access::User;
use crate::app::App;

/// Answers every request as if `user` had sent it. Cheap to clone.
#[derive(Clone)]
pub struct LocalService {
    router: Router,
    user: Arc<User>,
}

impl App {
    /// A service for one user. It fits `kube::Client::new`.
    pub fn service(&self, user: User) -> LocalService {
        LocalService {
            router: self.router(),
            user: Arc::new(user),
        }
    }
}

impl LocalService {
    /// The same for another user; the routes are shared.
    pub(crate) fn of(self, user: User) -> LocalService {
        LocalService {
            user: Arc::new(user),
            ..self
        }
    }
}

impl<B> Service<Request<B>> for LocalService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&self.user));
        if let Some(uri) = without_trailing_slash(request.uri()) {
            *request.uri_mut() = uri;
        }
        Box::pin(self.router.clone().oneshot(request))
    }
}

/// Some clients ask for `/version/`; upstream answers both forms.
fn without_trailing_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.len() == path.len() || trimmed.is_empty() || is_proxied(path) {
        return None;
    }
    let rest = uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{trimmed}{rest}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether what ends a path belongs to a proxied server, to which a slash may matter.
fn is_proxied(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.next() == Some("api")
        && match segments.nth(1) {
            Some("namespaces") => segments.nth(3) == Some("proxy"),
            Some("nodes") => segments.nth(1) == Some("proxy"),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_slash_at_the_end_goes() {
        let trimmed = |uri: &str| {
            without_trailing_slash(&uri.parse().expect("uri")).map(|uri| uri.to_string())
        };
        assert_eq!(trimmed("/version/").as_deref(), Some("/version"));
        assert_eq!(trimmed("/version/?a=b/").as_deref(), Some("/version?a=b/"));
        assert_eq!(
            trimmed("https://host:1/api/v1//").as_deref(),
            Some("https://host:1/api/v1")
        );
        assert_eq!(trimmed("/"), None);
        assert_eq!(trimmed("/version?a=b/"), None);
        for proxied in [
            "/api/v1/namespaces/a/pods/x/proxy/",
            "/api/v1/namespaces/a/services/x:80/proxy/y/",
            "/api/v1/nodes/n/proxy/",
        ] {
            assert_eq!(trimmed(proxied), None);
        }
        assert!(trimmed("/api/v1/namespaces/proxy/").is_some());
        assert!(trimmed("/api/v1/nodes/proxy/").is_some());
    }
}
