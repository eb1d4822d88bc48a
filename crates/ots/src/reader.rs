//! Primitive fields: bytes, LEB128 numbers, byte strings with a length before them.

use crate::OtsError;

/// A place in bytes that came from outside.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], OtsError> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(OtsError::Truncated { field })?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], OtsError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(OtsError::Truncated { field })?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn byte(&mut self, field: &'static str) -> Result<u8, OtsError> {
        Ok(self.array::<1>(field)?[0])
    }

    /// LEB128, shortest form alone: with two forms of one number two files would be one proof.
    pub(crate) fn number(&mut self, field: &'static str) -> Result<u64, OtsError> {
        let wrong = || OtsError::Varint { field };
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            // Of the tenth byte only one bit is left.
            if bits.checked_shl(shift).map(|shifted| shifted >> shift) != Some(bits) {
                return Err(wrong());
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(wrong()) } else { Ok(number) };
            }
        }
        Err(wrong())
    }

    /// A byte string; `refuse` tells the error for a length of which `allowed` says no.
    pub(crate) fn string(
        &mut self,
        field: &'static str,
        allowed: impl Fn(u64) -> bool,
        refuse: impl Fn(u64) -> OtsError,
    ) -> Result<&'a [u8], OtsError> {
        let length = self.number(field)?;
        if !allowed(length) {
            return Err(refuse(length));
        }
        self.bytes(usize::try_from(length).map_err(|_| refuse(length))?, field)
    }

    pub(crate) fn end(&self, field: &'static str) -> Result<(), OtsError> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(OtsError::Trailing { field, count }),
        }
    }
}

/// LEB128 in shortest form.
pub(crate) fn write_number(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

pub(crate) fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    write_number(u64::try_from(bytes.len()).unwrap_or(u64::MAX), out); // no length passes 64 bits
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            write_number(number, &mut bytes);
            let mut reader = Reader(&bytes);
            assert_eq!(reader.number("n"), Ok(number));
            assert_eq!(reader.end("n"), Ok(()));
        }
        let wrong: [&[u8]; 4] = [
            &[0x80, 0x00],
            &[0xff, 0x80, 0x00],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x80; 11],
        ];
        for bytes in wrong {
            assert_eq!(Reader(bytes).number("n"), Err(OtsError::Varint { field: "n" }), "{bytes:?}");
        }
        assert_eq!(Reader(&[0x80]).number("n"), Err(OtsError::Truncated { field: "n" }));
    }
}
