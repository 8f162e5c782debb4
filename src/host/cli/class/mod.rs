//! A class on this laptop, as its commands share it: [`book`] is what the teacher keeps, [`open`]
//! how their other terminals reach a class that is served, [`member`] what a learner keeps,
//! [`images`] how a learner's machine comes to the class's images.

pub mod book;
pub mod images;
pub mod member;
pub mod open;
