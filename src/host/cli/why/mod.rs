//! What `cadet why` does around the explanations of `cadet-why`: fetching the facts, saying
//! the answer.

pub mod fetch;
pub mod say;
