//! Everything that can go wrong with images, named by the act that failed.

use std::path::PathBuf;

/// One failed act. The text says what and why; the caller adds id, hint and exit code.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The catalogue is not what this program understands.
    #[error("the image catalogue is not valid: {0}")]
    Catalog(String),
    /// A name that the catalogue does not have.
    #[error("there is no image {name:?} (there are: {})", known.join(", "))]
    UnknownImage { name: String, known: Vec<String> },
    /// The image exists, but not for this processor.
    #[error("image {name} does not exist for {arch}")]
    NoArch { name: String, arch: String },
    /// The HTTP client could not be made, e.g. because of a malformed proxy variable.
    #[error("cannot set up the network client: {0}")]
    Client(String),
    /// The extra certificate file is not usable.
    #[error("cannot use the certificates in {}: {why}", path.display())]
    CaFile { path: PathBuf, why: String },
    /// No answer: name not found, no route, refused, timed out.
    #[error("cannot reach {url}: {why}")]
    Unreachable { url: String, why: String },
    /// The server's certificate is not trusted.
    #[error("the certificate of {url} is not trusted: {why}")]
    Untrusted { url: String, why: String },
    /// The server answered, but not with the file.
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    /// The transfer broke again and again; what came is kept for the next try.
    #[error("the download of {url} broke off after {done} bytes: {why}")]
    Cut { url: String, done: u64, why: String },
    /// The bytes are not those that were announced. They have been removed.
    #[error("{url} has the checksum {found}, expected {expected}")]
    WrongChecksum {
        url: String,
        expected: String,
        found: String,
    },
    /// The checksum file does not mention the file.
    #[error("{checksums} does not list {file}")]
    NoChecksum { checksums: String, file: String },
    /// The disk is full. What was being written has been removed.
    #[error("no space left on the disk that holds {}", path.display())]
    DiskFull { path: PathBuf },
    /// A file could not be read or written.
    #[error("cannot {act} {}: {source}", path.display())]
    File {
        act: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// Programs that building needs are missing.
    #[error("programs are missing: {} (install: {})", programs.join(", "), packages.join(" "))]
    MissingTools {
        programs: Vec<String>,
        /// Debian and Ubuntu package names.
        packages: Vec<String>,
    },
    /// Building as a normal user needs a range of subordinate ids.
    #[error("user {user} has no range in /etc/subuid and /etc/subgid")]
    NoSubordinateIds { user: String },
    /// A program could not be run at all.
    #[error("cannot run {program}: {source}")]
    Run {
        program: String,
        source: std::io::Error,
    },
    /// A program failed; its last lines are the evidence.
    #[error("{program} failed ({status}) while {phase}: {}", tail.join(" | "))]
    Tool {
        program: String,
        status: String,
        phase: String,
        tail: Vec<String>,
    },
    /// The package mirror could not be reached while building.
    #[error("packages cannot be fetched: {why}")]
    Mirror { why: String },
    /// A prepared base is incomplete or altered.
    #[error("the prepared image in {} is damaged: {why}", path.display())]
    DamagedBase { path: PathBuf, why: String },
    /// No prepared base of that name.
    #[error("no prepared image {name} for {arch}")]
    NotPrepared { name: String, arch: String },
    /// The preparing machine ended without saying that it succeeded.
    #[error("preparing the image failed: {why}")]
    Prepare { why: String, tail: Vec<String> },
}

impl ImageError {
    /// Wraps an I/O error with the act and the path, turning a full disk into its own kind.
    pub(crate) fn file(
        act: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> ImageError {
        let path = path.into();
        if is_full(&source) {
            return ImageError::DiskFull { path };
        }
        ImageError::File { act, path, source }
    }
}

/// Disk full, quota used up, or the process may not write files that large.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
