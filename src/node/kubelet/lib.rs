//! kubelet
pub mod labels;
pub mod runtime;
