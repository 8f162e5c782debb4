//! `cadet class install`: a bundle becomes base image, programs and lessons on this computer.
//!
//! Whose bundle it is comes first, then its pieces, each checked and kept once it is whole, and
//! only when all are there they go to their places. Interrupted, the same command goes on; the
//! record of the class is written last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cadet_bundle::{BundleError, Entry, Fingerprint, Head, Place, Platform};
use cadet_image::{Cache, Progress, cache, fetch, http};
use clap::Args;
use serde_json::json;

use super::place::{self, Pieces};
use super::source::{Source, is_there};
use super::work;
use crate::error::{CliError, Result};
use crate::installed::{self, Installed};
use crate::{Context, computer, images, machine, programs};

/// Steps that are shown.
const STEPS: usize = 4;

/// Flags of `cadet class install`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet class install /media/stick/class.cadet\n  cadet class install /media/stick                 the bundle in that folder, split or not\n  cadet class install https://teacher.example/class.cadet\n\nNothing of a bundle is used before it is checked. Interrupted, the same command goes on\nwhere it stopped. No internet is needed, now or later: `cadet start` and the lessons of\nthe bundle find all they need on this computer."
)]
pub struct InstallArgs {
    /// The bundle: a file, a folder it lies in, or its address
    #[arg(value_name = "FILE|DIR|URL")]
    what: String,
    /// The key it must be signed with, as the teacher reads it out: 16 letters and digits
    #[arg(long, value_name = "KEY", value_parser = key)]
    key: Option<Fingerprint>,
}

fn key(text: &str) -> Result<Fingerprint, String> {
    text.parse()
}

/// Whose bundle is taken.
pub enum Trust {
    /// One with this key.
    Named(Fingerprint),
    /// Another one of the class this computer had; the first, if nobody on the way could have
    /// changed it.
    Known { safe_way: bool },
    /// The way was proved to lead to the teacher.
    Way,
}

/// What became of it.
pub struct Outcome {
    pub class: Installed,
    /// The `cadet` to go on with: this one, or the bundle's own.
    pub program: PathBuf,
    /// False if all was there already.
    pub changed: bool,
}

/// Installs and tells what to type next.
pub async fn run(cx: &Context, args: InstallArgs) -> Result<u8> {
    cx.ui.step_started("bundle", 1, STEPS);
    let lower = args.what.to_ascii_lowercase();
    let (source, safe_way) = if lower.starts_with("https://") || lower.starts_with("http://") {
        let client = http::client(&images::network(cx))?;
        let source = Source::server(client, &args.what).await?;
        (source, lower.starts_with("https://"))
    } else {
        (Source::disk(cx, Path::new(&args.what)).await?, true)
    };
    let trust = match args.key {
        Some(key) => Trust::Named(key),
        None => Trust::Known { safe_way },
    };
    let known = installed::read(&cx.world)?.map(|class| class.key);
    let outcome = install(cx, &source, &trust).await?;
    tell(cx, &outcome, known != Some(outcome.class.key));
    Ok(0)
}

/// Installs the bundle: four steps are shown, of which the caller has begun the first.
///
/// # Errors
/// CLASS_TEACHER, BUNDLE_PLATFORM, BUNDLE_TAMPERED, BUNDLE_INVALID, HOST_DISK_FULL and those of
/// the way to a server. Each leaves what was whole for the next try.
pub async fn install(cx: &Context, source: &Source, trust: &Trust) -> Result<Outcome> {
    let head = source.head();
    judge(cx, head, trust)?;
    let platform = Platform::here();
    let entries: Vec<Entry> = head
        .manifest
        .for_platform(&platform)?
        .into_iter()
        .cloned()
        .collect();
    let class = &head.manifest.class;
    cx.ui.step_done(&format!("\"{class}\", signed"), None);

    let folder = cx.world.home.class_work();
    let pieces_folder = folder.join("pieces");
    machine::private_dir(&pieces_folder)?;
    let waiting = |progress: Progress| {
        if let Progress::Phase(text) = progress {
            cx.ui.progress(&text, None);
        }
    };
    cx.ui.step_started("pieces", 2, STEPS);
    let _lock = fetch::lock(&folder.join("install.lock"), &waiting).await?;
    // Whoever had the lock before took the folder away when all was in its place.
    machine::private_dir(&pieces_folder)?;
    let work = Work {
        cx,
        source,
        entries,
        folder: pieces_folder,
        arch: platform.arch().to_owned(),
    };
    let outcome = work.run(&platform).await?;
    // All of it has another place now, or was in it before.
    machine::remove_dir(&work.folder)?;
    Ok(outcome)
}

/// Checks whose bundle it is.
fn judge(cx: &Context, head: &Head, trust: &Trust) -> Result<()> {
    let found = head.key.fingerprint();
    let other = |expected: &Fingerprint| -> Result<()> {
        Err(BundleError::OtherKey {
            expected: expected.to_string(),
            found: found.to_string(),
        }
        .into())
    };
    match trust {
        Trust::Way => Ok(()),
        Trust::Named(key) if *key == found => Ok(()),
        Trust::Named(key) => other(key),
        Trust::Known { safe_way } => match installed::read(&cx.world)? {
            Some(class) if class.key == head.key => Ok(()),
            Some(class) => other(&class.key.fingerprint()),
            None if *safe_way => Ok(()),
            None => Err(CliError::new(
                "CLASS_TEACHER",
                "the bundle came over an open line, and nobody vouches for its key",
            )
            .why(format!("it is signed with {found}"))
            .fix(format!(
                "if that is what the teacher reads out:  cadet class install --key {found} URL"
            ))),
        },
    }
}

/// One installation.
struct Work<'a> {
    cx: &'a Context,
    source: &'a Source,
    /// What this computer needs.
    entries: Vec<Entry>,
    /// Where pieces are put together.
    folder: PathBuf,
    arch: String,
}

impl Work<'_> {
    async fn run(&self, platform: &Platform) -> Result<Outcome> {
        let (cx, head) = (self.cx, self.source.head());
        let manifest = &head.manifest;
        let described = place::base_place(&self.arch, cache::MANIFEST);
        let described = self.pieces(|place| *place == described).await?;
        let json = described.values().next().ok_or_else(|| {
            CliError::from(BundleError::Manifest(
                "its base image is not described".into(),
            ))
        })?;
        let sums: BTreeMap<Place, String> = self
            .entries
            .iter()
            .map(|e| (e.place.clone(), manifest.pieces[e.piece].sha256.clone()))
            .collect();
        let base = place::base_manifest(json, &self.arch, &manifest.image, &sums)?;
        let class = Installed {
            class: manifest.class.clone(),
            key: head.key,
            cadet: manifest.cadet.clone(),
            image: manifest.image.clone(),
            recipe: base.recipe.clone(),
            lessons: manifest.lessons.clone(),
            manifest: cadet_bundle::digest::of(&manifest.bytes()?),
        };

        let store = Cache::open(&cx.world.home.images())?;
        let (looked_in, wanted) = (store.clone(), base.clone());
        let has_base = work::long(cx, move |_| place::base_there(&looked_in, &wanted))
            .await??
            .is_some();
        let has_programs = self.has_programs(&class).await?;
        let needed = |place: &Place| match place {
            Place::Base { .. } => !has_base,
            _ => !has_programs,
        };
        self.space(needed)?;
        let pieces = self.pieces(needed).await?;
        cx.ui.step_done(&told_pieces(pieces.len()), None);

        cx.ui.step_started("image", 3, STEPS);
        if !has_base {
            let silent = |_: Progress| {};
            let _lock = store.lock(&base.image, base.arch, &silent).await?;
            let (store, base, pieces) = (store.clone(), base.clone(), pieces.clone());
            work::long(cx, move |_| place::base(&store, &base, &pieces)).await??;
        }
        let catalog = images::catalog(cx)?;
        let title = match catalog.images.get(&base.image) {
            Some(image) => images::describe(image),
            None => base.image.clone(),
        };
        cx.ui.step_done(&title, has_base.then_some("there"));

        cx.ui.step_started("programs", 4, STEPS);
        if !has_programs {
            machine::private_dir(&cx.world.home.class())?;
            let (to, entries) = (cx.world.home.class_programs(), self.entries.clone());
            work::long(cx, move |_| place::programs(&to, &entries, &pieces)).await??;
        }
        installed::write(&cx.world, &class)?;
        let told = super::listed(&class.lessons);
        cx.ui.step_done(&told, has_programs.then_some("there"));
        Ok(Outcome {
            program: self.program(platform).await?,
            class,
            changed: !(has_base && has_programs),
        })
    }

    /// Brings the pieces of the entries that are `needed`.
    async fn pieces(&self, needed: impl Fn(&Place) -> bool) -> Result<Pieces> {
        let manifest = &self.source.head().manifest;
        let wanted: Vec<&Entry> = self.entries.iter().filter(|e| needed(&e.place)).collect();
        let mut by_piece: BTreeMap<usize, &Entry> = BTreeMap::new();
        for entry in &wanted {
            by_piece.entry(entry.piece).or_insert(entry);
        }
        let weight = |piece: usize| self.source.weight(&manifest.pieces[piece]);
        let total: u64 = by_piece.keys().map(|piece| weight(*piece)).sum();
        let mut before = 0;
        for (piece, entry) in &by_piece {
            let to = self.path(*piece);
            self.source
                .piece(self.cx, entry, &to, before, total)
                .await?;
            before += weight(*piece);
        }
        let places = wanted.iter().map(|e| (e.place.clone(), self.path(e.piece)));
        Ok(places.collect())
    }

    fn path(&self, piece: usize) -> PathBuf {
        let sum = &self.source.head().manifest.pieces[piece].sha256;
        self.folder.join(sum)
    }

    /// Whether this very bundle's programs and lessons are in their place.
    async fn has_programs(&self, class: &Installed) -> Result<bool> {
        let cx = self.cx;
        if installed::read(&cx.world)?.as_ref() != Some(class) {
            return Ok(false);
        }
        let (programs, lessons) = (
            cx.world.home.class_programs(),
            cx.world.home.class_lessons(),
        );
        for entry in &self.entries {
            let there = match &entry.place {
                Place::Base { .. } => true,
                Place::Lesson { folder } => lessons.join(folder).join("lesson.md").is_file(),
                Place::Guest { program, .. } | Place::Host { program, .. } => {
                    let piece = &self.source.head().manifest.pieces[entry.piece];
                    is_there(cx, piece, &programs.join(program)).await?
                }
            };
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says before the work that the disk is too small for it.
    fn space(&self, needed: impl Fn(&Place) -> bool) -> Result<()> {
        let manifest = &self.source.head().manifest;
        let mut open: BTreeMap<usize, u64> = BTreeMap::new();
        for entry in self.entries.iter().filter(|e| needed(&e.place)) {
            let there = std::fs::metadata(self.path(entry.piece)).is_ok();
            let piece = &manifest.pieces[entry.piece];
            open.insert(entry.piece, if there { 0 } else { piece.size });
        }
        let needs: u64 = open.values().sum();
        match computer::free_bytes(&self.folder) {
            Some(free) if free < needs => Err(machine::disk_full(
                &self.folder.display().to_string(),
                &format!(
                    "the class needs {} MB, {} MB are free",
                    needs.div_ceil(1_000_000),
                    free / 1_000_000
                ),
            )),
            // Where the system does not tell, writing will.
            _ => Ok(()),
        }
    }

    /// The cadet to go on with.
    async fn program(&self, platform: &Platform) -> Result<PathBuf> {
        let cx = self.cx;
        let own = std::env::current_exe().and_then(std::fs::canonicalize);
        let own = own.map_err(|e| machine::io("find", Path::new("cadet"), &e))?;
        let place = Place::Host {
            platform: platform.clone(),
            program: platform.program("cadet"),
        };
        let manifest = &self.source.head().manifest;
        let Some(entry) = self.entries.iter().find(|e| e.place == place) else {
            if manifest.cadet != env!("CARGO_PKG_VERSION") {
                let text = format!(
                    "the bundle was made by cadet {} and has none for {platform}; this is {}",
                    manifest.cadet,
                    env!("CARGO_PKG_VERSION")
                );
                cx.ui.warn("programs", &text);
            }
            return Ok(own);
        };
        if is_there(cx, &manifest.pieces[entry.piece], &own).await? {
            return Ok(own);
        }
        let class = cx.world.home.class_programs();
        Ok(class.join(platform.program("cadet")))
    }
}

fn told_pieces(count: usize) -> String {
    match count {
        0 => "nothing is missing".into(),
        1 => "1 file, checked".into(),
        n => format!("{n} files, checked"),
    }
}

fn tell(cx: &Context, outcome: &Outcome, is_new_key: bool) {
    let class = &outcome.class;
    let key = class.key.fingerprint().to_string();
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "done", "class": class.class, "key": key, "lessons": class.lessons,
            "program": outcome.program, "changed": outcome.changed,
        }));
        return;
    }
    if is_new_key {
        cx.ui.line(format!(
            "The bundle is signed with the key {key}; the teacher can read it out."
        ));
    }
    cx.ui.line(format!(
        "\"{}\" is installed; it needs no internet from here on.",
        class.class
    ));
    let of_class = cx.world.home.class_programs();
    let lesson = class.lessons.first().map_or("telescope", String::as_str);
    if outcome.program.starts_with(&of_class) || programs::on_path("kubectl").is_none() {
        cx.ui.line(format!(
            "  next: export PATH=\"{}:$PATH\"",
            of_class.display()
        ));
        cx.ui.line("        cadet start");
    } else {
        cx.ui.line("  next: cadet start");
    }
    cx.ui.line(format!("        cadet tutorial {lesson}"));
}
