//! What the API says of the pipeline is what ingest shows, read by itself or through a real Prometheus.

use std::time::Duration;

use hookline_schemas::migrations::{MIGRATIONS, Migration};
use hookline_testkit::{ClickHouseServer, Daemon, PrometheusServer, Servers, eventually, with};
use serde_json::Value;

use crate::execute;
use crate::serve::serve;

const DEADLINE: Duration = Duration::from_secs(90);
const REJECTED: &str = "hookline_ingest_rejected_total{reason=\"signature_missing\"}";

async fn get(url: &str) -> Value {
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Sends webhooks that are not signed.
pub async fn send(address: &str, count: u32) {
    let client = reqwest::Client::new();
    for _ in 0..count {
        let request = client.post(format!("http://{address}/webhooks/test")).header("magic-hour-event-timestamp", "1");
        assert_eq!(request.body("{}").send().await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn listeners_and_a_prometheus_that_scrapes_them_say_the_same() {
    let kafka = Servers::fresh("pipeline").await;
    let own = [
        ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
        ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0"),
        ("HOOKLINE_SOURCE", "test"),
        ("HOOKLINE_WEBHOOK_SECRET", "mhw_test_0123456789"),
    ];
    let mut ingest = Daemon::start("hookline-ingest", &[], &with(&kafka.environment(), &own));
    let (webhooks, admin) = (ingest.address("server").await.to_string(), ingest.address("admin").await.to_string());
    send(&webhooks, 7).await;
    let prometheus = PrometheusServer::scraping(std::slice::from_ref(&admin)).await;
    let scraped = async |count: u32| {
        let question = format!("{}/api/v1/query?query={}", prometheus.url(), REJECTED.replace('"', "%22"));
        eventually("Prometheus to scrape", DEADLINE, async || {
            let value = get(&question).await["data"]["result"][0]["value"][1].as_str()?.to_owned();
            (value == count.to_string()).then_some(())
        })
        .await;
    };
    scraped(7).await;

    let server = ClickHouseServer::start().await;
    let client = server.config().client().unwrap();
    for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
        execute(&client, statement).await;
    }
    let page = format!("http://{admin}");
    let (_listeners, by_listeners) = serve(&server, &[("HOOKLINE_ANALYTICS__SERVE__ADMIN_URLS", &page)]).await;
    let (_asking, by_prometheus) =
        serve(&server, &[("HOOKLINE_ANALYTICS__SERVE__PROMETHEUS_URL", prometheus.url())]).await;
    let closed = "http://127.0.0.1:1";
    let (_in_vain, by_nobody) = serve(&server, &[("HOOKLINE_ANALYTICS__SERVE__PROMETHEUS_URL", closed)]).await;
    let read = async |url: &str| {
        eventually("the metrics to be read", DEADLINE, async || {
            let pipeline = get(&format!("{url}/api/v1/pipeline")).await;
            (!pipeline["read_at"].is_null()).then_some(pipeline)
        })
        .await
    };
    let (one, other) = (read(&by_listeners).await, read(&by_prometheus).await);
    assert_eq!((&one["unreachable"], &other["unreachable"]), (&0.into(), &0.into()), "{one} {other}");
    assert_eq!(one["totals"], other["totals"]);
    assert_eq!(one["totals"]["rejections"]["signature_missing"], 7.0, "{one}");
    assert_eq!(one["totals"]["answers"]["401"], 7.0, "{one}");
    assert!(one["totals"]["ingest_stages"]["verify"].is_number(), "{one}");
    // The control: where nobody answers there is no figure, which is not 0.
    let none = read(&by_nobody).await;
    assert_eq!((&none["unreachable"], &none["totals"]), (&1.into(), &Value::Null), "{none}");

    send(&webhooks, 5).await;
    scraped(12).await;
    for url in [&by_listeners, &by_prometheus] {
        let point = eventually("a point with the rate", DEADLINE, async || {
            let pipeline = get(&format!("{url}/api/v1/pipeline")).await;
            let points = pipeline["history"].as_array().unwrap().clone();
            points.into_iter().find(|point| {
                let rejections = &point["rejections_per_second"]["signature_missing"];
                rejections.as_f64() > Some(0.0) && *rejections == point["answers_per_second"]
            })
        })
        .await;
        // Five in the 15 s between two readings, if not in more of them.
        let rate = point["rejections_per_second"]["signature_missing"].as_f64().unwrap();
        assert!(rate <= 5.0 / 14.0, "{point}");
        assert_eq!((&point["unreachable"], &point["verified_per_second"]), (&0.into(), &0.0.into()), "{point}");
    }
    assert_eq!(read(&by_nobody).await["history"], Value::Array(Vec::new()));
}
