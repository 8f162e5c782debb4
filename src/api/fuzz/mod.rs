//! Fuzz targets: each is a test that plays its corpus and some random inputs, and a target
//! of `scripts/fuzz`, which lets coverage guide it for as long as one likes.
//!
//! Random bytes seldom get past the first bracket, so an input is not the text itself but
//! the choices of a generator that spoils real manifests ([`material`]).

mod bodies;
mod material;
mod patches;
mod selectors;
mod words;
