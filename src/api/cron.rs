//! Cron schedules as CronJobs write them: five fields or a name (`@daily`), no time zone.
//! The dialect is that of robfig/cron's standard parser, which upstream uses.

use std::fmt;

use time::{Date, Duration, OffsetDateTime, Time, Weekday};

/// A parsed schedule: one bit per allowed value of each field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    At {
        minutes: u64,
        hours: u64,
        days: u64,
        months: u64,
        weekdays: u64,
        /// Day and weekday both restricted: either may match (crontab(5)).
        either_day: bool,
    },
    /// `@every 5m`.
    Every(Duration),
}

/// What is wrong with a schedule, in words like upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("expected exactly 5 fields, found {found}: [{fields}]")]
    Fields { found: usize, fields: String },
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("failed to parse duration {0}")]
    Duration(String),
    #[error("failed to parse int from {0}")]
    Number(String),
    #[error("{what} ({value}) {side} ({bound}): {text}")]
    Range {
        what: &'static str,
        value: u32,
        side: &'static str,
        bound: u32,
        text: String,
    },
}

struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MINUTES: Field = field(0, 59, &[]);
const HOURS: Field = field(0, 23, &[]);
const DAYS: Field = field(1, 31, &[]);
const MONTHS: Field = field(
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
const WEEKDAYS: Field = field(0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);

const fn field(low: u32, high: u32, names: &'static [&'static str]) -> Field {
    Field { low, high, names }
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with the first wrong field.
    pub fn parse(text: &str) -> Result<Schedule, Error> {
        if let Some(name) = text.strip_prefix('@') {
            return descriptor(name, text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(Error::Fields {
                found: fields.len(),
                fields: fields.join(" "),
            });
        };
        let star = |text: &str| text.starts_with('*') || text.starts_with('?');
        Ok(Schedule::At {
            minutes: bits(minutes, &MINUTES)?,
            hours: bits(hours, &HOURS)?,
            days: bits(days, &DAYS)?,
            months: bits(months, &MONTHS)?,
            weekdays: bits(weekdays, &WEEKDAYS)?,
            either_day: !star(days) && !star(weekdays),
        })
    }

    /// The first time after `from` that the schedule names, in `from`'s own offset; `None`
    /// if there is none within five years (30 February).
    pub fn next(&self, from: OffsetDateTime) -> Option<OffsetDateTime> {
        let (minutes, hours, days, months, weekdays, either) = match self {
            Schedule::Every(step) => return from.checked_add(*step),
            Schedule::At {
                minutes,
                hours,
                days,
                months,
                weekdays,
                either_day,
            } => (*minutes, *hours, *days, *months, *weekdays, *either_day),
        };
        let has = |set: u64, n: u8| set >> n & 1 == 1;
        let first = from.replace_time(Time::from_hms(from.hour(), from.minute(), 0).ok()?)
            + Duration::minutes(1);
        let mut date = first.date();
        let mut after = first.time();
        for _ in 0..(5 * 366) {
            let day = has(days, date.day());
            let weekday = has(weekdays, days_from_sunday(date));
            let day_fits = if either {
                day || weekday
            } else {
                day && weekday
            };
            if has(months, date.month().into()) && day_fits {
                for hour in (after.hour()..24).filter(|h| has(hours, *h)) {
                    let start = if hour == after.hour() {
                        after.minute()
                    } else {
                        0
                    };
                    if let Some(minute) = (start..60).find(|m| has(minutes, *m)) {
                        let time = Time::from_hms(hour, minute, 0).ok()?;
                        return Some(from.replace_date(date).replace_time(time));
                    }
                }
            }
            date = date.next_day()?;
            after = Time::MIDNIGHT;
        }
        None
    }
}

fn days_from_sunday(date: Date) -> u8 {
    match date.weekday() {
        Weekday::Sunday => 0,
        other => other.number_days_from_sunday(),
    }
}

fn descriptor(name: &str, text: &str) -> Result<Schedule, Error> {
    let plain = match name {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        _ => {
            let every = name
                .strip_prefix("every ")
                .ok_or_else(|| Error::Descriptor(text.to_owned()))?;
            return duration(every)
                .map(Schedule::Every)
                .ok_or_else(|| Error::Duration(text.to_owned()));
        }
    };
    Schedule::parse(plain)
}

/// Go's duration text in whole seconds: `1h30m`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest.get(..digits)?.parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.chars().next()?;
        let seconds = match unit {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(seconds)?)?;
        rest = &rest[1..];
    }
    (total > 0).then(|| Duration::seconds(total))
}

fn bits(text: &str, field: &Field) -> Result<u64, Error> {
    text.split(',')
        .map(|part| range(part, field))
        .try_fold(0, |all, one| Ok(all | one?))
}

/// `*`, `5`, `1-5`, `*/10`, `5/15`, `1-30/2`.
fn range(text: &str, field: &Field) -> Result<u64, Error> {
    let (span, step) = match text.split_once('/') {
        None => (text, None),
        Some((span, step)) => (span, Some(number(step)?)),
    };
    let (low, high) = match span {
        "*" | "?" => (field.low, field.high),
        _ => match span.split_once('-') {
            Some((low, high)) => (value(low, field)?, value(high, field)?),
            None => {
                let low = value(span, field)?;
                (low, if step.is_some() { field.high } else { low })
            }
        },
    };
    // Sunday may be written as 7 by crontab(5); upstream's parser refuses it, and so do we.
    let out_of = |what, value, side, bound| Error::Range {
        what,
        value,
        side,
        bound,
        text: text.to_owned(),
    };
    if low < field.low {
        return Err(out_of(
            "beginning of range",
            low,
            "below minimum",
            field.low,
        ));
    }
    if high > field.high {
        return Err(out_of("end of range", high, "above maximum", field.high));
    }
    if low > high {
        return Err(out_of(
            "beginning of range",
            low,
            "beyond end of range",
            high,
        ));
    }
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(out_of("step of range", 0, "should be a positive number", 0));
    }
    Ok((low..=high)
        .step_by(step as usize)
        .fold(0, |all, n| all | 1 << n))
}

fn value(text: &str, field: &Field) -> Result<u32, Error> {
    let lower = text.to_lowercase();
    match field.names.iter().position(|name| *name == lower) {
        Some(at) => Ok(at as u32 + field.low),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, Error> {
    text.parse().map_err(|_| Error::Number(text.to_owned()))
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn next(schedule: &str, from: &str) -> Option<String> {
        let from = clock::parse(from).expect("time");
        Schedule::parse(schedule)
            .expect("schedule")
            .next(from)
            .map(clock::rfc3339)
    }

    #[test]
    fn the_next_time_is_the_first_after_now() {
        for (schedule, from, want) in [
            ("* * * * *", "2026-11-24T10:00:00Z", "2026-11-24T10:01:00Z"),
            (
                "*/15 * * * *",
                "2026-11-24T10:00:30Z",
                "2026-11-24T10:15:00Z",
            ),
            ("0 0 1 1 *", "2026-11-24T10:00:00Z", "2027-01-01T00:00:00Z"),
            (
                "30 4 1,15 * 5",
                "2026-11-24T10:00:00Z",
                "2026-11-27T04:30:00Z",
            ),
            (
                "0 9-17/4 * * mon-FRI",
                "2026-11-27T17:30:00Z",
                "2026-11-30T09:00:00Z",
            ),
            ("@daily", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
            (
                "@every 1h30m",
                "2026-11-24T10:00:00Z",
                "2026-11-24T11:30:00Z",
            ),
            ("0 0 29 2 *", "2026-11-24T10:00:00Z", "2028-02-29T00:00:00Z"),
        ] {
            assert_eq!(next(schedule, from).as_deref(), Some(want), "{schedule}");
        }
        assert_eq!(next("0 0 30 2 *", "2026-11-24T10:00:00Z"), None);
    }

    #[test]
    fn wrong_schedules_are_told_what_is_wrong() {
        for (schedule, words) in [
            ("* * * *", "expected exactly 5 fields, found 4"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            (
                "5-1 * * * *",
                "beginning of range (5) beyond end of range (1)",
            ),
            ("*/0 * * * *", "step of range"),
            ("x * * * *", "failed to parse int from x"),
            ("* * * * 7", "above maximum (6)"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            ("@every x", "failed to parse duration"),
            ("", "found 0"),
        ] {
            let found = Schedule::parse(schedule).expect_err(schedule).to_string();
            assert!(found.contains(words), "{found}");
        }
    }
}
