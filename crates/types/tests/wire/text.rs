//! Text forms that people type: addresses, networks, outpoints, products, secrets.

use eschaton_types::{
    AMOUNT_MAX, Address, Amount, AmountError, Key, Network, OutPoint, Product, TxError, TxId,
};

use crate::fixtures::key;

const NETWORKS: [Network; 3] = [Network::Main, Network::Test, Network::Dev];

#[test]
fn an_address_of_another_network_is_refused_by_name() {
    let address = key(1).address();
    for (from, to) in NETWORKS.iter().flat_map(|from| NETWORKS.iter().map(move |to| (*from, *to))) {
        let read = Address::from_text(&address.to_text(from), to);
        let refusal = TxError::AddressNetwork { expected: to.prefix() };
        assert_eq!(read, if from == to { Ok(address) } else { Err(refusal) });
    }
    let refusal = TxError::AddressNetwork { expected: "esc" };
    assert_eq!(refusal.to_string(), "address is for another network; here they begin with esc1");
}

#[test]
fn every_mistyped_character_of_an_address_is_caught() {
    let text = key(1).address().to_text(Network::Main);
    let mut typos = 0;
    for (at, right) in text.char_indices().skip("esc1".len()) {
        for wrong in "qpzry9x8gf2tvdw0s3jn54khce6mua7l".chars().filter(|wrong| *wrong != right) {
            let mut typo = text.clone();
            typo.replace_range(at..=at, &wrong.to_string());
            assert_eq!(Address::from_text(&typo, Network::Main), Err(TxError::AddressText), "{typo}");
            typos += 1;
        }
    }
    assert_eq!(typos, 31 * (52 + 6), "52 data characters and 6 of checksum, 31 typos each");
}

#[test]
fn address_text_of_another_length_or_case_mix_is_refused() {
    let text = key(1).address().to_text(Network::Main);
    for cut in 0..text.len() {
        assert_eq!(Address::from_text(&text[..cut], Network::Main), Err(TxError::AddressText), "{cut}");
    }
    let mixed = text.replacen("esc", "ESC", 1);
    assert_eq!(Address::from_text(&mixed, Network::Main), Err(TxError::AddressText));
    // Capitals make shorter QR codes (BIP 173), so all of them in one case are one address.
    assert_eq!(Address::from_text(&text.to_uppercase(), Network::Main), Ok(key(1).address()));
    let hrp = bech32::Hrp::parse("esc").expect("valid");
    for length in [0, 31, 33] {
        let other = bech32::encode::<bech32::Bech32m>(hrp, &vec![7; length]).expect("short");
        assert_eq!(Address::from_text(&other, Network::Main), Err(TxError::Length { field: "address" }));
    }
}

#[test]
fn networks_are_known_by_number_and_name() {
    for network in NETWORKS {
        assert_eq!(Network::from_number(network.number()), Ok(network));
        assert_eq!(network.to_string().parse(), Ok(network));
    }
    for number in [0, 4, u32::MAX] {
        assert_eq!(Network::from_number(number), Err(TxError::UnknownNetwork { number }));
    }
    for name in ["", "Main", "mainnet", " dev"] {
        assert_eq!(name.parse::<Network>(), Err(TxError::UnknownNetworkName));
    }
    assert_eq!(TxError::UnknownNetworkName.to_string(), "unknown network name; use main, test or dev");
}

#[test]
fn outpoints_and_products_are_read_as_they_are_shown() {
    let outpoint = OutPoint { txid: TxId([0xab; 32]), index: 255 };
    assert_eq!(OutPoint::parse(&outpoint.to_string()), Ok(outpoint));
    let id = "ab".repeat(32);
    for wrong in [id.clone(), format!("{id}:"), format!("{id}:256"), format!("{id}:-1"), format!("{id}:1:1")]
    {
        assert!(
            matches!(OutPoint::parse(&wrong), Err(TxError::Length { field }) if field.contains("a colon")),
            "{wrong}"
        );
    }
    assert!(
        matches!(OutPoint::parse("ab:1"), Err(TxError::Length { field }) if field.contains("64 hexadecimal"))
    );
    for product in [Product::Native, Product::Issued([0xcd; 32])] {
        assert_eq!(Product::parse(&product.to_string()), Ok(product));
    }
    for wrong in ["", "Native", "cd", &"g".repeat(64)] {
        assert!(
            matches!(Product::parse(wrong), Err(TxError::Length { field }) if field.starts_with("product")),
            "{wrong}"
        );
    }
}

#[test]
fn a_product_belongs_to_one_issuer_on_one_network() {
    let product = |network, byte| Product::of_issuer(network, &key(byte).address());
    assert_eq!(product(Network::Main, 1), product(Network::Main, 1));
    assert_ne!(product(Network::Main, 1), product(Network::Main, 2));
    assert_ne!(product(Network::Main, 1), product(Network::Test, 1));
}

#[test]
fn secrets_outside_the_curves_order_are_refused() {
    let order: [u8; 32] = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
        .expect("hexadecimal")
        .try_into()
        .expect("32 bytes");
    let mut below = order;
    below[31] -= 1;
    for secret in [[0; 32], order, [0xff; 32]] {
        assert_eq!(Key::from_secret(secret).err(), Some(TxError::SecretKey));
    }
    assert_eq!(Key::from_secret(below).expect("the largest secret").secret_bytes(), below);
    assert!(!format!("{:?}", key(1)).contains(&"01".repeat(32)), "a secret never shows in a log");
}

#[test]
fn amounts_say_what_to_do() {
    let error = Amount::new(AMOUNT_MAX + 1).expect_err("above");
    assert_eq!(error, AmountError::OutOfRange);
    assert_eq!(
        error.to_string(),
        "amount leaves the range 0 to 1000000000000000000 units; split or lower it"
    );
}
