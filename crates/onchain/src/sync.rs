use std::sync::Arc;

use eschaton_ports::chain::{Chain, ChainEvent, follow, locate};

use crate::{Wallet, WalletError};

/// Blocks between two flushes while there are more.
const BLOCKS_PER_COMMIT: u32 = 64;

impl Wallet {
    /// Takes in what happened on the chain since the wallet's last block, at most `blocks_max` events. Returns whether it
    /// has caught up with the tip. What it saw is on the disk when it returns, also with an error.
    ///
    /// # Errors
    /// `Chain`: call again when it passes. `Io`.
    pub async fn catch_up(&mut self, chain: &Arc<dyn Chain>, blocks_max: u32) -> Result<bool, WalletError> {
        if let Some(height) = self.begin_at() {
            let locator = locate(chain.as_ref(), height.saturating_sub(1)).await?;
            self.begin(&locator)?;
        }
        let mut follower = follow(chain.clone(), self.locator());
        for count in 1..=blocks_max {
            match follower.try_next().await {
                Ok(Some(ChainEvent::Connected { at, block })) => self.connect(at, &block)?,
                Ok(Some(ChainEvent::Disconnected { to, .. })) => self.disconnect(to)?,
                Ok(None) => {
                    self.commit()?;
                    return Ok(chain.tip().await?.hash == self.tip().hash);
                }
                Err(error) => {
                    self.commit()?;
                    return Err(error.into());
                }
            }
            if count % BLOCKS_PER_COMMIT == 0 {
                self.commit()?;
            }
        }
        self.commit()?;
        Ok(false)
    }
}
