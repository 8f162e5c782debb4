//! Puts a lesson's images into the engine before anything asks for them: pulled where a
//! registry answers, else built from what the machine carries.
//!
//! Unlike a pod's image, which may run under a name of Cadet's own, these must be there under
//! the names a learner writes: `docker build` knows `FROM python:3-slim` and nothing else.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cadet_api::install::LessonImage;

use crate::images::PATIENCE_WITH_STAND_IN;
use crate::labels;
use crate::lessons::{BuildError, Built, Lessons, LessonsError, stand_in_tag};
use crate::reference::{InvalidReference, Reference};
use crate::runtime::{Runtime, RuntimeError};

/// Why an image is not there. The causes are in the words, so none is a `source`.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    #[error(transparent)]
    Lessons(#[from] LessonsError),
    #[error(transparent)]
    Name(#[from] InvalidReference),
    #[error("{image}: {reason}")]
    Engine { image: String, reason: RuntimeError },
    #[error("{image}: {reason}")]
    Build { image: String, reason: BuildError },
    #[error("{image}: {pull}; and what would stand in for it could not be built: {build}")]
    Neither {
        image: String,
        pull: RuntimeError,
        build: BuildError,
    },
}

/// What is told on the way, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What takes a while now.
    Doing(String),
    /// An image is there.
    Done(String),
    /// An image is there, but not the one of that name; a sentence for the learner.
    Instead(String),
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Told::Doing(text) => write!(f, "doing {text}"),
            Told::Done(text) => write!(f, "done {text}"),
            Told::Instead(text) => write!(f, "instead {text}"),
        }
    }
}

type Tell<'a> = &'a (dyn Fn(Told) + Send + Sync);

/// Puts the images of `wishes` into the engine; each is an image's name, followed by the
/// words its container runs with if these decide which image that is.
///
/// # Errors
/// For the first image that can neither be had nor built.
pub async fn stock(
    runtime: &dyn Runtime,
    lessons_dir: &Path,
    wishes: &[String],
    tell: Tell<'_>,
) -> Result<(), StockError> {
    let mut stocker = Stocker {
        runtime,
        lessons: Lessons::load(lessons_dir)?,
        tell,
        silent: Vec::new(),
    };
    for wish in wishes {
        let mut words = wish.split_whitespace().map(str::to_owned);
        let image = words.next().unwrap_or_default();
        stocker.put(&image, &words.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

struct Stocker<'a> {
    runtime: &'a dyn Runtime,
    lessons: Lessons,
    tell: Tell<'a>,
    /// Registries that did not answer: nobody waits for them twice.
    silent: Vec<(String, u64)>,
}

impl Stocker<'_> {
    async fn put(&mut self, image: &str, words: &[String]) -> Result<(), StockError> {
        let reference = Reference::parse(image)?;
        let lesson = self.lessons.find(&reference, words).cloned();
        match lesson {
            Some(lesson) if lesson.own => self.build_own(image, &reference, &lesson).await,
            Some(lesson) if lesson.always => {
                self.build(image, &reference, &lesson)
                    .await
                    .map_err(|reason| StockError::Build {
                        image: image.to_owned(),
                        reason,
                    })?;
                (self.tell)(Told::Instead(format!("{image}: {}", lesson.says)));
                Ok(())
            }
            lesson => self.pull_or_build(image, &reference, lesson.as_ref()).await,
        }
    }

    /// An image of Cadet's own name.
    async fn build_own(
        &self,
        image: &str,
        reference: &Reference,
        lesson: &LessonImage,
    ) -> Result<(), StockError> {
        let begin = || (self.tell)(Told::Doing(format!("building {image}")));
        let built = self
            .lessons
            .build(self.runtime, lesson, reference, image, &begin)
            .await
            .map_err(|reason| StockError::Build {
                image: image.to_owned(),
                reason,
            })?;
        (self.tell)(Told::Done(match built {
            Built::Now => format!("{image} is built"),
            Built::Before => format!("{image} is there"),
            Built::ByOthers => format!("{image} is there, and not Cadet's"),
        }));
        Ok(())
    }

    /// The stand-in, under its own name.
    async fn build(
        &self,
        image: &str,
        reference: &Reference,
        lesson: &LessonImage,
    ) -> Result<String, BuildError> {
        let begin = || {
            let words = format!("building what stands in for {image}");
            (self.tell)(Told::Doing(words));
        };
        let tag = stand_in_tag(lesson);
        self.lessons
            .build(self.runtime, lesson, reference, &tag, &begin)
            .await?;
        Ok(tag)
    }

    async fn pull_or_build(
        &mut self,
        image: &str,
        reference: &Reference,
        lesson: Option<&LessonImage>,
    ) -> Result<(), StockError> {
        let engine = |reason| StockError::Engine {
            image: image.to_owned(),
            reason,
        };
        let instead = lesson.and_then(|lesson| lesson.pull_instead.as_deref());
        let wanted = instead.unwrap_or(image);
        let found = self.runtime.image(wanted).await.map_err(engine)?;
        if found.is_some_and(|found| !found.labels.contains_key(labels::CONTEXT)) {
            (self.tell)(Told::Done(format!("{wanted} is there")));
            return Ok(());
        }
        let pull = match self.pull(wanted).await {
            Ok(()) => {
                (self.tell)(Told::Done(format!("{wanted} is pulled")));
                return Ok(());
            }
            Err(error) => error,
        };
        let Some(lesson) = lesson else {
            return Err(engine(pull));
        };
        let tag = match self.build(image, reference, lesson).await {
            Ok(tag) => tag,
            Err(build) => {
                return Err(StockError::Neither {
                    image: image.to_owned(),
                    pull,
                    build,
                });
            }
        };
        // Where the real image has another name as well, this one is not for `FROM`.
        if instead.is_none() {
            let name = reference.tag.as_deref().unwrap_or("latest");
            self.runtime
                .tag(&tag, &reference.repository, name)
                .await
                .map_err(engine)?;
        }
        (self.tell)(Told::Instead(format!("{image}: {}", lesson.says)));
        Ok(())
    }

    async fn pull(&mut self, wanted: &str) -> Result<(), RuntimeError> {
        let named = Reference::parse(wanted);
        let full = named
            .as_ref()
            .map_or_else(|_| wanted.to_owned(), Reference::to_string);
        let registry = named.map_or_else(|_| String::new(), |named| named.registry().to_owned());
        if let Some((_, seconds)) = self.silent.iter().find(|(known, _)| *known == registry) {
            return Err(RuntimeError::RegistrySilent {
                reference: full,
                seconds: *seconds,
            });
        }
        (self.tell)(Told::Doing(format!("pulling {wanted}")));
        let tell = self.tell;
        let told = AtomicU64::new(0);
        let progress = |there: u64, all: u64| {
            // A line for each MiB, not for each packet.
            if told.swap(there >> 20, Ordering::Relaxed) != there >> 20 {
                let words = format!("pulling {wanted}, {} of {} MiB", there >> 20, all >> 20);
                tell(Told::Doing(words));
            }
        };
        let pulled = self
            .runtime
            .pull_as(&full, PATIENCE_WITH_STAND_IN, None, &progress)
            .await;
        if let Err(RuntimeError::RegistrySilent { seconds, .. }) = &pulled {
            self.silent.push((registry, *seconds));
        }
        pulled
    }
}

#[cfg(test)]
#[path = "stock_tests.rs"]
mod tests;
