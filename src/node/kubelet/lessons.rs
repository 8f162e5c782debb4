//! The lesson table of a node, and the images built from it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cadet_api::install::LessonImage;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::labels;
use crate::making::{self, PrepareError};
use crate::reference::{Reference, lesson_for};
use crate::runtime::{Runtime, RuntimeError};

/// Reading the lesson table failed.
#[derive(Debug, thiserror::Error)]
pub enum LessonsError {
    #[error("could not read the lesson images from {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the lesson images in {path} are malformed: {source}")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{path}: {source}")]
    Context {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// How an image came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// It was made just now.
    Now,
    /// It was there, of the same context.
    Before,
    /// Somebody else has built one of that name.
    ByOthers,
}

/// The lesson table and where its build contexts lie.
#[derive(Debug, Default)]
pub struct Lessons {
    entries: Vec<LessonImage>,
    home: PathBuf,
    /// One build per name at a time; others wait and find it done.
    builds: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

impl Lessons {
    /// Reads `lessons.json` in `dir`; the contexts are `dir/lessons/NAME.tar`. No file
    /// means no lessons.
    ///
    /// # Errors
    /// If the file exists but cannot be read or understood.
    pub fn load(dir: &Path) -> Result<Self, LessonsError> {
        let path = dir.join("lessons.json");
        let entries = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(LessonsError::Read { path, source }),
            Ok(text) => serde_json::from_str(&text)
                .map_err(|source| LessonsError::Parse { path, source })?,
        };
        Ok(Self {
            entries,
            home: dir.to_owned(),
            builds: Mutex::default(),
        })
    }

    /// The entry for an image that is run with these words (command and arguments).
    pub fn find(&self, reference: &Reference, words: &[String]) -> Option<&LessonImage> {
        lesson_for(&self.entries, reference, words)
    }

    /// Makes sure that `tag` names the image of the lesson's context. `begin` is called if
    /// that takes a while.
    ///
    /// # Errors
    /// If the context is missing or the engine cannot build it.
    pub async fn build(
        &self,
        runtime: &dyn Runtime,
        lesson: &LessonImage,
        asked: &Reference,
        tag: &str,
        begin: &(dyn Fn() + Send + Sync),
    ) -> Result<Built, BuildError> {
        let gate = self
            .builds
            .lock()
            .await
            .entry(tag.to_owned())
            .or_default()
            .clone();
        let _only_one = gate.lock().await;
        let path = self
            .home
            .join("lessons")
            .join(format!("{}.tar", lesson.context));
        let context = match tokio::fs::read(&path).await {
            Ok(context) => context,
            Err(source) => return Err(BuildError::Context { path, source }),
        };
        let arguments = arguments(lesson, asked);
        let digest = digest(&context, &arguments);
        if let Some(found) = runtime.image(tag).await? {
            match found.labels.get(labels::CONTEXT) {
                Some(known) if *known == digest => return Ok(Built::Before),
                None if lesson.own => return Ok(Built::ByOthers),
                _ => {}
            }
        }
        begin();
        tracing::info!(tag, context = %path.display(), "building a lesson image");
        let context = making::finish(context, &self.home).await?;
        let labels = HashMap::from([(labels::CONTEXT.to_owned(), digest)]);
        runtime.build_with(tag, context, labels, &arguments).await?;
        Ok(Built::Now)
    }
}

/// The name under which a node keeps what stands in for another image.
pub fn stand_in_tag(lesson: &LessonImage) -> String {
    format!("cadet.local/lessons/{}:latest", lesson.context)
}

fn arguments(lesson: &LessonImage, asked: &Reference) -> BTreeMap<String, String> {
    let tag = asked.tag.as_deref().unwrap_or_default();
    let fill = |(name, value): (&String, &String)| (name.clone(), value.replace("{tag}", tag));
    lesson.build_args.iter().map(fill).collect()
}

/// Identity of what an image is made of.
fn digest(context: &[u8], arguments: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    hash.update(context);
    for (name, value) in arguments {
        // A zero keeps neighbours apart; no argument holds one.
        hash.update(format!("{name}\0{value}\0"));
    }
    hex(&hash.finalize())
}

/// Lower-case hexadecimal text of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
