//! Listening at the best port that can be had.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use cadet_tunnel::forward::{Forward, Goal};
use cadet_tunnel::{Tunnel, TunnelError};
use tokio::sync::watch;

use super::place::{self, Obstacle};

/// A listener that leads to `goal`, at `wanted` or at what comes nearest, and why it is not at
/// `wanted`. `obstacle` says of an error what another port would get around.
///
/// # Errors
/// What no other port would get around.
pub async fn listen(
    tunnel: &Tunnel,
    wanted: u16,
    asked_for: &BTreeSet<u16>,
    goal: &watch::Receiver<Option<Goal>>,
    obstacle: impl Fn(&TunnelError) -> Option<Obstacle>,
) -> Result<(Forward, Option<String>), TunnelError> {
    let mut why = None;
    let mut ports = place::candidates(wanted, asked_for).into_iter();
    loop {
        let port = ports.next().unwrap_or(0);
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match Forward::moving(tunnel.clone(), local, goal.clone()).await {
            Ok(forward) => return Ok((forward, why)),
            Err(error) => match obstacle(&error) {
                Some(obstacle) if port != 0 => {
                    why.get_or_insert_with(|| obstacle.words(port));
                }
                _ => return Err(error),
            },
        }
    }
}
