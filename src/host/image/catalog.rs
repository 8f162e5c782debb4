//! The catalogue of base images, read from YAML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ImageError;

/// The catalogue this program was built with.
pub const BUILT_IN: &str = include_str!("../../../images/catalog.yaml");

/// Processor family of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// The family this program was built for; `None` where there are no images.
    pub fn host() -> Option<Arch> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Arch::Amd64),
            "aarch64" => Some(Arch::Arm64),
            _ => None,
        }
    }

    /// Debian's and Ubuntu's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// All images, and which one is meant when none is named.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    pub default: String,
    /// Used when the default's host cannot be reached.
    pub fallback: String,
    pub images: BTreeMap<String, Image>,
}

/// One image of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "source", rename_all = "lowercase", deny_unknown_fields)]
pub enum Image {
    /// A cloud image to download and to prepare by one boot.
    Download {
        title: String,
        /// Login the distribution creates if the seed names none.
        user: String,
        /// Value of the kernel's `root=`.
        root: String,
        arch: BTreeMap<Arch, Files>,
    },
    /// A root file system to build from Debian packages.
    Packages {
        title: String,
        user: String,
        root: String,
        suite: String,
        /// Lines of an apt sources list.
        mirrors: Vec<String>,
        arch: Vec<Arch>,
    },
}

/// Where the files of a cloud image are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    pub disk: String,
    /// SHA256SUMS that lists the disk.
    pub checksums: String,
    pub kernel: String,
    pub initrd: String,
    /// SHA256SUMS that lists kernel and initrd.
    pub boot_checksums: String,
}

impl Image {
    pub fn title(&self) -> &str {
        match self {
            Image::Download { title, .. } | Image::Packages { title, .. } => title,
        }
    }

    /// Value of the kernel's `root=`.
    pub fn root(&self) -> &str {
        match self {
            Image::Download { root, .. } | Image::Packages { root, .. } => root,
        }
    }

    /// Login the distribution creates by itself.
    pub fn user(&self) -> &str {
        match self {
            Image::Download { user, .. } | Image::Packages { user, .. } => user,
        }
    }

    /// True if it exists for `arch`.
    pub fn has(&self, arch: Arch) -> bool {
        match self {
            Image::Download { arch: files, .. } => files.contains_key(&arch),
            Image::Packages { arch: list, .. } => list.contains(&arch),
        }
    }
}

impl Catalog {
    /// The catalogue this program was built with.
    ///
    /// # Errors
    /// [`ImageError::Catalog`]; a test keeps that from happening.
    pub fn built_in() -> Result<Catalog, ImageError> {
        Catalog::parse(BUILT_IN)
    }

    /// Reads a catalogue and checks that it makes sense.
    ///
    /// # Errors
    /// [`ImageError::Catalog`] with the place or the offending value.
    pub fn parse(yaml: &str) -> Result<Catalog, ImageError> {
        let catalog: Catalog =
            serde_saphyr::from_str(yaml).map_err(|e| ImageError::Catalog(e.to_string()))?;
        catalog.check()?;
        Ok(catalog)
    }

    /// The image of that name, for `arch`.
    ///
    /// # Errors
    /// [`ImageError::UnknownImage`] with the known names, [`ImageError::NoArch`].
    pub fn get(&self, name: &str, arch: Arch) -> Result<&Image, ImageError> {
        let image = self
            .images
            .get(name)
            .ok_or_else(|| ImageError::UnknownImage {
                name: name.to_owned(),
                known: self.images.keys().cloned().collect(),
            })?;
        if !image.has(arch) {
            return Err(ImageError::NoArch {
                name: name.to_owned(),
                arch: arch.to_string(),
            });
        }
        Ok(image)
    }

    fn check(&self) -> Result<(), ImageError> {
        let bad = |why: String| Err(ImageError::Catalog(why));
        for name in [&self.default, &self.fallback] {
            if !self.images.contains_key(name) {
                return bad(format!("{name:?} is not among the images"));
            }
        }
        for (name, image) in &self.images {
            // Names become file names.
            let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(ok) {
                return bad(format!("image name {name:?}"));
            }
            if image.root().chars().any(char::is_whitespace) {
                return bad(format!("{name}: root {:?}", image.root()));
            }
            let Image::Download { arch, .. } = image else {
                continue;
            };
            for files in arch.values() {
                let urls = [
                    &files.disk,
                    &files.checksums,
                    &files.kernel,
                    &files.initrd,
                    &files.boot_checksums,
                ];
                if let Some(url) = urls.iter().find(|u| !u.starts_with("https://")) {
                    return bad(format!("{name}: {url} is not https"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_is_sound_and_complete() {
        let catalog = Catalog::built_in().unwrap();
        assert_eq!(catalog.default, "ubuntu-26.04");
        for arch in [Arch::Amd64, Arch::Arm64] {
            for name in ["ubuntu-26.04", "ubuntu-24.04", "debian-13"] {
                let image = catalog.get(name, arch).unwrap();
                if let Image::Download { arch: files, .. } = image {
                    let files = &files[&arch];
                    for url in [&files.disk, &files.kernel, &files.initrd] {
                        assert!(url.contains(arch.name()), "{url}");
                        assert!(url.contains(name), "{url}");
                    }
                }
            }
        }
        assert!(matches!(
            catalog.images["debian-13"],
            Image::Packages { .. }
        ));
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let catalog = Catalog::built_in().unwrap();
        let text = catalog.get("fedora", Arch::Amd64).unwrap_err().to_string();
        assert!(text.contains("ubuntu-26.04"), "{text}");
    }

    #[test]
    fn flaws_are_refused() {
        let sound = "default: a\nfallback: a\nimages:\n  a: {source: packages, title: A, user: u, root: LABEL=r, suite: s, mirrors: [], arch: [amd64]}\n";
        Catalog::parse(sound).unwrap();
        for (from, to) in [
            ("default: a", "default: b"),
            ("  a: {", "  ../a: {"),
            ("LABEL=r", "\"r init=/bin/sh\""),
            ("arch: [amd64]", "arch: [mips]"),
            ("title: A", "title: A, nonsense: 1"),
        ] {
            let text = sound.replace(from, to);
            assert!(Catalog::parse(&text).is_err(), "{text}");
        }
        let http = BUILT_IN.replace("checksums: https:", "checksums: http:");
        assert!(Catalog::parse(&http).is_err());
    }
}
