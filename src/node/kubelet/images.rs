//! Getting images: pull policies, and the stand-ins of the lesson table.
//!
//! ```text
//!   lesson says always ─────────────────────────────► build context
//!   policy Never / IfNotPresent and present ────────► use it
//!   lesson names another ──► pull that ──┐
//!   else ──────────────────► pull image ─┴─ fails ──► lesson? build context : error
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cadet_api::install::LessonImage;
use k8s_openapi::api::core::v1::{Container, Pod};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::backoff::go_millis;
use crate::credentials::Keyring;
use crate::env::ConfigSource;
use crate::events::{EventSink, Severity};
use crate::labels;
use crate::manifest::field_path;
use crate::reference::{Reference, lesson_for};
use crate::runtime::{Runtime, RuntimeError};

/// Seconds a registry has for its first word. Without internet the resolver alone takes
/// its time to give up, so where a stand-in exists nobody waits that long.
const PATIENCE: u64 = 45;
const PATIENCE_WITH_STAND_IN: u64 = 12;
/// Between words about a pull that takes long.
const PROGRESS: Duration = Duration::from_secs(10);

/// Why a container has no image; reason and message for its waiting state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageError {
    pub reason: &'static str,
    pub message: String,
    /// What the waiting state turns to after a moment.
    pub later: Option<(&'static str, String)>,
}

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

/// The lesson table and where its build contexts lie.
#[derive(Debug, Default)]
pub struct Lessons {
    entries: Vec<LessonImage>,
    contexts: PathBuf,
}

impl Lessons {
    /// Reads `lessons.json` in `dir`; the contexts are `dir/lessons/NAME.tar`. No file
    /// means no lessons.
    ///
    /// # Errors
    /// If the file exists but cannot be read or understood.
    pub fn load(dir: &Path) -> Result<Self, LessonsError> {
        let path = dir.join("lessons.json");
        let contexts = dir.join("lessons");
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self {
                    entries: Vec::new(),
                    contexts,
                });
            }
            other => other.map_err(|source| LessonsError::Read {
                path: path.clone(),
                source,
            })?,
        };
        let entries =
            serde_json::from_str(&text).map_err(|source| LessonsError::Parse { path, source })?;
        Ok(Self { entries, contexts })
    }
}

/// Gets images for all pods of the node.
pub struct Images {
    runtime: Arc<dyn Runtime>,
    /// Where pull secrets come from.
    config: Arc<dyn ConfigSource>,
    lessons: Lessons,
    events: EventSink,
    /// One build per context at a time; others wait and find it done.
    builds: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

impl Images {
    #[must_use]
    pub fn new(
        runtime: Arc<dyn Runtime>,
        config: Arc<dyn ConfigSource>,
        lessons: Lessons,
        events: EventSink,
    ) -> Self {
        Self {
            runtime,
            config,
            lessons,
            events,
            builds: Mutex::default(),
        }
    }

    /// Makes sure the container's image (or its stand-in) is there and returns the
    /// reference to run. Tells the pod's events what happened.
    ///
    /// # Errors
    /// If there is nothing to run; the wait before the next try is the caller's.
    pub async fn ensure(&self, pod: &Pod, container: &Container) -> Result<String, ImageError> {
        let image = container.image.as_deref().unwrap_or_default();
        let teller = Teller {
            events: &self.events,
            pod,
            container,
            image,
        };
        let reference = Reference::parse(image).map_err(|error| {
            let message = format!("Failed to apply default image tag \"{image}\": {error}");
            teller.warn("InspectFailed", &message);
            teller.warn("Failed", "Error: InvalidImageName");
            ImageError {
                reason: "InvalidImageName",
                message,
                later: None,
            }
        })?;
        let words: Vec<String> = container
            .command
            .iter()
            .chain(&container.args)
            .flatten()
            .cloned()
            .collect();
        let lesson = lesson_for(&self.lessons.entries, &reference, &words);
        if let Some(lesson) = lesson.filter(|lesson| lesson.always) {
            return self.stand_in(&teller, lesson, None).await;
        }
        let policy = pull_policy(container, &reference);
        let present = self.present(&teller, image).await?;
        match (policy, present) {
            ("Never", false) => {
                let message =
                    format!("Container image \"{image}\" is not present with pull policy of Never");
                teller.warn("ErrImageNeverPull", &message);
                teller.warn("Failed", "Error: ErrImageNeverPull");
                return Err(ImageError {
                    reason: "ErrImageNeverPull",
                    message,
                    later: None,
                });
            }
            ("Never" | "IfNotPresent", true) => {
                teller.say("Pulled", &present_words(image));
                return Ok(image.to_owned());
            }
            _ => {}
        }
        let wanted = lesson
            .and_then(|lesson| lesson.pull_instead.as_deref())
            .unwrap_or(image);
        match self.pull(&teller, wanted, lesson.is_some()).await {
            Ok(()) => {
                if let Some(lesson) = lesson.filter(|lesson| lesson.pull_instead.is_some()) {
                    teller.say(
                        "Substituted",
                        &format!(
                            "{} Running \"{wanted}\" in place of \"{image}\".",
                            lesson.says
                        ),
                    );
                }
                Ok(wanted.to_owned())
            }
            Err(error) => match lesson {
                Some(lesson) => self.stand_in(&teller, lesson, Some(&error)).await,
                None => Err(teller.pull_failed(&error)),
            },
        }
    }

    async fn present(&self, teller: &Teller<'_>, image: &str) -> Result<bool, ImageError> {
        match self.runtime.image(image).await {
            Ok(found) => Ok(found.is_some()),
            Err(error) => {
                let message = format!("Failed to inspect image \"{image}\": {error}");
                teller.warn("InspectFailed", &message);
                Err(ImageError {
                    reason: "ImageInspectError",
                    message,
                    later: None,
                })
            }
        }
    }

    async fn pull(
        &self,
        teller: &Teller<'_>,
        wanted: &str,
        has_stand_in: bool,
    ) -> Result<(), RuntimeError> {
        teller.say("Pulling", &format!("Pulling image \"{wanted}\""));
        let begun = Instant::now();
        let patience = if has_stand_in {
            PATIENCE_WITH_STAND_IN
        } else {
            PATIENCE
        };
        // The full name: Docker would fetch every tag of a name without one.
        let full = Reference::parse(wanted).map_or_else(|_| wanted.to_owned(), |r| r.to_string());
        let named = Reference::parse(wanted).ok();
        let keyring = self.keyring(teller).await;
        let credentials = named.as_ref().and_then(|named| keyring.find(named));
        let told = std::sync::Mutex::new(begun);
        let progress = |there: u64, all: u64| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() >= PROGRESS {
                *told = Instant::now();
                let words = format!(
                    "Pulling image \"{wanted}\": {} of {} MiB",
                    there >> 20,
                    all >> 20
                );
                teller.say("Pulling", &words);
            }
        };
        self.runtime
            .pull_as(&full, patience, credentials, &progress)
            .await?;
        let took = go_millis(begun.elapsed());
        let size = self
            .runtime
            .image(wanted)
            .await?
            .map_or(0, |info| info.size);
        teller.say(
            "Pulled",
            &format!(
                "Successfully pulled image \"{wanted}\" in {took} ({took} including waiting). \
                 Image size: {size} bytes."
            ),
        );
        Ok(())
    }

    /// The credentials of the pod's pull secrets.
    async fn keyring(&self, teller: &Teller<'_>) -> Keyring {
        let mut keyring = Keyring::default();
        let spec = teller.pod.spec.iter();
        let mut missing = Vec::new();
        for secret in spec.flat_map(|spec| spec.image_pull_secrets.iter().flatten()) {
            match self.config.secret(teller.pod, &secret.name).await {
                Ok(Some(found)) if keyring.add(&found) => {}
                _ => missing.push(secret.name.as_str()),
            }
        }
        if !missing.is_empty() {
            let words = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image \
                 may not succeed.",
                missing.join(", ")
            );
            self.events.pod(
                teller.pod,
                None,
                Severity::Warning,
                "FailedToRetrieveImagePullSecret",
                words,
            );
        }
        keyring
    }

    /// Builds the lesson's own image, unless that was done before, and says so.
    async fn stand_in(
        &self,
        teller: &Teller<'_>,
        lesson: &LessonImage,
        because: Option<&RuntimeError>,
    ) -> Result<String, ImageError> {
        let tag = format!("cadet.local/lessons/{}:latest", lesson.context);
        self.build(lesson, &tag).await.map_err(|error| {
            let message = format!(
                "could not build the stand-in for \"{}\": {error}",
                teller.image
            );
            teller.warn("Failed", &message);
            ImageError {
                reason: "ErrImagePull",
                message,
                later: Some(teller.back_off(&error)),
            }
        })?;
        let why = because.map_or(String::new(), |error| format!(" ({error})"));
        teller.say(
            "Substituted",
            &format!(
                "{} Running \"{tag}\" in place of \"{}\"{why}.",
                lesson.says, teller.image
            ),
        );
        Ok(tag)
    }

    async fn build(&self, lesson: &LessonImage, tag: &str) -> Result<(), String> {
        let gate = self
            .builds
            .lock()
            .await
            .entry(tag.to_owned())
            .or_default()
            .clone();
        let _only_one = gate.lock().await;
        let path = self
            .lessons
            .contexts
            .join(format!("{}.tar", lesson.context));
        let tar = tokio::fs::read(&path)
            .await
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let digest = hex(&Sha256::digest(&tar));
        let found = self
            .runtime
            .image(tag)
            .await
            .map_err(|error| error.to_string())?;
        let is_current =
            found.is_some_and(|info| info.labels.get(labels::CONTEXT) == Some(&digest));
        if is_current {
            return Ok(());
        }
        tracing::info!(tag, context = %path.display(), "building a lesson image");
        let labels = HashMap::from([(labels::CONTEXT.to_owned(), digest)]);
        self.runtime
            .build(tag, Bytes::from(tar), labels)
            .await
            .map_err(|error| error.to_string())
    }
}

/// `Always` for `latest`, as the API server would have defaulted.
fn pull_policy<'a>(container: &'a Container, reference: &Reference) -> &'a str {
    match container.image_pull_policy.as_deref() {
        Some(policy) if !policy.is_empty() => policy,
        _ if reference.tag.as_deref() == Some("latest") => "Always",
        _ => "IfNotPresent",
    }
}

fn present_words(image: &str) -> String {
    format!("Container image \"{image}\" already present on machine and can be accessed by the pod")
}

/// Lower-case hexadecimal text of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Teller<'a> {
    events: &'a EventSink,
    pod: &'a Pod,
    container: &'a Container,
    image: &'a str,
}

impl Teller<'_> {
    fn tell(&self, severity: Severity, reason: &'static str, message: &str) {
        let path = field_path(self.pod, &self.container.name);
        self.events
            .pod(self.pod, Some(path), severity, reason, message);
    }

    fn say(&self, reason: &'static str, message: &str) {
        self.tell(Severity::Normal, reason, message);
    }

    fn warn(&self, reason: &'static str, message: &str) {
        self.tell(Severity::Warning, reason, message);
    }

    fn back_off(&self, cause: &str) -> (&'static str, String) {
        let image = self.image;
        (
            "ImagePullBackOff",
            format!("Back-off pulling image \"{image}\": ErrImagePull: {cause}"),
        )
    }

    fn pull_failed(&self, error: &RuntimeError) -> ImageError {
        let cause = error.to_string();
        let words = format!("Failed to pull image \"{}\": {cause}", self.image);
        self.warn("Failed", &words);
        self.warn("Failed", "Error: ErrImagePull");
        ImageError {
            reason: "ErrImagePull",
            later: Some(self.back_off(&cause)),
            message: cause,
        }
    }
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;
