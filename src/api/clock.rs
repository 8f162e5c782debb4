//! Times as Kubernetes writes them, and ages as kubectl prints them.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// `2026-11-20T20:16:00Z`: metadata timestamps have whole seconds. Every write asks for one,
/// so the digits are put down without a format description.
pub fn rfc3339(t: OffsetDateTime) -> String {
    let t = t.to_offset(UtcOffset::UTC);
    let (date, time) = (t.date(), t.time());
    let digits = |n: u8| [b'0' + n / 10, b'0' + n % 10];
    // Years of RFC 3339 have four digits.
    let year = date.year().clamp(0, 9999).unsigned_abs();
    let mut out = String::with_capacity(20);
    let parts = [
        (digits((year / 100) as u8), ""),
        (digits((year % 100) as u8), "-"),
        (digits(date.month().into()), "-"),
        (digits(date.day()), "T"),
        (digits(time.hour()), ":"),
        (digits(time.minute()), ":"),
        (digits(time.second()), "Z"),
    ];
    for ([tens, ones], after) in parts {
        out.push(char::from(tens));
        out.push(char::from(ones));
        out.push_str(after);
    }
    out
}

/// `2026-11-20T20:16:00.123456Z`: leases and event series have microseconds (MicroTime).
pub fn rfc3339_micro(t: OffsetDateTime) -> String {
    t.to_offset(UtcOffset::UTC)
        .format(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        ))
        .unwrap_or_default()
}

/// Reads any RFC 3339 time.
pub fn parse(s: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(s, &Rfc3339).ok()
}

/// Age of `since` (RFC 3339 text) at `now`; `<unknown>` if it cannot be read, as kubectl says.
pub fn age(since: &str, now: OffsetDateTime) -> String {
    match parse(since) {
        Some(t) => human_duration((now - t).whole_seconds()),
        None => "<unknown>".to_owned(),
    }
}

/// `secs` the way the AGE column shows it: about two significant units (`5s`, `2m3s`,
/// `3h10m`, `4d2h`, `2y30d`). Same steps as apimachinery's HumanDuration.
pub fn human_duration(secs: i64) -> String {
    // Two seconds of clock skew are forgiven, more is called invalid.
    if secs < -1 {
        return "<invalid>".to_owned();
    }
    if secs < 0 {
        return "0s".to_owned();
    }
    if secs < 120 {
        return format!("{secs}s");
    }
    let minutes = secs / 60;
    if minutes < 10 {
        return pair(minutes, 'm', secs % 60, 's');
    }
    if minutes < 60 * 3 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    if hours < 8 {
        return pair(hours, 'h', minutes % 60, 'm');
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    if hours < 24 * 8 {
        return pair(hours / 24, 'd', hours % 24, 'h');
    }
    if hours < 24 * 365 * 2 {
        return format!("{}d", hours / 24);
    }
    if hours < 24 * 365 * 8 {
        return pair(hours / (24 * 365), 'y', (hours / 24) % 365, 'd');
    }
    format!("{}y", hours / (24 * 365))
}

fn pair(big: i64, big_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 {
        format!("{big}{big_unit}")
    } else {
        format!("{big}{big_unit}{small}{small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_written_as_upstream_writes_them() {
        let t = datetime!(2026-01-02 03:04:05.678 +02:00);
        assert_eq!(rfc3339(t), "2026-01-02T01:04:05Z");
        assert_eq!(rfc3339_micro(t), "2026-01-02T01:04:05.678000Z");
        assert_eq!(
            rfc3339(datetime!(0999-12-31 23:59:59 UTC)),
            "0999-12-31T23:59:59Z"
        );
    }

    #[test]
    fn ages_change_units_where_kubectl_does() {
        let day = 24 * 3600;
        for (secs, want) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 600, "3h10m"),
            (8 * 3600, "8h"),
            (2 * day - 1, "47h"),
            (2 * day, "2d"),
            (2 * day + 3600, "2d1h"),
            (8 * day, "8d"),
            (729 * day, "729d"),
            (730 * day, "2y"),
            (731 * day, "2y1d"),
            (9 * 365 * day, "9y"),
        ] {
            assert_eq!(human_duration(secs), want, "{secs} s");
        }
    }

    #[test]
    fn times_round_trip() {
        let t = datetime!(2026-11-20 20:16:05.000123 UTC);
        assert_eq!(rfc3339(t), "2026-11-20T20:16:05Z");
        assert_eq!(rfc3339_micro(t), "2026-11-20T20:16:05.000123Z");
        assert_eq!(parse("2026-11-20T21:16:05.000123+01:00"), Some(t));
        assert_eq!(age("2026-11-20T20:16:00Z", t), "5s");
        assert_eq!(age("", t), "<unknown>");
    }
}
