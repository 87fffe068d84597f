//! `hookweir bench` measures what it says it does: each kind of scenario runs once, loses nothing, and prints its figures.
//! How good the figures are is for people to read.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use hookweir_tests::{binary, languages};
use serde_json::Value;
use tokio::process::Command;

/// Far more than it takes beside all other tests on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn every_kind_of_scenario_is_measured() {
    let directory = tempfile::tempdir().expect("a directory");
    let plot = directory.path().join("plot.svg");
    let mut bench = Command::new(binary());
    bench.args([
        "bench",
        "--seconds",
        "1",
        "--rounds",
        "1",
        "--json",
        "--rate",
        "300",
        "--rate",
        "600",
        "--plot",
    ]);
    bench.arg(&plot).arg("--plugin").arg(languages("rust"));
    let scenarios =
        ["filter-transform-reuse", "fan-out-5", "failing-receiver", "backlog-drain", "pull-queue"];
    for scenario in scenarios {
        bench.args(["--scenario", scenario]);
    }
    // A directory of its own, since what is under test leaves nothing behind.
    let temporary = directory.path().join("temporary");
    fs::create_dir(&temporary).expect("a directory");
    bench.env("TMPDIR", &temporary).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, bench.output()).await.expect("an end").expect("output");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    for scenario in scenarios {
        let figures = &report["scenarios"][scenario];
        assert_eq!((&figures["lost"], &figures["refused"]), (&0.into(), &0.into()), "{scenario}: {figures}");
        for name in ["accepted_per_s", "delivered_ratio", "cpu_ratio", "accept_p999_ms", "delivered_p50_ms"] {
            assert!(figures[name].as_f64() > Some(0.0), "{scenario}, {name}: {figures}");
        }
    }
    let run =
        |scenario: &str, name: &str| report["scenarios"][scenario]["rounds"][0]["gateway"][name].clone();
    assert_eq!(run("backlog-drain", "accepted"), 50_000);
    let fan_out = &report["scenarios"]["fan-out-5"]["beside"];
    assert_eq!(fan_out["name"], "with one endpoint");
    assert!(fan_out["delivered_ratio"].as_f64() > Some(0.0), "{fan_out}");
    // A refused event is tried again a second later, and a tenth of them is.
    assert!(run("failing-receiver", "delivered")["p99_ms"].as_f64() >= Some(1000.0), "{report}");

    let steps = report["open_loop"]["steps"].as_array().expect("steps");
    let rates: Vec<_> = steps.iter().map(|step| step["rate"].as_u64()).collect();
    assert_eq!(rates, [Some(300), Some(600)]);
    for step in steps {
        assert!(step["accept_p99_ratio"].as_f64() > Some(0.0) && step["lost"] == 0, "{step}");
    }
    let plot = fs::read_to_string(plot).expect("a plot");
    assert!(plot.starts_with("<svg") && plot.contains("gateway, to delivered, p99"), "{plot}");
    assert_eq!(fs::read_dir(&temporary).expect("a directory").count(), 0, "something was left behind");
}
