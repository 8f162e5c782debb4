//! `cadet class status`: which class, what it sees, whether the teacher knows that help is asked.

use cadet_class::client::Teacher;
use serde_json::json;

use crate::Context;
use crate::class::{member, open};
use crate::error::{CliError, Result};
use crate::machine;

/// Shows it; exit code 1 if the class does not answer.
pub async fn run(cx: &Context) -> Result<u8> {
    let serves = open::read(cx)?;
    let Some(member) = member::read(cx)? else {
        return match serves {
            Some(served) => {
                // A file that a crash left behind is found out here.
                served.desk()?.board().await.map_err(|_| open::none())?;
                let told = format!("You teach a class.\n  board   {}", served.board());
                say(
                    cx,
                    json!({"type": "status", "teaches": served.board()}),
                    &told,
                );
                Ok(0)
            }
            None => Err(member::none(cx)),
        };
    };
    let seen = Teacher::of(&member)?.me(&member.me()?).await;
    let event = json!({"type": "status", "class": member.title, "name": member.name,
        "reports": member.reports, "address": member.address.to_string(),
        "answers": seen.is_ok(), "asked": seen.as_ref().ok().map(|mine| mine.asked)});
    let mut lines = vec![
        format!("class    \"{}\" at {}", member.title, member.address),
        format!(
            "you      {}; {}",
            seen.as_ref().map_or(&member.name, |mine| &mine.name),
            if member.reports {
                "the class sees your step, the time on it and hints used"
            } else {
                "the class sees nothing of what you do"
            }
        ),
    ];
    let answers = match seen {
        Ok(mine) => {
            if mine.asked {
                lines.push("help     asked; the teacher has not been there yet".into());
            }
            true
        }
        Err(e) => {
            let e = CliError::from(e);
            lines.push(format!("line     {}", e.what));
            if let Some(fix) = &e.fix {
                lines.push(format!("  fix    {fix}"));
            }
            false
        }
    };
    let next = if member.ready {
        "class help"
    } else {
        "class join"
    };
    lines.push(format!("  next: {}", machine::again(cx, next)));
    say(cx, event, &lines.join("\n"));
    Ok(u8::from(!answers))
}

fn say(cx: &Context, event: serde_json::Value, text: &str) {
    if cx.ui.json() {
        cx.ui.object(&event);
    } else {
        cx.ui.line(text);
    }
}
