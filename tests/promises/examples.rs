//! The examples run as their READMEs say: `./run`, here on free ports.

use hookweir_tests::{Output, binary, free_port, repository, run};
use tokio::process::Command;

async fn example(name: &str) -> Output {
    let folder = repository().join("examples").join(name);
    let mut command = Command::new(folder.join("run"));
    command.current_dir(&folder).env("HOOKWEIR_BIN", binary());
    for port in ["ACCEPT_PORT", "ADMIN_PORT", "RECEIVER_PORT"] {
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
