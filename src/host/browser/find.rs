//! Finding a browser. The environment comes as values, so every system can be tested
//! on every other.

use std::path::{Path, PathBuf};

use crate::{BrowserError, Result};

/// Which arguments a browser understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Chrome, Chromium, Edge, Brave and relatives.
    Chromium,
    /// Firefox and relatives.
    Firefox,
}

/// A browser on this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Browser {
    /// Its program file.
    pub program: PathBuf,
    /// How it is told things.
    pub family: Family,
    /// What people call it.
    pub name: String,
}

/// The operating system, as far as browsers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Linux and the BSDs.
    Linux,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

impl System {
    /// The system this program was built for.
    pub const fn here() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::MacOs
        } else {
            Self::Linux
        }
    }
}

/// What the search may look at.
#[derive(Debug, Clone)]
pub struct World {
    /// The system.
    pub system: System,
    /// Folders of `PATH`.
    pub path: Vec<PathBuf>,
    /// Home folder (macOS keeps programs there too).
    pub home: Option<PathBuf>,
    /// Windows: `%ProgramFiles%`, `%ProgramFiles(x86)%`, `%LocalAppData%`.
    pub program_folders: Vec<PathBuf>,
    /// The user is root: Chromium then refuses its sandbox on Linux.
    pub is_root: bool,
    /// A display is there (Linux: `DISPLAY` or `WAYLAND_DISPLAY` is set).
    pub has_display: bool,
}

const COMMANDS: &[(&str, Family, &str)] = &[
    ("google-chrome", Family::Chromium, "Chrome"),
    ("google-chrome-stable", Family::Chromium, "Chrome"),
    ("chromium", Family::Chromium, "Chromium"),
    ("chromium-browser", Family::Chromium, "Chromium"),
    ("microsoft-edge", Family::Chromium, "Edge"),
    ("microsoft-edge-stable", Family::Chromium, "Edge"),
    ("brave-browser", Family::Chromium, "Brave"),
    ("firefox", Family::Firefox, "Firefox"),
    ("firefox-esr", Family::Firefox, "Firefox"),
];

const MAC_APPS: &[(&str, Family, &str)] = &[
    (
        "Google Chrome.app/Contents/MacOS/Google Chrome",
        Family::Chromium,
        "Chrome",
    ),
    (
        "Chromium.app/Contents/MacOS/Chromium",
        Family::Chromium,
        "Chromium",
    ),
    (
        "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
        Family::Chromium,
        "Edge",
    ),
    (
        "Brave Browser.app/Contents/MacOS/Brave Browser",
        Family::Chromium,
        "Brave",
    ),
    (
        "Firefox.app/Contents/MacOS/firefox",
        Family::Firefox,
        "Firefox",
    ),
];

const WINDOWS_PROGRAMS: &[(&str, Family, &str)] = &[
    (
        "Google/Chrome/Application/chrome.exe",
        Family::Chromium,
        "Chrome",
    ),
    (
        "Chromium/Application/chrome.exe",
        Family::Chromium,
        "Chromium",
    ),
    (
        "Microsoft/Edge/Application/msedge.exe",
        Family::Chromium,
        "Edge",
    ),
    (
        "BraveSoftware/Brave-Browser/Application/brave.exe",
        Family::Chromium,
        "Brave",
    ),
    ("Mozilla Firefox/firefox.exe", Family::Firefox, "Firefox"),
];

impl World {
    /// All browsers, best first: a Chromium can be told to leave names to the proxy, to
    /// proxy loopback and to allow any port by arguments alone.
    pub fn browsers(&self, exists: impl Fn(&Path) -> bool) -> Vec<Browser> {
        let mut found: Vec<Browser> = Vec::new();
        for (program, family, name) in self.candidates() {
            let known = found.iter().any(|b| b.program == program || b.name == name);
            if !known && exists(&program) {
                found.push(Browser {
                    program,
                    family,
                    name: name.to_owned(),
                });
            }
        }
        found
    }

    /// The best browser, or the one the user names (`--browser` or an environment value):
    /// a path, a command on `PATH`, or a name such as `firefox`.
    ///
    /// # Errors
    /// [`BrowserError::NotFound`], [`BrowserError::Unusable`].
    pub fn choose(&self, wanted: Option<&str>, exists: impl Fn(&Path) -> bool) -> Result<Browser> {
        let Some(wanted) = wanted else {
            return self.browsers(&exists).into_iter().next().ok_or_else(|| {
                let looked = self
                    .candidates()
                    .into_iter()
                    .map(|(path, ..)| path)
                    .collect();
                BrowserError::NotFound { looked }
            });
        };
        let by_name = |b: &Browser| b.name.eq_ignore_ascii_case(wanted);
        if let Some(browser) = self.browsers(&exists).into_iter().find(by_name) {
            return Ok(browser);
        }
        let given = Path::new(wanted);
        let program = if given.components().count() > 1 {
            given.to_path_buf()
        } else {
            let on_path = self
                .path
                .iter()
                .map(|folder| folder.join(given))
                .find(|p| exists(p));
            on_path.unwrap_or_else(|| given.to_path_buf())
        };
        if !exists(&program) {
            let reason = "there is no such program".to_owned();
            return Err(BrowserError::Unusable {
                path: program,
                reason,
            });
        }
        let name = given
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let family = if ["firefox", "librewolf", "waterfox"]
            .iter()
            .any(|f| name.contains(f))
        {
            Family::Firefox
        } else if ["chrom", "edge", "brave", "vivaldi", "opera"]
            .iter()
            .any(|c| name.contains(c))
        {
            Family::Chromium
        } else {
            let reason = "it is neither of Chrome's nor of Firefox's family".to_owned();
            return Err(BrowserError::Unusable {
                path: program,
                reason,
            });
        };
        Ok(Browser {
            program,
            family,
            name,
        })
    }

    fn candidates(&self) -> Vec<(PathBuf, Family, &'static str)> {
        let in_folders =
            |folders: &[PathBuf], programs: &[(&'static str, Family, &'static str)]| {
                programs
                    .iter()
                    .flat_map(|(program, family, name)| {
                        folders
                            .iter()
                            .map(move |folder| (folder.join(program), *family, *name))
                    })
                    .collect::<Vec<_>>()
            };
        match self.system {
            System::Linux => {
                let mut folders = self.path.clone();
                // Snap's folder is missing from PATH in some login shells.
                folders.push("/snap/bin".into());
                in_folders(&folders, COMMANDS)
            }
            System::MacOs => {
                let mut folders = vec![PathBuf::from("/Applications")];
                folders.extend(self.home.iter().map(|home| home.join("Applications")));
                let mut all = in_folders(&folders, MAC_APPS);
                all.extend(in_folders(&self.path, COMMANDS));
                all
            }
            System::Windows => in_folders(&self.program_folders, WINDOWS_PROGRAMS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(system: System) -> World {
        World {
            system,
            path: vec!["/usr/local/bin".into(), "/usr/bin".into()],
            home: Some("/home/ada".into()),
            program_folders: vec![
                "C:/Program Files".into(),
                "C:/Users/ada/AppData/Local".into(),
            ],
            is_root: false,
            has_display: true,
        }
    }

    fn having(files: &'static [&'static str]) -> impl Fn(&Path) -> bool {
        move |path| files.iter().any(|f| Path::new(f) == path)
    }

    #[test]
    fn each_system_has_its_places() {
        for (system, file, name, family) in [
            (
                System::Linux,
                "/usr/bin/chromium",
                "Chromium",
                Family::Chromium,
            ),
            (
                System::Linux,
                "/snap/bin/firefox",
                "Firefox",
                Family::Firefox,
            ),
            (
                System::MacOs,
                "/home/ada/Applications/Firefox.app/Contents/MacOS/firefox",
                "Firefox",
                Family::Firefox,
            ),
            (
                System::Windows,
                "C:/Program Files/Microsoft/Edge/Application/msedge.exe",
                "Edge",
                Family::Chromium,
            ),
        ] {
            let seen = world(system)
                .choose(None, |p| p == Path::new(file))
                .unwrap();
            assert_eq!((seen.name.as_str(), seen.family), (name, family));
            assert_eq!(seen.program, Path::new(file));
        }
    }

    #[test]
    fn chromium_is_preferred_and_aliases_count_once() {
        let files = having(&[
            "/usr/bin/firefox",
            "/usr/bin/chromium",
            "/usr/bin/chromium-browser",
        ]);
        let all = world(System::Linux).browsers(files);
        let names: Vec<&str> = all.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["Chromium", "Firefox"]);
    }

    #[test]
    fn the_user_may_choose() {
        let files = || {
            having(&[
                "/usr/bin/firefox",
                "/usr/bin/chromium",
                "/opt/my-chrome",
                "/bin/ls",
            ])
        };
        let linux = world(System::Linux);
        let firefox = linux.choose(Some("firefox"), files()).unwrap();
        assert_eq!(firefox.program, Path::new("/usr/bin/firefox"));
        let own = linux.choose(Some("/opt/my-chrome"), files()).unwrap();
        assert_eq!(own.family, Family::Chromium);
        for wanted in ["/bin/ls", "/opt/nothing", "opera"] {
            let error = linux.choose(Some(wanted), files()).unwrap_err();
            assert!(matches!(error, BrowserError::Unusable { .. }), "{wanted}");
        }
    }

    #[test]
    fn finding_nothing_says_where_it_looked() {
        match world(System::Linux).choose(None, |_| false) {
            Err(BrowserError::NotFound { looked }) => {
                assert!(looked.contains(&PathBuf::from("/usr/bin/chromium")));
            }
            other => panic!("{other:?}"),
        }
    }
}
