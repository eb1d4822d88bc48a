//! Difficulty, work and time rules, against constants of the two mainnets that Bitcoin Core's and Litecoin Core's own tests
//! use too, and against a computation in another way.

#![allow(clippy::unwrap_used, clippy::panic)]

use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{CompactTarget, Target, TxMerkleNode};
use eschaton_headers::{
    Added, HeaderChain, HeaderError, Params, RETARGET_BLOCKS, Span, check_proof_of_work, proof_of_work_hash,
    retarget,
};

fn bits(bits: u32) -> CompactTarget {
    CompactTarget::from_consensus(bits)
}

#[test]
fn genesis_blocks_are_the_networks() {
    let known = [
        (Params::bitcoin(), "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"),
        (Params::bitcoin_testnet3(), "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943"),
        (Params::bitcoin_testnet4(), "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043"),
        (Params::bitcoin_regtest(), "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"),
        (Params::litecoin(), "12a765e31ffd4059bada1e25190f6e98c99d9714d334efa41a195a7e7e04bfe2"),
        (Params::litecoin_testnet4(), "4966625a4b2851d9fdee139e56211a0d88575f59ed816ff5e6a63deb4e3e29a0"),
        (Params::litecoin_regtest(), "530827f38f93b43ed12af0b3ad25a288dc02ed74d6d7857862df51fc56c416f9"),
    ];
    for (params, hash) in known {
        assert_eq!(params.genesis.block_hash().to_string(), hash, "{}", params.name);
        assert_eq!(check_proof_of_work(&params, &params.genesis), Ok(()), "{}", params.name);
        // One bit more or less, and the work is gone; regtest's target is met by every second hash.
        let mut spoilt = params.genesis;
        spoilt.merkle_root = TxMerkleNode::all_zeros();
        if !params.no_retargeting {
            assert!(check_proof_of_work(&params, &spoilt).is_err(), "{}", params.name);
        }
    }
}

#[test]
fn a_target_that_is_no_number_is_refused() {
    for claimed in [0, 0x1d00_0000, 0x1d80_ffff, 0xff00_ffff, 0x2100_ffff, 0x2301_0000, 0x207f_ffff] {
        let params = Params::bitcoin();
        let header = Header { bits: bits(claimed), ..params.genesis };
        assert!(
            matches!(check_proof_of_work(&params, &header), Err(HeaderError::Work { .. })),
            "{claimed:#x}"
        );
    }
}

#[test]
fn periods_of_the_two_mainnets() {
    // First time, last time, bits before and after.
    let bitcoin = [
        (1_261_130_161, 1_262_152_739, 0x1d00_ffff, 0x1d00_d86a),
        (1_231_006_505, 1_233_061_996, 0x1d00_ffff, 0x1d00_ffff),
        (1_279_008_237, 1_279_297_671, 0x1c05_a3f4, 0x1c01_68fd),
        (1_263_163_443, 1_269_211_443, 0x1c38_7f6f, 0x1d00_e1fd),
    ];
    let litecoin = [
        (1_358_118_740, 1_358_378_777, 0x1c0a_c141, 0x1c09_3f8d),
        (1_317_972_665, 1_318_480_354, 0x1e0f_fff0, 0x1e0f_ffff),
        (1_401_682_934, 1_401_757_934, 0x1b07_5cf1, 0x1b01_d73c),
        (1_463_690_315, 1_464_900_315, 0x1b01_5318, 0x1b05_4c60),
    ];
    for (params, periods) in [(Params::bitcoin(), bitcoin), (Params::litecoin(), litecoin)] {
        for (first_time, last_time, before, after) in periods {
            let span = Span { first_time, last_time, bits: bits(before) };
            assert_eq!(retarget(&params, span), Some(bits(after)), "{} {before:#x}", params.name);
        }
    }
}

/// The rule in decimal long division: independent of limbs and of the compact form's code.
fn by_hand(params: &Params, span: Span) -> u32 {
    let wanted = i64::from(RETARGET_BLOCKS) * i64::from(params.spacing_s);
    let taken = (i64::from(span.last_time) - i64::from(span.first_time)).clamp(wanted / 4, wanted * 4);
    let compact = span.bits.to_consensus();
    // mantissa × 256^(size - 3), as digits in base 256, the most significant first.
    let mut digits = vec![0_u128; 40];
    for place in 0..3 {
        let shift = usize::try_from(compact >> 24).unwrap() - 3 + place;
        digits[39 - shift] = u128::from(compact >> (8 * place) & 0xff);
    }
    let mut carry = 0;
    for digit in digits.iter_mut().rev() {
        let value = *digit * u128::try_from(taken).unwrap() + carry;
        (*digit, carry) = (value % 256, value / 256);
    }
    let mut rest = 0;
    for digit in &mut digits {
        let value = rest * 256 + *digit;
        (*digit, rest) = (value / u128::try_from(wanted).unwrap(), value % u128::try_from(wanted).unwrap());
    }
    let limit = params.limit.to_be_bytes();
    let small: Vec<u8> = digits[8..].iter().map(|digit| u8::try_from(*digit).unwrap()).collect();
    let over = digits[..8].iter().any(|digit| *digit != 0) || small > limit.to_vec();
    let small = if over { limit.to_vec() } else { small };
    let first = small.iter().position(|byte| *byte != 0).unwrap();
    let mut size = 32 - first;
    let mut mantissa = (0..3)
        .fold(0_u32, |value, place| value << 8 | u32::from(small.get(first + place).copied().unwrap_or(0)));
    if mantissa & 0x0080_0000 != 0 {
        mantissa >>= 8;
        size += 1;
    }
    u32::try_from(size).unwrap() << 24 | mantissa
}

proptest::proptest! {
    #[test]
    fn a_retarget_is_what_long_division_gives(
        litecoin in proptest::bool::ANY,
        first_time in 1_300_000_000_u32..1_400_000_000,
        taken in 0_u32..8_000_000,
        size in 5_u32..29,
        mantissa in 0x00_8000_u32..0x7f_ffff,
    ) {
        let params = if litecoin { Params::litecoin() } else { Params::bitcoin() };
        let span = Span { first_time, last_time: first_time + taken, bits: bits(size << 24 | mantissa) };
        let found = retarget(&params, span).unwrap().to_consensus();
        proptest::prop_assert_eq!(found, by_hand(&params, span), "{:?}", span);
    }
}

/// Rules with a difficulty that a test can mine, that retargets all the same.
fn easy(base: Params) -> Params {
    Params {
        no_retargeting: false,
        min_difficulty_blocks: false,
        limit: Target::from_compact(bits(0x207f_ffff)),
        genesis: Header { bits: bits(0x207f_ffff), ..base.genesis },
        ..base
    }
}

fn mine(params: &Params, mut header: Header) -> Header {
    while check_proof_of_work(params, &header).is_err() {
        header.nonce += 1;
    }
    header
}

fn next(params: &Params, parent: &Header, spacing: u32, bits: CompactTarget, mark: u8) -> Header {
    mine(
        params,
        Header {
            prev_blockhash: parent.block_hash(),
            merkle_root: TxMerkleNode::from_byte_array([mark; 32]),
            time: parent.time + spacing,
            bits,
            nonce: 0,
            ..*parent
        },
    )
}

const NOW: u32 = 2_000_000_000;

#[test]
fn litecoin_looks_one_block_further_back_than_bitcoin() {
    // Quick blocks, but for one long gap between blocks 2015 and 2016, which only the whole-period rule sees in the
    // second change.
    for (base, sees_gap) in [(Params::bitcoin_regtest(), false), (Params::litecoin_regtest(), true)] {
        let params = Params { spacing_s: 150, proof_of_work: Params::bitcoin().proof_of_work, ..easy(base) };
        let mut chain = HeaderChain::new(params.clone());
        let mut parent = params.genesis;
        let mut current = parent.bits;
        for height in 1..2 * RETARGET_BLOCKS {
            let spacing = if height == RETARGET_BLOCKS { 400_000 } else { 75 };
            if height == RETARGET_BLOCKS {
                // 2015 intervals of 75 s, both coins: the first change has no block further back.
                let span = Span { first_time: params.genesis.time, last_time: parent.time, bits: current };
                current = bits(by_hand(&params, span));
            }
            let header = next(&params, &parent, spacing, current, 0);
            assert_eq!(chain.add(header, NOW), Ok(Added::Best { undone: 0 }), "{height}");
            parent = header;
        }
        let first = if sees_gap { RETARGET_BLOCKS - 1 } else { RETARGET_BLOCKS };
        let first_time = chain.at(first).unwrap().time;
        let expected = bits(by_hand(&params, Span { first_time, last_time: parent.time, bits: current }));
        let other_first = chain.at(2 * RETARGET_BLOCKS - 1 - first).unwrap().time;
        assert_ne!(first_time, other_first);
        let wrong = next(&params, &parent, 75, current, 0);
        assert!(matches!(chain.add(wrong, NOW), Err(HeaderError::Difficulty { .. })));
        let right = next(&params, &parent, 75, expected, 0);
        assert_eq!(chain.add(right, NOW), Ok(Added::Best { undone: 0 }));
    }
}

fn regtest(count: u32) -> (HeaderChain, Vec<Header>) {
    let params = Params::bitcoin_regtest();
    let mut chain = HeaderChain::new(params.clone());
    let mut headers = vec![params.genesis];
    for _ in 0..count {
        let header = next(&params, headers.last().unwrap(), 60, params.genesis.bits, 0);
        assert_eq!(chain.add(header, NOW), Ok(Added::Best { undone: 0 }));
        headers.push(header);
    }
    (chain, headers)
}

#[test]
fn the_branch_with_more_work_wins() {
    let (mut chain, headers) = regtest(50);
    let params = Params::bitcoin_regtest();
    let mut parent = headers[30];
    for step in 1..=21 {
        let header = next(&params, &parent, 60, parent.bits, 1);
        let expected = if step <= 20 { Added::Side } else { Added::Best { undone: 20 } };
        assert_eq!(chain.add(header, NOW), Ok(expected), "{step}");
        assert_eq!(chain.add(header, NOW), Ok(Added::Known));
        parent = header;
    }
    assert_eq!(chain.tip().hash, parent.block_hash());
    assert_eq!((chain.tip().height, chain.hash_at(30)), (51, Some(headers[30].block_hash())));
    assert_eq!(chain.place(headers[40].block_hash()), None);
    assert_eq!(chain.place(headers[30].block_hash()), Some((30, 22)));
    // Back again.
    let back = next(&params, headers.last().unwrap(), 60, parent.bits, 2);
    assert_eq!(chain.add(back, NOW), Ok(Added::Side));
    let back = next(&params, &back, 60, parent.bits, 2);
    assert_eq!(chain.add(back, NOW), Ok(Added::Best { undone: 21 }));
    assert_eq!(chain.place(headers[40].block_hash()), Some((40, 13)));
}

#[test]
fn headers_that_break_a_rule_are_refused() {
    let (mut chain, headers) = regtest(30);
    let params = Params::bitcoin_regtest();
    let tip = *headers.last().unwrap();
    let orphan = next(&params, &next(&params, &tip, 1, tip.bits, 0), 1, tip.bits, 0);
    assert!(matches!(chain.add(orphan, NOW), Err(HeaderError::Orphan { .. })));
    // Median of the last eleven is five blocks back.
    let median = headers[25].time;
    let old = mine(&params, Header { time: median, ..next(&params, &tip, 1, tip.bits, 0) });
    assert!(matches!(chain.add(old, NOW), Err(HeaderError::TimeTooOld { .. })));
    let just = mine(&params, Header { time: median + 1, ..next(&params, &tip, 1, tip.bits, 0) });
    assert_eq!(chain.add(just, NOW), Ok(Added::Best { undone: 0 }));
    let ahead = next(&params, &just, 60, tip.bits, 0);
    assert!(matches!(chain.add(ahead, ahead.time - 7_201), Err(HeaderError::TimeTooNew { .. })));
    assert_eq!(chain.add(ahead, ahead.time - 7_200), Ok(Added::Best { undone: 0 }));
    let mut lazy = next(&params, &ahead, 60, tip.bits, 0);
    while check_proof_of_work(&params, &lazy).is_ok() {
        lazy.nonce += 1;
    }
    assert!(matches!(chain.add(lazy, NOW), Err(HeaderError::Work { .. })));
    let harder = Header { bits: bits(0x1d00_ffff), ..next(&params, &ahead, 60, tip.bits, 0) };
    assert!(matches!(chain.add(harder, NOW), Err(HeaderError::Difficulty { .. })));
    // A checkpoint.
    let pinned = Params { checkpoints: vec![(1, tip.block_hash())], ..params };
    let refused = HeaderChain::new(pinned).add(headers[1], NOW);
    assert!(matches!(refused, Err(HeaderError::Checkpoint { height: 1, .. })));
}

#[test]
fn what_is_kept_is_bounded() {
    let (mut chain, headers) = regtest(6_500);
    let params = Params::bitcoin_regtest();
    assert!(chain.hash_at(400).is_none() && chain.hash_at(500).is_some());
    let deep = next(&params, &headers[4_483], 60, headers[0].bits, 1);
    assert!(matches!(chain.add(deep, NOW), Err(HeaderError::TooDeep { depth: 2_017, .. })));
    let just = next(&params, &headers[4_484], 60, headers[0].bits, 1);
    assert_eq!(chain.add(just, NOW), Ok(Added::Side));
    // Many side branches of one block.
    let mut refused = 0;
    for mark in 0..5_000_u32 {
        let mut side = next(&params, &headers[6_400], 60 + mark, headers[0].bits, 3);
        side.version = bitcoin::block::Version::from_consensus(i32::try_from(mark).unwrap() + 4);
        refused += u32::from(chain.add(mine(&params, side), NOW) == Err(HeaderError::TooMany));
    }
    assert!(refused > 900, "{refused}");
    // The best chain goes on.
    let header = next(&params, headers.last().unwrap(), 60, headers[0].bits, 0);
    assert_eq!(chain.add(header, NOW), Ok(Added::Best { undone: 0 }));
}

#[test]
fn test_networks_let_off_late_blocks() {
    // Difficulty 4 × the easiest at the period's start, as if a retarget had raised it.
    let params = Params {
        min_difficulty_blocks: true,
        genesis: mine(
            &easy(Params::bitcoin_regtest()),
            Header { bits: bits(0x201f_ffff), ..Params::bitcoin_regtest().genesis },
        ),
        ..easy(Params::bitcoin_regtest())
    };
    let (hard, easiest) = (bits(0x201f_ffff), params.limit.to_compact_lossy());
    let mut chain = HeaderChain::new(params.clone());
    let first = next(&params, &params.genesis, 60, hard, 0);
    let late = next(&params, &first, 1_201, easiest, 0);
    let after = next(&params, &late, 1_200, hard, 0);
    let lazy = next(&params, &first, 1_200, easiest, 0);
    assert_eq!(chain.add(first, NOW), Ok(Added::Best { undone: 0 }));
    assert!(matches!(chain.add(lazy, NOW), Err(HeaderError::Difficulty { .. })));
    assert_eq!(chain.add(late, NOW), Ok(Added::Best { undone: 0 }));
    let lazy = next(&params, &late, 1_200, easiest, 0);
    assert!(matches!(chain.add(lazy, NOW), Err(HeaderError::Difficulty { .. })));
    assert_eq!(chain.add(after, NOW), Ok(Added::Best { undone: 0 }));
}

#[test]
fn scrypt_is_litecoins() {
    let genesis = Params::litecoin().genesis;
    let mut hash = proof_of_work_hash(Params::litecoin().proof_of_work, &genesis);
    hash.reverse();
    assert_eq!(hex::encode(hash), "0000050c34a64b415b6b15b37f2216634b5b1669cb9a2e38d76f7213b0671e00");
}

/// A run tells the height of each header, from genesis and from above it, and refuses what does not follow.
#[test]
fn runs_of_headers() {
    use eschaton_headers::HeaderRun;
    let params = Params { spacing_s: 150, ..easy(Params::bitcoin_regtest()) };
    let mut headers = vec![params.genesis];
    let mut current = params.genesis.bits;
    for height in 1..=2 * RETARGET_BLOCKS {
        let parent = headers[headers.len() - 1];
        if height % RETARGET_BLOCKS == 0 {
            let first_time = headers[usize::try_from(height - RETARGET_BLOCKS).unwrap()].time;
            current = bits(by_hand(&params, Span { first_time, last_time: parent.time, bits: current }));
        }
        headers.push(next(&params, &parent, 30, current, 0));
    }
    for from in [0_u32, 1, 5, 2_015, 2_016, 2_017] {
        let start = usize::try_from(from).unwrap();
        let mut run = HeaderRun::new(params.clone(), from);
        assert_eq!(run.from_genesis(), from == 0);
        for (height, header) in (from..).zip(&headers[start..]) {
            assert_eq!(run.add(*header, NOW), Ok(height), "from {from}");
        }
        // One left out, one twice, another beginning.
        let mut run = HeaderRun::new(params.clone(), from);
        run.add(headers[start], NOW).unwrap();
        assert!(matches!(run.add(headers[start + 2], NOW), Err(HeaderError::Orphan { .. })));
        let mut run = HeaderRun::new(params.clone(), from);
        run.add(headers[start], NOW).unwrap();
        assert!(run.add(headers[start], NOW).is_err());
    }
    let mut run = HeaderRun::new(params.clone(), 0);
    assert!(matches!(run.add(headers[1], NOW), Err(HeaderError::Checkpoint { height: 0, .. })));
    // Easier than the rules give: within a period, at a change whose period is known, and at one that is not.
    let tip = headers[4_030];
    let easier = bits(0x207f_ffff);
    let mut run = HeaderRun::new(params.clone(), 4_030);
    run.add(tip, NOW).unwrap();
    let wrong = run.add(next(&params, &tip, 30, easier, 0), NOW);
    assert!(matches!(wrong, Err(HeaderError::Difficulty { .. })), "{wrong:?}");
    let last = headers[4_031];
    for (from, allowed) in [(2_016, false), (4_031, true)] {
        let mut run = HeaderRun::new(params.clone(), from);
        for header in &headers[usize::try_from(from).unwrap()..4_032] {
            run.add(*header, NOW).unwrap();
        }
        // Twice as easy passes where the period's beginning is not known; the right one passes everywhere.
        let twice = Target::from_le_bytes(double(last.target().to_le_bytes())).to_compact_lossy();
        let added = run.add(next(&params, &last, 30, twice, 0), NOW);
        assert_eq!(added.is_ok(), allowed, "from {from}: {added:?}");
    }
    // No work, and a time from the future.
    let mut run = HeaderRun::new(params.clone(), 7);
    let lazy = (1..).map(|nonce| Header { nonce, ..headers[7] });
    let lazy = lazy.clone().find(|header| check_proof_of_work(&params, header).is_err()).unwrap();
    assert!(matches!(run.add(lazy, NOW), Err(HeaderError::Work { .. })));
    let late = run.add(headers[7], headers[7].time - 7_201);
    assert!(matches!(late, Err(HeaderError::TimeTooNew { .. })), "{late:?}");
}

fn double(bytes: [u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    bytes.map(|byte| {
        let doubled = byte << 1 | carry;
        carry = byte >> 7;
        doubled
    })
}
