//! What a step must have to be played, undone and tested.

use super::commands::{Place, changes, of_step};
use crate::condition::{Expect, What};
use crate::finding::Findings;
use crate::model::{Block, Lesson, Step};

pub(super) fn check(lesson: &Lesson, findings: &mut Findings) {
    if lesson.steps.is_empty() {
        findings.error(
            0,
            "this lesson has no steps",
            "begin each with a line `## Title`",
        );
    }
    for (index, step) in lesson.steps.iter().enumerate() {
        let first = lesson.steps[..index]
            .iter()
            .find(|other| other.title == step.title);
        if let Some(first) = first {
            findings.error(
                step.line,
                format!("line {} begins a step of this title too", first.line),
                "give each step its own title: progress is kept by it",
            );
        }
        one(step, findings);
    }
    if !lesson.title.is_empty()
        && lesson
            .introduction
            .iter()
            .all(|block| !matches!(block, Block::Prose { .. }))
    {
        findings.warning(
            1,
            "this lesson has no introduction",
            "say before the first step what is learned, in a few sentences",
        );
    }
}

fn one(step: &Step, findings: &mut Findings) {
    let line = step.line;
    if !step
        .blocks
        .iter()
        .any(|block| matches!(block, Block::Prose { .. }))
    {
        findings.error(
            line,
            "this step has no words",
            "say what the learner does and why, in a few sentences",
        );
    }
    if step.watch.is_empty() {
        findings.error(
            line,
            "this step waits for nothing, so it can never be completed",
            "add a block `watch`; `- done: true` where there is nothing to see",
        );
    }
    undone(step, findings);
    tested(step, findings);
    waits(step, findings);
}

/// What a step does must be undone.
fn undone(step: &Step, findings: &mut Findings) {
    let changing = of_step(step).into_iter().find(|(command, place)| {
        !matches!(place, Place::Reset | Place::Mistake) && changes(command)
    });
    let guest = step.guest_blocks().next().map(|guest| guest.line);
    let at = changing.map(|(command, _)| command.line).or(guest);
    if let (None, None, Some(at)) = (&step.reset, &step.reset_guest, at) {
        findings.warning(
            at,
            "this changes the cluster, and the step has no `reset`",
            "add a block `reset` that brings back how the step found it",
        );
    }
}

/// Mistakes must be undone, and solutions must solve.
fn tested(step: &Step, findings: &mut Findings) {
    for mistake in &step.mistakes {
        let changes = mistake.guest.is_some()
            || mistake
                .run
                .iter()
                .flat_map(|run| run.commands())
                .any(changes);
        if changes && mistake.undo.is_none() && step.reset.is_none() && step.reset_guest.is_none() {
            findings.error(
                mistake.line,
                "this mistake is planted and never undone",
                "add `undo:`",
            );
        }
    }
    let only_done = step.watch.iter().all(|c| matches!(c.what, What::Done));
    if !step.has_actions() && step.solve.is_none() && step.solve_guest.is_none() && !only_done {
        findings.error(
            step.line,
            "nobody can solve this step: it has neither commands nor a `solve`",
            "add a block `run`, or a block `solve` for a step the learner must find out",
        );
    }
}

fn waits(step: &Step, findings: &mut Findings) {
    let has = |wanted: fn(&What) -> bool| step.watch.iter().find(|c| wanted(&c.what));
    if let Some(done) = has(|what| matches!(what, What::Done))
        && step.watch.len() > 1
    {
        findings.warning(
            done.line,
            "`done` beside other conditions makes the learner say what can be seen",
            "remove `- done: true`",
        );
    }
    if let (Some(output), Some(_)) = (
        has(|what| matches!(what, What::Output(..))),
        has(|what| matches!(what, What::Asked(_))),
    ) {
        findings.warning(
            output.line,
            "the command of `output` asks the cluster too, and may satisfy `asked`",
            "use an `object` condition instead of `output`",
        );
    }
    for condition in &step.watch {
        if let What::Http(http) = &condition.what
            && http.expect == Expect::default()
            && http.status.is_none()
            && step.watch.len() == 1
        {
            findings.warning(
                condition.line,
                "any page that answers completes this step",
                "add `contains:` with words of the right page",
            );
        }
    }
    for entry in &step.not_yet {
        if let Some(condition) = entry.when.iter().find(|c| matches!(c.what, What::Done)) {
            findings.error(
                condition.line,
                "`done` cannot be a reason for not yet",
                "look at an object",
            );
        }
    }
}
