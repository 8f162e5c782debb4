//! The machine's clock: it stands still while the machine does, so it is behind after a pause
//! or the laptop's sleep. The keeper in the machine puts it right (`cadet-node keeper`), at once
//! if it is asked to; where there is none, the line into the machine does. What was done is told.
//!
//! From here it is only moved forward: leases, certificates and programs in the machine rely on
//! time going on.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cadet_api::keeper::{Ask, Told};
use cadet_state::{Profile, ProfilePaths};
use cadet_tunnel::Tunnel;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::cluster::Cluster;
use crate::error::{CliError, Result};
use crate::nodes::Node;
use crate::{Context, keeper, line, machine, ui};

/// What is less is not worth a jump.
const TOLERANCE: f64 = 2.0;
/// The clock.
const READ: &str = "date +%s.%N";
/// Between two looks whether the laptop slept; the clock is right within so much of waking.
const LOOK: Duration = Duration::from_secs(5);
/// After so many looks the machine itself is asked, however quiet the laptop was.
const ASK_AFTER: u32 = 60;

/// What became of the clock since the machine was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Story {
    /// When the machine was started, in seconds since 1970: a later start has its own story.
    since: u64,
    /// For how long it stood still, all times together.
    pub asleep_seconds: u64,
    /// How often its clock was moved forward.
    pub corrections: u32,
    /// How far it was ahead when somebody looked last.
    pub ahead_seconds: u64,
    /// What the machine's own keeper did.
    keeper: Kept,
}

/// What the keeper told of itself, since the machine was booted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    asleep_seconds: u64,
    put_back_seconds: u64,
    corrections: u64,
}

impl Kept {
    /// What was done after `before`.
    fn since(&self, before: &Self) -> Self {
        Self {
            asleep_seconds: self.asleep_seconds.saturating_sub(before.asleep_seconds),
            put_back_seconds: self
                .put_back_seconds
                .saturating_sub(before.put_back_seconds),
            corrections: self.corrections.saturating_sub(before.corrections),
        }
    }

    /// For lines; None if there is nothing to tell.
    fn told(&self) -> Option<String> {
        let time = |seconds| ui::duration(Duration::from_secs(seconds));
        let mut parts = Vec::new();
        if self.asleep_seconds > 0 {
            let slept = time(self.asleep_seconds);
            parts.push(format!("asleep {slept}, clock corrected"));
        }
        if self.put_back_seconds > 0 {
            let back = time(self.put_back_seconds);
            parts.push(format!("clock put back by {back}"));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

impl From<&Told> for Kept {
    fn from(told: &Told) -> Self {
        Self {
            asleep_seconds: told.corrected_ms / 1000,
            put_back_seconds: told.put_back_ms / 1000,
            corrections: told.corrections,
        }
    }
}

impl Story {
    /// What is kept of the machine that runs now.
    pub fn read(files: &ProfilePaths) -> Self {
        let since = since(files);
        // The file is a note for people: one that cannot be read is none.
        let kept = std::fs::read(files.clock()).ok();
        let kept = kept.and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        kept.filter(|story| story.since == since).unwrap_or(Self {
            since,
            ..Self::default()
        })
    }

    /// Adds what the keeper tells now, if it does.
    pub fn with_keeper(mut self, told: Option<&Told>) -> Self {
        if let Some(told) = told {
            self.keeper = told.into();
        }
        self
    }

    /// For lines; None if there is nothing to tell.
    pub fn told(&self) -> Option<String> {
        let all = Kept {
            asleep_seconds: self.asleep_seconds + self.keeper.asleep_seconds,
            ..self.keeper
        };
        let mut parts: Vec<_> = all.told().into_iter().collect();
        if self.ahead_seconds > 0 {
            let ahead = ui::duration(Duration::from_secs(self.ahead_seconds));
            parts.push(format!("clock {ahead} ahead"));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn add(&mut self, found: Found) {
        match found {
            Found::Right => self.ahead_seconds = 0,
            Found::Behind(seconds) => {
                self.asleep_seconds += whole(seconds);
                self.corrections += 1;
                self.ahead_seconds = 0;
            }
            Found::Ahead(seconds) => self.ahead_seconds = whole(seconds),
        }
    }
}

/// How the machine's clock stands to the laptop's, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Found {
    Right,
    Behind(f64),
    Ahead(f64),
}

/// Judges `guest`, read at some moment between `asked` and `answered`; all in seconds.
fn judge(guest: f64, asked: f64, answered: f64) -> Found {
    let off = guest - f64::midpoint(asked, answered);
    let doubt = ((answered - asked) / 2.0).abs();
    match off.abs() > TOLERANCE + doubt {
        false => Found::Right,
        true if off < 0.0 => Found::Behind(-off),
        true => Found::Ahead(off),
    }
}

/// Puts a machine's clock right, if it is behind; `tunnel` leads to it. What was found is kept,
/// and returned in words if it is worth some.
///
/// # Errors
/// GUEST_CLOCK when it cannot be set, and those of the line.
pub async fn right(cx: &Context, node: &Node, tunnel: &Tunnel) -> Result<Option<String>> {
    let files = node.files(&cx.world.files(&cx.name));
    let asked = now();
    let said = line::guest(tunnel, READ).await?;
    let answered = now();
    let guest: f64 = said.trim().parse().map_err(|_| {
        let what = "the machine's clock cannot be read";
        CliError::new("GUEST_CLOCK", what).why(format!("date said {:?}", said.trim()))
    })?;
    let found = judge(guest, asked, answered);
    let ask = match found {
        Found::Behind(_) => Ask::Wake(keeper::wake()),
        Found::Right | Found::Ahead(_) => Ask::Hello,
    };
    let told = keeper::ask(&files.keeper(), ask, keeper::SOON).await;
    let mut story = Story::read(&files);
    let before = story.clone();
    match (&told, found) {
        (Err(_), Found::Behind(seconds)) => {
            set(cx, tunnel, seconds, (answered - asked) / 2.0).await?;
            story.add(found);
        }
        // The keeper counts for itself.
        (Ok(_), Found::Behind(_)) => story.add(Found::Right),
        (_, found) => story.add(found),
    }
    let story = story.with_keeper(told.as_ref().ok());
    if story != before {
        let text = serde_json::to_vec(&story).unwrap_or_default();
        machine::write_private(&files.clock(), &text)?;
    }
    let by_keeper = story.keeper.since(&before.keeper);
    Ok(match found {
        Found::Behind(_) if told.is_err() => words(cx, found),
        Found::Ahead(_) => words(cx, found),
        Found::Right | Found::Behind(_) => by_keeper.told(),
    })
}

/// Moves the clock forward over the line; what is set arrives `late` seconds later.
async fn set(cx: &Context, tunnel: &Tunnel, behind: f64, late: f64) -> Result<()> {
    let goal = now() + late;
    let done = line::guest(tunnel, &format!("sudo -n date -u -s @{goal:.3}")).await;
    done.map(drop).map_err(|e| {
        let by = ui::duration(Duration::from_secs(whole(behind)));
        let what = format!("the machine's clock is {by} behind and cannot be set");
        CliError::new("GUEST_CLOCK", what)
            .why(e.why.unwrap_or(e.what))
            .fix(machine::again(cx, "stop --poweroff"))
    })
}

/// True if the API server's clock looks wrong; the head of an answer has it to the second, and
/// costs no login.
pub async fn seems_off(cluster: &Cluster) -> bool {
    let asked = now();
    let Ok(Some(date)) = cluster.date().await else {
        return false;
    };
    let Ok(guest) = OffsetDateTime::parse(&date, &Rfc2822) else {
        return false;
    };
    // Half a second is what rounding down took, on the average.
    let guest = guest.unix_timestamp() as f64 + 0.5;
    judge(guest, asked - 0.5, now() + 0.5) != Found::Right
}

fn words(cx: &Context, found: Found) -> Option<String> {
    let time = |seconds| ui::duration(Duration::from_secs(whole(seconds)));
    match found {
        Found::Right => None,
        Found::Behind(seconds) => Some(format!("asleep {}, clock corrected", time(seconds))),
        Found::Ahead(seconds) => Some(format!(
            "the machine's clock is {} ahead of this computer's and was not moved back; {} and {} \
             let it read the time anew",
            time(seconds),
            machine::again(cx, "stop --poweroff"),
            machine::again(cx, "start"),
        )),
    }
}

/// Goes on for ever: whenever the laptop has slept, and now and then anyhow, puts the first
/// machine's clock right over `tunnel`. The others have their keepers only.
pub async fn keep(cx: &Context, profile: &Profile, tunnel: &Tunnel) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut wall, mut running) = (now(), Instant::now());
    let (mut quiet, mut failing) = (0, false);
    let first = Node::first(&profile.name);
    loop {
        looks.tick().await;
        // The monotonic clock stands still in sleep, the other does not.
        let jump = (now() - wall) - running.elapsed().as_secs_f64();
        (wall, running) = (now(), Instant::now());
        quiet += 1;
        if jump.abs() <= TOLERANCE && quiet < ASK_AFTER {
            continue;
        }
        quiet = 0;
        let state = machine::state_of(&cx.world.files(&cx.name), profile).await;
        if !state.is_running() {
            continue;
        }
        let righted = right(cx, &first, tunnel).await;
        match &righted {
            Ok(Some(told)) => cx.ui.warn("clock", told),
            Ok(None) => {}
            // The line is down: the next look tries again, and complains no second time.
            Err(e) if !failing => cx.ui.warn("clock", &e.what),
            Err(_) => {}
        }
        failing = righted.is_err();
        if failing {
            quiet = ASK_AFTER;
        }
    }
}

/// Seconds since 1970 of the laptop.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0.0, |d| d.as_secs_f64())
}

/// When the machine was started: the age of its pid file.
fn since(files: &ProfilePaths) -> u64 {
    let made = std::fs::metadata(files.pid()).and_then(|m| m.modified());
    let made = made.ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    made.map_or(0, |d| d.as_secs())
}

/// Whole seconds, for people.
fn whole(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds.round()).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_state::{Home, ProfileName};

    #[test]
    fn a_slow_answer_is_no_wrong_clock() {
        assert_eq!(judge(100.0, 99.0, 101.0), Found::Right);
        // Three seconds off, but the answer took four.
        assert_eq!(judge(97.0, 98.0, 102.0), Found::Right);
        assert_eq!(judge(40.0, 99.0, 101.0), Found::Behind(60.0));
        assert_eq!(judge(160.0, 99.0, 101.0), Found::Ahead(60.0));
        let year = 31_536_000.0;
        assert_eq!(judge(0.0, year, year), Found::Behind(year));
    }

    #[tokio::test]
    async fn a_server_tells_its_clock_with_every_answer() {
        use axum::Router;
        use axum::http::HeaderValue;
        use axum::http::header::DATE;
        use axum::response::IntoResponse;
        use axum::routing::get;

        for (date, off) in [
            (None, false),
            (Some("Fri, 20 Nov 2015 20:00:00 GMT"), true),
            (Some("yesterday"), false),
        ] {
            let answer = move || async move {
                let mut response = "ok".into_response();
                if let Some(date) = date {
                    response
                        .headers_mut()
                        .insert(DATE, HeaderValue::from_static(date));
                }
                response
            };
            let app = Router::new().route("/readyz", get(answer));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = format!("http://{}", listener.local_addr().unwrap());
            let serving = tokio::spawn(async move { axum::serve(listener, app).await });
            // Without a header of the test's own the server writes the time it is.
            assert_eq!(seems_off(&Cluster::plain(server)).await, off, "{date:?}");
            serving.abort();
        }
    }

    #[test]
    fn what_the_keeper_did_counts_once_and_trifles_are_not_told() {
        let told = |forward, back, corrections| Told {
            corrected_ms: forward,
            put_back_ms: back,
            corrections,
            ..Told::default()
        };
        let slept = told(120_000, 0, 1);
        let story = Story::default().with_keeper(Some(&slept));
        let story = story.with_keeper(Some(&slept));
        let words = "asleep 2 min, clock corrected";
        assert_eq!(story.told().as_deref(), Some(words));
        assert_eq!(story.clone().with_keeper(None), story);
        let trifle = Story::default().with_keeper(Some(&told(800, 0, 4)));
        assert_eq!(trifle.told(), None);
        let both = Story::default().with_keeper(Some(&told(5_000, 90_000, 2)));
        let words = "asleep 5 s, clock corrected, clock put back by 1 min";
        assert_eq!(both.told().as_deref(), Some(words));
        let since = both.keeper.since(&story.keeper);
        assert_eq!(since.told().as_deref(), Some("clock put back by 1 min"));
    }

    #[test]
    fn the_story_adds_up_and_ends_with_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path(), dir.path());
        let files = home.profile(&ProfileName::parse("a").unwrap());
        std::fs::create_dir_all(files.dir()).unwrap();
        std::fs::write(files.pid(), "x").unwrap();
        let mut story = Story::read(&files);
        assert_eq!(story.told(), None);
        story.add(Found::Behind(2400.4));
        story.add(Found::Behind(60.0));
        let told = "asleep 41 min, clock corrected";
        assert_eq!(story.told().as_deref(), Some(told));
        std::fs::write(files.clock(), serde_json::to_vec(&story).unwrap()).unwrap();
        assert_eq!(Story::read(&files), story);
        story.add(Found::Ahead(90.0));
        let told = "asleep 41 min, clock corrected, clock 1 min ahead";
        assert_eq!(story.told().as_deref(), Some(told));
        // Another start.
        let later = std::fs::File::options().write(true).open(files.pid());
        let time = SystemTime::now() + Duration::from_secs(1000);
        later.unwrap().set_modified(time).unwrap();
        assert_eq!(Story::read(&files).told(), None);
    }
}
