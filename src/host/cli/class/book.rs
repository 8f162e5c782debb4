//! The teacher's book: rows of learners, and the class itself with its keys.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cadet_class::ledger::{Change, Ledger, Trouble};
use cadet_class::{ClassKey, key};
use cadet_state::{ClassBook, Error as StateError};
use serde::{Deserialize, Serialize};

use crate::Context;
use crate::error::{CliError, Result};

/// Row of the class itself.
const CLASS: &str = "class";
/// How often the readable copy is written while rows change.
const COPY: Duration = Duration::from_secs(30);

/// The class itself.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    pub title: String,
    /// PKCS #8 in base64.
    key: String,
    pub token: [u8; cadet_class::code::TOKEN],
    pub teacher: String,
}

impl Kept {
    fn new(title: &str) -> Result<Self> {
        let teacher: [u8; 20] = key::secret()?;
        Ok(Self {
            title: title.to_owned(),
            key: BASE64.encode(ClassKey::generate()?.to_bytes()),
            token: key::secret()?,
            teacher: cadet_class::code::letters(&teacher),
        })
    }

    /// The class's key.
    ///
    /// # Errors
    /// HOST_STATE_CORRUPT.
    pub fn key(&self) -> Result<ClassKey> {
        let bytes = BASE64.decode(&self.key).map_err(|e| damaged(&e))?;
        Ok(ClassKey::from_bytes(&bytes)?)
    }
}

/// The open book, as the class writes into it.
pub struct Book {
    book: ClassBook,
    copied: Mutex<Option<Instant>>,
}

impl Book {
    /// Opens it; a damaged one is put aside and made anew.
    ///
    /// # Errors
    /// CLASS_SERVED while another `serve` has it; HOST_STATE_CORRUPT, HOST_NOT_READABLE.
    pub fn open(cx: &Context) -> Result<Arc<Self>> {
        let home = &cx.world.home;
        let book = match ClassBook::open(home) {
            Ok(book) => book,
            Err(StateError::Busy { .. }) => {
                return Err(CliError::new(
                    "CLASS_SERVED",
                    "a class is served from this laptop already",
                )
                .why("another cadet class serve has its records open")
                .fix("cadet class board      shows it"));
            }
            Err(StateError::Corrupt { .. }) => {
                let (book, aside) = ClassBook::recover(home)?;
                let told = format!(
                    "the class's records were damaged and are made anew of their copy; \
                     the damaged ones are kept in {}",
                    aside.display()
                );
                cx.ui.warn("class", &told);
                book
            }
            Err(e) => return Err(e.into()),
        };
        Ok(Arc::new(Self {
            book,
            copied: Mutex::new(None),
        }))
    }

    /// The class that was kept.
    ///
    /// # Errors
    /// HOST_STATE_CORRUPT.
    pub fn class(&self) -> Result<Option<Kept>> {
        let rows = self.book.rows()?;
        let row = rows.into_iter().find(|(key, _)| key == CLASS);
        row.map(|(_, row)| serde_json::from_slice(&row).map_err(|e| damaged(&e)))
            .transpose()
    }

    /// The class that was kept, or a new one; with `anew` a new one in any case, and the old one
    /// is forgotten.
    ///
    /// # Errors
    /// HOST_STATE_CORRUPT, HOST_DISK_FULL.
    pub fn begin(&self, title: Option<&str>, anew: bool) -> Result<Kept> {
        if anew {
            self.book.clear()?;
        }
        let kept = match self.class()? {
            Some(kept) => Kept {
                title: title.map_or(kept.title.clone(), str::to_owned),
                ..kept
            },
            None => Kept::new(title.unwrap_or("Cadet class"))?,
        };
        let row = serde_json::to_vec(&kept).map_err(|e| damaged(&e))?;
        self.book.put(&[(CLASS.to_owned(), Some(row))])?;
        self.copy()?;
        Ok(kept)
    }

    /// Writes the readable copy.
    ///
    /// # Errors
    /// HOST_DISK_FULL.
    pub fn copy(&self) -> Result<()> {
        Ok(self.book.copy()?)
    }
}

impl Ledger for Book {
    fn rows(&self) -> Result<Vec<(String, Vec<u8>)>, Trouble> {
        Ok(self.book.rows()?)
    }

    fn put(&self, changes: &[Change]) -> Result<(), Trouble> {
        self.book.put(changes)?;
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        if copied.is_none_or(|at| at.elapsed() >= COPY) {
            self.book.copy()?;
            *copied = Some(Instant::now());
        }
        Ok(())
    }
}

fn damaged(e: &dyn std::fmt::Display) -> CliError {
    CliError::new(
        "HOST_STATE_CORRUPT",
        "what is kept of the class cannot be read",
    )
    .why(e.to_string())
    .fix("cadet class serve --new      begins a new class")
}
