//! TLS and passwords: they reach librdkafka, what is wrong with them shows in readiness, and no secret in the log.

use std::path::Path;

use hookline_service::kafka::KafkaConfig;
use hookline_service::testing::{KafkaCluster, Login, Sasl};

use crate::records;
use crate::stage::Stage;
use crate::webhook::{SECRET, Webhook};

const WRONG: &str = "a wrong password 4711";

/// Ingest on the secure listener; without a password file, the password comes from the environment.
async fn secure(
    kafka: &KafkaConfig,
    sasl: &Sasl,
    (mechanism, login): (&str, &Login),
    ca: Option<&Path>,
    password_file: Option<&Path>,
) -> Stage {
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
    Stage::start(kafka.clone(), &[], &settings).await
}

fn tells(log: &[String], secrets: &[&str]) -> bool {
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
        let mut stage = secure(&kafka, &sasl, login, Some(&sasl.ca), file).await;
        stage.ingest.wait_ready().await;
        taken.push(stage.accepts().await);
        stage.ends_well().await;
        let log = stage.ingest.log();
        assert!(!tells(&log, &secrets), "{log:?}");
        assert!(tells(&log, &["listening"]), "the check finds nothing");
    }

    let wrong = Login { password: WRONG.into(), ..sasl.plain.clone() };
    for (login, ca, why) in [
        (("PLAIN", &wrong), Some(&*sasl.ca), "uthentication"),
        (("SCRAM-SHA-512", &wrong), Some(&*sasl.ca), "uthentication"),
        (plain, None, "certificate verify failed"),
    ] {
        let mut stage = secure(&kafka, &sasl, login, ca, None).await;
        let reason = stage.is_not_ready_because(why).await;
        stage.post(&Webhook::new()).await.assert_problem(503);
        stage.is_not_ready_because(why).await;
        stage.ends_well().await;
        let log = stage.ingest.log();
        assert!(!tells(&log, &secrets) && !secrets.iter().any(|secret| reason.contains(secret)), "{log:?} {reason}");
    }
    records::assert_none_missing(&taken, &records::read(&kafka).await);
}
