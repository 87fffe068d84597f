//! A stopped gateway's journal is read by the commands that look, which answer what the gateway would, and change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hookweir_tests::{Gateway, KEY, Output, Receiver, Reply, binary, endpoint, run, tenant};
use serde_json::Value;
use tokio::process::Command;

async fn hookweir(args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.env_clear().args(args);
    run(&mut command, b"").await
}

/// The files of a journal, with what is in them.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            (entry.file_name().into_string().expect("a name"), fs::read(entry.path()).expect("a file"))
        })
        .collect()
}

#[tokio::test]
async fn what_the_gateway_would_answer_is_read_from_its_files() {
    let (good, bad) =
        (Receiver::always(Reply::Status(200)).await, Receiver::always(Reply::Status(503)).await);
    let config = tenant("acme", KEY)
        + &endpoint("acme", "good", &good.url("/"), "")
        + &endpoint("acme", "bad", &bad.url("/"), "retry = { waits = [] }");
    let mut gateway = Gateway::start(config).await;
    let mut events = Vec::new();
    for number in 0..5 {
        let event = gateway.sender().event("order.created", &number.to_string()).await;
        gateway.admin().delivery("acme", &event, "good", "delivered").await;
        gateway.admin().delivery("acme", &event, "bad", "exhausted").await;
        events.push(event);
    }
    let data = gateway.folder().join("data");
    let data = data.to_str().expect("text");
    let commands: [(Vec<&str>, String); 4] = [
        (vec!["event", "list", "--id", &events[2]], format!("events?id={}", events[2])),
        (vec!["event", "get", &events[0]], format!("events/{}", events[0])),
        (
            vec!["delivery", "list", "--status", "exhausted", "--code", "503", "--limit", "2"],
            "deliveries?status=exhausted&code=503&limit=2".to_owned(),
        ),
        (vec!["delivery", "get", &events[0], "bad"], format!("events/{}/deliveries/bad", events[0])),
    ];
    let mut wanted = Vec::new();
    for (_, path) in &commands {
        wanted.push(gateway.admin().json(&format!("/v1/tenants/acme/{path}")).await);
    }
    let look = async |command: &[&str]| {
        hookweir(&[command, &["--tenant", "acme", "--data", data, "--json"]].concat()).await
    };

    // Not while a gateway is at work on it.
    let refused = look(&commands[0].0).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("a gateway is at work on the journal in"), "{}", refused.stderr);

    // After a kill there is a log beside the file, after an orderly end there is none.
    for is_killed in [true, false] {
        if is_killed {
            gateway.kill9().await;
        } else {
            gateway.start_again().await;
            assert!(gateway.terminate().await.success());
        }
        let before = files(Path::new(data));
        for ((command, _), wanted) in commands.iter().zip(&wanted) {
            let looked = look(command).await;
            assert_eq!(looked.code, Some(0), "{looked:?}");
            assert_eq!(serde_json::from_str::<Value>(&looked.stdout).expect("JSON"), *wanted, "{command:?}");
        }
        let changed: Vec<_> = files(Path::new(data))
            .into_iter()
            .filter(|(name, bytes)| !name.ends_with("-shm") && before.get(name) != Some(bytes))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(changed, [""; 0], "killed: {is_killed}");
    }

    // People get the table, and a sentence where there is nothing.
    let table = hookweir(&["event", "list", "--tenant", "acme", "--data", data]).await;
    assert!(events.iter().all(|event| table.stdout.contains(event)), "{}", table.stdout);
    let missing = hookweir(&["event", "get", "evt_none", "--tenant", "acme", "--data", data]).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("there is no such event"), "{}", missing.stderr);
    let elsewhere = hookweir(&["event", "list", "--tenant", "acme", "--data", "/nowhere"]).await;
    assert!(elsewhere.stderr.contains("there is no journal in /nowhere"), "{}", elsewhere.stderr);
}
