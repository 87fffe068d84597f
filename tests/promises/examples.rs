//! The examples run as their READMEs say: `./run`, here on free ports.

use std::fs;
use std::os::unix::fs::symlink;

use hookweir_tests::{Output, binary, free_port, peers, repository, run};
use tokio::process::Command;

async fn example(name: &str) -> Output {
    example_of(name, &[]).await
}

async fn example_of(name: &str, arguments: &[&str]) -> Output {
    let folder = repository().join("examples").join(name);
    let mut command = Command::new(folder.join("run"));
    command.args(arguments).current_dir(&folder).env("HOOKWEIR_BIN", binary()).env("HOOKWEIR_PEERS", peers());
    for port in [
        "ACCEPT_PORT",
        "ADMIN_PORT",
        "RECEIVER_PORT",
        "BROKER_PORT",
        "BROKER_PORT_2",
        "BROKER_PORT_3",
        "PROMETHEUS_PORT",
    ] {
        command.env(port, free_port().to_string());
    }
    let output = run(&mut command, b"").await.expect(0);
    println!("{}", output.stdout);
    assert_eq!(output.stderr, "", "{name} has nothing to complain about");
    output
}

#[tokio::test]
async fn quickstart() {
    let output = example("quickstart").await;
    for words in ["delivered", "filtered", "below the minimum", "signature  valid"] {
        assert!(output.stdout.contains(words), "no {words:?} in\n{}", output.stdout);
    }
}

/// Who installed hookweir has no `target` beside the examples.
#[tokio::test]
async fn an_example_finds_the_hookweir_that_is_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bin, example) = (folder.path().join("bin"), folder.path().join("examples/quickstart"));
    fs::create_dir_all(&bin).and_then(|()| fs::create_dir_all(&example)).expect("folders");
    symlink(binary(), bin.join("hookweir")).expect("a link");
    for file in ["run", "hookweir.toml"] {
        fs::copy(repository().join("examples/quickstart").join(file), example.join(file)).expect("a copy");
    }
    let path = std::env::var("PATH").expect("a PATH");
    let start = |path: &str| {
        let mut command = Command::new(example.join("run"));
        command.env_remove("HOOKWEIR_BIN").env("PATH", path);
        for port in ["ACCEPT_PORT", "ADMIN_PORT", "RECEIVER_PORT"] {
            command.env(port, free_port().to_string());
        }
        command
    };
    let installed = run(&mut start(&format!("{}:{path}", bin.display())), b"").await.expect(0);
    assert!(installed.stdout.contains("signature  valid"), "{}", installed.stdout);
    let named = run(start(&path).env("HOOKWEIR_BIN", folder.path().join("missing")), b"").await.expect(1);
    assert!(named.stderr.contains("there is no gateway"), "{}", named.stderr);
}

#[tokio::test]
async fn ims() {
    let output = example("ims").await;
    for words in [
        "\"EventType\":\"FileUploadComplete\"",
        "X-ICE-SIGNATURE is right",
        "what waits in the queue\nevt_",
        "delivered",
    ] {
        assert!(output.stdout.contains(words), "no {words:?} in\n{}", output.stdout);
    }
    assert!(!output.stdout.contains("WRONG"), "{}", output.stdout);
}

#[tokio::test]
async fn observability() {
    let output = example("observability").await;
    for words in [
        "alerts.test.yml\n  SUCCESS",
        "outcome=\"delivered\"",
        "status=\"filtered\"",
        "alertname=\"HookweirEndpointErrors\"",
    ] {
        assert!(output.stdout.contains(words), "no {words:?} in\n{}", output.stdout);
    }
}

#[tokio::test]
async fn queues() {
    for kind in ["pull", "smq", "nats", "rabbitmq", "redis", "kafka", "mqtt", "sqs"] {
        let output = example_of("queues", &[kind]).await;
        let (sent, read) =
            output.stdout.split_once("--- what is in the queue").expect("what is in the queue");
        for words in ["result    delivered", "order.created  delivered"] {
            assert!(sent.contains(words), "{kind}: no {words:?} in\n{sent}");
        }
        for total in ["120", "250"] {
            assert!(read.contains(&format!("\"total\": {total}")), "{kind}: no {total} in\n{read}");
        }
    }
}
