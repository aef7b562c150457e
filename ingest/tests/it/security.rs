//! TLS and passwords reach librdkafka; `/health/ready` says what is wrong with them, and the log has no secret.

use std::path::Path;
use std::time::Instant;

use hookline_service::kafka::KafkaConfig;
use hookline_testkit::{KafkaCluster, Login, Sasl, eventually};

use crate::ingest_under_test::{BUDGET, DEADLINE, IngestUnderTest};
use crate::records;
use crate::webhook::{SECRET, Webhook};

const WRONG: &str = "a wrong password 4711";

/// Starts ingest on the listener with TLS and SASL; without a password file, the password comes from the environment.
async fn secure(
    kafka: &KafkaConfig,
    sasl: &Sasl,
    (mechanism, login): (&str, &Login),
    ca: Option<&Path>,
    password_file: Option<&Path>,
) -> IngestUnderTest {
    let mut settings = vec![
        ("KAFKA_BOOTSTRAP_SERVERS", &*sasl.bootstrap_servers),
        ("HOOKLINE_INGEST__KAFKA__SECURITY_PROTOCOL", "sasl_ssl"),
        ("HOOKLINE_INGEST__KAFKA__SASL_MECHANISM", mechanism),
        ("HOOKLINE_INGEST__KAFKA__SASL_USERNAME", &login.user),
        ("HOOKLINE_LOG", "debug"),
    ];
    settings.push(match password_file {
        Some(path) => ("HOOKLINE_INGEST__KAFKA__SASL_PASSWORD_FILE", path.to_str().unwrap()),
        None => ("HOOKLINE_INGEST__KAFKA__SASL_PASSWORD", &login.password),
    });
    if let Some(ca) = ca {
        settings.push(("HOOKLINE_INGEST__KAFKA__SSL_CA_LOCATION", ca.to_str().unwrap()));
    }
    IngestUnderTest::start(kafka.clone(), &[], &settings).await
}

fn contains_any(log: &[String], secrets: &[&str]) -> bool {
    log.iter().any(|line| secrets.iter().any(|secret| line.contains(secret)))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_and_a_password_it_produces_and_without_it_says_why_not() {
    let cluster = KafkaCluster::start(&["--sasl-ssl"]).await;
    let kafka = cluster.config("hookline");
    let sasl = cluster.layout().sasl.expect("a secure listener");
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let secrets = [&*sasl.plain.password, &sasl.scram.password, WRONG, SECRET];
    let (plain, scram) = (("PLAIN", &sasl.plain), ("SCRAM-SHA-512", &sasl.scram));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{}\n", sasl.scram.password)).unwrap();

    let mut taken = Vec::new();
    for (login, file) in [(plain, None), (scram, Some(&*file))] {
        let mut ingest = secure(&kafka, &sasl, login, Some(&sasl.ca), file).await;
        ingest.daemon.wait_ready().await;
        taken.push(ingest.accepts().await);
        ingest.ends_well().await;
        let log = ingest.daemon.log();
        assert!(!contains_any(&log, &secrets), "{log:?}");
        assert!(contains_any(&log, &["listening"]), "the check misses what the log has");
    }

    let wrong = Login { password: WRONG.into(), ..sasl.plain.clone() };
    let fails = async |login, ca, why| {
        let mut ingest = secure(&kafka, &sasl, login, ca, None).await;
        let reason = ingest.is_not_ready_because(why).await;
        ingest.post(&Webhook::new()).await.assert_problem(503);
        ingest.ends_well().await;
        let log = ingest.daemon.log();
        assert!(
            !contains_any(&log, &secrets) && !secrets.iter().any(|secret| reason.contains(secret)),
            "{log:?} {reason}"
        );
    };
    tokio::join!(
        fails(("PLAIN", &wrong), Some(&*sasl.ca), "uthentication"),
        fails(("SCRAM-SHA-512", &wrong), Some(&*sasl.ca), "uthentication"),
        fails(plain, None, "certificate verify failed"),
    );
    records::assert_none_missing(&taken, &records::read(&kafka).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permission_it_says_so_and_takes_up_its_work_once_it_has_it() {
    let authorizer = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let everybody_else = "super.users=User:ANONYMOUS";
    let mut cluster = KafkaCluster::start(&["--sasl-ssl", "--set", authorizer, "--set", everybody_else]).await;
    let kafka = cluster.config("hookline");
    let sasl = cluster.layout().sasl.expect("a secure listener");
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let mut ingest = secure(&kafka, &sasl, ("PLAIN", &sasl.plain), Some(&sasl.ca), None).await;
    let began = Instant::now();
    ingest.is_not_ready_because("uthorization").await;
    let (answer, took) = ingest.timed(&Webhook::new()).await;
    answer.assert_problem(503);
    assert!(took < BUDGET, "{took:?}");
    // Without permission each producer has a fatal error as soon as it is created.
    let recreated = eventually("other producers", DEADLINE, async || {
        Some(ingest.metric("producers_recreated_total", &[]).await).filter(|count| *count > 1)
    })
    .await;
    assert!(recreated <= began.elapsed().as_secs() + 1, "{recreated} within {:?}", began.elapsed());

    cluster.terminate(1).await;
    let properties = cluster.files(1).join("server.properties");
    let text = std::fs::read_to_string(&properties).unwrap();
    let permitted = format!("{everybody_else};User:{}", sasl.plain.user);
    std::fs::write(&properties, text.replace(everybody_else, &permitted)).unwrap();
    cluster.restart(1).await;
    ingest.daemon.wait_ready().await;
    let taken = ingest.accepts().await;
    records::assert_none_missing(&[taken], &records::read(&kafka).await);
    ingest.ends_well().await;
}
