use bitcoin::FeeRate;
use eschaton_ports::chain::{ChainError, FEE_RATE_MAX, FeeEstimate, FeeSource};
use serde_json::{Value, json};

use crate::RpcChain;
use crate::call::CallError;
use crate::dialect::{self, Dialect};

/// Longest confirmation target that nodes estimate for.
const TARGET_MAX: u16 = 1_008;
/// Relay floor of a node that does not say one: Bitcoin Core's and Litecoin Core's default until lately, 1 sat/vB.
const FLOOR: FeeRate = FeeRate::from_sat_per_vb_u32(1);

/// Coins for 1,000 virtual bytes, as nodes give it, to a rate, rounded up: rounding down may fall below a floor.
fn rate(value: Option<&Value>) -> Option<FeeRate> {
    let coins = value.and_then(Value::as_f64).filter(|coins| *coins > 0.0 && *coins < 1_000.0)?;
    // At most 10^11, and positive: exact in both types. A kilo of virtual bytes is 4 kilo of weight.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let sat_per_kvb = (coins * 1e8 - 1e-3).ceil() as u64;
    Some(FeeRate::from_sat_per_kwu(sat_per_kvb.div_ceil(4)))
}

impl RpcChain {
    pub(crate) async fn estimate(&self, target: u16) -> Result<FeeEstimate, ChainError> {
        if !(1..=TARGET_MAX).contains(&target) {
            let detail = format!("a target of {target} blocks; possible are 1 to {TARGET_MAX}");
            return Err(ChainError::Invalid { detail });
        }
        let dialect = self.dialect().await?;
        let (floor, estimate) = match dialect {
            Dialect::Core => (self.core_floor().await?, self.core_estimate(target).await?),
            Dialect::Btcd => (self.btcd_floor().await?, self.btcd_estimate(target).await?),
        };
        let (rate, source) = match estimate {
            Some((rate, target)) if rate >= floor => (rate, FeeSource::Estimate { target }),
            _ => (floor, FeeSource::Floor),
        };
        Ok(FeeEstimate { rate: rate.min(FEE_RATE_MAX), source })
    }

    /// The higher of what the mempool takes at present and what is relayed at all.
    async fn core_floor(&self) -> Result<FeeRate, ChainError> {
        let info = dialect::call(&self.caller, "getmempoolinfo", json!([])).await?;
        let relay = rate(info.get("minrelaytxfee")).unwrap_or(FLOOR);
        Ok(rate(info.get("mempoolminfee")).unwrap_or(FLOOR).max(relay))
    }

    async fn core_estimate(&self, target: u16) -> Result<Option<(FeeRate, u16)>, ChainError> {
        let found = dialect::call(&self.caller, "estimatesmartfee", json!([target])).await?;
        let for_target =
            found.get("blocks").and_then(Value::as_u64).and_then(|blocks| u16::try_from(blocks).ok());
        Ok(rate(found.get("feerate")).map(|rate| (rate, for_target.unwrap_or(target))))
    }

    async fn btcd_floor(&self) -> Result<FeeRate, ChainError> {
        let info = dialect::call(&self.caller, "getinfo", json!([])).await?;
        Ok(rate(info.get("relayfee")).unwrap_or(FLOOR))
    }

    /// btcd answers with an error or with 0 until it saw enough blocks, and estimates for at most 25.
    async fn btcd_estimate(&self, target: u16) -> Result<Option<(FeeRate, u16)>, ChainError> {
        let target = target.min(25);
        match self.call("estimatefee", json!([target])).await {
            Ok(value) => Ok(rate(Some(&value)).map(|rate| (rate, target))),
            Err(CallError::Rpc { .. }) => Ok(None),
            Err(CallError::Chain(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coins_for_a_kilobyte_round_up() {
        let sat_per_kwu = |coins: f64| rate(Some(&json!(coins))).map(FeeRate::to_sat_per_kwu);
        assert_eq!(sat_per_kwu(0.00001), Some(250));
        assert_eq!(sat_per_kwu(0.00001001), Some(251));
        assert_eq!(sat_per_kwu(0.0000_0100), Some(25));
        assert_eq!(sat_per_kwu(0.5), Some(12_500_000));
        for none in [0.0, -1.0, 1e9, f64::NAN] {
            assert_eq!(sat_per_kwu(none), None, "{none}");
        }
        assert_eq!(rate(Some(&json!("0.1"))), None);
        assert_eq!(rate(None), None);
    }
}
