//! `cadet class help`: calls the teacher, or takes the call back.

use cadet_class::client::Teacher;
use cadet_class::message::Call;
use clap::Args;
use serde_json::json;

use crate::Context;
use crate::class::member;
use crate::error::Result;
use crate::machine;

/// Flags of `cadet class help`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet class help\n  cadet class help my pod stays Pending\n  cadet class help --done      it has been solved"
)]
pub struct HelpArgs {
    /// What is the matter, in a few words; the teacher alone reads them
    #[arg(value_name = "WORDS", conflicts_with = "done")]
    words: Vec<String>,
    /// Take the call back
    #[arg(long)]
    done: bool,
}

/// Calls.
pub async fn run(cx: &Context, args: HelpArgs) -> Result<u8> {
    let member = member::required(cx)?;
    let call = Call {
        asks: !args.done,
        words: args.words.join(" "),
    };
    let mine = Teacher::of(&member)?.help(&member.me()?, &call).await?;
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "help", "asked": mine.asked}));
    } else if mine.asked {
        let done = machine::again(cx, "class help --done");
        cx.ui.line(format!(
            "The teacher sees that {} asks for help.\n  next: {done}      when it is solved",
            mine.name
        ));
    } else {
        cx.ui.line("Nothing is asked any more.");
    }
    Ok(0)
}
