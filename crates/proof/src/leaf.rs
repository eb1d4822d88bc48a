//! Value of a leaf of the output map: all that happened to one transaction's outputs.

use crate::{ProofError, error::malformed};

/// When a transaction came to be and how many outputs it created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its position in the log.
    pub sequence: u64,
    /// Number of its outputs.
    pub outputs: u16,
}

/// One spent output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Position of the output in its transaction.
    pub index: u16,
    /// Position in the log of the transaction that spent it.
    pub sequence: u64,
}

/// Everything about one transaction's outputs.
///
/// Canonical bytes, numbers as minimal LEB128: 0, or outputs + 1 and the creating sequence; the
/// number of spends; for each spend, ascending by index, the distance of its index from the one after
/// the previous (from 0 for the first) and the spender's sequence. They end where they say that they
/// end, so values can stand one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeafValue {
    /// Absent while only a spend is known: shards report in any order.
    pub created: Option<Created>,
    /// Strictly ascending by index.
    pub spends: Vec<Spend>,
}

impl LeafValue {
    /// The log position of the spender of output `index`, if spent.
    pub fn spender_of(&self, index: u16) -> Option<u64> {
        let at = self.spends.binary_search_by_key(&index, |spend| spend.index).ok()?;
        Some(self.spends[at].sequence)
    }

    /// Appends the canonical bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.created {
            None => out.push(0),
            Some(created) => {
                write_number(out, u64::from(created.outputs) + 1);
                write_number(out, created.sequence);
            }
        }
        write_number(out, u64::try_from(self.spends.len()).unwrap_or(u64::MAX));
        let mut next = 0;
        for spend in &self.spends {
            let index = u64::from(spend.index);
            write_number(out, index.saturating_sub(next));
            write_number(out, spend.sequence);
            next = index + 1;
        }
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        self.write(&mut out);
        out
    }

    /// Reads one value from the front of `input` and moves it past it.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] when cut short or not canonical, when nothing is said, or when an
    /// output is spent that the transaction does not have.
    pub fn read(input: &mut &[u8]) -> Result<Self, ProofError> {
        let tag = read_number(input)?;
        let created = match tag {
            0 => None,
            tag => Some(Created { outputs: index(tag - 1)?, sequence: read_number(input)? }),
        };
        let count = usize::try_from(read_number(input)?).map_err(|_| malformed("map leaf"))?;
        if count > input.len() / 2 || (count == 0 && created.is_none()) {
            return Err(malformed("map leaf"));
        }
        let mut spends = Vec::with_capacity(count);
        let mut next = 0u64;
        for _ in 0..count {
            let position = next.checked_add(read_number(input)?).ok_or_else(|| malformed("map leaf"))?;
            spends.push(Spend { index: index(position)?, sequence: read_number(input)? });
            next = position + 1;
        }
        if created.is_some_and(|created| next > u64::from(created.outputs)) {
            return Err(malformed("map leaf"));
        }
        Ok(Self { created, spends })
    }

    /// Moves `input` past one value without building it. For rows that were written by
    /// [`Self::write`]; what is not looked at is not checked.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] when cut short.
    pub fn skip(input: &mut &[u8]) -> Result<(), ProofError> {
        if read_number(input)? != 0 {
            read_number(input)?;
        }
        for _ in 0..read_number(input)? {
            read_number(input)?;
            read_number(input)?;
        }
        Ok(())
    }

    /// From exactly the canonical bytes.
    ///
    /// # Errors
    /// As [`Self::read`], and when bytes follow.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, ProofError> {
        let value = Self::read(&mut bytes)?;
        if bytes.is_empty() { Ok(value) } else { Err(malformed("map leaf")) }
    }
}

fn index(number: u64) -> Result<u16, ProofError> {
    u16::try_from(number).map_err(|_| malformed("map leaf"))
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn read_number(input: &mut &[u8]) -> Result<u64, ProofError> {
    let mut number = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or_else(|| malformed("map leaf"))?;
        *input = rest;
        let group = u64::from(byte & 0x7f);
        if (group << shift) >> shift != group || (byte == 0 && shift > 0) {
            break; // above 64 bits, or padded with an empty group
        }
        number |= group << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(malformed("map leaf"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn values()(
            created in proptest::option::of(any::<u64>()),
            spends in proptest::collection::btree_map(any::<u16>(), any::<u64>(), 1..20),
        ) -> LeafValue {
            let spends: Vec<_> = spends.into_iter()
                .filter(|(index, _)| *index < u16::MAX)
                .map(|(index, sequence)| Spend { index, sequence }).collect();
            LeafValue { created: created.map(|sequence| Created { sequence, outputs: u16::MAX }), spends }
        }
    }

    proptest! {
        #[test]
        fn one_value_has_one_form(value in values(), noise in proptest::collection::vec(any::<u8>(), 0..24)) {
            let nothing = value.created.is_none() && value.spends.is_empty();
            let bytes = value.to_bytes();
            prop_assert_eq!(LeafValue::from_bytes(&bytes).ok(), (!nothing).then_some(value));
            let mut rest = &bytes[..];
            LeafValue::skip(&mut rest).unwrap();
            prop_assert!(rest.is_empty());
            if let Ok(read) = LeafValue::from_bytes(&noise) {
                prop_assert_eq!(read.to_bytes(), noise);
            }
        }
    }

    #[test]
    fn refuses_padding_overflow_and_spends_of_missing_outputs() {
        for bad in [
            &[][..],
            &[0, 0],
            &[2, 5],
            &[2, 0x85, 0, 0],
            &[2, 5, 1, 1, 9],
            &[2, 5, 0, 0],
            &[2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0],
            &[0, 1, 0x80, 0x80, 4, 7],
        ] {
            assert!(LeafValue::from_bytes(bad).is_err(), "{bad:?}");
        }
    }
}
