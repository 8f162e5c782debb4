//! tmp
use clap::Args;
use crate::Context;
use crate::error::Result;
/// tmp
#[derive(Debug, Args)]
pub struct ImageArgs {}
/// tmp
pub async fn run(_: &Context, _: ImageArgs) -> Result<u8> { Ok(0) }
