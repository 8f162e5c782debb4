//! Step `image`: the prepared base that the machine's disk lies on.

use async_trait::async_trait;
use cadet_image::Cache;

use super::{Note, Step, Voyage};
use crate::error::Result;
use crate::images;

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
        let there = [&base.disk, &base.kernel, &base.initrd]
            .iter()
            .all(|f| f.exists());
        Ok(there.then(|| Note::cached(base.title.clone())))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        v.cx.ui.progress("choosing", None);
        let choice = images::choose(v.cx, &v.profile.spec.image).await?;
        if let Some(why) = &choice.instead {
            v.cx.ui.warn("image", why);
        }
        let catalog = images::catalog(v.cx)?;
        let cache = Cache::open(&v.cx.world.home.images())?;
        let cached = images::find(v.cx, &cache, &catalog, &choice.name)?;
        let note = if cached.is_some() {
            Note::cached
        } else {
            Note::new
        };
        let base = match cached {
            Some(base) => base,
            None => images::ensure(v.cx, &choice.name).await?,
        };
        let title = images::describe(catalog.get(&choice.name, images::arch()?)?);
        v.profile.base = Some(cadet_state::Base {
            id: base
                .dir
                .file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
            title: title.clone(),
            disk: base.disk(),
            kernel: base.kernel(),
            initrd: base.initrd(),
            cmdline: base.kernel_args().join(" "),
        });
        Ok(note(title))
    }
}
