//! Step `image`: the prepared base that the machine's disk lies on.

use async_trait::async_trait;
use cadet_image::Cache;
use cadet_state::Base;

use super::{Note, Step, Voyage};
use crate::error::Result;
use crate::{Context, images};

/// See the module.
pub struct Image;

#[async_trait]
impl Step for Image {
    fn name(&self) -> &'static str {
        "image"
    }

    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String> {
        let choice = images::choose(v.cx, &v.profile.spec.image).await?;
        let catalog = images::catalog(v.cx)?;
        Ok(images::describe(
            catalog.get(&choice.name, images::arch()?)?,
        ))
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        // A disk is tied to the base it was made on, stale or not.
        let Some(base) = &v.profile.base else {
            return Ok(None);
        };
        Ok(is_there(base).then(|| Note::cached(base.title.clone())))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let (base, cached) = prepared(v.cx, &v.profile.spec.image).await?;
        let note = if cached { Note::cached } else { Note::new };
        let note = note(base.title.clone());
        v.profile.base = Some(base);
        Ok(note)
    }
}

/// The base for a disk that is to be made, of the catalogue's image `wanted` as it is today,
/// and whether it was there already.
///
/// # Errors
/// IMAGE_UNKNOWN, INET_UNREACHABLE, IMAGE_BUILD …
pub(super) async fn prepared(cx: &Context, wanted: &str) -> Result<(Base, bool)> {
    cx.ui.progress("choosing", None);
    let choice = images::choose(cx, wanted).await?;
    if let Some(why) = &choice.instead {
        cx.ui.warn("image", why);
    }
    let catalog = images::catalog(cx)?;
    let cache = Cache::open(&cx.world.home.images())?;
    let cached = images::find(&cache, &catalog, &choice.name)?;
    let was_there = cached.is_some();
    let base = match cached {
        Some(base) => base,
        None => images::ensure(cx, &choice.name).await?,
    };
    let base = Base {
        id: base
            .dir
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        title: images::describe(catalog.get(&choice.name, images::arch()?)?),
        disk: base.disk(),
        kernel: base.kernel(),
        initrd: base.initrd(),
        cmdline: base.kernel_args().join(" "),
    };
    Ok((base, was_there))
}

/// Whether a base's files are all there.
pub(super) fn is_there(base: &Base) -> bool {
    [&base.disk, &base.kernel, &base.initrd]
        .iter()
        .all(|f| f.exists())
}
