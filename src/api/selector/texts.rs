//! Short texts one after the other in one piece of memory: the values an object can be selected
//! by, of which a large cluster keeps a million.

/// See the file's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// All of them, with nothing in between.
    all: Box<str>,
    /// Where each ends.
    ends: Box<[u32]>,
}

impl Texts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them.
    pub fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)?;
        let start = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.all.get(start as usize..end as usize)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// The same with another text at one place.
    pub fn with(&self, at: usize, text: &str) -> Texts {
        let texts = self.iter().enumerate();
        texts
            .map(|(here, own)| if here == at { text } else { own })
            .collect()
    }
}

impl<T: AsRef<str>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Texts {
        let texts = texts.into_iter();
        let mut all = String::new();
        let mut ends = Vec::with_capacity(texts.size_hint().0);
        for text in texts {
            all.push_str(text.as_ref());
            // No object is as long as that.
            ends.push(u32::try_from(all.len()).unwrap_or(u32::MAX));
        }
        Texts {
            // Copied, because an allocator may leave what it shrinks in the room it has.
            all: all.as_str().into(),
            ends: ends.into_boxed_slice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_were_put_in() {
        let texts: Texts = ["", "größe", "", "b"].into_iter().collect();
        assert_eq!(texts.len(), 4);
        assert!(!texts.is_empty() && Texts::default().is_empty());
        let all: Vec<&str> = texts.iter().collect();
        assert_eq!(all, ["", "größe", "", "b"]);
        assert_eq!(texts.get(4), None);
    }

    #[test]
    fn one_can_be_another() {
        let texts: Texts = ["a", "bc", "d"].into_iter().collect();
        let other = texts.with(1, "longer");
        assert_eq!(other.iter().collect::<Vec<_>>(), ["a", "longer", "d"]);
        assert_eq!(other.with(1, "bc"), texts);
        assert_eq!(texts.with(3, "nowhere"), texts);
    }
}
