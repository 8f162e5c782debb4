//! Where a class keeps its rows. The caller has the database; here is what is asked of it.

/// Why rows could not be kept, in the caller's words.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// A row's change: its key, and its new value, or None where it goes.
pub type Change = (String, Option<Vec<u8>>);

/// Rows on a disk.
pub trait Ledger: Send + Sync + 'static {
    /// All rows.
    ///
    /// # Errors
    /// The disk or the database refuses.
    fn rows(&self) -> Result<Vec<(String, Vec<u8>)>, Trouble>;

    /// Changes rows; they are on the disk when this returns.
    ///
    /// # Errors
    /// The disk or the database refuses; then none or some of the rows are changed, and the
    /// caller tries all of them again.
    fn put(&self, changes: &[Change]) -> Result<(), Trouble>;
}
