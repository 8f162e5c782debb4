//! Step `template`: a machine frozen before it was anybody, of which the new one will be a copy.
//!
//! Only for a disk that is to be made. Where there can be no template the machine boots; why, is
//! said in one line.

use async_trait::async_trait;
use cadet_state::{Card, TemplateUse};

use super::{Note, Step, Voyage};
use crate::error::{CliError, Result};
use crate::frozen::template::{Ensured, Wanted, ensure};
use crate::nodes::Node;
use crate::{accelerator, machine};

/// See the module.
pub struct Template;

#[async_trait]
impl Step for Template {
    fn name(&self) -> &'static str {
        "template"
    }

    fn applies(&self, v: &Voyage<'_>) -> bool {
        let first = Node::first(&v.profile.name);
        let is_new = !v.files.disk().exists() || first.is_unsettled(&v.profile);
        is_new && !v.args.cold
    }

    async fn plan(&self, _: &mut Voyage<'_>) -> Result<String> {
        Ok("a machine frozen once, of which this one is a copy".into())
    }

    async fn done(&self, _: &mut Voyage<'_>) -> Result<Option<Note>> {
        // Looking whether it is there is what the step does first.
        Ok(None)
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let first = Node::first(&v.profile.name);
        // A copy has the template's cards.
        v.profile.card = Card::Present;
        if first.is_unsettled(&v.profile) {
            // An interrupted start left a copy that is nobody.
            machine::destroy(v.cx, &v.profile, &first).await?;
            cadet_vm::process::remove(&v.files.disk())?;
        }
        let (used, note) = wanted(v, &first).await?;
        v.profile.template = used;
        Ok(note)
    }
}

/// The template for the new disk of a machine, made if need be, and what is said of it.
///
/// # Errors
/// PROGRAM_INTERNAL before an image is chosen; HOST_NODE_PROGRAM_MISSING …
pub(super) async fn wanted(v: &Voyage<'_>, node: &Node) -> Result<(Option<TemplateUse>, Note)> {
    let internal = |what: &str| CliError::new("PROGRAM_INTERNAL", what);
    let emulator = match v.emulator.clone() {
        Some(emulator) => emulator,
        None => super::emulator()?,
    };
    let kept = node
        .kept(&v.profile)
        .ok_or_else(|| internal("there is no such machine"))?;
    let wanted = Wanted {
        spec: kept.spec,
        base: kept.base.ok_or_else(|| internal("no image was chosen"))?,
        emulator: &emulator,
        accel: accelerator::choose(v.cx, &emulator)?,
    };
    Ok(match ensure(v.cx, &wanted).await? {
        Ensured::There(template) => (
            Some(TemplateUse::from(&template)),
            Note::cached("a machine of this size, frozen earlier"),
        ),
        Ensured::Made(template) => (
            Some(TemplateUse::from(&template)),
            Note::new("booted once and frozen; the next start of this size takes seconds"),
        ),
        Ensured::No(why) => {
            v.cx.ui
                .warn("template", &format!("{why}; booting instead (slower)"));
            (None, Note::new("none; the machine boots"))
        }
    })
}
