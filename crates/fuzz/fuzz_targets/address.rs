//! Text that people type: read without panic, and what is read is shown the same.
#![no_main]

use eschaton_types::{Address, Network, OutPoint, Product};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let networks = [Network::Main, Network::Test, Network::Dev];
    let read: Vec<_> = networks
        .iter()
        .filter_map(|network| Some((*network, Address::from_text(text, *network).ok()?)))
        .collect();
    assert!(read.len() <= 1, "one text is an address of two networks");
    for (network, address) in read {
        assert!(address.to_text(network).eq_ignore_ascii_case(text));
    }
    if let Ok(outpoint) = OutPoint::parse(text) {
        assert_eq!(OutPoint::parse(&outpoint.to_string()), Ok(outpoint));
    }
    if let Ok(product) = Product::parse(text) {
        assert_eq!(Product::parse(&product.to_string()), Ok(product));
    }
    if let Ok(network) = text.parse::<Network>() {
        assert_eq!(network.name(), text);
    }
});
