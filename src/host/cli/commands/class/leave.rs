//! `cadet class leave`: out of the class; lessons, machine and progress stay.

use cadet_class::client::Teacher;
use clap::Args;
use serde_json::json;

use crate::class::{images, member};
use crate::error::{CliError, Result};
use crate::{Context, machine};

/// Flags of `cadet class leave`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet class leave\n  cadet class leave --forget      the class also forgets what you did in it"
)]
pub struct LeaveArgs {
    /// Have the class forget what you did in it
    #[arg(long)]
    forget: bool,
}

/// Leaves.
pub async fn run(cx: &Context, args: LeaveArgs) -> Result<u8> {
    let member = member::required(cx)?;
    let told = Teacher::of(&member)?
        .leave(&member.me()?, args.forget)
        .await
        .map_err(CliError::from);
    // The class need not be there for somebody to go; but who wants to be forgotten wants an
    // answer.
    if let Err(e) = told {
        let over = matches!(e.topic.id, "CLASS_NOT_JOINED" | "CLASS_OVER");
        if args.forget && !over {
            return Err(e);
        }
        if !over {
            cx.ui.warn("class", &format!("it was not told: {}", e.what));
        }
    }
    if machine::running(cx).await.is_ok()
        && let Err(e) = images::forget(cx).await
    {
        cx.ui.warn(
            "images",
            &format!("the machine still asks the class for images: {}", e.what),
        );
    }
    member::forget(cx)?;
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "left", "class": member.title, "forgotten": args.forget}));
    } else {
        cx.ui.line(format!(
            "You have left \"{}\"; nothing is reported any more. Your machine and your progress stay.\n  next: {}",
            member.title,
            machine::again(cx, "tutorial")
        ));
    }
    Ok(0)
}
