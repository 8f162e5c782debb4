//! Variables from files that a pod's own containers have written (KEP-3721): a small part of what
//! shells read, where every value stands in single quotes.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use k8s_openapi::api::core::v1::FileKeySelector;

use crate::env::ConfigError;
use crate::payload;
use crate::volumes::Places;

/// Longest file that is read: more than the kernel takes as an environment (execve(2)).
const BYTES: u64 = 4 << 20;
const BLANKS: [char; 2] = [' ', '\t'];

/// The value of a variable in a file of one of the pod's volumes; `None` if it has none and need
/// not.
///
/// # Errors
/// A sentence for users if the file or the variable is missing and must not be, or if the file is
/// of another form.
pub(crate) fn read(
    places: &Places,
    wanted: &FileKeySelector,
) -> Result<Option<String>, ConfigError> {
    let FileKeySelector {
        key,
        path,
        volume_name,
        ..
    } = wanted;
    let optional = wanted.optional == Some(true);
    let place = places.get(volume_name);
    let wrong = |why: &str| {
        let file = format!("{volume_name}/{path}");
        ConfigError::EnvFile(format!("couldn't get key {key} of file {file}: {why}"))
    };
    let Some(place) = place else {
        return Err(wrong("the pod has no such volume"));
    };
    let text = match text_of(place, path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && optional => return Ok(None),
        Err(error) => return Err(wrong(&error.to_string())),
    };
    match value(&text, key).map_err(|why| wrong(&why))? {
        None if !optional => Err(wrong("it has no such key")),
        found => Ok(found),
    }
}

/// What a file holds. Containers made it and this program is root: it must lie in the volume
/// wherever its links lead, and be a file that can be read to its end.
fn text_of(volume: &Path, path: &str) -> std::io::Result<String> {
    let refused = std::io::Error::other;
    let path = payload::relative(path).ok_or_else(|| refused("the path leaves its volume"))?;
    let volume = volume.canonicalize()?;
    let path = volume.join(path).canonicalize()?;
    if !path.starts_with(&volume) {
        return Err(refused("the path leaves its volume"));
    }
    if !path.metadata()?.is_file() {
        return Err(refused("it is no regular file"));
    }
    let file = std::fs::File::open(path)?;
    // Meanwhile a link may have come in its place: what counts is what was opened (proc(5)).
    let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if !opened.starts_with(&volume) {
        return Err(refused("the path leaves its volume"));
    }
    let mut text = String::new();
    let read = file.take(BYTES).read_to_string(&mut text)?;
    if read as u64 == BYTES {
        return Err(refused("it is too long"));
    }
    Ok(text)
}

/// The first value of `key`. What is wrong before it is said, in upstream's words.
fn value(text: &str, key: &str) -> Result<Option<String>, String> {
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let wrong = |why: &str| {
            Err(format!(
                "invalid environment variable format at line {number}: {why}"
            ))
        };
        let line = line.trim_start_matches(BLANKS);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, given)) = line.split_once('=') else {
            return wrong("missing '='");
        };
        if name.trim_end_matches(BLANKS).is_empty() {
            return wrong("empty variable name");
        }
        if name.ends_with(BLANKS) {
            return wrong("whitespace before '=' is not allowed");
        }
        let mut found = String::new();
        if let Some(mut rest) = given.strip_prefix('\'') {
            loop {
                if let Some((last, after)) = rest.split_once('\'') {
                    found.push_str(last);
                    let after = after.trim_start_matches(BLANKS);
                    if !after.is_empty() && !after.starts_with('#') {
                        return wrong("unexpected content after closing quote");
                    }
                    break;
                }
                found.push_str(rest);
                found.push('\n');
                let Some((_, more)) = lines.next() else {
                    return Err(format!(
                        "invalid environment variable format starting at line {number}: unclosed \
                         single quote"
                    ));
                };
                rest = more;
            }
        } else if !given.is_empty() && !given.starts_with(BLANKS) {
            return wrong("value must be enclosed in single quotes");
        }
        if name == key {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_single_quotes() {
        let text = "# a note\n\n  A='one' # and another\r\nB='two\n three'\nC=\nA='again'\n";
        let of = |key: &str| value(text, key).unwrap();
        assert_eq!(of("A").as_deref(), Some("one"));
        assert_eq!(of("B").as_deref(), Some("two\n three"));
        assert_eq!(of("C").as_deref(), Some(""));
        assert_eq!(of("D"), None);
        for (text, why) in [
            ("A", "at line 1: missing '='"),
            ("\n=x", "at line 2: empty variable name"),
            ("A ='x'", "at line 1: whitespace before '=' is not allowed"),
            ("A=x", "at line 1: value must be enclosed in single quotes"),
            (
                "A='x'y",
                "at line 1: unexpected content after closing quote",
            ),
            ("A='x\ny", "starting at line 1: unclosed single quote"),
        ] {
            let told = value(text, "A").unwrap_err();
            assert_eq!(told, format!("invalid environment variable format {why}"));
        }
    }

    #[test]
    fn files_lie_in_their_volume() {
        let home = tempfile::tempdir().unwrap();
        let volume = home.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        std::fs::write(volume.join("own"), "A='x'\n").unwrap();
        std::fs::write(home.path().join("other"), "A='secret'\n").unwrap();
        std::os::unix::fs::symlink("../other", volume.join("link")).unwrap();
        let places = Places::from([("v".to_owned(), volume)]);
        let get = |volume: &str, path: &str, key: &str, optional: bool| {
            let wanted = FileKeySelector {
                key: key.into(),
                optional: Some(optional),
                path: path.into(),
                volume_name: volume.into(),
            };
            read(&places, &wanted).map_err(|error| error.to_string())
        };
        assert_eq!(get("v", "own", "A", false), Ok(Some("x".into())));
        assert_eq!(get("v", "own", "B", true), Ok(None));
        assert_eq!(get("v", "none", "A", true), Ok(None));
        assert_eq!(
            get("v", "own", "B", false).unwrap_err(),
            "couldn't get key B of file v/own: it has no such key"
        );
        for (volume, path) in [
            ("v", "none"),
            ("v", "link"),
            ("v", "../other"),
            ("w", "own"),
        ] {
            assert!(get(volume, path, "A", false).is_err(), "{volume}/{path}");
        }
        assert!(get("v", "link", "A", true).is_err(), "even so");
        assert!(get("v", ".", "A", true).is_err());
    }
}
