//! What is wrong with a login, a certificate or an address is said by readiness and by every command.

use std::path::Path;

use hookline_testkit::{Daemon, Environment, KafkaCluster, Login, Servers, eventually, run, sasl_environment, with};

use crate::processor_under_test::{DEADLINE, ProcessorUnderTest};

const WRONG: &str = "a wrong password 4711";
const REFUSED: &str = "uthentication failed: Invalid username or password";

#[tokio::test]
async fn a_refused_login_and_an_unknown_authority_are_named_by_readiness_and_commands() {
    let cluster = KafkaCluster::start(&["--sasl-ssl"]).await;
    let mut servers = Servers::fresh("security").await;
    servers.kafka = cluster.config("hookline");
    let under_test = ProcessorUnderTest::on(servers, 1).await;
    let sasl = cluster.layout().sasl.expect("a secure listener");
    let wrong = Login { password: WRONG.into(), ..sasl.plain.clone() };
    let environment = |login: &Login, ca: Option<&Path>| -> Environment {
        let programs = ["PROCESSOR", "ANALYTICS"].map(|program| sasl_environment(program, &sasl, login, ca));
        let admin = with(&[], &[("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0")]);
        [under_test.servers.environment(), programs.concat(), admin].concat()
    };

    let right = environment(&sasl.plain, Some(&sasl.ca));
    Daemon::start("hookline-processor", &[], &right).wait_ready().await;

    for (environment, why) in
        [(environment(&wrong, Some(&sasl.ca)), REFUSED), (environment(&sasl.plain, None), "certificate verify failed")]
    {
        let mut daemon = Daemon::start("hookline-processor", &[], &environment);
        let (_, reason) = eventually("the reason", DEADLINE, async || {
            Some(daemon.health().await).filter(|(status, text)| *status == 503 && text.contains(why))
        })
        .await;
        assert!(daemon.log().iter().any(|line| line.contains(why)), "the log has no line that says why");
        let mut said = daemon.log();
        said.push(reason);
        for (binary, arguments) in
            [("hookline-processor", ["replay", "--dry-run"]), ("hookline-analytics", ["migrate", "--json"])]
        {
            let output = run(binary, &arguments, &environment).await;
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{binary}");
            let last = error.lines().last().unwrap();
            assert!(last.starts_with("error: ") && last.contains(why), "{binary}: {error}");
            said.push(error);
        }
        assert!(!said.iter().any(|line| line.contains(WRONG) || line.contains(&sasl.plain.password)), "{said:?}");
    }
    let output = run("hookline-analytics", &["migrate", "--json"], &right).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
