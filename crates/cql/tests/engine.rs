//! The store on a real engine: the port's suite, and what only this adapter promises. The engine's
//! address is in `ESCHATON_TEST_CQL`, say 127.0.0.1:19042; see deploy/engines/cassandra.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use eschaton_cql::{CqlStore, OpenError, Secret, TlsConfig, migrate, migrate_for};
use eschaton_ports::conformance::store as suite;
use eschaton_ports::{SCAN_ROWS_MAX, Store, StoreError, Table};
use parking_lot::Mutex;

use support::{Keyspace, batch, get, mark, put, watermark};

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let keyspaces = Mutex::new(Vec::new());
    suite::run(async || {
        let keyspace = Keyspace::make().await;
        let store = keyspace.open().await;
        keyspaces.lock().push(keyspace);
        store as Arc<dyn Store>
    })
    .await;
    for keyspace in keyspaces.into_inner() {
        keyspace.drop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_after_reopening() {
    let keyspace = Keyspace::make().await;
    suite::run_reopen(async || keyspace.open().await as Arc<dyn Store>).await;
    keyspace.drop().await;
}

/// A worker that was taken over and does not know it: its batches reach the engine after its successor's.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombies_late_batch_changes_nothing_that_a_newer_one_wrote() {
    let keyspace = Keyspace::make().await;
    let (zombie, successor) = (keyspace.open().await, keyspace.open().await);
    zombie.apply(batch("w", 1, &[("a", Some("1")), ("gone", Some("1"))])).await.unwrap();
    // The successor writes again what the log has, and goes on.
    for newer in [
        batch("w", 2, &[("a", Some("2")), ("b", Some("2"))]),
        batch("w", 3, &[("a", Some("3")), ("gone", None), ("back", None)]),
        batch("w", 4, &[("back", Some("4"))]),
    ] {
        successor.apply(newer).await.unwrap();
    }
    // This instance still believes in watermark 1.
    for late in [
        batch("w", 3, &[("a", Some("3")), ("gone", None), ("back", None)]),
        batch("w", 2, &[("a", Some("2")), ("b", Some("2")), ("gone", Some("2"))]),
    ] {
        zombie.apply(late).await.unwrap();
    }
    for store in [&zombie, &successor] {
        let found = get(store.as_ref(), &["a", "b", "gone", "back"]).await;
        let expected = [Some("3"), Some("2"), None, Some("4")];
        assert_eq!(found, expected.map(|value| value.map(Bytes::from)));
        assert_eq!(watermark(store.as_ref(), "w").await, Some(mark(4)), "read from the cluster");
    }
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_cross_partitions_in_order() {
    let keyspace = Keyspace::make().await;
    let store = keyspace.open().await;
    // Spread over all partitions of outputs, and over both kinds of totals.
    let outputs: Vec<Bytes> =
        (0_u32..3_000).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec().into()).collect();
    let totals: Vec<Bytes> =
        (0_u8..200).map(|n| vec![0, 0, 0, n % 3, n % 2 + 1, n.wrapping_mul(37)].into()).collect();
    for (sequence, table, keys) in [(1, Table::Outputs, &outputs), (2, Table::Totals, &totals)] {
        store.apply(put("w", sequence, table, keys)).await.unwrap();
        let mut keys: Vec<Bytes> = keys.clone();
        keys.sort();
        keys.dedup();
        for (prefix, limit) in [(&b""[..], 700), (b"", SCAN_ROWS_MAX), (b"\x12", 7), (&[0, 0, 0, 1], 9)] {
            let expected: Vec<&Bytes> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
            let (mut found, mut after) = (Vec::new(), None::<Bytes>);
            loop {
                let page = store.scan(table, prefix, after.as_deref(), limit).await.unwrap();
                assert!(page.rows.len() <= limit);
                found.extend(page.rows.into_iter().map(|(key, _)| key));
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{} {prefix:02x?}", table.name());
        }
    }
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_again_finds_everything_done() {
    let keyspace = Keyspace::make().await;
    let report = migrate(&keyspace.config).await.unwrap();
    assert_eq!((report.found, report.version), (Some(3), 3));
    assert!(report.to_string().contains("is there already"), "{report}");
    let (one, two) = tokio::join!(migrate(&keyspace.config), migrate(&keyspace.config));
    for result in [one, two] {
        assert!(matches!(result, Ok(_) | Err(OpenError::Locked { .. })), "{result:?}");
    }
    keyspace.open().await;
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_fit_are_refused_with_what_to_do() {
    let keyspace = Keyspace::make().await;
    let error = |result: Result<CqlStore, OpenError>| result.err().unwrap();

    let mut config = keyspace.config.clone();
    config.partition_bits += 1;
    let refused = error(CqlStore::open(&config).await);
    assert!(matches!(refused, OpenError::PartitionBits { .. }), "{refused}");
    assert!(matches!(migrate(&config).await, Err(OpenError::PartitionBits { .. })));

    config = keyspace.config.clone();
    config.password = Some(Secret::from("wrong".to_owned()));
    let refused = error(CqlStore::open(&config).await);
    assert!(matches!(refused, OpenError::Credentials { .. }), "{refused}");
    (config.user, config.password) = (None, None);
    let refused = error(CqlStore::open(&config).await);
    assert!(matches!(refused, OpenError::Credentials { .. }), "{refused}");

    config = keyspace.config.clone();
    config.keyspace.push_str("_not");
    let refused = error(CqlStore::open(&config).await);
    assert!(matches!(refused, OpenError::NotMigrated { .. }), "{refused}");
    assert!(refused.to_string().contains("eschaton migrate"), "{refused}");

    config = keyspace.config.clone();
    config.local_datacenter = Some("atlantis".to_owned());
    let refused = error(CqlStore::open(&config).await);
    assert!(matches!(&refused, OpenError::Datacenter { found, .. } if found == "datacenter1"), "{refused}");

    config = keyspace.config.clone();
    config.nodes = vec!["127.0.0.1:1".to_owned()];
    let refused = error(CqlStore::open(&config).await);
    assert!(matches!(refused, OpenError::Unreachable { .. }) && refused.is_passing(), "{refused}");

    config = keyspace.config.clone();
    config.keyspace.push_str("_three");
    config.migrate.replicas = 3;
    let refused = migrate(&config).await.unwrap_err();
    assert!(refused.to_string().contains("has 1 nodes"), "{refused}");
    keyspace.drop().await;
}

/// The set-up script makes the authority with CQL_TLS=1; its file is in `ESCHATON_TEST_CQL_CA`.
#[allow(clippy::disallowed_methods, reason = "a test's settings")]
fn authority() -> PathBuf {
    let file = std::env::var("ESCHATON_TEST_CQL_CA").expect(
        "set ESCHATON_TEST_CQL_CA to tls/ca.pem in the directory that `CQL_TLS=1 deploy/engines/cassandra/run.sh start` \
         names",
    );
    file.into()
}

fn tls(ca_file: PathBuf) -> Option<TlsConfig> {
    Some(TlsConfig { ca_file, client_cert_file: None, client_key_file: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_trusts_the_authority_and_nobody_else() {
    let mut config = support::config();
    config.tls = tls(authority());
    let keyspace = Keyspace::make_with(config).await;
    let store = keyspace.open().await;
    store.apply(batch("w", 1, &[("a", Some("1"))])).await.unwrap();
    assert_eq!(get(store.as_ref(), &["a"]).await, [Some("1".into())]);

    // Another authority of the same name.
    let dir = std::env::temp_dir().join(keyspace.name());
    std::fs::create_dir_all(&dir).unwrap();
    let stranger = dir.join("stranger.pem");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=eschaton test authority", "-keyout", "/dev/null", "-out"])
        .arg(&stranger)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut config = keyspace.config.clone();
    config.tls = tls(stranger);
    let refused = CqlStore::open(&config).await.err().unwrap();
    assert!(matches!(refused, OpenError::Certificate { .. }), "{refused:?}");
    assert!(refused.to_string().contains("tls.ca_file"), "{refused}");
    assert!(!refused.is_passing());
    // Files that are none are named.
    for (file, says) in [(dir.join("none.pem"), "No such file"), (PathBuf::from("Cargo.toml"), "no PEM")] {
        config.tls = tls(file.clone());
        let refused = CqlStore::open(&config).await.err().unwrap().to_string();
        assert!(refused.contains(says) && refused.contains(&*file.to_string_lossy()), "{refused}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
    keyspace.drop().await;
}

/// Whose rows these are is recorded once.
#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_is_one_ledgers() {
    let keyspace = Keyspace::make().await;
    assert_eq!(keyspace.open().await.ledger(), None);
    for _ in 0..2 {
        migrate_for(&keyspace.config, Some("first")).await.unwrap();
        assert_eq!(keyspace.open().await.ledger(), Some("first"));
    }
    let refused = migrate_for(&keyspace.config, Some("second")).await.unwrap_err();
    assert!(matches!(refused, OpenError::OtherLedger { .. }), "{refused}");
    migrate(&keyspace.config).await.unwrap();
    assert_eq!(keyspace.open().await.ledger(), Some("first"));
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_of_other_programs_are_refused() {
    let keyspace = Keyspace::make().await;
    let record = async |version: &str| {
        let set =
            format!("UPDATE {}.meta SET value = '{version}' WHERE name = 'schema_version'", keyspace.name());
        keyspace.run(&set).await;
        CqlStore::open(&keyspace.config).await.err().unwrap()
    };
    let newer = record("4").await;
    assert!(matches!(newer, OpenError::SchemaNew { found: 4, wanted: 3, .. }), "{newer}");
    assert!(matches!(migrate(&keyspace.config).await, Err(OpenError::SchemaNew { .. })));
    let older = record("0").await;
    assert!(matches!(older, OpenError::SchemaOld { found: 0, .. }), "{older}");
    assert_eq!(migrate(&keyspace.config).await.unwrap().found, Some(0));
    keyspace.open().await;
    keyspace.drop().await;
}

/// A keyspace from before there were timestamps.
#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_of_the_first_schema_gets_what_it_lacks() {
    let keyspace = Keyspace::make().await;
    let name = keyspace.name().to_owned();
    for table in ["digests", "intervals", "anchors", "stamp_workers"] {
        keyspace.run(&format!("DROP TABLE {name}.{table}")).await;
    }
    keyspace.run(&format!("UPDATE {name}.meta SET value = '1' WHERE name = 'schema_version'")).await;
    let refused = CqlStore::open(&keyspace.config).await.err().unwrap();
    assert!(matches!(refused, OpenError::SchemaOld { found: 1, .. }), "{refused}");
    let report = migrate(&keyspace.config).await.unwrap();
    assert_eq!((report.found, report.version), (Some(1), 3));
    let store = keyspace.open().await;
    assert_eq!(store.get_many(Table::Digests, &[Bytes::from_static(b"L")]).await.unwrap(), [None]);
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_named() {
    let keyspace = Keyspace::make().await;
    let user = format!("{}_reader", keyspace.name());
    for statement in [
        format!("CREATE ROLE {user} WITH PASSWORD = 'reader' AND LOGIN = true"),
        format!("GRANT SELECT ON KEYSPACE {} TO {user}", keyspace.name()),
    ] {
        keyspace.run(&statement).await;
    }
    let mut config = keyspace.config.clone();
    (config.user, config.password) = (Some(user.clone()), Some(Secret::from("reader".to_owned())));
    let refused = CqlStore::open(&config).await.err().unwrap();
    assert!(matches!(refused, OpenError::Rights { .. }), "{refused}");
    assert!(refused.to_string().contains("MODIFY"), "{refused}");
    config.keyspace.push_str("_new");
    let refused = migrate(&config).await.unwrap_err();
    assert!(matches!(refused, OpenError::Rights { .. }), "{refused}");
    keyspace.run(&format!("DROP ROLE {user}")).await;
    keyspace.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_schema_is_fatal_and_a_wide_batch_is_not() {
    let keyspace = Keyspace::make().await;
    let mut config = keyspace.config.clone();
    (config.batch_rows, config.batch_bytes) = (10_000, 4 << 20);
    let store = CqlStore::open(&config).await.unwrap();
    // One partition, 2 MB: forty times what an engine allows a batch over several partitions.
    let value = Bytes::from(vec![7; 1_000]);
    let mut wide = put("w", 1, Table::Workers, &[]);
    wide.rows = (0..2_000)
        .map(|n| eschaton_ports::RowChange {
            table: Table::Workers,
            key: format!("{n:05}").into(),
            value: Some(value.clone()),
        })
        .collect();
    store.apply(wide).await.unwrap();
    assert_eq!(store.scan(Table::Workers, b"", None, SCAN_ROWS_MAX).await.unwrap().rows.len(), 2_000);

    keyspace.run(&format!("DROP TABLE {}.pending", keyspace.name())).await;
    let gone = store.get_many(Table::Pending, &[Bytes::from("k")]).await;
    assert!(
        matches!(&gone, Err(StoreError::Fatal { detail }) if detail.contains("eschaton migrate")),
        "{gone:?}"
    );
    keyspace.drop().await;
}

/// The prover builds on rows of one batch, so a batch of its must not stay half-written.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_batch_of_the_trees_is_completed() {
    let keyspace = Keyspace::make().await;
    let key = Bytes::from("M123");
    let store = keyspace.open().await;
    store.apply(put("prover", 1, Table::Trees, std::slice::from_ref(&key))).await.unwrap();
    // Its rows cannot be written; before, it was kept.
    keyspace.run(&format!("DROP TABLE {}.trees", keyspace.name())).await;
    let keys: Vec<Bytes> = (0_u32..3_000).map(|n| format!("M{n:0900}").into()).collect();
    assert!(store.apply(put("prover", 2, Table::Trees, &keys)).await.is_err());
    drop(store);
    keyspace
        .run(&format!("UPDATE {}.meta SET value = '0' WHERE name = 'schema_version'", keyspace.name()))
        .await;
    migrate(&keyspace.config).await.unwrap();

    let store = keyspace.open().await;
    assert!(store.get_many(Table::Trees, &keys[..1]).await.unwrap()[0].is_none());
    assert_eq!(watermark(store.as_ref(), "prover").await, Some(mark(2)));
    let found = store.get_many(Table::Trees, &keys).await.unwrap();
    assert!(found.iter().zip(&keys).all(|(value, key)| value.as_ref() == Some(key)));
    store.apply(put("prover", 2, Table::Trees, &[key])).await.unwrap();
    assert!(store.get_many(Table::Trees, &[Bytes::from("M123")]).await.unwrap()[0].is_none(), "late");
    keyspace.drop().await;
}
