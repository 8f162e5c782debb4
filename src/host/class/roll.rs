//! Who is in the class and where they are. Pure: moments and requests in, rows out.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::identity::PublicKey;
use crate::message::{
    Call, Joining, LONGEST_NAME, LONGEST_WORDS, MOST_STEPS, Mine, Report, StepReport,
};

/// Most learners of a class.
pub const MOST_LEARNERS: usize = 1000;
/// Most lessons kept of one learner.
const MOST_LESSONS: usize = 32;
/// Longest name of a lesson, as in `cadet_state`.
const LONGEST_LESSON: usize = 60;

/// Seconds since 1970.
pub type Moment = u64;

/// One learner as kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learner {
    /// Public key, in base64url.
    pub key: String,
    pub name: String,
    /// They agreed to report.
    pub reports: bool,
    pub joined: Moment,
    /// When they were last heard of.
    pub seen: Moment,
    /// The number of their last request.
    pub number: u64,
    #[serde(default)]
    pub help: Option<Help>,
    /// The lesson they reported last.
    #[serde(default)]
    pub lesson: Option<String>,
    /// The lesson is open in their terminal.
    #[serde(default)]
    pub open: bool,
    #[serde(default)]
    pub lessons: BTreeMap<String, Standing>,
    /// They left; what they did still counts for the pace.
    #[serde(default)]
    pub left: bool,
}

/// A call for help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Help {
    pub since: Moment,
    pub words: String,
}

/// How far a learner is in one lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub step: usize,
    pub steps: Vec<StepReport>,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// Nobody with this key is in the class.
    NotJoined,
    /// The request's number is not larger than the last.
    Number(u64),
    /// The class is full.
    Full,
    /// Nobody new is let in.
    Closed,
    /// What was sent cannot be.
    Malformed(&'static str),
}

/// The class.
#[derive(Debug, Default)]
pub struct Roll {
    learners: BTreeMap<String, Learner>,
    /// Whose rows are to be kept.
    changed: BTreeSet<String>,
    /// Nobody new is let in.
    pub closed: bool,
}

impl Roll {
    /// The learners that were kept; None for a row that cannot be read.
    pub fn load<'a>(rows: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let mut roll = Self::default();
        for (id, row) in rows {
            roll.learners
                .insert(id.to_owned(), serde_json::from_slice(row).ok()?);
        }
        Some(roll)
    }

    /// All, by id.
    pub fn learners(&self) -> impl Iterator<Item = (&str, &Learner)> {
        self.learners.iter().map(|(id, l)| (id.as_str(), l))
    }

    /// How many are there, those who left not counted.
    pub fn len(&self) -> usize {
        self.learners.values().filter(|l| !l.left).count()
    }

    /// True if nobody is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows that changed since the last call: None for those who are forgotten.
    pub fn take_changes(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        let changed = std::mem::take(&mut self.changed);
        let row = |id: String| {
            let learner = self.learners.get(&id);
            // Strings and numbers are JSON.
            let row = learner.and_then(|learner| serde_json::to_vec(learner).ok());
            (id, row)
        };
        changed.into_iter().map(row).collect()
    }

    /// These could not be kept: they are changed still.
    pub fn put_back(&mut self, ids: impl IntoIterator<Item = String>) {
        self.changed.extend(ids);
    }

    /// A learner joins, or changes name or consent.
    ///
    /// # Errors
    /// [`No::Closed`], [`No::Full`], [`No::Number`], [`No::Malformed`].
    pub fn join(
        &mut self,
        key: &PublicKey,
        number: u64,
        joining: &Joining,
        now: Moment,
    ) -> Result<Mine, No> {
        let name = tidy(&joining.name, LONGEST_NAME);
        if name.is_empty() {
            return Err(No::Malformed("the name has no letters"));
        }
        let id = key.id();
        match self.learners.get(&id) {
            // The id is a part of a hash: the key itself decides.
            Some(known) if known.key != key.text() => {
                return Err(No::Malformed("this key cannot be used"));
            }
            Some(known) => fresh(known, number)?,
            None if self.closed => return Err(No::Closed),
            None if self.learners.len() >= MOST_LEARNERS => return Err(No::Full),
            None => {}
        }
        let name = self.unlike_others(&id, name);
        let learner = self.learners.entry(id.clone()).or_insert_with(|| Learner {
            key: key.text(),
            name: String::new(),
            reports: false,
            joined: now,
            seen: now,
            number,
            help: None,
            lesson: None,
            open: false,
            lessons: BTreeMap::new(),
            left: false,
        });
        learner.name = name;
        learner.reports = joining.reports;
        learner.left = false;
        learner.number = number;
        learner.seen = now;
        if !joining.reports {
            learner.lessons.clear();
            learner.lesson = None;
            learner.open = false;
        }
        let mine = mine(learner);
        self.changed.insert(id);
        Ok(mine)
    }

    /// What a learner did.
    ///
    /// # Errors
    /// [`No::NotJoined`], [`No::Number`], [`No::Malformed`].
    pub fn report(
        &mut self,
        key: &PublicKey,
        number: u64,
        report: Report,
        now: Moment,
    ) -> Result<Mine, No> {
        let name = &report.lesson;
        let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > LONGEST_LESSON || !name.chars().all(letter) {
            return Err(No::Malformed("this is no name of a lesson"));
        }
        if report.steps.len() > MOST_STEPS || report.step > report.steps.len() {
            return Err(No::Malformed("no lesson has such steps"));
        }
        self.change(key, number, now, |learner| {
            if !learner.reports {
                return Err(No::Malformed("this learner did not agree to report"));
            }
            let known = learner.lessons.contains_key(&report.lesson);
            if !known && learner.lessons.len() >= MOST_LESSONS {
                return Err(No::Malformed("these are more lessons than anybody has"));
            }
            learner.open = report.open;
            learner.lesson = Some(report.lesson.clone());
            let (step, steps) = (report.step, report.steps);
            learner
                .lessons
                .insert(report.lesson, Standing { step, steps });
            Ok(())
        })
    }

    /// A call for help, or its end.
    ///
    /// # Errors
    /// [`No::NotJoined`], [`No::Number`].
    pub fn call(
        &mut self,
        key: &PublicKey,
        number: u64,
        call: &Call,
        now: Moment,
    ) -> Result<Mine, No> {
        let words = tidy(&call.words, LONGEST_WORDS);
        self.change(key, number, now, |learner| {
            learner.help = call.asks.then(|| Help {
                // Who asks again keeps their place.
                since: learner.help.as_ref().map_or(now, |help| help.since),
                words,
            });
            Ok(())
        })
    }

    /// A learner's own row.
    ///
    /// # Errors
    /// [`No::NotJoined`], [`No::Number`].
    pub fn me(&mut self, key: &PublicKey, number: u64, now: Moment) -> Result<Mine, No> {
        self.change(key, number, now, |_| Ok(()))
    }

    /// A learner leaves.
    ///
    /// # Errors
    /// [`No::NotJoined`], [`No::Number`].
    pub fn leave(
        &mut self,
        key: &PublicKey,
        number: u64,
        forget: bool,
        now: Moment,
    ) -> Result<Mine, No> {
        let mine = self.change(key, number, now, |learner| {
            learner.left = true;
            learner.open = false;
            learner.help = None;
            Ok(())
        })?;
        if forget {
            self.learners.remove(&key.id());
        }
        Ok(mine)
    }

    /// The teacher has been there. False if nobody has this id.
    pub fn helped(&mut self, id: &str) -> bool {
        let Some(learner) = self.learners.get_mut(id) else {
            return false;
        };
        learner.help = None;
        self.changed.insert(id.to_owned());
        true
    }

    /// The teacher takes somebody off the board. False if nobody has this id.
    pub fn remove(&mut self, id: &str) -> bool {
        let known = self.learners.remove(id).is_some();
        if known {
            self.changed.insert(id.to_owned());
        }
        known
    }

    fn change(
        &mut self,
        key: &PublicKey,
        number: u64,
        now: Moment,
        act: impl FnOnce(&mut Learner) -> Result<(), No>,
    ) -> Result<Mine, No> {
        let id = key.id();
        let learner = self.learners.get_mut(&id).ok_or(No::NotJoined)?;
        // The id is a part of a hash: the key itself decides.
        if learner.left || learner.key != key.text() {
            return Err(No::NotJoined);
        }
        fresh(learner, number)?;
        act(learner)?;
        learner.number = number;
        learner.seen = now;
        let mine = mine(learner);
        self.changed.insert(id);
        Ok(mine)
    }

    /// The name, with a number where another learner has it.
    fn unlike_others(&self, id: &str, name: String) -> String {
        let others = self.learners.iter().filter(|(other, _)| *other != id);
        let taken: HashSet<String> = others
            .map(|(_, learner)| learner.name.to_lowercase())
            .collect();
        if !taken.contains(&name.to_lowercase()) {
            return name;
        }
        // There are fewer learners than numbers.
        (2..)
            .take(MOST_LEARNERS + 1)
            .map(|n| format!("{name} {n}"))
            .find(|name| !taken.contains(&name.to_lowercase()))
            .unwrap_or(name)
    }
}

fn fresh(learner: &Learner, number: u64) -> Result<(), No> {
    if number <= learner.number {
        return Err(No::Number(learner.number));
    }
    Ok(())
}

fn mine(learner: &Learner) -> Mine {
    Mine {
        name: learner.name.clone(),
        reports: learner.reports,
        asked: learner.help.is_some(),
    }
}

/// What a person typed, for one line of a page: blanks are single, and nothing is left that turns
/// the direction of writing or cannot be seen.
pub fn tidy(text: &str, longest: usize) -> String {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
    };
    let mut out = String::new();
    let mut length = 0;
    let visible = text.chars().map(|c| if unseen(c) { ' ' } else { c });
    for c in visible {
        if c.is_whitespace() {
            if !out.is_empty() && !out.ends_with(' ') && length < longest {
                out.push(' ');
                length += 1;
            }
        } else if length < longest {
            out.push(c);
            length += 1;
        }
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
#[path = "roll_tests.rs"]
mod tests;
