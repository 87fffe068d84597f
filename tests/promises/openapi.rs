//! The specification, held against the running gateway by a tool that we did not write: Schemathesis makes requests from
//! it, good and bad ones, and judges the answers.

use std::time::Duration;

use hookweir_tests::{Config, Gateway, KEY, Receiver, Reply, endpoint, peers, plugin, run_for, tenant};
use tokio::process::Command;

const TOKEN: &str = "admin-token-of-the-test-0123456789";

/// How many requests are made at least.
const CALLS: usize = 5000;
/// They take two minutes, and over ten where a machine has many others to serve.
const LONG: Duration = Duration::from_secs(1800);
/// For each operation and phase.
const EXAMPLES: &str = "300";

#[tokio::test]
async fn thousands_of_requests_from_the_specification_are_answered_as_it_says() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let tenants = tenant("acme", KEY)
        + &format!(
            "[tenants.acme.plugins.keep]\nfile = {:?}\nconfig = {{ field = \"n\", minimum = 1 }}\n",
            plugin("keep-above")
        )
        + "[tenants.acme.plugins.sent]\n"
        + &endpoint("acme", "hook", &receiver.url("/"), "filters = [\"keep\"]")
        + &endpoint("acme", "down", "http://127.0.0.1:9/", "retry = { waits = [] }");
    let config = Config { admin: format!("token = \"{TOKEN}\""), ..Config::new(tenants) };
    let gateway = Gateway::start(config).await;
    let admin = gateway.admin().with_token(TOKEN);
    for number in 0..20 {
        let event = gateway.sender().event("order.created", &format!("{{\"n\":{number}}}")).await;
        admin.delivery("acme", &event, "down", "exhausted").await;
    }
    let served = gateway.admin().get("/openapi.json").await.expect(200);
    assert_eq!(served.json()["openapi"], "3.1.0");

    // Of what the configuration has, the tool is told the names. That bytes are a component can't be said in a schema.
    let told = "[parameters]\n\"path.tenant\" = \"acme\"\n\"path.endpoint\" = \"hook\"\n\"path.plugin\" = \"keep\"\n\
                [checks]\npositive_data_acceptance.expected-statuses = [\"2xx\", 401, 403, 404, 409, 422, 429]\n";
    std::fs::write(gateway.folder().join("schemathesis.toml"), told).expect("a file of settings");
    let report = gateway.folder().join("schemathesis.json");
    let url = format!("http://{}/openapi.json", gateway.admin_address());
    let mut command = Command::new(peers().join("venv/bin/schemathesis"));
    command
        .env("HOME", gateway.folder())
        .current_dir(gateway.folder())
        .args(["run", &url, "--header", &format!("Authorization: Bearer {TOKEN}"), "--no-color"])
        // A stream has no end that could be judged; `live.rs` reads them.
        .args(["--exclude-path-regex", "/live$"])
        // Unknown keys would soon shut the listener to the tool: `access.rs` sends them.
        .args(["--exclude-checks", "ignored_auth"])
        .args(["--seed", "1", "--max-examples", EXAMPLES, "--report", "json", "--report-json-path"])
        .arg(&report);
    let output = run_for(LONG, &mut command, b"").await;
    println!("{}", output.stdout);
    let made = output.stdout.lines().find_map(|line| line.trim().split_once(" generated"));
    let made: usize = made.and_then(|(number, _)| number.replace(',', "").parse().ok()).unwrap_or(0);
    output.expect(0);
    assert!(made >= CALLS, "{made} requests were made, and not {CALLS}");
    // Whatever was asked of it, it goes on.
    gateway.sender().event("order.created", "{\"n\":1}").await;
}
