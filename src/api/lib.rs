//! Kinds, versions and documents shared by host and guest. No I/O.
//!
//! An object travels as a [`serde_json::Value`], so fields this code does not know
//! survive; typed views are taken only where a rule needs them. What a kind *is* stands
//! in [`resource`]; what happens to an object on its way into the store in [`strategy`].

pub mod apply;
mod binding;
pub mod cel;
pub mod clock;
pub mod columns;
pub mod convert;
pub mod crd;
pub mod cron;
pub mod defaults;
mod details;
pub mod discovery;
mod duplicates;
pub mod event;
pub mod field;
pub mod fieldcheck;
#[cfg(test)]
mod fuzz;
pub mod install;
pub mod json;
pub mod json_syntax;
pub mod keeper;
pub mod kubeconfig;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod pod_resources;
pub mod pod_security;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod share;
pub mod skim;
pub mod splice;
pub mod status;
pub mod strategy;
pub mod validate;
