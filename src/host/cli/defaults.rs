//! What `start` takes where its flags say nothing: the user's own choices, checked when they
//! are made and again when they are used.

use cadet_state::{Settings, Spec};

use crate::args::size_mib;
use crate::error::{CliError, Result};
use crate::{Context, computer, images, start};

/// Something that can be chosen.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// The flag of `start`, without its dashes.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What holds where nothing is chosen, for people.
    pub usual: &'static str,
}

/// All of them.
pub const KEYS: [Key; 4] = [
    Key {
        name: "cpus",
        about: "processors of a new machine",
        usual: "2, or what the computer has",
    },
    Key {
        name: "memory",
        about: "memory of a new machine",
        usual: "2g",
    },
    Key {
        name: "disk-size",
        about: "virtual size of a new machine's disk",
        usual: "20g",
    },
    Key {
        name: "image",
        about: "guest image of a new machine",
        usual: "auto",
    },
];

/// The key called `name`; `disk` is what people type.
///
/// # Errors
/// PROGRAM_USAGE with the names there are.
pub fn key(name: &str) -> Result<&'static Key> {
    let plain = name.to_ascii_lowercase().replace('_', "-");
    let plain = if plain == "disk" { "disk-size" } else { &plain };
    KEYS.iter().find(|k| k.name == plain).ok_or_else(|| {
        let names: Vec<_> = KEYS.iter().map(|k| k.name).collect();
        CliError::new("PROGRAM_USAGE", format!("there is no setting {name:?}"))
            .why(format!("settings are {}", names.join(", ")))
            .fix("cadet config list")
    })
}

/// Choices in the form `start` works with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    pub cpus: Option<u32>,
    pub memory_mib: Option<u64>,
    pub disk_gib: Option<u64>,
    pub image: Option<String>,
}

impl Defaults {
    /// The choices of this user.
    ///
    /// # Errors
    /// PROGRAM_USAGE for a value written by hand that is none, HOST_STATE_CORRUPT.
    pub fn read(cx: &Context) -> Result<Self> {
        Self::of(&Settings::read(&cx.world.home)?)
    }

    /// The choices in `settings`.
    ///
    /// # Errors
    /// PROGRAM_USAGE for a value that is none.
    pub fn of(settings: &Settings) -> Result<Self> {
        let mut defaults = Self::default();
        for (name, value) in &settings.start {
            // A setting of another version of Cadet is none of ours.
            let Ok(key) = key(name) else { continue };
            let bad = |why: String| {
                CliError::new(
                    "PROGRAM_USAGE",
                    format!("{value:?} is no value for the setting {}", key.name),
                )
                .why(why)
                .fix(format!("cadet config unset {}", key.name))
            };
            match key.name {
                "cpus" => {
                    let cpus = value.parse::<u32>();
                    let cpus = cpus.map_err(|_| bad("write a whole number such as 2".into()))?;
                    defaults.cpus = Some(cpus);
                }
                "memory" => defaults.memory_mib = Some(size_mib(value).map_err(bad)?),
                "disk-size" => {
                    let mib = size_mib(value).map_err(bad)?;
                    if mib % 1024 != 0 {
                        return Err(bad("the size of a disk must be whole GiB".into()));
                    }
                    defaults.disk_gib = Some(mib / 1024);
                }
                _ => defaults.image = Some(value.clone()),
            }
        }
        Ok(defaults)
    }

    /// What a new profile gets where no flag says otherwise.
    pub fn spec(&self) -> Spec {
        let cpus = u32::try_from(computer::cores().min(2)).unwrap_or(1);
        Spec {
            cpus: self.cpus.unwrap_or(cpus),
            memory_mib: self.memory_mib.unwrap_or(2048),
            disk_gib: self.disk_gib.unwrap_or(20),
            image: self.image.clone().unwrap_or_else(|| "auto".into()),
        }
    }

    /// Refuses what this computer cannot hold, as `start` would.
    ///
    /// # Errors
    /// RESOURCE_CPUS, RESOURCE_MEMORY, RESOURCE_DISK, IMAGE_UNKNOWN.
    pub fn check(&self, cx: &Context) -> Result<()> {
        let spec = self.spec();
        images::known(cx, &spec.image)?;
        start::fits(&spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(rows: &[(&str, &str)]) -> Settings {
        let start = rows.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        Settings {
            start: start.collect(),
            ..Settings::default()
        }
    }

    #[test]
    fn words_become_what_start_works_with() {
        let chosen = settings(&[
            ("cpus", "1"),
            ("memory", "3g"),
            ("disk-size", "30g"),
            ("image", "debian-13"),
            ("of-tomorrow", "x"),
        ]);
        let spec = Defaults::of(&chosen).unwrap().spec();
        assert_eq!(
            (
                spec.cpus,
                spec.memory_mib,
                spec.disk_gib,
                spec.image.as_str()
            ),
            (1, 3072, 30, "debian-13")
        );
        assert_eq!(Defaults::default().spec().memory_mib, 2048);
    }

    #[test]
    fn values_that_are_none_are_told_with_the_way_out() {
        for (name, value) in [("cpus", "two"), ("memory", "2x"), ("disk-size", "1500m")] {
            let error = Defaults::of(&settings(&[(name, value)])).unwrap_err();
            assert_eq!(error.topic.id, "PROGRAM_USAGE");
            let fix = error.fix.unwrap();
            assert_eq!(fix, format!("cadet config unset {name}"));
        }
    }

    #[test]
    fn names_are_the_flags() {
        for name in ["disk-size", "disk", "disk_size", "Disk"] {
            assert_eq!(key(name).unwrap().name, "disk-size");
        }
        assert_eq!(key("colour").unwrap_err().topic.id, "PROGRAM_USAGE");
    }
}
