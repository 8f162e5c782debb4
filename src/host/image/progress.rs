//! How long acts tell what they are doing.

/// One step forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A new phase has begun; a few words for people.
    Phase(String),
    /// Bytes of the current download; `total` is absent if the server does not tell.
    Bytes { done: u64, total: Option<u64> },
    /// Something worth a line, e.g. that a cut download is being resumed.
    Note(String),
}

/// Receives progress; called often, must return quickly.
pub type Sink<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// For callers who do not care.
pub fn silent(_: Progress) {}
