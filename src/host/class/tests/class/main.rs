//! A class as its teacher and its learners meet it: real TLS, real clients, a real database.

mod board;
#[cfg(target_os = "linux")]
mod browser;
mod doors;
mod files;
mod hostile;
mod images;
mod learners;
#[cfg(target_os = "linux")]
mod pages;
mod room;
