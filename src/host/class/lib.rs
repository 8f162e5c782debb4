//! A class in one room: the teacher's laptop serves, the learners' laptops join.
//!
//! * [`code`] is what a learner types; [`key`] the class's own key and certificate; [`pin`] how a
//!   learner knows that it is this teacher; [`identity`] how the teacher knows that it is this
//!   learner.
//! * [`message`] is what goes over the line; [`client`] is the learner's end, [`server`] the
//!   teacher's, [`desk`] the teacher's other terminal; [`membership`] what a learner's laptop
//!   remembers.
//! * [`roll`] is who is there and where they are; [`need`] who needs the teacher; [`pace`] how long
//!   steps take; [`export`] the same without names. None of these does I/O.
//! * [`fair`] shares the line among learners, [`limit`] bounds what one of them may ask for,
//!   [`range`] reads the part of a file that is asked for; [`mirror`] is the class's cache of
//!   container images.
//! * [`addresses`] and [`checkup`] are for the teacher's terminal and the week before.
//!
//! The home directory, the database and the terminal are the caller's: rows are kept through
//! [`ledger::Ledger`], news come as [`server::Notice`].

pub mod addresses;
pub mod checkup;
pub mod client;
pub mod code;
pub mod desk;
pub mod error;
pub mod export;
pub mod fair;
pub mod identity;
pub mod key;
pub mod ledger;
pub mod limit;
pub mod membership;
pub mod message;
pub mod mirror;
pub mod need;
pub mod pace;
pub mod pin;
pub mod range;
pub mod roll;
pub mod server;
mod text;

pub use code::JoinCode;
pub use error::ClassError;
pub use identity::Identity;
pub use key::ClassKey;
pub use membership::Membership;
