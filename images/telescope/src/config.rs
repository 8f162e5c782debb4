//! Settings from the environment.

use std::env;

use axum::http::Uri;

/// What the lesson's manifest leaves out is taken from here.
const DEFAULT_MONGO_URL: &str = "mongodb://localhost:27017/telescope";
const DEFAULT_ROOT_URL: &str = "http://localhost";
const DEFAULT_PORT: u16 = 80;

/// How to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Connection string of the database, with the database name as its path.
    pub mongo_url: String,
    /// Address under which readers find the app, without a slash at the end. Used where
    /// a link must be absolute (the feed); pages link relatively, so that the app also
    /// works under a pod's own IP.
    pub root_url: String,
    /// TCP port to listen on.
    pub port: u16,
    /// The machine's name, in a cluster the pod's.
    pub host: String,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?} cannot be used: {reason}")]
pub struct ConfigError {
    /// Name of the variable.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong.
    pub reason: &'static str,
}

impl Config {
    /// Reads `MONGO_URL`, `ROOT_URL` and `PORT`.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let host = env::var("HOSTNAME")
            .ok()
            .filter(|name| !name.is_empty())
            .or_else(kernel_name);
        Self::new(
            env::var("MONGO_URL").ok(),
            env::var("ROOT_URL").ok(),
            env::var("PORT").ok(),
            host.unwrap_or_else(|| "unknown".into()),
        )
    }

    fn new(
        mongo_url: Option<String>,
        root_url: Option<String>,
        port: Option<String>,
        host: String,
    ) -> Result<Self, ConfigError> {
        let root = root_url.unwrap_or_else(|| DEFAULT_ROOT_URL.into());
        let valid = root.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        if !valid {
            return Err(ConfigError {
                name: "ROOT_URL",
                value: root,
                reason: "it must look like http://example.com",
            });
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(text) => text.parse().map_err(|_| ConfigError {
                name: "PORT",
                value: text,
                reason: "it must be a number from 0 to 65535",
            })?,
        };
        Ok(Self {
            mongo_url: mongo_url.unwrap_or_else(|| DEFAULT_MONGO_URL.into()),
            root_url: root.trim_end_matches('/').to_owned(),
            port,
            host,
        })
    }
}

fn kernel_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lessons_settings_are_understood() {
        let config = Config::new(
            Some("mongodb://localhost:27017/app".into()),
            Some("http://mydomain.com/".into()),
            None,
            "pod".into(),
        )
        .unwrap();
        assert_eq!(config.root_url, "http://mydomain.com");
        assert_eq!(config.port, 80);
    }

    #[test]
    fn nonsense_is_refused() {
        let bad = |root: &str, port: &str| {
            Config::new(None, Some(root.into()), Some(port.into()), "h".into())
        };
        assert_eq!(bad("ftp://x", "80").unwrap_err().name, "ROOT_URL");
        assert_eq!(bad("mydomain.com", "80").unwrap_err().name, "ROOT_URL");
        assert_eq!(bad("http://x", "http").unwrap_err().name, "PORT");
    }
}
