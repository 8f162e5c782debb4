//! One opening of one step: what is known of it, and what follows from that. Pure but for the
//! tasks it begins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;

use super::sources::{self, Post};
use crate::condition::judge::judge_all;
use crate::condition::{Condition, Facts, Fetched, Need, Probe, Target, Verdict, What, needs};
use crate::event::{LiveCondition, Reason};
use crate::model::Step;
use crate::progress::StepProgress;
use crate::world::{Change, World};

/// The first pause between two questions to the same place, and the longest.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(2);
/// The longest while only the learner can end the step: what is asked then is the reason alone.
const LEISURELY: Duration = Duration::from_secs(8);

/// What a look at everything known says.
pub(crate) struct Standing {
    pub holds: bool,
    pub live: Vec<LiveCondition>,
    /// Why not, where something does not hold.
    pub reason: Option<(String, Reason)>,
}

/// A step while it is open.
pub(crate) struct Turn {
    pub index: usize,
    pub began: SystemTime,
    pub facts: Facts,
    /// Completed or skipped; only looked at.
    pub left: bool,
    /// Something was done here since the step was opened, or before in this step.
    pub acted: bool,
    pub solved: bool,
    /// The scripts of the step have run in the machine.
    pub scripted: bool,
    /// Nothing was judged yet with everything known.
    pub first: bool,
    world: Arc<dyn World>,
    post: Post,
    /// Everything that was begun for this turn; ends when it is dropped.
    tasks: JoinSet<()>,
    needs: Vec<Need>,
    /// The journal must be open before the step may begin.
    awaits_journal: bool,
    probes: BTreeSet<Probe>,
    loading: BTreeSet<Probe>,
    dirty: BTreeSet<Probe>,
    pause: Duration,
    pausing: bool,
    /// Counts changes of watched objects.
    version: u64,
    why: Why,
}

/// The cause that was asked for last.
#[derive(Default)]
struct Why {
    of: Option<Target>,
    said: Option<String>,
    asking: bool,
    /// The version of the facts it was asked for.
    version: Option<u64>,
}

impl Turn {
    /// Opens a step: everything it waits for is watched and asked for from here on.
    pub fn open(
        world: Arc<dyn World>,
        step: &Step,
        index: usize,
        kept: &StepProgress,
        post: Post,
    ) -> Turn {
        let facts = Facts {
            before: kept.before.clone().map(BTreeSet::from_iter),
            ran: kept.ran,
            ..Facts::default()
        };
        let all: Vec<&Condition> = step
            .watch
            .iter()
            .chain(step.not_yet.iter().flat_map(|entry| &entry.when))
            .collect();
        let mut turn = Turn {
            index,
            began: world.now(),
            facts,
            left: kept.state.left(),
            acted: kept.ran,
            solved: false,
            scripted: kept.scripted,
            first: true,
            post,
            tasks: JoinSet::new(),
            needs: needs(all.iter().copied()),
            awaits_journal: all.iter().any(|condition| condition.needs_journal()),
            probes: all
                .iter()
                .filter_map(|condition| condition.probe())
                .collect(),
            loading: BTreeSet::new(),
            dirty: BTreeSet::new(),
            pause: SHORTEST,
            pausing: false,
            version: 0,
            why: Why::default(),
            world,
        };
        for need in turn.needs.clone() {
            let (world, post) = turn.ends();
            turn.tasks.spawn(sources::watch(world, need, post));
        }
        if turn.awaits_journal {
            let (world, post) = turn.ends();
            turn.tasks
                .spawn(sources::journal(world, kept.mark.clone(), post));
        }
        turn.fetch_all();
        turn
    }

    fn ends(&self) -> (Arc<dyn World>, Post) {
        (Arc::clone(&self.world), self.post.clone())
    }

    pub fn post(&self) -> &Post {
        &self.post
    }

    /// Whether enough is known for the step to begin: all watched objects, and the journal.
    pub fn armed(&self) -> bool {
        !self.awaits_journal && self.facts.know(&self.needs)
    }

    pub fn journal_is_open(&mut self) {
        self.awaits_journal = false;
    }

    /// Whether nothing is on its way that may change the judgement.
    pub fn settled(&self) -> bool {
        self.armed() && self.loading.is_empty()
    }

    /// Takes news of watched objects. True when something changed.
    pub fn changed(&mut self, need: &Need, change: Change) -> bool {
        if !self.facts.take(need, change) {
            return false;
        }
        self.version += 1;
        // Events only explain; nothing a probe sees changes with them.
        if !need.kind.known().is_some_and(|row| row.is("", "Event")) {
            self.fetch_all();
        }
        true
    }

    /// Asks for everything that cannot be watched, at once.
    pub fn fetch_all(&mut self) {
        self.pause = SHORTEST;
        self.fetch();
    }

    fn fetch(&mut self) {
        for probe in self.probes.clone() {
            if self.loading.insert(probe.clone()) {
                self.spawn_fetch(probe);
            } else {
                self.dirty.insert(probe);
            }
        }
    }

    fn spawn_fetch(&mut self, probe: Probe) {
        // What has ended is kept in the set until somebody asks for it.
        while self.tasks.try_join_next().is_some() {}
        let (world, post) = self.ends();
        self.tasks.spawn(sources::fetch(world, probe, post));
    }

    pub fn fetched(&mut self, probe: Probe, fetched: Fetched) {
        if self.dirty.remove(&probe) {
            // Something changed while it was asked: this answer may be from before.
            self.spawn_fetch(probe.clone());
        } else {
            self.loading.remove(&probe);
        }
        self.facts.fetched.insert(probe, fetched);
    }

    /// The pause is over: ask again.
    pub fn paused(&mut self) {
        self.pausing = false;
        self.fetch();
    }

    pub fn told_why(&mut self, object: &Target, said: Option<String>) {
        self.why.asking = false;
        if self.why.of.as_ref() == Some(object) {
            self.why.said = said;
        }
    }

    /// Judges everything; begins what the judgement asks for (a pause, a question for causes).
    pub fn look(&mut self, step: &Step) -> Standing {
        let (holds, verdicts) = judge_all(&step.watch, &self.facts);
        let live = step.watch.iter().zip(&verdicts);
        let live = live.map(|(condition, verdict)| LiveCondition {
            wanted: condition.to_string(),
            holds: verdict.holds,
            lines: verdict.live.clone(),
        });
        let live = live.collect();
        // What a script in the machine does cannot be done from outside.
        let unscripted = !self.scripted && step.guest_blocks().next().is_some();
        if holds && unscripted {
            let reason = "the script of this step has not run in the machine yet; Enter runs it";
            return Standing {
                holds: false,
                live,
                reason: Some((reason.to_owned(), Reason::Condition)),
            };
        }
        self.ask_again(step, &verdicts);
        Standing {
            holds,
            live,
            reason: (!holds).then(|| self.reason(step, &verdicts)),
        }
    }

    /// While only what cannot be watched is missing, or the learner's word, what can be asked for
    /// is asked with growing pauses.
    fn ask_again(&mut self, step: &Step, verdicts: &[Verdict]) {
        let missing = step.watch.iter().zip(verdicts).filter(|(_, v)| !v.holds);
        let missing: Vec<&Condition> = missing.map(|(condition, _)| condition).collect();
        let asked = missing.iter().any(|one| one.probe().is_some());
        let unseen = |one: &&Condition| one.probe().is_some() || one.what == What::Done;
        let in_vain = missing.is_empty() || self.probes.is_empty() || !missing.iter().all(unseen);
        if self.left || self.pausing || in_vain || !self.settled() {
            return;
        }
        self.pausing = true;
        let (world, post) = self.ends();
        self.tasks.spawn(sources::pause(world, self.pause, post));
        self.pause = (self.pause * 2).min(if asked { LONGEST } else { LEISURELY });
    }

    fn reason(&mut self, step: &Step, verdicts: &[Verdict]) -> (String, Reason) {
        let foreseen = step
            .not_yet
            .iter()
            .find(|entry| judge_all(&entry.when, &self.facts).0);
        if let Some(entry) = foreseen {
            return (entry.say.clone(), Reason::Author);
        }
        let Some(first) = verdicts.iter().find(|verdict| !verdict.holds) else {
            // A step without conditions, which lint refuses, waits for ever.
            return (
                "this step waits for nothing that can happen".to_owned(),
                Reason::Condition,
            );
        };
        let own = first.reason.clone().unwrap_or_default();
        let Some(subject) = &first.subject else {
            return (own, Reason::Condition);
        };
        self.ask_why(subject);
        match &self.why.said {
            Some(said) => (said.clone(), Reason::Why),
            None => (own, Reason::Condition),
        }
    }

    /// One question at a time, and only when something changed since the last.
    fn ask_why(&mut self, subject: &Target) {
        if self.why.of.as_ref() != Some(subject) {
            self.why.of = Some(subject.clone());
            self.why.said = None;
            self.why.version = None;
        }
        if self.why.asking || self.why.version == Some(self.version) {
            return;
        }
        self.why.asking = true;
        self.why.version = Some(self.version);
        let (world, post) = self.ends();
        self.tasks.spawn(sources::why(world, subject.clone(), post));
    }
}
