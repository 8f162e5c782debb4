//! tmp
use async_trait::async_trait;
use super::{Note, Step, Voyage};
use crate::error::Result;
/// tmp
pub struct Image;
#[async_trait]
impl Step for Image {
    fn name(&self) -> &'static str { "image" }
    async fn plan(&self, _: &mut Voyage<'_>) -> Result<String> { Ok(String::new()) }
    async fn done(&self, _: &mut Voyage<'_>) -> Result<Option<Note>> { Ok(None) }
    async fn run(&self, _: &mut Voyage<'_>) -> Result<Note> { Ok(Note::cached("x")) }
}
