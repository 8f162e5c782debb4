//! Errors of the bundle room in the user's words.

use cadet_bundle::BundleError;

use crate::error::CliError;
use crate::from_rooms::chain;
use crate::machine;

/// What helps when the bytes are not the teacher's.
const AGAIN: &str = "copy it again from the teacher, then: cadet class install FILE";

impl From<BundleError> for CliError {
    fn from(e: BundleError) -> Self {
        let text = chain(&e);
        match &e {
            BundleError::NotABundle { path } => {
                CliError::new("BUNDLE_INVALID", format!("{path} is no bundle of a class"))
                    .why("it does not begin as `cadet class bundle` begins one")
                    .fix("cadet class install FILE.cadet")
            }
            BundleError::Folder { path, found } => {
                let what = match found.len() {
                    0 => format!("there is no bundle in {}", path.display()),
                    _ => format!("there are several bundles in {}", path.display()),
                };
                let file = found.first().map_or("FILE.cadet", String::as_str);
                CliError::new("PROGRAM_USAGE", what)
                    .why(match found.len() {
                        0 => "its name ends in .cadet, or .cadet.001 if it was split".to_owned(),
                        _ => found.join(", "),
                    })
                    .fix(format!("cadet class install {}", path.join(file).display()))
            }
            BundleError::Format { found, known } => {
                let (age, fix) = if found < known {
                    ("an older", "the teacher makes it anew: cadet class bundle")
                } else {
                    ("a newer", "install it with the cadet that came with it")
                };
                CliError::new(
                    "BUNDLE_FORMAT",
                    format!("the bundle was made by {age} Cadet"),
                )
                .why(text)
                .fix(fix)
            }
            BundleError::Signature => CliError::new(
                "BUNDLE_SIGNATURE",
                "the bundle's signature is not right: it was altered or damaged",
            )
            .why(text)
            .fix(AGAIN),
            BundleError::OtherKey { found, .. } => CliError::new(
                "CLASS_TEACHER",
                "the bundle is signed by somebody else than your teacher",
            )
            .why(text)
            .fix(format!(
                "compare with what `cadet class bundle` showed the teacher; if it is the same:\n\
                 cadet class install --key {found} FILE"
            )),
            BundleError::Manifest(_) | BundleError::Lesson { .. } | BundleError::Name { .. } => {
                CliError::new("BUNDLE_INVALID", "the bundle cannot be used")
                    .why(text)
                    .fix("the teacher makes it anew: cadet class bundle")
            }
            BundleError::Truncated { .. } | BundleError::Part { .. } => {
                CliError::new("BUNDLE_TRUNCATED", "a piece of the bundle is missing")
                    .why(text)
                    .fix(AGAIN)
            }
            BundleError::Surplus { .. } => {
                CliError::new("BUNDLE_TAMPERED", "the bundle is longer than it should be")
                    .why(text)
                    .fix(AGAIN)
            }
            BundleError::Tampered { piece } => CliError::new(
                "BUNDLE_TAMPERED",
                format!("{piece} in the bundle is altered"),
            )
            .why(text)
            .fix(AGAIN),
            BundleError::Platform { wanted, has } => CliError::new(
                "BUNDLE_PLATFORM",
                format!("the bundle has no machine for this computer, which is {wanted}"),
            )
            .why(format!("it is for {}", has.join(", ")))
            .fix(format!(
                "the teacher adds it: cadet class bundle --arch {}",
                wanted.split_once('-').map_or("", |(_, arch)| arch)
            )),
            BundleError::Changed { path } => CliError::new(
                "BUNDLE_BUSY",
                format!("{} changed while it was being bundled", path.display()),
            )
            .why("another program wrote to it; nothing was written")
            .fix("repeat the command"),
            BundleError::Occupied { path } => CliError::new(
                "BUNDLE_EXISTS",
                format!("{} is there and is no bundle", path.display()),
            )
            .why("only bundles are written over")
            .fix("cadet class bundle --out OTHER.cadet …"),
            BundleError::Key { path, why } => CliError::new(
                "HOST_STATE_CORRUPT",
                "the key that signs your bundles cannot be used",
            )
            .why(format!("{}: {why}", path.display()))
            .fix(format!(
                "mv {0} {0}.old      the next bundle makes a new one",
                path.display()
            )),
            BundleError::NoRandom => CliError::new("PROGRAM_INTERNAL", "no key can be made")
                .why(text)
                .fix("cadet doctor"),
            BundleError::Qr { .. } => CliError::new("PROGRAM_USAGE", "the code is too long")
                .why(text)
                .fix("cadet class cards CODE"),
            BundleError::DiskFull { path } => {
                machine::disk_full(&path.display().to_string(), &text)
            }
            BundleError::File { act, path, source } => machine::io(act, path, source),
        }
    }
}
