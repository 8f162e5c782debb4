//! Long work on a thread of its own, so that Ctrl-C is heard meanwhile, with its progress.

use tokio::sync::mpsc;

use crate::Context;
use crate::error::{CliError, Result};

/// What hears of progress: what is done, how much of it, and how much there is.
pub type Told<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Does `work`; what it tells becomes the progress of the running step.
///
/// # Errors
/// PROGRAM_INTERNAL if the work panics. What it returns is its own.
pub async fn long<T, F>(cx: &Context, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(Told<'_>) -> T + Send + 'static,
{
    let (sender, mut heard) = mpsc::unbounded_channel::<(String, u64, u64)>();
    let task = tokio::task::spawn_blocking(move || {
        work(&mut |text, done, total| {
            // Nobody listens any more: the command was interrupted.
            let _ = sender.send((text.to_owned(), done, total));
        })
    });
    while let Some((text, done, total)) = heard.recv().await {
        cx.ui.progress(&text, Some((done, total)));
    }
    task.await.map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "the work ended unexpectedly").why(e.to_string())
    })
}
