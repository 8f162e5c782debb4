//! The images a lesson needs, in the machine's engine before its first step.

use cadet_tutorial::world::{Sink, Stream, WorldError};

use super::guest::Guest;
use super::told;
use crate::images::lesson_images;

/// Puts the sets `names` into the engine; says what it does meanwhile.
///
/// # Errors
/// There is no such set, an image can neither be pulled nor built, the machine is away.
pub async fn ensure(guest: &Guest, names: &[String], output: &Sink) -> Result<(), WorldError> {
    if names.is_empty() {
        return Ok(());
    }
    let tunnel = guest.tunnel().await?;
    let say = |text: &str| output(Stream::Out, &format!("{text}\n"));
    // What stands in for an image is among what was said.
    lesson_images(&tunnel, names, &say).await.map_err(told)?;
    for (node, tunnel) in guest.others().await? {
        let say = |text: &str| output(Stream::Out, &format!("{}: {text}\n", node.name));
        let done = lesson_images(&tunnel, names, &say).await;
        tunnel.close().await;
        done.map_err(told)?;
    }
    Ok(())
}
