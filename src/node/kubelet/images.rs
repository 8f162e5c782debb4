//! Getting images: pull policies, and the stand-ins of the lesson table.
//!
//! ```text
//!   lesson says always, or the name is our own ─────► build context
//!   policy Never / IfNotPresent and present ────────► use it
//!   lesson names another ──► pull that ──┐
//!   else ──────────────────► pull image ─┴─ fails ──► lesson? build context : error
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cadet_api::install::LessonImage;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::backoff::go_millis;
use crate::credentials::Keyring;
use crate::env::ConfigSource;
use crate::events::{EventSink, Severity};
use crate::labels;
use crate::lessons::{BuildError, Built, Lessons, stand_in_tag};
use crate::manifest::field_path;
use crate::reference::Reference;
use crate::runtime::{ImageInfo, Runtime, RuntimeError};

/// Seconds a registry has for its first word. Without internet the resolver alone takes
/// its time to give up, so where a stand-in exists nobody waits that long.
const PATIENCE: u64 = 45;
pub(crate) const PATIENCE_WITH_STAND_IN: u64 = 12;
/// How long a registry that did not answer is not asked again for an image that has a
/// stand-in: on a train, each new pod would wait for it anew.
const SILENCE: Duration = Duration::from_secs(120);
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

/// Gets images for all pods of the node.
pub struct Images {
    runtime: Arc<dyn Runtime>,
    /// Where pull secrets come from.
    config: Arc<dyn ConfigSource>,
    lessons: Lessons,
    events: EventSink,
    /// Registries that did not answer, and when that was found out.
    silent: Mutex<HashMap<String, Instant>>,
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
            silent: Mutex::default(),
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
        let lesson = self.lessons.find(&reference, &words);
        if let Some(lesson) = lesson.filter(|lesson| lesson.always) {
            return self.stand_in(&teller, lesson, &reference, None).await;
        }
        let policy = pull_policy(container, &reference);
        if let Some(lesson) = lesson.filter(|lesson| lesson.own && policy != "Never") {
            return self.own(&teller, lesson, &reference).await;
        }
        let present = self.present(&teller, image).await?;
        match (policy, present) {
            ("Never", None) => {
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
            ("Never" | "IfNotPresent", Some(found)) => {
                let lesson = lesson.filter(|lesson| !lesson.own);
                match lesson.filter(|_| found.labels.contains_key(labels::CONTEXT)) {
                    // Put under this name by the start of a lesson.
                    Some(lesson) => teller.substituted(lesson, image, None),
                    None => teller.say("Pulled", &present_words(image)),
                }
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
                    teller.substituted(lesson, wanted, None);
                }
                Ok(wanted.to_owned())
            }
            Err(error) => match lesson {
                Some(lesson) => {
                    self.stand_in(&teller, lesson, &reference, Some(&error))
                        .await
                }
                None => Err(teller.pull_failed(&error)),
            },
        }
    }

    async fn present(
        &self,
        teller: &Teller<'_>,
        image: &str,
    ) -> Result<Option<ImageInfo>, ImageError> {
        match self.runtime.image(image).await {
            Ok(found) => Ok(found),
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
        let named = Reference::parse(wanted).ok();
        let registry = named.as_ref().map_or("", Reference::registry);
        if has_stand_in && self.is_silent(registry) {
            return Err(RuntimeError::RegistrySilent {
                reference: wanted.to_owned(),
                seconds: PATIENCE_WITH_STAND_IN,
            });
        }
        teller.say("Pulling", &format!("Pulling image \"{wanted}\""));
        let begun = Instant::now();
        let patience = if has_stand_in {
            PATIENCE_WITH_STAND_IN
        } else {
            PATIENCE
        };
        // The full name: Docker would fetch every tag of a name without one.
        let full = named
            .as_ref()
            .map_or_else(|| wanted.to_owned(), Reference::to_string);
        let keyring = self.keyring(teller).await;
        let credentials = named.as_ref().and_then(|named| keyring.find(named));
        let told = Mutex::new(begun);
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
        let pulled = self
            .runtime
            .pull_as(&full, patience, credentials, &progress)
            .await;
        self.heard(registry, &pulled);
        pulled?;
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

    fn is_silent(&self, registry: &str) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent
            .get(registry)
            .is_some_and(|since| since.elapsed() < SILENCE)
    }

    /// Remembers whether the registry answered at all.
    fn heard(&self, registry: &str, pulled: &Result<(), RuntimeError>) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(RuntimeError::RegistrySilent { .. }) = pulled {
            silent.insert(registry.to_owned(), Instant::now());
        } else {
            silent.remove(registry);
        }
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

    /// Builds what stands in for the image, unless that was done before, and says so.
    async fn stand_in(
        &self,
        teller: &Teller<'_>,
        lesson: &LessonImage,
        reference: &Reference,
        because: Option<&RuntimeError>,
    ) -> Result<String, ImageError> {
        let tag = stand_in_tag(lesson);
        let begin = || {
            let words = format!("Building what stands in for image \"{}\"", teller.image);
            teller.say("Building", &words);
        };
        self.lessons
            .build(&*self.runtime, lesson, reference, &tag, &begin)
            .await
            .map_err(|error| teller.not_built(&error))?;
        teller.substituted(lesson, &tag, because);
        Ok(tag)
    }

    /// Builds an image of Cadet's own name; no registry has it.
    async fn own(
        &self,
        teller: &Teller<'_>,
        lesson: &LessonImage,
        reference: &Reference,
    ) -> Result<String, ImageError> {
        let image = teller.image;
        let begin = || teller.say("Building", &format!("Building image \"{image}\""));
        let begun = Instant::now();
        let built = self
            .lessons
            .build(&*self.runtime, lesson, reference, image, &begin)
            .await
            .map_err(|error| teller.not_built(&error))?;
        match built {
            Built::Now => {
                let took = go_millis(begun.elapsed());
                teller.say(
                    "Pulled",
                    &format!("Successfully built image \"{image}\" on this machine in {took}."),
                );
            }
            Built::Before | Built::ByOthers => teller.say("Pulled", &present_words(image)),
        }
        Ok(image.to_owned())
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

    /// Says that `running` runs in place of the image, and why.
    fn substituted(&self, lesson: &LessonImage, running: &str, because: Option<&RuntimeError>) {
        let why = because.map_or_else(String::new, |error| format!(" ({error})"));
        let words = format!(
            "{} Running \"{running}\" in place of \"{}\"{why}.",
            lesson.says, self.image
        );
        self.say("Substituted", &words);
    }

    fn not_built(&self, error: &BuildError) -> ImageError {
        let cause = error.to_string();
        let message = format!("could not build what runs as \"{}\": {cause}", self.image);
        self.warn("Failed", &message);
        ImageError {
            reason: "ErrImagePull",
            message,
            later: Some(self.back_off(&cause)),
        }
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
