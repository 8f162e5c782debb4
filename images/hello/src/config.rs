//! Settings from the command line and the environment.

use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
hello: the web server of Cadet's lessons

  hello                      serve HTTP
  hello --proxy HOST:PORT    forward TCP connections there instead (an ambassador)
  hello --crash              end at once with code 1

Environment
  PORT            port to listen on (8080)
  VERSION         version the page shows (1)
  ACCESS_LOG      file that gets the access log too; it always goes to standard output
  POD_NAME, NODE_NAME, POD_NAMESPACE   shown on the page; the first defaults to the host name
  FILE_ROOTS      folders that /file may read and write, by colons
                  (/etc/config:/etc/secret:/data:/shared)
";

const DEFAULT_PORT: u16 = 8080;
const DEFAULT_ROOTS: &str = "/etc/config:/etc/secret:/data:/shared";
/// A version is a label on a page, not a text.
const LONGEST_VERSION: usize = 40;

/// What to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    Serve,
    /// Forward connections to this `host:port`.
    Proxy(String),
    /// End at once, for lessons on crash loops.
    Crash,
    Help,
}

/// How to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub mode: Mode,
    pub port: u16,
    pub version: String,
    /// The pod's name.
    pub host: String,
    pub node: Option<String>,
    pub namespace: Option<String>,
    pub access_log: Option<PathBuf>,
    /// Folders that `/file` may touch.
    pub roots: Vec<PathBuf>,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{name}={value:?} cannot be used: {reason}")]
    Variable {
        name: &'static str,
        value: String,
        reason: &'static str,
    },
    #[error("{0:?} is not understood; hello --help shows what is")]
    Argument(String),
    #[error("--proxy needs HOST:PORT, for instance --proxy database:6379")]
    Proxy,
}

impl Config {
    /// Reads the arguments and, through `variable`, the environment.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that makes no sense.
    pub fn new(
        arguments: impl Iterator<Item = String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        // An empty variable is how a manifest says "none".
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let port = match set("PORT") {
            None => DEFAULT_PORT,
            Some(value) => value.parse().map_err(|_| ConfigError::Variable {
                name: "PORT",
                value,
                reason: "it must be a number from 0 to 65535",
            })?,
        };
        let version = set("VERSION").unwrap_or_else(|| "1".into());
        if version.len() > LONGEST_VERSION {
            return Err(ConfigError::Variable {
                name: "VERSION",
                value: version,
                reason: "it is longer than 40 bytes",
            });
        }
        let host = set("POD_NAME")
            .or_else(|| set("HOSTNAME"))
            .or_else(kernel_name);
        let roots = set("FILE_ROOTS").unwrap_or_else(|| DEFAULT_ROOTS.into());
        Ok(Self {
            mode: mode(arguments)?,
            port,
            version,
            host: host.unwrap_or_else(|| "unknown".into()),
            node: set("NODE_NAME"),
            namespace: set("POD_NAMESPACE"),
            access_log: set("ACCESS_LOG").map(PathBuf::from),
            roots: roots.split(':').map(PathBuf::from).collect(),
        })
    }
}

fn mode(mut arguments: impl Iterator<Item = String>) -> Result<Mode, ConfigError> {
    let Some(first) = arguments.next() else {
        return Ok(Mode::Serve);
    };
    let mode = match first.as_str() {
        "--help" | "-h" => Mode::Help,
        "--crash" => Mode::Crash,
        "--proxy" => proxy(arguments.next().as_deref())?,
        other => match other.strip_prefix("--proxy=") {
            Some(target) => proxy(Some(target))?,
            None => return Err(ConfigError::Argument(first)),
        },
    };
    match arguments.next() {
        None => Ok(mode),
        Some(more) => Err(ConfigError::Argument(more)),
    }
}

fn proxy(target: Option<&str>) -> Result<Mode, ConfigError> {
    let target = target.ok_or(ConfigError::Proxy)?;
    let (host, port) = target.rsplit_once(':').ok_or(ConfigError::Proxy)?;
    let reachable = port.parse::<u16>().is_ok_and(|port| port > 0);
    if host.is_empty() || !reachable {
        return Err(ConfigError::Proxy);
    }
    Ok(Mode::Proxy(target.to_owned()))
}

fn kernel_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::new(arguments.iter().map(|s| (*s).to_owned()), |name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_settings_it_serves_on_8080() {
        let config = config(&[], &[("PORT", ""), ("HOSTNAME", "web-1")]).unwrap();
        assert_eq!((config.mode, config.port), (Mode::Serve, 8080));
        assert_eq!(
            (config.version.as_str(), config.host.as_str()),
            ("1", "web-1")
        );
        assert_eq!(config.roots.len(), 4);
        assert_eq!(config.access_log, None);
    }

    #[test]
    fn the_downward_api_names_the_pod() {
        let config = config(
            &["--proxy", "db:6379"],
            &[
                ("POD_NAME", "web-2"),
                ("HOSTNAME", "other"),
                ("NODE_NAME", "cadet"),
                ("POD_NAMESPACE", "shop"),
                ("PORT", "6379"),
                ("FILE_ROOTS", "/a:/b"),
            ],
        )
        .unwrap();
        assert_eq!(config.mode, Mode::Proxy("db:6379".into()));
        assert_eq!(config.host, "web-2");
        assert_eq!(config.node.as_deref(), Some("cadet"));
        assert_eq!(config.namespace.as_deref(), Some("shop"));
        assert_eq!(config.roots, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }

    #[test]
    fn nonsense_is_refused() {
        for arguments in [
            &["--proxy"][..],
            &["--proxy", "db"],
            &["--proxy", ":80"],
            &["--proxy=db:0"],
            &["--proxy", "db:http"],
            &["serve"],
            &["--crash", "now"],
        ] {
            assert!(config(arguments, &[]).is_err(), "{arguments:?}");
        }
        let long = "9".repeat(41);
        for (name, value) in [
            ("PORT", "http"),
            ("PORT", "70000"),
            ("VERSION", long.as_str()),
        ] {
            let refused = config(&[], &[(name, value)]).unwrap_err().to_string();
            assert!(refused.starts_with(name), "{refused}");
        }
        assert_eq!(
            config(&["--proxy=db:1"], &[]).unwrap().mode,
            Mode::Proxy("db:1".into())
        );
    }
}
