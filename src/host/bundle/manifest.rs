//! What is in a bundle: entries, which have names, and pieces, which have bytes.
//!
//! Two entries with the same bytes share one piece. Everything read from a manifest is checked
//! here, once, so that names cannot lead out of folders and sizes cannot overflow.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{BundleError, Result};

/// Longest title of a class.
pub const LONGEST_TITLE: usize = 80;
/// More pieces than any class has.
const MOST: usize = 10_000;
/// Larger than any disk image: sums of sizes stay far below the largest number.
const LARGEST: u64 = 1 << 42;
const ARCHES: [&str; 2] = ["amd64", "arm64"];
const SYSTEMS: [&str; 3] = ["linux", "macos", "windows"];

/// The signed list of what is in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the teacher calls the class.
    pub class: String,
    /// Version of the cadet that made it.
    pub cadet: String,
    /// Name of the base image in the catalogue.
    pub image: String,
    /// The lessons by name, in the order they are taught.
    pub lessons: Vec<String>,
    /// By place.
    pub entries: Vec<Entry>,
    /// In the order of their bytes, which follow the manifest without gaps.
    pub pieces: Vec<Piece>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub place: Place,
    /// Index in `pieces`.
    pub piece: usize,
}

/// The bytes of one or more files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// Of the file.
    pub size: u64,
    pub sha256: String,
    pub packing: Packing,
    /// Of the bytes in the bundle.
    pub packed_size: u64,
    pub packed_sha256: String,
}

/// How a piece's bytes lie in the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// As they are: a disk image is compressed already.
    Plain,
    /// One zstd frame (RFC 8878).
    Zstd,
}

/// What a file is for. Written as a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// `base/ARCH/FILE`: the prepared base image of machines.
    Base { arch: String, file: String },
    /// `guest/ARCH/PROGRAM`: cadet-node and the programs of lesson images.
    Guest { arch: String, program: String },
    /// `host/OS-ARCH/PROGRAM`: cadet and kubectl.
    Host { platform: Platform, program: String },
    /// `lesson/FOLDER`: an archive of a lesson's files.
    Lesson { folder: String },
}

impl Place {
    /// Checks the names in it.
    ///
    /// # Errors
    /// [`BundleError::Name`].
    pub fn checked(self) -> Result<Place> {
        let (arch, name) = match &self {
            Place::Base { arch, file: name }
            | Place::Guest {
                arch,
                program: name,
            } => (Some(arch), name),
            Place::Host { program: name, .. } | Place::Lesson { folder: name } => (None, name),
        };
        let known = arch.is_none_or(|arch| ARCHES.contains(&arch.as_str()));
        if known && is_name(name) {
            return Ok(self);
        }
        Err(BundleError::Name {
            name: self.to_string(),
        })
    }
}

/// A plain name of a file, on every system: no separators, no hidden ones, none that Windows
/// keeps for devices (those have no dot and no dash, three or four letters).
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let stem = name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    let device = matches!(stem.as_str(), "con" | "prn" | "aux" | "nul")
        || (stem.len() == 4
            && (stem.starts_with("com") || stem.starts_with("lpt"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    (1..=80).contains(&name.len())
        && name.chars().all(plain)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !device
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Base { arch, file } => write!(f, "base/{arch}/{file}"),
            Place::Guest { arch, program } => write!(f, "guest/{arch}/{program}"),
            Place::Host { platform, program } => write!(f, "host/{platform}/{program}"),
            Place::Lesson { folder } => write!(f, "lesson/{folder}"),
        }
    }
}

impl FromStr for Place {
    type Err = BundleError;

    fn from_str(text: &str) -> Result<Place> {
        let wrong = || BundleError::Name {
            name: text.to_owned(),
        };
        let words: Vec<&str> = text.split('/').collect();
        let place = match words[..] {
            ["base", arch, file] => Place::Base {
                arch: arch.into(),
                file: file.into(),
            },
            ["guest", arch, program] => Place::Guest {
                arch: arch.into(),
                program: program.into(),
            },
            ["host", platform, program] => Place::Host {
                platform: platform.parse().map_err(|_| wrong())?,
                program: program.into(),
            },
            ["lesson", folder] => Place::Lesson {
                folder: folder.into(),
            },
            _ => return Err(wrong()),
        };
        place.checked()
    }
}

impl TryFrom<String> for Place {
    type Error = BundleError;

    fn try_from(text: String) -> Result<Place> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> String {
        place.to_string()
    }
}

/// A system and its processor: `linux-amd64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform(String);

impl Platform {
    /// This computer's.
    pub fn here() -> Platform {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Platform(format!("{}-{arch}", std::env::consts::OS))
    }

    /// Every platform a bundle can have programs for.
    pub fn all() -> impl Iterator<Item = Platform> {
        SYSTEMS.into_iter().flat_map(|system| {
            ARCHES
                .into_iter()
                .map(move |arch| Platform(format!("{system}-{arch}")))
        })
    }

    /// Its processor, which is that of its guests as well.
    pub fn arch(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, arch)| arch)
    }

    /// What a program is called there.
    pub fn program(&self, name: &str) -> String {
        if self.0.starts_with("windows-") {
            format!("{name}.exe")
        } else {
            name.to_owned()
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Platform {
    type Err = BundleError;

    fn from_str(text: &str) -> Result<Platform> {
        Platform::all()
            .find(|platform| platform.0 == text)
            .ok_or_else(|| BundleError::Name {
                name: text.to_owned(),
            })
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`BundleError::Manifest`] with the first rule that is broken.
    pub fn parse(json: &[u8]) -> Result<Manifest> {
        let manifest: Manifest =
            serde_json::from_slice(json).map_err(|e| BundleError::Manifest(e.to_string()))?;
        manifest.check().map_err(BundleError::Manifest)?;
        Ok(manifest)
    }

    /// The bytes that are signed: always the same for the same manifest.
    ///
    /// # Errors
    /// [`BundleError::Manifest`].
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.check().map_err(BundleError::Manifest)?;
        serde_json::to_vec(self).map_err(|e| BundleError::Manifest(e.to_string()))
    }

    fn check(&self) -> Result<(), String> {
        let title = self.class.chars().count();
        if !(1..=LONGEST_TITLE).contains(&title) || self.class.chars().any(char::is_control) {
            return Err("the title of the class is empty, too long or has odd characters".into());
        }
        for name in [&self.cadet, &self.image].into_iter().chain(&self.lessons) {
            if !is_name(name) {
                return Err(format!("{name:?} is no name"));
            }
        }
        if self.entries.is_empty() || self.entries.len() > MOST || self.pieces.len() > MOST {
            return Err("it has no entries, or too many".into());
        }
        if !self.entries.is_sorted_by_key(|e| e.place.to_string()) {
            return Err("its entries are not in order".into());
        }
        // Windows and macOS do not tell small letters from capital ones.
        let mut places = BTreeSet::new();
        let mut used = BTreeSet::new();
        for Entry { place, piece } in &self.entries {
            if !places.insert(place.to_string().to_ascii_lowercase()) {
                return Err(format!("{place} is there twice"));
            }
            if *piece >= self.pieces.len() {
                return Err(format!("{place} has no piece"));
            }
            used.insert(*piece);
        }
        if used.len() != self.pieces.len() {
            return Err("it has a piece without an entry".into());
        }
        let mut sums = BTreeSet::new();
        for piece in &self.pieces {
            if piece.size > LARGEST || piece.packed_size > LARGEST {
                return Err("a piece is too large".into());
            }
            if !is_sum(&piece.sha256) || !is_sum(&piece.packed_sha256) {
                return Err("a checksum is not one".into());
            }
            let alike = piece.sha256 == piece.packed_sha256 && piece.size == piece.packed_size;
            if piece.packing == Packing::Plain && !alike {
                return Err("a plain piece differs from itself".into());
            }
            if !sums.insert(&piece.sha256) {
                return Err("a piece is there twice".into());
            }
        }
        Ok(())
    }

    /// Where piece `index` begins, counted from the end of the manifest.
    pub fn offset(&self, index: usize) -> u64 {
        self.pieces[..index].iter().map(|p| p.packed_size).sum()
    }

    /// Bytes of all pieces in the bundle.
    pub fn body(&self) -> u64 {
        self.offset(self.pieces.len())
    }

    /// The processors it has a base image for.
    pub fn arches(&self) -> Vec<String> {
        let arches = self.entries.iter().filter_map(|e| match &e.place {
            Place::Base { arch, .. } => Some(arch.clone()),
            _ => None,
        });
        arches.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The platforms it has programs for.
    pub fn platforms(&self) -> Vec<Platform> {
        let platforms = self.entries.iter().filter_map(|e| match &e.place {
            Place::Host { platform, .. } => Some(platform.clone()),
            _ => None,
        });
        platforms.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What a computer needs of it: the base and guest programs of its processor, its own
    /// programs, and every lesson.
    ///
    /// # Errors
    /// [`BundleError::Platform`] when there is no machine for that processor.
    pub fn for_platform(&self, platform: &Platform) -> Result<Vec<&Entry>> {
        let arches = self.arches();
        if !arches.iter().any(|arch| arch == platform.arch()) {
            return Err(BundleError::Platform {
                wanted: platform.to_string(),
                has: arches,
            });
        }
        let wanted = |entry: &&Entry| match &entry.place {
            Place::Base { arch, .. } | Place::Guest { arch, .. } => arch == platform.arch(),
            Place::Host { platform: p, .. } => p == platform,
            Place::Lesson { .. } => true,
        };
        Ok(self.entries.iter().filter(wanted).collect())
    }
}

fn is_sum(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let piece = |letter: &str, size| Piece {
            size,
            sha256: letter.repeat(64),
            packing: Packing::Plain,
            packed_size: size,
            packed_sha256: letter.repeat(64),
        };
        let entry = |place: &str, piece| Entry {
            place: place.parse().unwrap(),
            piece,
        };
        Manifest {
            class: "Tuesday".into(),
            cadet: "0.1.0".into(),
            image: "debian-13".into(),
            lessons: vec!["telescope".into()],
            entries: vec![
                entry("base/amd64/root.qcow2", 0),
                entry("guest/amd64/cadet-node", 1),
                entry("host/linux-amd64/cadet", 2),
                entry("host/macos-arm64/cadet", 2),
                entry("lesson/01-telescope", 1),
            ],
            pieces: vec![piece("a", 5), piece("b", 7), piece("c", 11)],
        }
    }

    #[test]
    fn a_manifest_survives_its_bytes() {
        let manifest = manifest();
        let bytes = manifest.bytes().unwrap();
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
        assert_eq!(manifest.bytes().unwrap(), bytes);
        assert_eq!((manifest.offset(2), manifest.body()), (12, 23));
    }

    #[test]
    fn a_computer_takes_what_fits_it() {
        let manifest = manifest();
        let taken = |platform: &str| -> Result<Vec<String>> {
            let entries = manifest.for_platform(&platform.parse()?)?;
            Ok(entries.iter().map(|e| e.place.to_string()).collect())
        };
        assert_eq!(
            taken("linux-amd64").unwrap(),
            [
                "base/amd64/root.qcow2",
                "guest/amd64/cadet-node",
                "host/linux-amd64/cadet",
                "lesson/01-telescope"
            ]
        );
        // A machine, but no programs of its own.
        assert_eq!(taken("windows-amd64").unwrap().len(), 3);
        let refused = taken("macos-arm64").unwrap_err();
        assert!(
            matches!(&refused, BundleError::Platform { has, .. } if has == &["amd64"]),
            "{refused}"
        );
    }

    #[test]
    fn names_stay_in_their_folders() {
        for good in ["lesson/01-telescope", "host/windows-arm64/cadet.exe"] {
            assert_eq!(good.parse::<Place>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "lesson/",
            "lesson/..",
            "lesson/.hidden",
            "lesson/a/b",
            "lesson/a\\b",
            "lesson/a b",
            "lesson/nul",
            "lesson/COM1.txt",
            "base/mips/root.qcow2",
            "base/amd64/../root",
            "host/plan9-amd64/cadet",
            "../base/amd64/x",
            "/lesson/x",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn broken_rules_are_found_even_when_signed() {
        type Change = fn(&mut Manifest);
        let changes: [(&str, Change); 11] = [
            ("title", |m| m.class.clear()),
            ("control", |m| m.class.push('\u{1b}')),
            ("lesson", |m| m.lessons.push("../x".into())),
            ("order", |m| m.entries.swap(0, 1)),
            ("twice", |m| m.entries[3] = m.entries[2].clone()),
            ("no piece", |m| m.entries[0].piece = 3),
            ("unused piece", |m| m.entries[0].piece = 1),
            ("too large", |m| m.pieces[0].size = u64::MAX),
            ("checksum", |m| m.pieces[0].sha256 = "A".repeat(64)),
            ("plain", |m| m.pieces[0].packed_size += 1),
            ("same bytes", |m| m.pieces[1] = m.pieces[0].clone()),
        ];
        for (name, change) in changes {
            let mut broken = manifest();
            change(&mut broken);
            let json = serde_json::to_vec(&broken).unwrap();
            let found = Manifest::parse(&json);
            assert!(matches!(found, Err(BundleError::Manifest(_))), "{name}");
        }
        assert!(Manifest::parse(b"{}").is_err());
    }

    #[test]
    fn this_computer_has_a_platform() {
        let here = Platform::here();
        assert_eq!(here.to_string().parse::<Platform>().unwrap(), here);
        assert!(!here.arch().is_empty());
    }
}
