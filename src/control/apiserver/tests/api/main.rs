//! The API server seen from outside: one program for all its tests, so that they link once.

mod access;
mod admission;
mod agent;
mod applying;
mod certificates;
mod clients;
mod cluster;
mod custom;
mod deleting;
#[allow(dead_code)] // a part of it is enough here
#[path = "../../../store/tests/etcd/mod.rs"]
mod etcd;
mod explain;
mod hostile;
mod journal;
mod kubectl;
mod objects;
mod parts;
mod past;
mod program;
mod proxy;
mod rbac;
mod reading;
mod session;
mod shared;
mod story;
mod streams;
mod support;
mod tls;
mod watching;
mod webhooks;
mod wire;
mod wording;
mod workloads;
