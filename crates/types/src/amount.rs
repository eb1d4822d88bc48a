use std::fmt;

/// The most units that may exist of one product: 10^9 coins of 10^9 units (spec ledger.md).
pub const AMOUNT_MAX: u64 = 1_000_000_000_000_000_000;

/// Units of one product, at most [`AMOUNT_MAX`]. It has no arithmetic operators: sums are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

/// Why a number is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The value, or a sum or difference of values, leaves 0..=10^18.
    #[error("amount leaves the range 0 to 1000000000000000000 units; split or lower it")]
    OutOfRange,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// From units. Errors above [`AMOUNT_MAX`].
    pub fn new(units: u64) -> Result<Self, AmountError> {
        if units > AMOUNT_MAX { Err(AmountError::OutOfRange) } else { Ok(Self(units)) }
    }

    /// Units.
    pub fn units(self) -> u64 {
        self.0
    }

    /// True for nothing at all.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Sum, or an error past [`AMOUNT_MAX`].
    pub fn plus(self, other: Self) -> Result<Self, AmountError> {
        self.0.checked_add(other.0).ok_or(AmountError::OutOfRange).and_then(Self::new)
    }

    /// Difference, or an error below zero.
    pub fn minus(self, other: Self) -> Result<Self, AmountError> {
        self.0.checked_sub(other.0).map(Self).ok_or(AmountError::OutOfRange)
    }

    /// Sum of many, or an error past [`AMOUNT_MAX`].
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, AmountError> {
        amounts.into_iter().try_fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_an_error_not_a_wrap() {
        let most = Amount::new(AMOUNT_MAX).expect("the bound itself is allowed");
        let one = Amount::new(1).expect("small");
        assert_eq!(most.plus(one), Err(AmountError::OutOfRange));
        assert_eq!(Amount::ZERO.minus(one), Err(AmountError::OutOfRange));
        assert_eq!(Amount::new(u64::MAX), Err(AmountError::OutOfRange));
        assert_eq!(Amount::sum([most, one]), Err(AmountError::OutOfRange));
        assert_eq!(Amount::sum([one, one]).map(Amount::units), Ok(2));
    }
}
