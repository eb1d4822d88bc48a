//! What opening and migrating find, and how they say it.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use eschaton_kafka::{KafkaConfig, KafkaLog, OpenError, Sasl, SaslMechanism, Secret, Security, Tls, migrate};
use eschaton_ports::{Log, Topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

async fn refused(config: KafkaConfig) -> OpenError {
    KafkaLog::open(config).await.err().expect("it must not open")
}

/// The set-up script's secure listeners follow the plaintext one: +10 SCRAM, +11 TLS, +12 both.
fn secure(config: KafkaConfig, plus: u16) -> KafkaConfig {
    let (host, port) = config.bootstrap.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    KafkaConfig { bootstrap: format!("{host}:{}", port + plus), ..config }
}

fn scram(password: &str, mechanism: SaslMechanism) -> Option<Sasl> {
    Some(Sasl { mechanism, user: "eschaton".into(), password: Secret::new(password) })
}

/// The authority that the set-up script made; its file is in `ESCHATON_TEST_KAFKA_CA`.
#[allow(clippy::disallowed_methods, reason = "a test's settings")]
fn authority() -> Option<Tls> {
    let file = std::env::var("ESCHATON_TEST_KAFKA_CA")
        .expect("set ESCHATON_TEST_KAFKA_CA to tls/ca.pem below the directory that `run.sh start` names");
    Some(Tls { ca_file: Some(file.into()), ..Tls::default() })
}

#[tokio::test]
async fn topics_are_made_once_and_checked() {
    let config = kit::config(3);
    let _leavings = kit::Leavings::of(&config);
    let error = refused(config.clone()).await;
    assert!(matches!(&error, OpenError::TopicMissing { topic } if topic.ends_with(".ledger")), "{error}");
    assert!(error.to_string().contains("eschaton migrate"), "{error}");

    let first = migrate(&config, 1).await.unwrap();
    let partitions: Vec<_> = first.topics.iter().map(|topic| (topic.partitions, topic.created)).collect();
    assert_eq!(partitions, Topic::ALL.map(|topic| (topic.partitions(3), true)));
    let second = migrate(&config, 1).await.unwrap();
    assert!(second.topics.iter().all(|topic| !topic.created && topic.differences.is_empty()), "{second}");
    kit::open(&config).await;

    let more = KafkaConfig { shards: 4, ..config.clone() };
    for error in [refused(more.clone()).await, migrate(&more, 1).await.unwrap_err()] {
        assert!(matches!(error, OpenError::Partitions { found: 3, expected: 4, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_migration_tells_what_it_would_have_set_otherwise() {
    let config = kit::config(1);
    let _leavings = kit::Leavings::of(&config);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.bootstrap).create().unwrap();
    let name = format!("{}.changes", config.topic_prefix);
    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("retention.ms", "1000");
    admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let report = migrate(&config, 1).await.unwrap();
    assert_eq!(report.topics.iter().filter(|topic| topic.created).count(), Topic::ALL.len() - 1);
    let said = report.to_string();
    assert!(said.contains("retention.ms is 1000 and should be -1"), "{said}");
    assert!(said.contains("max.message.bytes is 1048588"), "{said}");
}

#[tokio::test]
async fn more_replicas_than_brokers_are_refused() {
    let error = migrate(&kit::config(1), 3).await.unwrap_err();
    assert!(matches!(error, OpenError::NotMade { .. }), "{error}");
    assert!(error.to_string().contains("3 replicas need as many brokers"), "{error}");
}

#[tokio::test]
async fn a_wrong_address_is_named() {
    let config = KafkaConfig { bootstrap: "127.0.0.1:1".into(), request_timeout_ms: 1_000, ..kit::config(1) };
    for error in [refused(config.clone()).await, migrate(&config, 1).await.unwrap_err()] {
        assert!(matches!(&error, OpenError::Unreachable { .. }), "{error}");
        assert!(
            error.to_string().contains("127.0.0.1:1") && error.to_string().contains("refused"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn scram_lets_the_right_password_in_and_names_the_wrong_one() {
    let (made, _leavings) = kit::made().await;
    let made = secure(made, 10);
    for mechanism in [SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        let with = |password| {
            let security = Security { sasl: scram(password, mechanism), tls: None };
            KafkaConfig { security, request_timeout_ms: 2_000, ..made.clone() }
        };
        kit::open(&with("eschaton-secret")).await;
        let error = refused(with("wrong")).await;
        assert!(matches!(error, OpenError::Authentication { .. }), "{error}");
        assert!(!error.to_string().contains("wrong "), "{error}");
    }
}

#[tokio::test]
async fn tls_trusts_the_authority_and_nobody_else() {
    let (made, _leavings) = kit::made().await;
    let trusting = KafkaConfig {
        security: Security { tls: authority(), sasl: None },
        request_timeout_ms: 2_000,
        ..secure(made.clone(), 11)
    };
    kit::open(&trusting).await;
    let stranger =
        KafkaConfig { security: Security { tls: Some(Tls::default()), sasl: None }, ..trusting.clone() };
    let error = refused(stranger).await;
    assert!(matches!(error, OpenError::Authentication { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    // Both at once, and at work.
    let sasl = scram("eschaton-secret", SaslMechanism::ScramSha512);
    let both = KafkaConfig { security: Security { tls: authority(), sasl }, ..secure(made, 12) };
    let log: Arc<dyn Log> = Arc::new(kit::open(&both).await);
    let position = log.append(vec![kit::record(kit::LEDGER_0, "secret")]).await.unwrap()[0];
    let mut claim = log.claim("secure", &[kit::LEDGER_0]).await.unwrap();
    claim
        .commit(vec![kit::record(kit::DECISIONS_0, "kept")], &[(kit::LEDGER_0, position.offset + 1)])
        .await
        .unwrap();
    assert_eq!(kit::payloads(&kit::read_all(&*log, kit::DECISIONS_0, 0).await), ["kept"]);
}

/// Grants or takes rights of user `stranger`, with Kafka's own tool through the set-up script.
fn acl(config: &KafkaConfig, arguments: &[&str]) {
    let port = config.bootstrap.rsplit_once(':').unwrap().1;
    let output = std::process::Command::new("../../deploy/engines/kafka/run.sh")
        .arg("acl")
        .args(arguments)
        .env("KAFKA_PORT", port)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Each right that is missing is named with what it is missing on, and granting it is enough to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named_and_may_be_granted() {
    let (made, _leavings) = kit::made().await;
    let prefix = made.topic_prefix.clone();
    let grant = |operation: &str, resource: &str| {
        let to = ["--add", "--allow-principal", "User:stranger", "--operation", operation];
        let on = [resource, &format!("{prefix}."), "--resource-pattern-type", "prefixed"];
        acl(&made, &[&to[..], &on].concat());
    };
    let sasl = Sasl {
        mechanism: SaslMechanism::ScramSha512,
        user: "stranger".into(),
        password: Secret::new("eschaton-secret"),
    };
    let security = Security { sasl: Some(sasl), tls: None };
    let config = KafkaConfig {
        security,
        request_timeout_ms: 4_000,
        message_timeout_ms: 4_000,
        ..secure(made.clone(), 10)
    };

    let error = refused(config.clone()).await;
    let said = error.to_string();
    assert!(matches!(error, OpenError::Authorization { .. }) && !error.is_passing(), "{said}");
    assert!(said.contains(&format!("topic {prefix}.ledger")) && said.contains("right Describe"), "{said}");

    grant("Describe", "--topic");
    let log = kit::open(&config).await;
    let append = async || log.append(vec![kit::record(kit::LEDGER_0, "a")]).await;
    let said = append().await.unwrap_err().to_string();
    assert!(said.contains("right Write on topic") && said.contains(&format!("{prefix}.ledger")), "{said}");
    grant("Write", "--topic");
    let position = until("an append", append).await[0];

    let read = async || log.read(kit::LEDGER_0, 0, 10, 1_000).await;
    let said = read().await.unwrap_err().to_string();
    assert!(said.contains("right Read on") && said.contains(&format!("{prefix}.ledger")), "{said}");
    grant("Read", "--topic");
    assert_eq!(until("a read", read).await.len(), 1);

    let claim = async || log.claim("g", &[kit::LEDGER_0]).await;
    let said = claim().await.err().unwrap().to_string();
    assert!(said.contains("Write and Describe on this transactional id"), "{said}");
    assert!(said.contains(&format!("transactional id {prefix}.g.ledger.0")), "{said}");
    grant("Write", "--transactional-id");
    let began = Instant::now();
    let said = until_err("a claim without its group", "consumer group", claim).await;
    assert!(began.elapsed() < Duration::from_secs(12), "told at once, not after {:?}", began.elapsed());
    assert!(
        said.contains("right Read on this consumer group") && said.contains(&format!("{prefix}.g")),
        "{said}"
    );
    // So is one who would be a member, and not left to wait as if it stood by.
    // In a process of its own, for a process that was a member claims only while it is one.
    let other = kit::open(&config).await;
    let mut member = other.join("g", Topic::Ledger, 2).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), member.next()).await.expect("it waits");
    let told = ended.unwrap_err().to_string();
    assert!(told.contains("right Read on this consumer group"), "{told}");
    grant("Read", "--group");
    // A group that was forbidden a moment ago may still end the first claim.
    until("a commit", async || {
        let mut claim = claim().await?;
        let kept = vec![kit::record(kit::DECISIONS_0, "kept")];
        claim.commit(kept, &[(kit::LEDGER_0, position.offset + 1)]).await.map(drop)
    })
    .await;
    assert_eq!(kit::payloads(&kit::read_all(&log, kit::DECISIONS_0, 0).await), ["kept"]);
}

/// A right that was granted counts a moment later.
async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, eschaton_ports::LogError>) -> T {
    for _ in 0..30 {
        if let Ok(done) = attempt().await {
            return done;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    panic!("{what} is refused although the right was granted");
}

/// The first error that speaks of this.
async fn until_err<T>(
    what: &str,
    of: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, eschaton_ports::LogError>,
) -> String {
    for _ in 0..30 {
        let said = attempt().await.err().map(|error| error.to_string()).unwrap_or_default();
        if said.contains(of) {
            return said;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    panic!("{what} is not refused");
}
