//! Names follow the machine: its hosts file, its name servers and their search domains, as they are now.

use std::net::{IpAddr, SocketAddr};

use hookweir_tests::{Config, Gateway, KEY, NameServer, Receiver, Reply, endpoint, tenant};
use serde_json::Value;

/// Attempts a second apart, so that a test need not bring its change at a certain moment.
const RETRY: &str =
    "retry = { waits = [\"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"] }";

/// An address of loopback that no other test's name server has, at the port that `resolv.conf` means.
fn name_server_address() -> SocketAddr {
    SocketAddr::from(([127, fastrand::u8(1..), fastrand::u8(..), fastrand::u8(1..255)], 53))
}

fn loopback(_name: &str) -> Vec<IpAddr> {
    vec![IpAddr::from([127, 0, 0, 1])]
}

fn config(url: &str, egress: &str) -> Config {
    let config = Config::new(tenant("acme", KEY) + &endpoint("acme", "hook", url, RETRY));
    Config { egress: format!("{}\n{egress}", config.egress), ..config }
}

fn reason(detail: &Value) -> &str {
    detail["attempts"][0]["reason"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn name_servers_that_come_late_are_asked() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let address = name_server_address();
    let server = NameServer::at(address, loopback).await;
    let url = format!("http://hooks.example.com:{}/", receiver.port());
    let gateway = Gateway::start_with_etc(config(&url, ""), &[("resolv.conf", ""), ("hosts", "")]).await;
    let event = gateway.sender().event("a.b", "1").await;
    gateway.logged(&["the machine names no name server"]).await;
    gateway.replace_etc("resolv.conf", &format!("nameserver {}\n", address.ip()));
    let detail = gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    assert!(server.queries() > 0);
    if detail["attempts"].as_array().is_some_and(|attempts| attempts.len() > 1) {
        assert!(reason(&detail).contains("`nameservers` in [egress]"), "{detail}");
    }
    gateway.logged(&["the machine's name servers have changed", &address.ip().to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_hosts_file_is_found_with_a_dot_and_without() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let port = receiver.port();
    let tenants = tenant("acme", KEY)
        + &endpoint("acme", "single", &format!("http://receiver:{port}/single"), RETRY)
        + &endpoint("acme", "dotted", &format!("http://receiver.internal:{port}/dotted"), RETRY)
        + &endpoint("acme", "closed", &format!("http://closed:{port}/closed"), "retry = { waits = [] }");
    let hosts = "127.0.0.1 receiver receiver.internal\n10.1.2.3 closed\n";
    let gateway = Gateway::start_with_etc(tenants, &[("resolv.conf", ""), ("hosts", hosts)]).await;
    let event = gateway.sender().event("a.b", "1").await;
    for endpoint in ["single", "dotted"] {
        gateway.admin().delivery("acme", &event, endpoint, "delivered").await;
    }
    let closed = gateway.admin().delivery("acme", &event, "closed", "exhausted").await;
    assert_eq!(closed["attempts"][0]["outcome"], "blocked", "the hosts file is judged as name servers are");
    assert_eq!(receiver.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn search_domains_and_names_without_a_dot_are_for_those_who_say_so() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let address = name_server_address();
    let zone = |name: &str| if name == "receiver.svc.example" { loopback(name) } else { Vec::new() };
    let _server = NameServer::at(address, zone).await;
    let resolv_conf = format!("nameserver {}\nsearch other.example svc.example\n", address.ip());
    let etc = [("resolv.conf", resolv_conf.as_str()), ("hosts", "")];
    let url = format!("http://receiver:{}/", receiver.port());
    let gateway = Gateway::start_with_etc(config(&url, ""), &etc).await;
    let event = gateway.sender().event("a.b", "1").await;
    let told = hookweir_tests::eventually("a first attempt", async || {
        let path = format!("/v1/tenants/acme/events/{event}/deliveries/hook");
        let detail = gateway.admin().json(&path).await;
        if detail["attempts"][0].is_object() {
            Ok(reason(&detail).to_owned())
        } else {
            Err(detail.to_string())
        }
    })
    .await;
    assert!(told.contains("`local_names = true` in [egress]"), "{told}");
    gateway.reconfigure(config(&url, "local_names = true"));
    gateway.reload();
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
}
