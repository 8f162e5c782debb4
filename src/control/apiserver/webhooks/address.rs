//! Where a webhook is: a URL, or a Service whose ready endpoints are asked directly, so
//! that a server without kube-proxy beside it reaches them too (upstream's
//! `--enable-aggregator-routing`).

use cadet_api::json::{int_at, str_at};
use serde_json::Value;

use crate::connect;
use crate::world::World;

const HTTPS: u16 = 443;

/// A webhook's `clientConfig`.
#[derive(Debug)]
pub enum Address {
    Url {
        host: String,
        port: u16,
        /// As in the URL: `example.com:8443`.
        authority: String,
        path: String,
    },
    Service {
        namespace: String,
        name: String,
        port: i64,
        path: String,
    },
}

/// A machine to ask, now.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Reads a validated `clientConfig`.
    pub fn read(config: &Value) -> Address {
        if let Some(service) = config.get("service") {
            let path = str_at(service, "/path");
            return Address::Service {
                namespace: str_at(service, "/namespace").to_owned(),
                name: str_at(service, "/name").to_owned(),
                port: int_at(service, "/port").unwrap_or(i64::from(HTTPS)),
                path: rooted(path),
            };
        }
        let url = str_at(config, "/url");
        let rest = url.strip_prefix("https://").unwrap_or(url);
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = host_and_port(authority);
        Address::Url {
            host,
            port,
            authority: authority.to_owned(),
            path: rooted(path),
        }
    }

    /// The name that the webhook's certificate must have.
    pub fn certified_name(&self) -> String {
        match self {
            Address::Url { host, .. } => host.clone(),
            Address::Service {
                namespace, name, ..
            } => format!("{name}.{namespace}.svc"),
        }
    }

    /// Host and port as in the URL.
    pub fn authority(&self) -> String {
        match self {
            Address::Url { authority, .. } => authority.clone(),
            Address::Service { port, .. } => format!("{}:{port}", self.certified_name()),
        }
    }

    pub fn path(&self) -> &str {
        match self {
            Address::Url { path, .. } | Address::Service { path, .. } => path,
        }
    }

    /// Where to connect to now.
    ///
    /// # Errors
    /// There is no such Service, port or ready endpoint, in upstream's words.
    pub fn find(&self, world: &World) -> Result<Found, String> {
        match self {
            Address::Url { host, port, .. } => Ok(Found {
                host: host.clone(),
                port: *port,
            }),
            Address::Service {
                namespace,
                name,
                port,
                ..
            } => {
                let (host, port) = connect::service_endpoint(world, namespace, name, *port)?;
                Ok(Found { host, port })
            }
        }
    }
}

fn rooted(path: &str) -> String {
    match path.strip_prefix('/') {
        Some(_) => path.to_owned(),
        None => format!("/{path}"),
    }
}

/// `host`, `host:port`, `[::1]`, `[::1]:port`.
fn host_and_port(authority: &str) -> (String, u16) {
    let split = match authority.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .map(|(host, port)| (host, port.strip_prefix(':').unwrap_or_default())),
        None => authority.rsplit_once(':'),
    };
    let (host, port) = split.unwrap_or((authority, ""));
    (host.to_owned(), port.parse().unwrap_or(HTTPS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn urls_and_services_are_read_into_host_port_and_path() {
        for (config, authority, name, path) in [
            (json!({"url": "https://a.b/c/d"}), "a.b", "a.b", "/c/d"),
            (
                json!({"url": "https://127.0.0.1:8443"}),
                "127.0.0.1:8443",
                "127.0.0.1",
                "/",
            ),
            (json!({"url": "https://[::1]:9/x"}), "[::1]:9", "::1", "/x"),
            (
                json!({"service": {"name": "s", "namespace": "n", "port": 8443, "path": "/x"}}),
                "s.n.svc:8443",
                "s.n.svc",
                "/x",
            ),
            (
                json!({"service": {"name": "s", "namespace": "n"}}),
                "s.n.svc:443",
                "s.n.svc",
                "/",
            ),
        ] {
            let address = Address::read(&config);
            assert_eq!(
                (
                    address.authority().as_str(),
                    address.certified_name().as_str(),
                    address.path()
                ),
                (authority, name, path)
            );
        }
        assert_eq!(host_and_port("a:1"), ("a".to_owned(), 1));
        assert_eq!(host_and_port("[::1]"), ("::1".to_owned(), 443));
    }
}
