//! Headers from a node that is not trusted, in any order: judged without panic; what is taken keeps the rules.
#![no_main]

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use eschaton_headers::{Added, HeaderChain, Params, check_proof_of_work};
use libfuzzer_sys::fuzz_target;

const NOW: u32 = 1_700_000_000;

fuzz_target!(|data: &[u8]| {
    let Some((kind, mut data)) = data.split_first() else { return };
    let params = match kind % 4 {
        0 => Params::bitcoin_regtest(),
        1 => Params::bitcoin_testnet4(),
        2 => Params::bitcoin(),
        // Not Litecoin's: scrypt would slow the search by a factor of a thousand, and the rules are the same code.
        _ => Params { whole_period: true, ..Params::bitcoin_testnet3() },
    };
    let mut chain = HeaderChain::new(params.clone());
    let mut known = vec![params.genesis];
    while let Some((bytes, rest)) = data.split_first_chunk::<12>() {
        data = rest;
        // Twelve bytes make a header on one that is known: parent, time, difficulty, mark.
        let parent = known[usize::from(bytes[0]) % known.len()];
        let time = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        let bits = match bytes[5] {
            0 => u32::from_le_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]),
            _ => parent.bits.to_consensus(),
        };
        let time = if bytes[10] & 1 == 0 { parent.time.wrapping_add(time % 5_000) } else { time };
        let mut header = Header {
            prev_blockhash: parent.block_hash(),
            time,
            bits: bitcoin::CompactTarget::from_consensus(bits),
            nonce: u32::from(bytes[11]),
            ..parent
        };
        for _ in 0..8 {
            if check_proof_of_work(&params, &header).is_ok() {
                break;
            }
            header.nonce = header.nonce.wrapping_add(1);
        }
        let before = chain.tip();
        let added = chain.add(header, NOW);
        let after = chain.tip();
        match added {
            Ok(Added::Best { undone }) => {
                assert!(after.work > before.work && after.hash == header.block_hash());
                assert!(undone <= before.height);
                assert_eq!(chain.place(after.hash), Some((after.height, 1)));
            }
            _ => assert_eq!(before, after),
        }
        if added.is_ok() {
            assert_eq!(check_proof_of_work(&params, &header), Ok(()), "no work");
            assert_eq!(chain.add(header, NOW), Ok(Added::Known));
            known.push(header);
        }
    }
    if let Ok(header) = deserialize::<Header>(data) {
        let _ = chain.add(header, NOW);
    }
});
