//! Build contexts of lesson images: what the seed carries for the guest to build.

use crate::error::{CliError, Result};
use crate::world::World;
use crate::{from_rooms, machine, programs};

/// One image's context.
struct Context {
    name: &'static str,
    files: &'static [Part],
}

/// One file of a context.
enum Part {
    /// Path in the context, and what is in it.
    Text(&'static str, &'static str),
    /// The same, executable.
    Script(&'static str, &'static str),
    /// A program built beside `cadet`.
    Program(&'static str),
}

macro_rules! image {
    ($name:literal) => {
        include_str!(concat!("../../../../images/", $name))
    };
}

/// Used by every `prepare`, which makes a root file system in the guest.
const PACKAGES: Part = Part::Text("packages.py", image!("packages.py"));

const CONTEXTS: &[Context] = &[
    Context {
        name: "telescope",
        files: &[
            Part::Text("Dockerfile", image!("telescope/Dockerfile")),
            Part::Program("telescope"),
        ],
    },
    Context {
        name: "mongo",
        files: &[
            Part::Text("Dockerfile", image!("mongo/Dockerfile")),
            Part::Program("mongod"),
        ],
    },
    Context {
        name: "hello",
        files: &[
            Part::Text("Dockerfile", image!("hello/Dockerfile")),
            Part::Text("nsswitch.conf", image!("hello/nsswitch.conf")),
            Part::Program("hello"),
        ],
    },
    Context {
        name: "nginx",
        files: &[
            Part::Text("Dockerfile", image!("nginx/Dockerfile")),
            Part::Text("nginx.conf", image!("nginx/nginx.conf")),
            Part::Text("default.conf", image!("nginx/default.conf")),
            Part::Script("prepare", image!("nginx/prepare")),
            PACKAGES,
        ],
    },
    Context {
        name: "busybox",
        files: &[
            Part::Text("Dockerfile", image!("busybox/Dockerfile")),
            Part::Script("prepare", image!("busybox/prepare")),
            PACKAGES,
        ],
    },
    Context {
        name: "python",
        files: &[
            Part::Text("Dockerfile", image!("python/Dockerfile")),
            Part::Text("pip", image!("python/pip")),
            Part::Text("wheels.py", image!("python/wheels.py")),
            Part::Script("prepare", image!("python/prepare")),
            PACKAGES,
        ],
    },
];

/// Every context as a tar archive, with its name.
///
/// # Errors
/// HOST_NODE_PROGRAM_MISSING, HOST_NOT_READABLE.
pub fn all(world: &World) -> Result<Vec<(&'static str, Vec<u8>)>> {
    CONTEXTS
        .iter()
        .map(|context| Ok((context.name, context.tar(world)?)))
        .collect()
}

/// The programs that lesson images are made of.
pub fn programs() -> impl Iterator<Item = &'static str> {
    let parts = CONTEXTS.iter().flat_map(|context| context.files);
    parts.filter_map(|part| match part {
        Part::Program(name) => Some(*name),
        Part::Text(..) | Part::Script(..) => None,
    })
}

/// The names there are.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    CONTEXTS.iter().map(|context| context.name)
}

impl Context {
    fn tar(&self, world: &World) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for part in self.files {
            let added = match part {
                Part::Text(path, text) => add(&mut archive, path, 0o644, text.as_bytes()),
                Part::Script(path, text) => add(&mut archive, path, 0o755, text.as_bytes()),
                Part::Program(name) => {
                    let file = programs::lesson_app(world, name)?;
                    let bytes = std::fs::read(&file).map_err(|e| machine::io("read", &file, &e))?;
                    add(&mut archive, name, 0o755, &bytes)
                }
            };
            added.map_err(|e| broken(&e))?;
        }
        archive.into_inner().map_err(|e| broken(&e))
    }
}

/// The same inputs give the same bytes.
fn add(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    content: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, path, content)
}

fn broken(e: &std::io::Error) -> CliError {
    CliError::new("PROGRAM_INTERNAL", "a build context could not be made")
        .why(from_rooms::chain(e))
        .fix("cadet doctor")
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Part {
        fn path(&self) -> &'static str {
            match *self {
                Part::Text(path, _) | Part::Script(path, _) | Part::Program(path) => path,
            }
        }
    }

    #[test]
    fn dockerfiles_need_no_registry_and_copy_what_travels() {
        for Context { name, files } in CONTEXTS {
            let Some(Part::Text("Dockerfile", dockerfile)) = files.first() else {
                panic!("{name} begins with its Dockerfile");
            };
            assert!(dockerfile.contains("\nFROM scratch\n"), "{name}");
            let prepared = files.iter().any(|part| part.path() == "prepare");
            for line in dockerfile.lines() {
                let mut words = line.split(' ');
                if !matches!(words.next(), Some("COPY" | "ADD")) {
                    continue;
                }
                let source = words.next().unwrap();
                let made = prepared && source == "rootfs.tar";
                let there = made || files.iter().any(|part| part.path() == source);
                assert!(there, "{name}: {line}");
            }
        }
    }

    #[test]
    fn scripts_find_the_files_they_name() {
        for Context { name, files } in CONTEXTS {
            for part in *files {
                let Part::Script(_, script) = part else {
                    continue;
                };
                assert!(script.starts_with("#!/usr/bin/python3\n"), "{name}");
                for line in script.lines() {
                    let module = line.strip_prefix("import ").unwrap_or_default();
                    let ours = files
                        .iter()
                        .any(|part| part.path() == format!("{module}.py"));
                    let pythons = ["", "os", "subprocess", "tempfile"].contains(&module);
                    assert!(ours || pythons, "{name}: {line}");
                    if let Some((_, rest)) = line.split_once("tree.copy(\"etc/") {
                        let source = rest.split('"').nth(2).unwrap();
                        assert!(files.iter().any(|part| part.path() == source), "{line}");
                    }
                }
            }
        }
    }

    #[test]
    fn archives_are_the_same_each_time() {
        let tar = || {
            let mut archive = tar::Builder::new(Vec::new());
            add(&mut archive, "a", 0o755, b"x").unwrap();
            archive.into_inner().unwrap()
        };
        assert_eq!(tar(), tar());
    }
}
