//! Ports for tests that nobody else takes by chance.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

/// `N` different ports of 127.0.0.1 that are free. They lie below those that systems hand out
/// to whoever asks for any port (ip(7): `ip_local_port_range`), so that tests beside this one
/// do not get them between now and their use.
pub fn ports<const N: usize>() -> [u16; N] {
    let mut found = BTreeSet::new();
    while found.len() < N {
        let random = RandomState::new().hash_one(found.len()) % 15_000;
        let port = 15_000 + u16::try_from(random).expect("a small number");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            found.insert(port);
        }
    }
    let mut found = found.into_iter();
    std::array::from_fn(|_| found.next().expect("as many as were asked for"))
}
