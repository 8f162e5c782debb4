//! Everything that can go wrong with bundles, named by the act that failed.

use std::path::PathBuf;

/// Result of this room.
pub type Result<T, E = BundleError> = std::result::Result<T, E>;

/// One failed act. The caller adds id, hint and exit code.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The bytes do not begin as a bundle does.
    #[error("{path} is no bundle of a class")]
    NotABundle { path: String },
    /// A folder with no bundle in it, or with several.
    #[error("{} holds {}", path.display(), if found.is_empty() { "no bundle".into() } else { format!("several bundles: {}", found.join(", ")) })]
    Folder { path: PathBuf, found: Vec<String> },
    /// Another version of the format.
    #[error("the bundle has format {found}; this cadet reads format {known}")]
    Format { found: u32, known: u32 },
    /// The signature does not fit the manifest: one of both was altered.
    #[error("the signature does not fit what was signed")]
    Signature,
    /// The bundle is sound, but somebody else signed it.
    #[error("the bundle is signed with key {found}, not with {expected}")]
    OtherKey { expected: String, found: String },
    /// The signed manifest breaks a rule of the format.
    #[error("the manifest of the bundle is not valid: {0}")]
    Manifest(String),
    /// Bytes are missing at the end.
    #[error("{} is cut short: {has} of {needs} bytes are there", path.display())]
    Truncated { path: PathBuf, has: u64, needs: u64 },
    /// A part of a split bundle is not there, or shorter than its brothers.
    #[error("part {} of the bundle is missing or cut short", path.display())]
    Part { path: PathBuf },
    /// More bytes than the manifest knows.
    #[error("{} has {extra} bytes that nobody signed", path.display())]
    Surplus { path: PathBuf, extra: u64 },
    /// The bytes of a piece are not those that were signed.
    #[error("{piece} is not what was signed: its checksum differs")]
    Tampered { piece: String },
    /// Nothing in it runs on this computer.
    #[error("the bundle is for {}, this computer is {wanted}", has.join(", "))]
    Platform { wanted: String, has: Vec<String> },
    /// A name that cannot be used in a bundle.
    #[error("{name:?} cannot be the name of something in a bundle")]
    Name { name: String },
    /// A lesson's archive holds something a lesson cannot have.
    #[error("lesson {lesson} cannot be unpacked: {why}")]
    Lesson { lesson: String, why: String },
    /// A file changed between measuring and writing.
    #[error("{} changed while it was being bundled", path.display())]
    Changed { path: PathBuf },
    /// Something of that name is there, and is no bundle.
    #[error("{} is there already and is no bundle", path.display())]
    Occupied { path: PathBuf },
    /// The teacher's key cannot be read.
    #[error("the key {} cannot be used: {why}", path.display())]
    Key { path: PathBuf, why: String },
    /// The system gives no random numbers, so there can be no key.
    #[error("the system gives no random numbers")]
    NoRandom,
    /// Too much text for a QR code.
    #[error("no QR code holds {length} bytes: {why}")]
    Qr { length: usize, why: String },
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
}

impl BundleError {
    /// Wraps an I/O error with the act and the path, turning a full disk into its own kind.
    pub(crate) fn file(
        act: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> BundleError {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.into();
        if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
            return BundleError::DiskFull { path };
        }
        BundleError::File { act, path, source }
    }
}
