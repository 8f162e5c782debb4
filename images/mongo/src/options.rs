//! The command line, as far as mongod's is honoured; what is not is an error or is logged.

use std::net::IpAddr;
use std::path::PathBuf;

/// Where real mongod images keep their data.
const DEFAULT_FOLDER: &str = "/data/db";
/// MongoDB's registered port.
const DEFAULT_PORT: u16 = 27017;

/// Flags of older servers that tune MongoDB's own storage engines and mean nothing
/// here. `--nojournal` asks for less safety than we give: writes are kept safe anyway.
const IGNORED: [&str; 7] = [
    "--smallfiles",
    "--nojournal",
    "--noprealloc",
    "--journal",
    "--quiet",
    "--ipv6",
    "--noauth",
];
/// Flags with a value that may be ignored likewise.
const IGNORED_WITH_VALUE: [&str; 2] = ["--oplogSize", "--wiredTigerCacheSizeGB"];

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Serve with these options.
    Serve(Options),
    /// Print the version and leave.
    Version,
    /// Print how to use it and leave.
    Help,
}

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// TCP port; 0 lets the system choose.
    pub port: u16,
    /// Addresses to listen on.
    pub addresses: Vec<IpAddr>,
    /// The data folder, created if it does not exist.
    pub folder: PathBuf,
    /// Flags that were given and have no effect.
    pub ignored: Vec<String>,
}

/// A command line that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A flag we do not know; real ones are refused too rather than ignored.
    #[error(
        "unrecognised option '{0}' (this is Cadet's stand-in for MongoDB; it knows --port, --bind_ip, --bind_ip_all, --dbpath and ignores --smallfiles and --nojournal)"
    )]
    Unknown(String),
    /// A flag that needs a value and has none.
    #[error("the required argument for option '{0}' is missing")]
    Missing(String),
    /// A value that makes no sense.
    #[error("the argument ('{value}') for option '{option}' is invalid: {reason}")]
    Invalid {
        /// The flag.
        option: String,
        /// What it was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Options {
    /// Reads the arguments after the program's name. Both `--flag value` and
    /// `--flag=value` are understood.
    ///
    /// Without `--bind_ip` all IPv4 addresses are used, as official images do: other
    /// containers must reach the server.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Action, OptionsError> {
        let mut options = Options {
            port: DEFAULT_PORT,
            addresses: vec![IpAddr::from([0, 0, 0, 0])],
            folder: DEFAULT_FOLDER.into(),
            ignored: Vec::new(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, mut inline) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => {
                    (name.to_owned(), Some(value.to_owned()))
                }
                _ => (argument.clone(), None),
            };
            let mut value = || {
                inline
                    .take()
                    .or_else(|| arguments.next())
                    .ok_or_else(|| OptionsError::Missing(name.clone()))
            };
            match name.as_str() {
                "--port" => options.port = number(&name, value()?)?,
                "--bind_ip" => options.addresses = addresses(&name, &value()?)?,
                "--bind_ip_all" => options.addresses = vec![IpAddr::from([0, 0, 0, 0])],
                "--dbpath" => options.folder = value()?.into(),
                "--version" => return Ok(Action::Version),
                "--help" | "-h" => return Ok(Action::Help),
                known if IGNORED.contains(&known) => options.ignored.push(known.to_owned()),
                known if IGNORED_WITH_VALUE.contains(&known) => {
                    value()?;
                    options.ignored.push(known.to_owned());
                }
                _ => return Err(OptionsError::Unknown(argument)),
            }
            if let Some(unused) = inline {
                return Err(OptionsError::Invalid {
                    option: name,
                    value: unused,
                    reason: "the option takes no value".into(),
                });
            }
        }
        Ok(Action::Serve(options))
    }
}

fn number(option: &str, value: String) -> Result<u16, OptionsError> {
    value.parse().map_err(|_| OptionsError::Invalid {
        option: option.to_owned(),
        value,
        reason: "a port is a number from 0 to 65535".into(),
    })
}

fn addresses(option: &str, value: &str) -> Result<Vec<IpAddr>, OptionsError> {
    let parsed: Result<Vec<IpAddr>, String> = value
        .split(',')
        .map(str::trim)
        .map(|part| match part {
            "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
            "*" => Ok(IpAddr::from([0, 0, 0, 0])),
            _ => part
                .parse()
                .map_err(|_| format!("'{part}' is no IP address")),
        })
        .collect();
    parsed.map_err(|reason| OptionsError::Invalid {
        option: option.to_owned(),
        value: value.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Action, OptionsError> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    fn served(line: &str) -> Options {
        match parse(line).unwrap() {
            Action::Serve(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_of_the_lesson_are_ignored_aloud() {
        let options = served("--smallfiles --nojournal");
        assert_eq!(options.port, 27017);
        assert_eq!(options.folder, PathBuf::from("/data/db"));
        assert_eq!(options.ignored, ["--smallfiles", "--nojournal"]);
    }

    #[test]
    fn values_in_both_spellings() {
        let options = served("--port 1234 --dbpath=/tmp/x --bind_ip localhost,10.0.0.1");
        assert_eq!(options.port, 1234);
        assert_eq!(options.folder, PathBuf::from("/tmp/x"));
        assert_eq!(
            options.addresses,
            [IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1])]
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert_eq!(
            parse("--replSet rs0"),
            Err(OptionsError::Unknown("--replSet".into()))
        );
        assert_eq!(parse("--port"), Err(OptionsError::Missing("--port".into())));
        assert!(matches!(
            parse("--port 99999"),
            Err(OptionsError::Invalid { .. })
        ));
        assert!(matches!(
            parse("--bind_ip nonsense"),
            Err(OptionsError::Invalid { .. })
        ));
        assert!(matches!(
            parse("--smallfiles=yes"),
            Err(OptionsError::Invalid { .. })
        ));
        assert_eq!(parse("--version"), Ok(Action::Version));
    }
}
