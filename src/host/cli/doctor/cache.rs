//! Base images on a laptop, and what profiles need of them, judged.

use std::path::{Path, PathBuf};

use cadet_image::{Base, ImageError};

use super::Finding;
use crate::error::CliError;
use crate::ui;

/// Judges the prepared bases.
pub fn bases(list: &[Result<Base, ImageError>]) -> Finding {
    let mut size = 0;
    for base in list {
        match base {
            Err(e) => return Finding::Bad(damaged(e)),
            Ok(base) => {
                if let Err(e) = base.check() {
                    return Finding::Bad(damaged(&e));
                }
                size += base.size();
            }
        }
    }
    match list.len() {
        0 => Finding::Good("no base is prepared yet; start does that".into()),
        n => Finding::Good(format!("{n} prepared and whole, {} MB", size / 1_000_000)),
    }
}

fn damaged(e: &ImageError) -> CliError {
    CliError::new("IMAGE_CORRUPT", "a prepared base image is damaged")
        .why(e.to_string())
        .fix("cadet image list\ncadet image rm NAME      then: cadet start")
}

/// Judges the bases that profiles' disks lie on: name of the profile, file of the base, and
/// whether it is there.
pub fn foundations(disks: &[(String, PathBuf, bool)]) -> Finding {
    let gone: Vec<_> = disks.iter().filter(|(_, _, there)| !there).collect();
    let Some((name, file, _)) = gone.first() else {
        return Finding::Good(match disks.len() {
            0 => "no disk lies on one".into(),
            n => format!(
                "the disks of {} lie on what is there",
                ui::count(n, "profile")
            ),
        });
    };
    Finding::Bad(
        CliError::new(
            "IMAGE_CORRUPT",
            format!("the base image under the disk of {name} is gone"),
        )
        .why(format!("{} is missing", file.display()))
        .fix(format!(
            "cadet image build      makes it again if its recipe is the same\ncadet -p {name} delete"
        )),
    )
}

/// Judges downloads that were broken off: their bytes.
pub fn leftovers(folder: &Path, bytes: u64) -> Finding {
    match bytes {
        0 => Finding::Good("none was broken off".into()),
        _ => Finding::note_with(
            format!(
                "{} MB of downloads were broken off; the next start goes on with them",
                bytes.div_ceil(1_000_000)
            ),
            format!("ls {}", folder.display()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_is_gone_is_told_by_the_profile_that_needs_it() {
        let disk = |there| ("class".to_owned(), PathBuf::from("/c/base.qcow2"), there);
        assert!(matches!(foundations(&[]), Finding::Good(_)));
        assert!(matches!(foundations(&[disk(true)]), Finding::Good(_)));
        let Finding::Bad(e) = foundations(&[disk(true), disk(false)]) else {
            panic!("one is gone");
        };
        assert_eq!(e.topic.id, "IMAGE_CORRUPT");
        assert!(e.what.contains("class") && e.why.unwrap().contains("/c/base.qcow2"));
        assert!(e.fix.unwrap().contains("cadet -p class delete"));
    }

    #[test]
    fn damaged_bases_and_broken_downloads() {
        let damage = ImageError::DamagedBase {
            path: "/c/x".into(),
            why: "disk.qcow2: gone".into(),
        };
        assert!(matches!(bases(&[]), Finding::Good(_)));
        let Finding::Bad(e) = bases(&[Err(damage)]) else {
            panic!("it is damaged");
        };
        assert!(e.why.unwrap().contains("gone"));
        assert!(matches!(leftovers(Path::new("/c"), 0), Finding::Good(_)));
        assert!(matches!(
            leftovers(Path::new("/c"), 1),
            Finding::Note { .. }
        ));
    }
}
