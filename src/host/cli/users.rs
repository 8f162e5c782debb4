//! What lies in the cache and is to be removed: never under the disks of machines, of this home or
//! of another that shares the cache.

use std::path::Path;

use cadet_state::{User, Users};

use crate::Context;
use crate::error::{CliError, Result};

/// Refuses to remove `what` while machines lie on files that `is_meant`.
///
/// # Errors
/// HOST_PROFILE_BUSY.
pub fn nobody_on(cx: &Context, what: &str, is_meant: impl Fn(&Path) -> bool) -> Result<()> {
    refuse(what, &Users::of(&cx.world.home)?.on(is_meant))
}

/// As [`nobody_on`], for what this home's own machines go with.
///
/// # Errors
/// HOST_PROFILE_BUSY.
pub fn no_other_on(cx: &Context, what: &str, is_meant: impl Fn(&Path) -> bool) -> Result<()> {
    let mut on = Users::of(&cx.world.home)?.on(is_meant);
    on.retain(|user| user.home.is_some());
    refuse(what, &on)
}

fn refuse(what: &str, on: &[User]) -> Result<()> {
    let Some(first) = on.first() else {
        return Ok(());
    };
    let told: Vec<_> = on.iter().map(told).collect();
    let why = format!("the disks of these profiles lie on it: {}", told.join(", "));
    let busy = CliError::new("HOST_PROFILE_BUSY", format!("{what} is in use"));
    Err(busy.why(why).fix(way_out(first)))
}

fn told(user: &User) -> String {
    match (&user.home, &user.profile) {
        (None, profile) => profile.clone().unwrap_or_default(),
        (Some(home), Some(profile)) => format!("{profile} (of {})", home.display()),
        (Some(home), None) => format!("perhaps one of {}, which cannot be read", home.display()),
    }
}

fn way_out(user: &User) -> String {
    match (&user.home, &user.profile) {
        (None, profile) => format!("cadet -p {} delete", profile.as_deref().unwrap_or_default()),
        (Some(home), Some(profile)) => {
            let home = home.display().to_string();
            let home = cadet_tunnel::exec::quote(&home);
            format!("CADET_HOME={home} cadet -p {profile} delete")
        }
        (Some(home), None) => format!("ls -l {}", home.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_lies_on_it_is_named_with_the_home() {
        let user = |home: Option<&str>, profile: Option<&str>| User {
            home: home.map(Into::into),
            profile: profile.map(Into::into),
        };
        assert!(refuse("debian-13", &[]).is_ok());
        let told = |user| refuse("debian-13", &[user]).unwrap_err();
        let mine = told(user(None, Some("cadet")));
        assert_eq!(mine.fix.as_deref(), Some("cadet -p cadet delete"));
        let other = told(user(Some("/h"), Some("class")));
        assert!(other.why.unwrap().ends_with("class (of /h)"));
        assert_eq!(
            other.fix.as_deref(),
            Some("CADET_HOME='/h' cadet -p class delete")
        );
        let unread = told(user(Some("/h"), None));
        assert!(unread.why.unwrap().contains("cannot be read"));
    }
}
