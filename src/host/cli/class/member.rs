//! What this laptop remembers of the class it joined: read and kept in a moment, never held open.

use cadet_class::Membership;
use cadet_state::Store;

use crate::Context;
use crate::error::{CliError, Result};
use crate::machine;

/// The membership of this profile.
///
/// # Errors
/// HOST_STATE_CORRUPT, HOST_PROFILE_BUSY.
pub fn read(cx: &Context) -> Result<Option<Membership>> {
    let kept = kept(cx)?;
    Ok(kept.map(|bytes| Membership::decode(&bytes)).transpose()?)
}

/// The same, for who joins with a code: one that cannot be used gives way to a new one, as its
/// error advises.
///
/// # Errors
/// HOST_STATE_CORRUPT, HOST_PROFILE_BUSY.
pub fn usable(cx: &Context) -> Result<Option<Membership>> {
    let Some(bytes) = kept(cx)? else {
        return Ok(None);
    };
    let read = Membership::decode(&bytes).and_then(|member| {
        member.me()?;
        Ok(member)
    });
    match read {
        Ok(member) => Ok(Some(member)),
        Err(e) => {
            cx.ui
                .warn("class", &format!("{e}; you join as somebody new"));
            Ok(None)
        }
    }
}

fn kept(cx: &Context) -> Result<Option<Vec<u8>>> {
    // Looking must not make folders.
    if !cx.world.home.database().exists() {
        return Ok(None);
    }
    Ok(Store::open(&cx.world.home)?.membership(&cx.name)?)
}

/// The same, for commands that need one.
///
/// # Errors
/// CLASS_NOT_JOINED.
pub fn required(cx: &Context) -> Result<Membership> {
    read(cx)?.ok_or_else(|| none(cx))
}

/// The error where there is none.
pub fn none(cx: &Context) -> CliError {
    CliError::new("CLASS_NOT_JOINED", "you have joined no class")
        .why(format!("nothing is known of one for profile {}", cx.name))
        .fix(machine::again(cx, "class join CODE"))
}

/// Keeps it; on the disk when this returns.
///
/// # Errors
/// HOST_DISK_FULL, HOST_STATE_CORRUPT, HOST_PROFILE_BUSY.
pub fn keep(cx: &Context, membership: &Membership) -> Result<()> {
    let bytes = membership.encode()?;
    Ok(Store::open(&cx.world.home)?.put_membership(&cx.name, &bytes)?)
}

/// Forgets it.
///
/// # Errors
/// As [`keep`].
pub fn forget(cx: &Context) -> Result<()> {
    Ok(Store::open(&cx.world.home)?.remove_membership(&cx.name)?)
}
