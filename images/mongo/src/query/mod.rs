//! Reading documents: paths, filters, sort orders, projections.

pub mod expression;
pub mod filter;
pub mod parse;
pub mod path;
pub mod pattern;
pub mod project;
pub mod sort;

#[cfg(test)]
mod filter_tests;
