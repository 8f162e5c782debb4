//! The user's environment: the one place that reads variables and knows the home.

use std::path::{Path, PathBuf};

use cadet_state::{Home, ProfileName, ProfilePaths};

use crate::error::{CliError, Result};

/// What commands need to know of the laptop.
#[derive(Clone)]
pub struct World {
    /// Cadet's own folders.
    pub home: Home,
    /// The kubeconfig file Cadet merges its context into.
    pub kubeconfig: PathBuf,
    /// PEM file of further certificate authorities, for company proxies.
    pub extra_ca: Option<PathBuf>,
    /// Folder of the running program, where `cadet-node` and the lesson apps lie.
    pub programs: PathBuf,
    /// `cadet-node` named by hand.
    pub node_program: Option<PathBuf>,
    /// Another image catalogue: a classroom mirror, or a test.
    pub catalog: Option<PathBuf>,
    /// Another place to fetch kubectl from: a classroom mirror, or a test.
    pub kubectl_mirror: Option<String>,
    /// Another registry behind the cache of container images: a company's, or a test.
    pub registry: Option<String>,
    /// Another folder of lessons.
    pub tutorials: Option<PathBuf>,
    /// Another folder for the learner's own copies of lesson files.
    pub lessons: Option<PathBuf>,
}

impl World {
    /// Reads CADET_HOME, CADET_CACHE, CADET_CA_FILE, CADET_NODE_BINARY, CADET_CATALOG,
    /// CADET_KUBECTL_MIRROR, CADET_REGISTRY, CADET_TUTORIALS, CADET_LESSONS and KUBECONFIG.
    ///
    /// # Errors
    /// HOST_NOT_READABLE when there is no home directory at all.
    pub fn from_env() -> Result<Self> {
        let home = match path("CADET_HOME") {
            Some(dir) => {
                let dir = std::path::absolute(&dir).unwrap_or(dir);
                let cache = path("CADET_CACHE").unwrap_or_else(|| dir.join("cache"));
                Home::new(&dir, cache)
            }
            None => {
                let dirs = directories::ProjectDirs::from("", "", "cadet").ok_or_else(|| {
                    CliError::new("HOST_NOT_READABLE", "your home directory is not known")
                        .why("neither HOME nor the user database names one")
                        .fix("CADET_HOME=/some/folder cadet start")
                })?;
                let cache = path("CADET_CACHE").unwrap_or_else(|| dirs.cache_dir().into());
                Home::new(dirs.data_local_dir(), cache)
            }
        };
        let program = std::env::current_exe()
            .and_then(std::fs::canonicalize)
            .unwrap_or_else(|_| PathBuf::from("cadet"));
        Ok(Self {
            home,
            kubeconfig: kubeconfig_path()?,
            extra_ca: path("CADET_CA_FILE"),
            programs: program.parent().unwrap_or(Path::new(".")).to_path_buf(),
            node_program: path("CADET_NODE_BINARY"),
            catalog: path("CADET_CATALOG"),
            kubectl_mirror: text("CADET_KUBECTL_MIRROR"),
            registry: text("CADET_REGISTRY"),
            tutorials: path("CADET_TUTORIALS"),
            lessons: path("CADET_LESSONS"),
        })
    }

    /// The learner's own folder of a lesson.
    ///
    /// # Errors
    /// HOST_NOT_READABLE when there is no home directory to put it into.
    pub fn lesson_folder(&self, lesson: &str) -> Result<PathBuf> {
        if let Some(named) = &self.lessons {
            let named = std::path::absolute(named).unwrap_or_else(|_| named.clone());
            return Ok(named.join(lesson));
        }
        let dirs = directories::BaseDirs::new().ok_or_else(|| {
            CliError::new("HOST_NOT_READABLE", "your home directory is not known")
                .fix("CADET_LESSONS=/some/folder cadet tutorial")
        })?;
        Ok(dirs.home_dir().join("cadet-lessons").join(lesson))
    }

    /// The files of `name`.
    pub fn files(&self, name: &ProfileName) -> ProfilePaths {
        self.home.profile(name)
    }
}

/// kubectl writes new entries into the first file of KUBECONFIG; so do we.
fn kubeconfig_path() -> Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(first) = std::env::split_paths(&listed).find(|p| !p.as_os_str().is_empty()) {
        return Ok(std::path::absolute(&first).unwrap_or(first));
    }
    directories::BaseDirs::new()
        .map(|d| d.home_dir().join(".kube").join("config"))
        .ok_or_else(|| {
            CliError::new("HOST_NOT_READABLE", "your home directory is not known")
                .fix("KUBECONFIG=/some/file cadet start")
        })
}

fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
}

fn text(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|v| !v.is_empty())
}
