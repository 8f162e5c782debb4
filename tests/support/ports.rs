//! Ports for programs that must be told one before they can bind it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port of 127.0.0.1 that is free, another one each time. It lies below those that are given
/// to who asks for any (ip_local_port_range in ip(7)) and below those of Services: nobody gets
/// it before it is used. Every process begins elsewhere, those that begin together far apart.
pub fn free_port() -> u16 {
    const COUNT: u32 = 17_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97) % COUNT;
    let nth = || NEXT.fetch_add(1, Ordering::Relaxed);
    std::iter::repeat_with(nth)
        .take(COUNT as usize)
        .filter_map(|n| u16::try_from(12_000 + (first + n) % COUNT).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of them is free")
}
