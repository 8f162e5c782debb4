//! A class as its teacher and its learners meet it: real TLS, real clients, a real database.

mod board;
mod doors;
mod files;
mod hostile;
mod images;
mod learners;
mod room;
