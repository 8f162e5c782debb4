//! A point in time to the microsecond, as the journal and stories tell it.

use std::fmt;
use std::time::Duration;

use cadet_api::clock;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// Microseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// Before everything.
    pub const EPOCH: Moment = Moment(0);

    pub fn now() -> Moment {
        Moment::of(OffsetDateTime::now_utc())
    }

    pub fn of(time: OffsetDateTime) -> Moment {
        // The type's range of years fits with room to spare.
        Moment(i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX))
    }

    /// Reads any RFC 3339 time.
    pub fn parse(text: &str) -> Option<Moment> {
        clock::parse(text).map(Moment::of)
    }

    /// The next one there is.
    pub fn next(self) -> Moment {
        Moment(self.0.saturating_add(1))
    }

    /// How long after `earlier`; zero if it was not.
    pub fn since(self, earlier: Moment) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

impl fmt::Display for Moment {
    /// RFC 3339 with six digits, always.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000);
        f.write_str(&clock::rfc3339_micro(
            time.unwrap_or(OffsetDateTime::UNIX_EPOCH),
        ))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_always_shows_six_digits_and_reads_back() {
        for (text, shown) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000Z"),
            ("2026-01-02T03:04:05.5+01:00", "2026-01-02T02:04:05.500000Z"),
            ("2026-01-02T03:04:05.000123Z", "2026-01-02T03:04:05.000123Z"),
        ] {
            let moment = Moment::parse(text).expect("a time");
            assert_eq!(moment.to_string(), shown);
            assert_eq!(Moment::parse(shown), Some(moment));
            assert_eq!(
                serde_json::to_value(moment).expect("json"),
                serde_json::json!(shown)
            );
        }
        assert_eq!(Moment::parse("yesterday"), None);
        let earlier = Moment::parse("2026-01-02T03:04:05Z").expect("a time");
        assert_eq!(earlier.next().since(earlier), Duration::from_micros(1));
        assert_eq!(earlier.since(earlier.next()), Duration::ZERO);
    }
}
