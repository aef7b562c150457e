//! What the runbooks tell somebody to ask has an answer.

use std::time::Duration;

use hookline_testkit::{eventually, run};

use super::{Services, files};

/// What stands between `begin` and one of `ends`, wherever it stands in a page.
fn between<'t>(text: &'t str, begin: &str, ends: &[char]) -> Vec<&'t str> {
    text.split(begin).skip(1).filter_map(|rest| rest.split(ends).next()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_of_a_runbook_has_an_answer() {
    let mut services = Services::start("runbooks").await;
    services.serve.address("serve").await;
    let (_, address) = services.targets.last().unwrap().clone();
    let status = async |path: &str| reqwest::get(format!("http://{address}{path}")).await.unwrap().status().as_u16();
    eventually("serve to be ready", Duration::from_secs(60), async || {
        (status("/health/ready").await == 200).then_some(())
    })
    .await;
    let pages: Vec<_> =
        files("docs/runbooks", "md").iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let text = pages.join("\n");
    let paths = between(&text, "$HOOKLINE_ANALYTICS_URL/", &['"', '`']);
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        assert_eq!(status(&format!("/{path}")).await, 200, "{path}");
    }
    let reports = between(&text, "hookline-analytics report ", &['\n', '`']);
    assert!(!reports.is_empty());
    for report in reports {
        let arguments: Vec<_> = ["report"].into_iter().chain(report.split_whitespace()).collect();
        let output = run("hookline-analytics", &arguments, &services.pipeline.environment).await;
        assert!(output.status.success(), "{report}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let statements = between(&text, "`SELECT ", &['`']);
    assert!(!statements.is_empty());
    for statement in statements {
        services.pipeline.execute(&format!("SELECT {statement} FORMAT Null")).await;
    }
    // The control: a parameter that is none.
    assert_eq!(status("/api/v1/jobs?from=-1h&sort=slowest").await, 400);
}
