//! Which port of the laptop a door gets. Pure.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use cadet_tunnel::TunnelError;

/// Ports below this one belong to root on most systems (ip(7)).
const FIRST_FREE_FOR_ALL: u16 = 1024;

/// Ports to try for a door that asks for `wanted`, best first; 0 is any free one. Ports in
/// `asked_for`, which other doors ask for, are left to them. Who asks for 0 wants any.
pub fn candidates(wanted: u16, asked_for: &BTreeSet<u16>) -> Vec<u16> {
    if wanted == 0 {
        return vec![0];
    }
    let mut ports = vec![wanted];
    if wanted < FIRST_FREE_FOR_ALL {
        // 80 as 8080, 443 as 8443: the numbers people know.
        ports.push(8000 + wanted);
    }
    ports.retain(|port| *port == wanted || !asked_for.contains(port));
    ports.push(0);
    ports
}

/// Why a port cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It belongs to root, which Cadet never asks to be.
    Root,
    /// Another door is there, that of the Service named.
    Door(String),
    /// Another program listens there.
    Program,
}

impl Obstacle {
    /// What stood in the way; None if another port would not help.
    pub fn of(error: &TunnelError) -> Option<Self> {
        match error {
            TunnelError::PortTaken(_) => Some(Self::Program),
            TunnelError::Bind { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Some(Self::Root)
            }
            _ => None,
        }
    }

    /// In a few words.
    pub fn words(&self, port: u16) -> String {
        match self {
            Self::Root => format!("port {port} needs root"),
            Self::Door(service) => format!("port {port} is taken by {service}"),
            Self::Program => format!("port {port} is taken by another program"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_ports_get_the_numbers_people_know() {
        let none = BTreeSet::new();
        assert_eq!(candidates(80, &none), [80, 8080, 0]);
        assert_eq!(candidates(0, &none), [0]);
        assert_eq!(candidates(443, &none), [443, 8443, 0]);
        assert_eq!(candidates(1023, &none), [1023, 9023, 0]);
        assert_eq!(candidates(1024, &none), [1024, 0]);
        assert_eq!(candidates(6000, &none), [6000, 0]);
    }

    #[test]
    fn nobody_is_given_what_another_asks_for() {
        let asked_for = BTreeSet::from([80, 8080]);
        assert_eq!(candidates(80, &asked_for), [80, 0]);
        assert_eq!(candidates(8080, &asked_for), [8080, 0]);
    }

    #[test]
    fn obstacles_are_named() {
        assert_eq!(Obstacle::Root.words(80), "port 80 needs root");
        assert_eq!(
            Obstacle::Door("default/web".into()).words(6000),
            "port 6000 is taken by default/web"
        );
        assert_eq!(
            Obstacle::Program.words(6000),
            "port 6000 is taken by another program"
        );
    }
}
