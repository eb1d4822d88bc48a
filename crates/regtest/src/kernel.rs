//! Bitcoin Core's own consensus code.

use std::path::Path;
use std::sync::Arc;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Transaction, TxOut};
use bitcoinkernel::prelude::*;
use bitcoinkernel::{
    Block, BlockValidationStateRef, ChainType, ChainstateManager, Context, ContextBuilder,
    PrecomputedTransactionData, ProcessBlockResult, ScriptPubkey, VERIFY_ALL, ValidationMode, verify,
};
use parking_lot::Mutex;

use crate::RegtestError;

/// Whether a transaction may spend these outputs.
pub(crate) fn check_scripts(transaction: &Transaction, spent: &[TxOut]) -> Result<(), String> {
    let text = |error: bitcoinkernel::KernelError| error.to_string();
    let spender = bitcoinkernel::Transaction::new(&serialize(transaction)).map_err(text)?;
    let mut outputs = Vec::new();
    for output in spent {
        let script = ScriptPubkey::new(output.script_pubkey.as_bytes()).map_err(text)?;
        let value = i64::try_from(output.value.to_sat()).map_err(|error| error.to_string())?;
        outputs.push(bitcoinkernel::TxOut::new(&script, value));
    }
    let data = PrecomputedTransactionData::new(&spender, &outputs).map_err(text)?;
    for (index, output) in outputs.iter().enumerate() {
        verify(&output.script_pubkey(), Some(output.value()), &spender, index, Some(VERIFY_ALL), &data)
            .map_err(|error| format!("input {index}: {error}"))?;
    }
    Ok(())
}

/// Bitcoin Core's view of the chain. Beside ours, from the same blocks, made anew at each start.
pub(crate) struct Kernel {
    manager: ChainstateManager,
    /// Why the last block that was checked in full was refused.
    refused: Arc<Mutex<Option<String>>>,
    // The manager refers to it.
    _context: Context,
}

impl Kernel {
    /// In this directory, which is emptied first: the blocks are given again.
    pub(crate) fn open(dir: &Path) -> Result<Self, RegtestError> {
        let failed = |detail: String| RegtestError::Kernel { path: dir.to_owned(), detail };
        let io = |source| RegtestError::Io { path: dir.to_owned(), source };
        if dir.exists() {
            std::fs::remove_dir_all(dir).map_err(io)?;
        }
        let blocks = dir.join("blocks");
        std::fs::create_dir_all(&blocks).map_err(io)?;
        let (Some(data), Some(blocks)) = (dir.to_str(), blocks.to_str()) else {
            return Err(failed("its path is not text".to_owned()));
        };
        bitcoinkernel::disable_logging();
        let refused: Arc<Mutex<Option<String>>> = Arc::default();
        let told = refused.clone();
        let context = ContextBuilder::new()
            .chain_type(ChainType::Regtest)
            .with_block_checked_validation(move |_: Block, state: BlockValidationStateRef<'_>| {
                if state.mode() != ValidationMode::Valid {
                    *told.lock() = Some(format!("{:?}", state.result()));
                }
            })
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let manager = ChainstateManager::builder(&context, data, blocks)
            .and_then(|builder| builder.block_tree_db_in_memory(true).chainstate_db_in_memory(true).build())
            .map_err(|error| failed(error.to_string()))?;
        // Reads the genesis block in.
        manager.import_blocks().map_err(|error| failed(error.to_string()))?;
        Ok(Self { manager, refused, _context: context })
    }

    /// Gives a block. An error when Bitcoin Core refuses it, on whatever branch.
    pub(crate) fn process(&self, bytes: &[u8]) -> Result<(), String> {
        let block = Block::new(bytes).map_err(|error| error.to_string())?;
        *self.refused.lock() = None;
        let result = self.manager.process_block(&block);
        if let Some(reason) = self.refused.lock().take() {
            return Err(reason);
        }
        match result {
            ProcessBlockResult::NewBlock | ProcessBlockResult::Duplicate => Ok(()),
            ProcessBlockResult::Rejected => Err("refused".to_owned()),
        }
    }

    /// The tip that Bitcoin Core sees.
    pub(crate) fn tip(&self) -> BlockHash {
        let hash = self.manager.active_chain().tip().block_hash().to_bytes();
        BlockHash::from_byte_array(hash)
    }
}
