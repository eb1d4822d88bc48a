//! Amounts as people write them.

use eschaton_types::{Amount, AmountError};

/// Decimal places of one coin: 10^9 units.
const PLACES: usize = 9;
const UNITS_PER_COIN: u64 = 1_000_000_000;

/// Why a text is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountTextError {
    /// Neither form.
    #[error("`{text}` is no amount; write units as 1500000000, or coins with their suffix as 1.5coins")]
    Form {
        /// What was written.
        text: String,
    },
    /// A decimal point and no suffix.
    #[error(
        "`{text}` has a decimal point but no suffix; write {text}coins for coins, or a whole number of units"
    )]
    NoSuffix {
        /// What was written.
        text: String,
    },
    /// More than nine decimals.
    #[error("`{text}` is finer than one unit; a coin has 9 decimals")]
    TooFine {
        /// What was written.
        text: String,
    },
    /// Too large.
    #[error(transparent)]
    Range(#[from] AmountError),
}

/// Reads an amount. One rule: digits alone are units; with the suffix `coins` (or `coin`) they are
/// coins of 10^9 units, with at most 9 decimals. `1500000000` and `1.5coins` are the same.
pub fn parse_amount(text: &str) -> Result<Amount, AmountTextError> {
    let form = || AmountTextError::Form { text: text.to_owned() };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| -> Result<u64, AmountTextError> {
        if !digits(part) {
            return Err(form());
        }
        part.parse().map_err(|_| AmountError::OutOfRange.into())
    };
    let Some(coins) = text.strip_suffix("coins").or_else(|| text.strip_suffix("coin")) else {
        if text.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part)) {
            return Err(AmountTextError::NoSuffix { text: text.to_owned() });
        }
        return Ok(Amount::new(number(text)?)?);
    };
    let (whole, decimals) = coins.split_once('.').unwrap_or((coins, "0"));
    if !digits(decimals) {
        return Err(form());
    }
    if decimals.len() > PLACES {
        return Err(AmountTextError::TooFine { text: text.to_owned() });
    }
    let fraction = number(&format!("{decimals:0<PLACES$}"))?;
    let units = number(whole)?
        .checked_mul(UNITS_PER_COIN)
        .and_then(|units| units.checked_add(fraction))
        .ok_or(AmountError::OutOfRange)?;
    Ok(Amount::new(units)?)
}

/// An amount in coins, without needless zeros and without the suffix: `1.5`.
pub fn in_coins(amount: Amount) -> String {
    let (whole, fraction) = (amount.units() / UNITS_PER_COIN, amount.units() % UNITS_PER_COIN);
    if fraction == 0 {
        return whole.to_string();
    }
    format!("{whole}.{fraction:09}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use eschaton_types::AMOUNT_MAX;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_forms_and_nothing_else() {
        for (text, units) in [
            ("0", 0),
            ("1", 1),
            ("007", 7),
            ("1500000000", 1_500_000_000),
            ("1.5coins", 1_500_000_000),
            ("1coin", 1_000_000_000),
            ("0.000000001coins", 1),
            ("1000000000coins", AMOUNT_MAX),
            ("1000000000000000000", AMOUNT_MAX),
        ] {
            assert_eq!(parse_amount(text).map(Amount::units), Ok(units), "{text}");
        }
        for text in [
            "",
            "-1",
            "+1",
            "1e9",
            "1_000",
            "1,5",
            " 1",
            "1 ",
            ".5coins",
            "1.coins",
            "coins",
            "1 coins",
            "-1coins",
            "1.2.3coins",
            "0x10",
            "1.+5coins",
            "٣",
            "1.5COINS",
        ] {
            assert!(matches!(parse_amount(text), Err(AmountTextError::Form { .. })), "{text:?}");
        }
        assert!(matches!(parse_amount("1.5"), Err(AmountTextError::NoSuffix { .. })));
        assert!(matches!(parse_amount("1.0000000001coins"), Err(AmountTextError::TooFine { .. })));
        for text in
            ["1000000000000000001", "1000000000.000000001coins", "99999999999999999999", "99999999999coins"]
        {
            assert!(matches!(parse_amount(text), Err(AmountTextError::Range(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(units in 0..=AMOUNT_MAX) {
            let amount = Amount::new(units).unwrap();
            prop_assert_eq!(parse_amount(&amount.to_string()), Ok(amount));
            prop_assert_eq!(parse_amount(&format!("{}coins", in_coins(amount))), Ok(amount));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,24}") {
            let _ = parse_amount(&text);
        }
    }
}
