//! Sets of completion indexes as intervals: `0-3,5,7-9`, the text of a Job's status. A Job of
//! 100,000 indexes mostly done takes a handful of numbers.

use std::collections::BTreeSet;
use std::fmt;

/// Disjoint intervals in increasing order, none touching the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads the text of a status or a rule. Indexes of `completions` and beyond are left
    /// out: the Job may have shrunk. What is no number is left out too; the server refuses
    /// such text, so it is not ours to complain about.
    pub fn parse(text: &str, completions: i32) -> Indexes {
        let mut out = Indexes::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) else {
                continue;
            };
            if first >= completions {
                break;
            }
            out.push(first, last.min(completions - 1));
        }
        out
    }

    /// Adds an interval that begins no earlier than the last one.
    fn push(&mut self, first: i32, last: i32) {
        match self.0.last_mut() {
            Some(end) if first <= end.1.saturating_add(1) => end.1 = end.1.max(last),
            _ => self.0.push((first, last)),
        }
    }

    /// How many indexes it has.
    pub fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// Both together.
    pub fn union(&self, other: &Indexes) -> Indexes {
        let mut all: Vec<(i32, i32)> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut out = Indexes::default();
        for (first, last) in all {
            out.push(first, last);
        }
        out
    }

    /// With some more.
    pub fn with(&self, more: &BTreeSet<i32>) -> Indexes {
        self.union(&more.iter().copied().collect())
    }

    /// How many indexes are in both.
    pub fn common(&self, other: &Indexes) -> i32 {
        let (mut i, mut j, mut count) = (0, 0, 0);
        while let (Some(a), Some(b)) = (self.0.get(i), other.0.get(j)) {
            count += (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
            match a.1 < b.1 {
                true => i += 1,
                false => j += 1,
            }
        }
        count
    }

    /// The first `count` of `0..completions` that are not in it.
    pub fn first_missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut out = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            while next < first.min(completions) && out.len() < count {
                out.push(next);
                next += 1;
            }
            next = next.max(last.saturating_add(1));
        }
        out
    }
}

/// From numbers in increasing order.
impl FromIterator<i32> for Indexes {
    fn from_iter<T: IntoIterator<Item = i32>>(numbers: T) -> Indexes {
        let mut out = Indexes::default();
        for number in numbers {
            out.push(number, number);
        }
        out
    }
}

/// As in `status.completedIndexes`: two neighbours are written apart.
impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_in_and_comes_out_the_same() {
        for text in ["", "0", "0,1", "0-2,4,6,7,9-12"] {
            assert_eq!(Indexes::parse(text, 20).to_string(), text);
        }
        assert_eq!(
            Indexes::parse("0-2,4,6", 5).to_string(),
            "0-2,4",
            "the Job shrank"
        );
        assert_eq!(Indexes::parse("0-9", 3).total(), 3);
        assert_eq!(Indexes::parse("1,2,3", 9).to_string(), "1-3");
    }

    #[test]
    fn sets_are_joined_and_compared() {
        let set = Indexes::parse("0-2,5", 10);
        assert!(set.has(2) && set.has(5) && !set.has(3) && !set.has(6));
        assert_eq!(set.with(&BTreeSet::from([3, 8])).to_string(), "0-3,5,8");
        assert_eq!(set.common(&Indexes::parse("1-5", 10)), 3);
        assert_eq!(set.union(&Indexes::parse("1-4", 10)).to_string(), "0-5");
    }

    #[test]
    fn gaps_are_filled_from_below() {
        let set = Indexes::parse("0-2,5", 10);
        assert_eq!(set.first_missing(3, 10), [3, 4, 6]);
        assert_eq!(set.first_missing(9, 7), [3, 4, 6]);
        assert_eq!(Indexes::default().first_missing(2, 1), [0]);
        assert!(set.first_missing(0, 10).is_empty());
        assert!(set.first_missing(5, 2).is_empty());
    }
}
