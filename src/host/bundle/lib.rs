//! The bundle of a class: one signed file with all that a learner needs.
//!
//! README.md beside this file describes the format. `manifest` says what is in a bundle and
//! `head` how its first bytes are read and checked; `volume` reads the file or its parts;
//! `write` makes a bundle, `unpack` takes a piece out of one; `lesson` packs a lesson's files
//! into one piece; `key` is the teacher's key, `qr` the codes on join cards and terminals.
//!
//! Nothing here knows the home directory, the network or the terminal.

pub mod digest;
pub mod error;
pub mod head;
pub mod key;
pub mod lesson;
pub mod manifest;
pub mod parts;
pub mod qr;
pub mod unpack;
pub mod volume;
pub mod write;

pub use error::{BundleError, Result};
pub use head::{Bundle, Head};
pub use key::{Fingerprint, PublicKey, TeacherKey};
pub use manifest::{Entry, Manifest, Packing, Piece, Place, Platform};
pub use unpack::unpack;
pub use volume::Volume;
pub use write::{Plan, Source, Written, write};
