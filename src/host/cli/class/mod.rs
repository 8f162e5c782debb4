//! A class on this laptop, as its commands share it: [`book`] is what the teacher keeps, [`open`]
//! how their other terminals reach a class that is served, [`member`] what a learner keeps,
//! [`images`] how a learner's machine comes to the class's images; [`checkup`] is the code of a
//! laptop that was looked at the week before.

pub mod book;
pub mod checkup;
pub mod images;
pub mod member;
pub mod open;
