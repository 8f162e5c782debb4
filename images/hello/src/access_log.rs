//! One line for each request, in the Common Log Format that web servers share: to standard
//! output, and to a file where another container of the pod may read it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use tracing::warn;

const MOMENT: StaticFormatDescription =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

/// The log's file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("ACCESS_LOG={path:?} cannot be written: {source}")]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// Where lines go.
#[derive(Debug)]
pub struct AccessLog {
    file: Option<Mutex<File>>,
}

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub client: IpAddr,
    pub method: &'a str,
    pub target: &'a str,
    pub version: &'a str,
    pub status: u16,
    /// Bytes of the body, if they were known beforehand.
    pub bytes: Option<u64>,
}

impl AccessLog {
    /// Opens the file to append to, if there is to be one.
    ///
    /// # Errors
    /// [`LogError`] if its folder is missing or it may not be written.
    pub fn open(path: Option<&Path>) -> Result<Self, LogError> {
        let open = |path: &Path| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|source| LogError {
                    path: path.to_owned(),
                    source,
                })
        };
        let file = path.map(open).transpose()?.map(Mutex::new);
        Ok(Self { file })
    }

    /// Writes one line.
    pub fn write(&self, entry: &Entry<'_>) {
        let line = line(entry, OffsetDateTime::now_utc());
        // Nobody may read the output any more; requests are answered all the same.
        let _ = io::stdout().write_all(line.as_bytes());
        if let Some(file) = &self.file {
            // One write, so that a reader never sees half a line.
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = file.write_all(line.as_bytes()) {
                warn!("the access log cannot be written: {error}");
            }
        }
    }
}

fn line(entry: &Entry<'_>, now: OffsetDateTime) -> String {
    let Entry {
        client,
        method,
        target,
        version,
        status,
        bytes,
    } = entry;
    let client = client.to_canonical();
    let bytes = bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    // The format has no part that can fail for a moment of this era.
    let moment = now.format(MOMENT).unwrap_or_default();
    format!("{client} - - [{moment}] \"{method} {target} {version}\" {status} {bytes}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry<'_> = Entry {
        client: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        method: "GET",
        target: "/?a=b",
        version: "HTTP/1.1",
        status: 200,
        bytes: Some(26),
    };

    #[test]
    fn lines_are_in_the_common_log_format() {
        let moment = OffsetDateTime::from_unix_timestamp(971_211_336).unwrap();
        assert_eq!(
            line(&ENTRY, moment),
            "127.0.0.1 - - [10/Oct/2000:20:55:36 +0000] \"GET /?a=b HTTP/1.1\" 200 26\n"
        );
        let mapped = Entry {
            client: "::ffff:10.244.0.7".parse().unwrap(),
            bytes: None,
            ..ENTRY
        };
        let line = line(&mapped, moment);
        assert!(line.starts_with("10.244.0.7 - -") && line.ends_with(" 200 -\n"));
    }

    #[test]
    fn the_file_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        for _ in 0..2 {
            AccessLog::open(Some(&path)).unwrap().write(&ENTRY);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        let missing = folder.path().join("no/such/folder");
        let refused = AccessLog::open(Some(&missing)).unwrap_err().to_string();
        assert!(refused.contains("ACCESS_LOG"), "{refused}");
    }
}
