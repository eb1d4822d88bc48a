use bitcoin::consensus::deserialize;
use bitcoin::{BlockHash, Target, block::Header};

/// Which hash of a header must be below its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofOfWork {
    /// Bitcoin: the header's own hash.
    Sha256d,
    /// Litecoin: scrypt with N = 1024, r = p = 1, header as password and salt.
    Scrypt,
}

/// The rules of one network's headers. Source: `chainparams.cpp` of Bitcoin Core and of Litecoin Core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// For people: `bitcoin main`.
    pub name: &'static str,
    /// What is hashed how.
    pub proof_of_work: ProofOfWork,
    /// Seconds between blocks that the difficulty aims at.
    pub spacing_s: u32,
    /// The easiest target.
    pub limit: Target,
    /// Blocks of the easiest difficulty are allowed when the one before is older than twice the spacing.
    pub min_difficulty_blocks: bool,
    /// The difficulty never changes.
    pub no_retargeting: bool,
    /// BIP 94 (testnet 4): the retarget starts from the first block of the period.
    pub bip94: bool,
    /// Litecoin: the retarget looks at the whole period and, but for the first, at the block before it too, against the
    /// time warp attack; Bitcoin forgets that one interval.
    pub whole_period: bool,
    /// Header of block 0.
    pub genesis: Header,
    /// Blocks that the best chain must have, ascending heights.
    pub checkpoints: Vec<(u32, BlockHash)>,
}

const SHA_LIMIT: u32 = 0x1d00_ffff;
/// 2^236 - 1, rounded as compact form does.
const SCRYPT_LIMIT: u32 = 0x1e0f_ffff;
const REGTEST_LIMIT: u32 = 0x207f_ffff;

/// A genesis block's header from its constants.
fn genesis(merkle_root: &str, time: u32, bits: u32, nonce: u32) -> Header {
    let mut bytes = [0_u8; 80];
    bytes[0] = 1;
    for (index, byte) in bytes[36..68].iter_mut().enumerate() {
        // Shown with the last byte first.
        let at = 62 - 2 * index;
        *byte = merkle_root.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    }
    bytes[68..72].copy_from_slice(&time.to_le_bytes());
    bytes[72..76].copy_from_slice(&bits.to_le_bytes());
    bytes[76..].copy_from_slice(&nonce.to_le_bytes());
    // Eighty bytes always read as a header.
    #[allow(clippy::expect_used)]
    deserialize(&bytes).expect("a header has 80 bytes")
}

const BITCOIN_ROOT: &str = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
const LITECOIN_ROOT: &str = "97ddfbbae6be97fd6cdf3e7ca13232a3afff2353e29badfab7f73011edd4ced9";

impl Params {
    /// Bitcoin as it has a price.
    pub fn bitcoin() -> Self {
        Self {
            name: "bitcoin main",
            proof_of_work: ProofOfWork::Sha256d,
            spacing_s: 600,
            limit: compact(SHA_LIMIT),
            min_difficulty_blocks: false,
            no_retargeting: false,
            bip94: false,
            whole_period: false,
            genesis: genesis(BITCOIN_ROOT, 1_231_006_505, 0x1d00_ffff, 2_083_236_893),
            checkpoints: Vec::new(),
        }
    }

    /// Bitcoin's third public test network.
    pub fn bitcoin_testnet3() -> Self {
        Self {
            name: "bitcoin testnet3",
            min_difficulty_blocks: true,
            genesis: genesis(BITCOIN_ROOT, 1_296_688_602, 0x1d00_ffff, 414_098_458),
            ..Self::bitcoin()
        }
    }

    /// Bitcoin's fourth public test network (BIP 94).
    pub fn bitcoin_testnet4() -> Self {
        Self {
            name: "bitcoin testnet4",
            min_difficulty_blocks: true,
            bip94: true,
            genesis: genesis(
                "7aa0a7ae1e223414cb807e40cd57e667b718e42aaf9306db9102fe28912b7b4e",
                1_714_777_860,
                0x1d00_ffff,
                393_743_547,
            ),
            ..Self::bitcoin()
        }
    }

    /// A private Bitcoin chain.
    pub fn bitcoin_regtest() -> Self {
        Self {
            name: "bitcoin regtest",
            limit: compact(REGTEST_LIMIT),
            min_difficulty_blocks: true,
            no_retargeting: true,
            genesis: genesis(BITCOIN_ROOT, 1_296_688_602, REGTEST_LIMIT, 2),
            ..Self::bitcoin()
        }
    }

    /// Litecoin as it has a price.
    pub fn litecoin() -> Self {
        Self {
            name: "litecoin main",
            proof_of_work: ProofOfWork::Scrypt,
            spacing_s: 150,
            limit: compact(SCRYPT_LIMIT),
            whole_period: true,
            genesis: genesis(LITECOIN_ROOT, 1_317_972_665, 0x1e0f_fff0, 2_084_524_493),
            ..Self::bitcoin()
        }
    }

    /// Litecoin's public test network.
    pub fn litecoin_testnet4() -> Self {
        Self {
            name: "litecoin testnet4",
            min_difficulty_blocks: true,
            genesis: genesis(LITECOIN_ROOT, 1_486_949_366, 0x1e0f_fff0, 293_345),
            ..Self::litecoin()
        }
    }

    /// A private Litecoin chain.
    pub fn litecoin_regtest() -> Self {
        Self {
            name: "litecoin regtest",
            limit: compact(REGTEST_LIMIT),
            min_difficulty_blocks: true,
            no_retargeting: true,
            genesis: genesis(LITECOIN_ROOT, 1_296_688_602, REGTEST_LIMIT, 0),
            ..Self::litecoin()
        }
    }
}

fn compact(bits: u32) -> Target {
    Target::from_compact(bitcoin::CompactTarget::from_consensus(bits))
}
