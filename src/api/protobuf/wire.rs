//! The encoding below every message: numbered fields of four sorts (protobuf.dev, encoding).

use super::Error;

/// A field's content as it came over the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire<'a> {
    Number(u64),
    Eight(u64),
    Bytes(&'a [u8]),
    Four,
}

impl<'a> Wire<'a> {
    pub(super) fn bytes(self, name: &str) -> Result<&'a [u8], Error> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            other => Err(other.mismatch(name)),
        }
    }

    pub(super) fn number(self, name: &str) -> Result<u64, Error> {
        match self {
            Wire::Number(n) => Ok(n),
            other => Err(other.mismatch(name)),
        }
    }

    pub(super) fn mismatch(self, name: &str) -> Error {
        let found = match self {
            Wire::Number(_) => 0,
            Wire::Eight(_) => 1,
            Wire::Bytes(_) => 2,
            Wire::Four => 5,
        };
        Error::Mismatch {
            field: name.to_owned(),
            found,
        }
    }
}

/// The fields of a message in order: number and content (protobuf.dev, encoding).
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in 0..10 {
            let (first, rest) = self.0.split_first().ok_or(Error::Cut)?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << (7 * shift);
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Varint)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Error::Cut)?;
        self.0 = rest;
        Ok(head)
    }

    fn part(&mut self) -> Result<(u32, Wire<'a>), Error> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Error::Varint)?;
        let wire = match (key & 7) as u8 {
            0 => Wire::Number(self.varint()?),
            1 => {
                let mut eight = [0; 8];
                eight.copy_from_slice(self.take(8)?);
                Wire::Eight(u64::from_le_bytes(eight))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Error::Cut)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Four
            }
            other => return Err(Error::WireType(other)),
        };
        Ok((number, wire))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Wire<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_err() {
            // Nothing after a broken field can be trusted.
            self.0 = &[];
        }
        Some(part)
    }
}
