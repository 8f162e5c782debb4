//! Base images: which exist, how they are fetched or built, and where they are kept.
//!
//! Nothing here reads the home directory or prints. The environment is read only by the
//! HTTP library, for the usual proxy variables; programs run with what the caller passes.

pub mod cache;
pub mod catalog;
pub mod checksum;
pub mod debian;
pub mod error;
pub mod fetch;
pub mod http;
pub mod prepare;
pub mod progress;
pub mod recipe;
pub mod tools;

pub use cache::{Base, Cache, Manifest};
pub use catalog::{Arch, Catalog};
pub use error::ImageError;
pub use http::Network;
pub use progress::{Progress, Sink};
