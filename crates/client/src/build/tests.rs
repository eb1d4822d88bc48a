#![allow(clippy::unwrap_used)]

use eschaton_types::{AMOUNT_MAX, TxId};
use proptest::prelude::*;

use super::*;

fn key(n: u8) -> Key {
    Key::from_secret([n; 32]).unwrap()
}

fn coin(n: u16, owner: &Key, amount: u64) -> Coin {
    let mut txid = [0; 32];
    txid[..2].copy_from_slice(&n.to_be_bytes());
    Coin {
        outpoint: OutPoint { txid: TxId(txid), index: n % 256 },
        owner: owner.address(),
        product: Product::Native,
        amount: Amount::new(amount).unwrap(),
        created_at_ms: u64::from(n),
        spendable_at_ms: 0,
    }
}

fn payment(amount: u64, fee: u64) -> Payment {
    let amount = Amount::new(amount).unwrap();
    Payment {
        network: Network::Dev,
        outputs: vec![Output::pay(key(99).address(), Product::Native, amount)],
        fee: Some(Fee { product: Product::Native, amount: Amount::new(fee).unwrap() }),
        not_before_ms: 0,
        not_after_ms: 0,
        min_spend_delay_ms: 0,
        metadata: Bytes::new(),
        order: Order::LargestFirst,
    }
}

fn keys() -> Keyring {
    (1..=4).map(key).collect()
}

proptest! {
    #[test]
    fn a_plan_conserves_and_never_overspends(
        amounts in proptest::collection::vec((1u64..1_000_000, 0u8..4, 0u64..20, any::<bool>()), 0..300),
        amount in 1u64..50_000_000,
        fee in 0u64..1_000,
        now in 0u64..20,
        oldest in any::<bool>(),
    ) {
        let mut reserved = HashSet::new();
        let coins: Vec<Coin> = amounts.iter().zip(0u16..).map(|((amount, owner, rest, held), n)| {
            let mut coin = coin(n, &key(owner + 1), *amount);
            coin.spendable_at_ms = *rest;
            if *held { reserved.insert(coin.outpoint); }
            coin
        }).collect();
        let mut wanted = payment(amount, fee);
        if oldest { wanted.order = Order::OldestFirst; }
        let usable: u128 = coins.iter()
            .filter(|coin| coin.spendable_at_ms <= now && !reserved.contains(&coin.outpoint))
            .map(|coin| u128::from(coin.amount.units())).sum();
        match plan(&wanted, &coins, &reserved, now) {
            Ok(plan) => {
                let body = plan.body();
                prop_assert!(body.inputs.len() <= INPUTS_MAX);
                let spent: Vec<&Coin> = body.inputs.iter()
                    .map(|input| coins.iter().find(|coin| coin.outpoint == input.outpoint).unwrap()).collect();
                prop_assert!(spent.iter().all(|coin| coin.spendable_at_ms <= now));
                prop_assert!(spent.iter().all(|coin| !reserved.contains(&coin.outpoint)));
                let distinct: HashSet<_> = body.inputs.iter().map(|input| input.outpoint).collect();
                prop_assert_eq!(distinct.len(), body.inputs.len());
                let consumed = Amount::sum(spent.iter().map(|coin| coin.amount)).unwrap();
                let created: Vec<_> = body.created().unwrap();
                prop_assert_eq!(created, vec![(Product::Native, consumed)]);
                prop_assert_eq!(body.outputs[0].amount.units(), amount);
                // No input is needless.
                let least = spent.iter().map(|coin| coin.amount.units()).min().unwrap();
                let last = spent.last().unwrap().amount.units();
                let spare = if oldest { last } else { least };
                prop_assert!(consumed.units() - spare < amount + fee);
                prop_assert!(plan.sign(&keys(), &Signing::PerInput).is_ok());
            }
            Err(BuildError::NotEnough { have, need, .. }) => {
                prop_assert_eq!(have, usable);
                prop_assert!(have < u128::from(need.units()));
            }
            Err(BuildError::TooManyInputs { best, .. }) => {
                prop_assert!(best < u128::from(amount + fee));
                prop_assert!(usable >= u128::from(amount + fee));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn one_state_gives_one_choice() {
    let mut coins: Vec<_> = (0..20).map(|n| coin(n, &key(1), 5)).collect();
    let one = plan(&payment(32, 0), &coins, &HashSet::new(), 0).unwrap();
    coins.reverse();
    let two = plan(&payment(32, 0), &coins, &HashSet::new(), 0).unwrap();
    assert_eq!(one.body(), two.body());
    assert_eq!(one.change(), [(Product::Native, Amount::new(3).unwrap())]);
}

#[test]
fn a_repeated_row_is_spent_once() {
    let coins = [coin(1, &key(1), 5), coin(1, &key(1), 5)];
    let error = plan(&payment(10, 0), &coins, &HashSet::new(), 0).unwrap_err();
    assert!(matches!(error, BuildError::NotEnough { have: 5, .. }), "{error}");
}

#[test]
fn products_are_paid_apart() {
    let issued = Product::Issued([3; 32]);
    let mut token = coin(2, &key(2), 50);
    token.product = issued;
    let mut wanted = payment(20, 3);
    wanted.outputs[0].product = issued;
    let plan = plan(&wanted, &[coin(1, &key(1), 10), token], &HashSet::new(), 0).unwrap();
    assert_eq!(plan.body().inputs.len(), 2);
    let change = |product, units| (product, Amount::new(units).unwrap());
    assert_eq!(plan.change(), [change(Product::Native, 7), change(issued, 30)]);
    let change_owners: Vec<_> = plan.body().outputs[1..].iter().map(|output| output.owner).collect();
    assert_eq!(change_owners, [key(1).address(), key(2).address()]);
}

#[test]
fn the_most_inputs_in_both_forms_fit_a_transaction() {
    let coins: Vec<_> = (0..256).map(|n| coin(n, &key(1), 10)).collect();
    let mut wanted = payment(2_555, 0);
    wanted.metadata = vec![1; 1_024].into();
    let plan = plan(&wanted, &coins, &HashSet::new(), 0).unwrap();
    assert_eq!(plan.body().inputs.len(), 256);
    plan.sign(&keys(), &Signing::PerInput).unwrap();
    let seeds: Vec<[u8; 32]> = (0..=255).map(|n| [n; 32]).collect();
    let one = plan.sign(&keys(), &Signing::Aggregate { seeds: &seeds }).unwrap();
    assert!(one.witness.owners.is_empty());
    let few = plan.sign(&keys(), &Signing::Aggregate { seeds: &seeds[1..] }).unwrap_err();
    assert_eq!(few, BuildError::Seeds { needed: 256, found: 255 });
}

#[test]
fn errors_say_what_to_do() {
    let coins: Vec<_> = (0..300).map(|n| coin(n, &key(1), 10)).collect();
    let error = plan(&payment(2_900, 0), &coins, &HashSet::new(), 0).unwrap_err().to_string();
    assert!(error.contains("consolidate") && error.contains("2560"), "{error}");
    let error = plan(&payment(2_999, 2), &coins, &HashSet::new(), 0).unwrap_err().to_string();
    assert!(error.contains("have 3000") && error.contains("need 3001"), "{error}");
    assert_eq!(plan(&payment(0, 0), &coins, &HashSet::new(), 0).unwrap_err(), BuildError::Nothing);
    let error = plan(&payment(AMOUNT_MAX, 1), &coins, &HashSet::new(), 0).unwrap_err();
    assert!(matches!(error, BuildError::Overflow(_)), "{error}");
    let most = [coin(1, &key(1), AMOUNT_MAX - 1), coin(2, &key(1), AMOUNT_MAX - 1)];
    let error = plan(&payment(AMOUNT_MAX, 0), &most, &HashSet::new(), 0).unwrap_err();
    assert!(matches!(error, BuildError::Overflow(_)), "a lying node: {error}");
    let foreign = plan(&payment(5, 0), &[coin(1, &key(77), 5)], &HashSet::new(), 0).unwrap();
    assert!(matches!(foreign.sign(&keys(), &Signing::PerInput), Err(BuildError::NoKey { .. })));
}
