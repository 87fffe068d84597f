//! Proxies named by the environment are not asked: the guard judges what is dialled, and a proxy would dial for us.
//!
//! A process can't change its own environment safely, so that the test runs itself again with another one.

use std::process::Command;

use hookweir_model::Outcome::Delivered;

use crate::harness::{LONG, Receiver, Script, client, ending, send_to, target};

const TARGET: &str = "HOOKWEIR_TEST_PROXY_TARGET";

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_are_ignored() {
    let receiver = Receiver::start(Script::answer("200 OK", "", "")).await;
    let proxy = Receiver::start(Script::answer("200 OK", "", "")).await;
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "proxy::as_a_child"]).env(TARGET, receiver.url());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        child.env(name, proxy.url()).env(name.to_ascii_lowercase(), proxy.url());
    }
    child.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!((receiver.connections(), proxy.connections()), (1, 0));
}

/// Not a test: what the test above runs in a process of its own. Without its word it has nothing to do.
#[tokio::test]
async fn as_a_child() {
    let Ok(url) = std::env::var(TARGET) else { return };
    assert_eq!(ending(&send_to(&client(), &target(&url, LONG)).await), (Delivered, None));
}
