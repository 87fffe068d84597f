//! The tour: three events, each followed from its 202 to the end of its deliveries.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hookweir_model::Status;
use reqwest::StatusCode;

use super::KEY;
use super::receiver::{FLAKY, Receiver};
use crate::api::{Accepted, DeliveryDetail, EventDetail};
use crate::app::App;
use crate::cli::show;

/// By then every delivery of the tour has ended, with its retries and on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the tour looks whether it has.
const LOOK: Duration = Duration::from_millis(50);

struct Stop {
    title: &'static str,
    id: String,
    subject: &'static str,
    data: &'static str,
    /// What the two endpoints come to, and after how many attempts.
    wanted: [(&'static str, Status, u32); 2],
}

pub(super) async fn run(app: &App, receiver: &Receiver) -> Result<()> {
    let client =
        reqwest::Client::builder().no_proxy().build().context("failed to set up the demo's client")?;
    let stops = [
        Stop {
            title: "an order over the minimum: kept, transformed, signed, delivered",
            id: "demo-1".to_owned(),
            subject: "A-1001",
            data: r#"{"amount": 250, "customer": "Ada & Sons"}"#,
            wanted: [("archive", Status::Delivered, 1), ("chat", Status::Delivered, 1)],
        },
        Stop {
            title: "an order under the minimum: dropped by the filter",
            id: "demo-2".to_owned(),
            subject: "A-1002",
            data: r#"{"amount": 20, "customer": "Bo"}"#,
            wanted: [("archive", Status::Delivered, 1), ("chat", Status::Filtered, 0)],
        },
        Stop {
            title: "a receiver that fails once: retried with the same bytes",
            id: format!("demo-3{FLAKY}"),
            subject: "A-1003",
            data: r#"{"amount": 999, "customer": "Cy"}"#,
            wanted: [("archive", Status::Delivered, 2), ("chat", Status::Delivered, 2)],
        },
    ];
    for (number, stop) in stops.iter().enumerate() {
        show::print(&format!("\n{}. {}\n", number + 1, stop.title))?;
        follow(app, receiver, &client, stop)
            .await
            .with_context(|| format!("event {} went astray", stop.id))?;
    }
    show::print("\nAll deliveries ended as they should.\n")?;
    Ok(())
}

async fn follow(app: &App, receiver: &Receiver, client: &reqwest::Client, stop: &Stop) -> Result<()> {
    let url = format!("http://{}/v1/tenants/demo/events", app.accept_addr);
    let body = format!(
        r#"{{"type": "order.created", "id": "{}", "subject": "{}", "data": {}}}"#,
        stop.id, stop.subject, stop.data
    );
    let request = client.post(url).bearer_auth(KEY).header("content-type", "application/json").body(body);
    let answer = request.send().await.context("failed to send the event")?;
    ensure!(answer.status() == StatusCode::ACCEPTED, "the gateway answered {}", answer.status());
    let accepted: Accepted = answer.json().await.context("failed to read the gateway's answer")?;
    show::print(&format!(
        "   accepted     {} (202: it is on disk), {} deliveries\n   data         {}\n",
        accepted.id, accepted.deliveries, stop.data
    ))?;

    let event = settled(app, client, &stop.id).await?;
    for (endpoint, status, attempts) in stop.wanted {
        let detail: DeliveryDetail =
            get(app, client, &format!("events/{}/deliveries/{endpoint}", stop.id)).await?;
        show::print(&text(receiver, &detail))?;
        let delivery = &detail.delivery;
        let seen = (delivery.status, delivery.attempts);
        ensure!(
            seen == (status, attempts),
            "{endpoint} is {} after {} attempts",
            delivery.status,
            delivery.attempts
        );
    }
    ensure!(event.deliveries.len() == stop.wanted.len(), "it went to {} endpoints", event.deliveries.len());
    let requests = receiver.requests(&stop.id);
    ensure!(requests.iter().all(|request| request.verified), "a signature did not verify");
    Ok(())
}

/// Waits until no delivery of the event is pending.
async fn settled(app: &App, client: &reqwest::Client, id: &str) -> Result<EventDetail> {
    let wait = async {
        loop {
            let event: EventDetail = get(app, client, &format!("events/{id}")).await?;
            if event.deliveries.iter().all(|delivery| delivery.status != Status::Pending) {
                return Ok(event);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.context("its deliveries did not end in a minute")?
}

async fn get<T: serde::de::DeserializeOwned>(app: &App, client: &reqwest::Client, path: &str) -> Result<T> {
    let url = format!("http://{}/v1/tenants/demo/{path}", app.admin_addr);
    let answer = client.get(url).send().await.context("failed to ask the admin listener")?;
    let answer = answer.error_for_status().context("the admin listener refused")?;
    answer.json().await.context("failed to read the admin listener's answer")
}

/// What is told of one delivery.
fn text(receiver: &Receiver, detail: &DeliveryDetail) -> String {
    // Writing to it does not fail.
    let mut text = String::new();
    let delivery = &detail.delivery;
    let _ = writeln!(text, "   {:<12} {}", delivery.endpoint, delivery.status);
    if delivery.status == Status::Filtered {
        let _ = writeln!(text, "     dropped    {}", delivery.reason.as_deref().unwrap_or_default());
    }
    let path = format!("/{}", delivery.endpoint);
    let requests = receiver.requests(delivery.event.as_str());
    for attempt in &detail.attempts {
        for call in &attempt.plugins {
            let did = match call.role {
                hookweir_model::PluginRole::Filter => "kept",
                hookweir_model::PluginRole::Transformer => "transformed",
            };
            let _ = writeln!(
                text,
                "     {did:<10} by {} (sha256 {}), {} us",
                call.plugin,
                call.digest.short(),
                call.micros
            );
        }
        let sent = requests
            .iter()
            .find(|request| request.path == path && request.attempt == attempt.number.to_string());
        if let Some(sent) = sent {
            let signature = if sent.verified { "signature verified" } else { "SIGNATURE WRONG" };
            let _ = writeln!(text, "     sent       {}", sent.body);
            let _ = writeln!(
                text,
                "     attempt {}  {signature}, answered {}",
                attempt.number,
                sent.answered.as_u16()
            );
        }
        if let Some(reason) = &attempt.reason {
            let _ = writeln!(text, "     retry      {reason}: tried again by the endpoint's schedule");
        }
    }
    text
}
