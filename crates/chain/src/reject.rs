use eschaton_ports::chain::RejectClass;

/// What a node says of a transaction that it knows, or that a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// In its mempool already.
    Known,
    /// In a block already.
    InBlock,
    /// An input is not to be had. Nodes do not say whether it was ever there.
    NoInput,
    /// Refused.
    Refused(RejectClass),
}

/// Reasons of Bitcoin Core, Litecoin Core (`validation.cpp`, `policy.cpp`, `tx_verify.cpp`) and of btcd and ltcd (`mempool.go`,
/// `policy.go`, `validate.go`), in lower case. The first that is contained counts.
const REASONS: &[(&str, Verdict)] = &[
    ("txn-already-in-mempool", Verdict::Known),
    ("txn-same-nonwitness-data-in-mempool", Verdict::Known),
    ("already have transaction", Verdict::Known),
    ("txn-already-known", Verdict::InBlock),
    ("already in block chain", Verdict::InBlock),
    ("outputs already in utxo set", Verdict::InBlock),
    ("transaction already exists", Verdict::InBlock),
    ("missingorspent", Verdict::NoInput),
    ("missing-inputs", Verdict::NoInput),
    ("missing inputs", Verdict::NoInput),
    ("orphan transaction", Verdict::NoInput),
    ("unknown or fully-spent", Verdict::NoInput),
    ("either does not exist or has already been spent", Verdict::NoInput),
    ("too many potential replacements", Verdict::Refused(RejectClass::Conflict)),
    ("replacement-adds-unconfirmed", Verdict::Refused(RejectClass::Conflict)),
    ("txn-mempool-conflict", Verdict::Refused(RejectClass::Conflict)),
    ("bad-txns-spends-conflicting-tx", Verdict::Refused(RejectClass::Conflict)),
    ("already spent by transaction", Verdict::Refused(RejectClass::Conflict)),
    ("insufficient fee", Verdict::Refused(RejectClass::FeeTooLow)),
    ("insufficient priority", Verdict::Refused(RejectClass::FeeTooLow)),
    ("insufficient absolute fee", Verdict::Refused(RejectClass::FeeTooLow)),
    ("insufficient feerate", Verdict::Refused(RejectClass::FeeTooLow)),
    ("has an insufficient fee", Verdict::Refused(RejectClass::FeeTooLow)),
    ("fee not met", Verdict::Refused(RejectClass::FeeTooLow)),
    ("under the required", Verdict::Refused(RejectClass::FeeTooLow)),
    ("under required", Verdict::Refused(RejectClass::FeeTooLow)),
    ("mempool full", Verdict::Refused(RejectClass::FeeTooLow)),
    ("due to low fees", Verdict::Refused(RejectClass::FeeTooLow)),
    ("non-final", Verdict::Refused(RejectClass::NotYet)),
    ("non-bip68-final", Verdict::Refused(RejectClass::NotYet)),
    ("not finalized", Verdict::Refused(RejectClass::NotYet)),
    ("sequence locks", Verdict::Refused(RejectClass::NotYet)),
    ("premature-spend-of-coinbase", Verdict::Refused(RejectClass::NotYet)),
    ("before required maturity", Verdict::Refused(RejectClass::NotYet)),
    // Older nodes call all that a witness breaks non-mandatory. These rules alone are of relaying, not of consensus.
    ("unnecessarily high", Verdict::Refused(RejectClass::NonStandard)),
    ("larger than necessary", Verdict::Refused(RejectClass::NonStandard)),
    ("reserved for soft-fork", Verdict::Refused(RejectClass::NonStandard)),
    ("non-compressed keys in segwit", Verdict::Refused(RejectClass::NonStandard)),
    ("argument must be minimal", Verdict::Refused(RejectClass::NonStandard)),
    ("mandatory-script-verify-flag", Verdict::Refused(RejectClass::Invalid)),
    ("block-script-verify-flag", Verdict::Refused(RejectClass::Invalid)),
    ("mempool-script-verify-flag", Verdict::Refused(RejectClass::Invalid)),
    ("failed to validate input", Verdict::Refused(RejectClass::Invalid)),
    ("bad-txns-nonstandard-inputs", Verdict::Refused(RejectClass::NonStandard)),
    ("bad-txns-too-many-sigops", Verdict::Refused(RejectClass::NonStandard)),
    ("bad-witness-nonstandard", Verdict::Refused(RejectClass::NonStandard)),
    ("bad-txns", Verdict::Refused(RejectClass::Invalid)),
    ("coinbase", Verdict::Refused(RejectClass::Invalid)),
    ("which is less than the amount spent", Verdict::Refused(RejectClass::Invalid)),
    ("is less than the amount", Verdict::Refused(RejectClass::Invalid)),
    ("which is more than the total", Verdict::Refused(RejectClass::Invalid)),
    ("decode failed", Verdict::Refused(RejectClass::Invalid)),
    ("not standard", Verdict::Refused(RejectClass::NonStandard)),
    ("non-standard", Verdict::Refused(RejectClass::NonStandard)),
    ("nonstandard", Verdict::Refused(RejectClass::NonStandard)),
    ("dust", Verdict::Refused(RejectClass::NonStandard)),
    ("scriptpubkey", Verdict::Refused(RejectClass::NonStandard)),
    ("scriptsig", Verdict::Refused(RejectClass::NonStandard)),
    ("tx-size", Verdict::Refused(RejectClass::NonStandard)),
    ("tx-version", Verdict::Refused(RejectClass::NonStandard)),
    ("bare-multisig", Verdict::Refused(RejectClass::NonStandard)),
    ("multi-op-return", Verdict::Refused(RejectClass::NonStandard)),
    ("datacarrier", Verdict::Refused(RejectClass::NonStandard)),
    ("too-long-mempool-chain", Verdict::Refused(RejectClass::NonStandard)),
    ("too many unconfirmed", Verdict::Refused(RejectClass::NonStandard)),
    ("version", Verdict::Refused(RejectClass::NonStandard)),
];

/// Reads a node's reason.
pub(crate) fn verdict(reason: &str) -> Verdict {
    let reason = reason.to_ascii_lowercase();
    let found = REASONS.iter().find(|(part, _)| reason.contains(part));
    found.map_or(Verdict::Refused(RejectClass::Other), |(_, verdict)| *verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_as_nodes_give_them() {
        use RejectClass::{AlreadySpent, Conflict, FeeTooLow, Invalid, NonStandard, NotYet, Other};
        let known = [
            ("bad-txns-inputs-missingorspent", Verdict::NoInput),
            ("Transaction outputs already in utxo set", Verdict::InBlock),
            ("txn-already-in-mempool", Verdict::Known),
            (
                "insufficient fee, rejecting replacement 11; new feerate 1 <= old feerate 2",
                Verdict::Refused(FeeTooLow),
            ),
            ("mempool min fee not met, 1 < 2", Verdict::Refused(FeeTooLow)),
            (
                "transaction 11 has been rejected by the rate limiter due to low fees",
                Verdict::Refused(FeeTooLow),
            ),
            ("txn-mempool-conflict", Verdict::Refused(Conflict)),
            ("mempool-script-verify-flag-failed (Witness program hash mismatch)", Verdict::Refused(Invalid)),
            (
                "non-mandatory-script-verify-flag (Signature must be zero for failed CHECK(MULTI)SIG operation)",
                Verdict::Refused(Invalid),
            ),
            (
                "non-mandatory-script-verify-flag (Non-canonical signature: S value is unnecessarily high)",
                Verdict::Refused(NonStandard),
            ),
            ("bad-txns-premature-spend-of-coinbase", Verdict::Refused(NotYet)),
            ("non-BIP68-final", Verdict::Refused(NotYet)),
            ("bad-txns-in-belowout, value in (1) < value out (2)", Verdict::Refused(Invalid)),
            ("scriptpubkey", Verdict::Refused(NonStandard)),
            ("something new", Verdict::Refused(Other)),
        ];
        for (reason, expected) in known {
            assert_eq!(verdict(reason), expected, "{reason}");
        }
        assert!(REASONS.iter().all(|(part, verdict)| {
            *part == part.to_ascii_lowercase() && *verdict != Verdict::Refused(AlreadySpent)
        }));
    }
}
