//! One tenant's wrong file is that tenant's trouble alone.

use hookweir_tests::{
    Config, Gateway, KEY, Receiver, Reply, binary, endpoint, eventually, plugin, run, tenant,
};
use tokio::process::Command;

const OTHER: &str = "key-of-the-other-tenant-0123456789";

fn main_file() -> String {
    let mut config = Config::new("");
    config.journal = "keep_removed = \"1s\"".to_owned();
    format!("include = [\"tenants.d/*.toml\"]\n{}", config.text())
}

fn file(id: &str, key: &str, url: &str) -> String {
    tenant(id, key) + &endpoint(id, "hook", url, "retry = { waits = [\"1h\"] }")
}

async fn problems(gateway: &Gateway, wanted: u64) {
    eventually(&format!("{wanted} problems of the configuration"), async || {
        match gateway.admin().metric("hookweir_config_problems").await {
            found if found == wanted => Ok(()),
            found => Err(format!("{found}: {}", gateway.log())),
        }
    })
    .await;
    let is_whole = gateway.admin().metric("hookweir_config_reload_success").await;
    assert_eq!(is_whole, u64::from(wanted == 0));
}

fn write(gateway: &Gateway, name: &str, text: &str) {
    std::fs::write(gateway.folder().join(name), text).expect("a file that can be written");
}

#[tokio::test]
async fn at_a_start_a_wrong_file_switches_its_tenant_off_and_no_other() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    let (acme, globex) = (file("acme", KEY, &receiver.url("/a")), file("globex", OTHER, &receiver.url("/g")));
    let files = [("tenants.d/acme.toml", acme.as_str()), ("tenants.d/globex.toml", globex.as_str())];
    let mut gateway = Gateway::start_with_files(&main_file(), &files).await;
    problems(&gateway, 0).await;
    let waiting = gateway.sender_of("globex", OTHER).event("a.b", "1").await;
    receiver.wait_for(1).await;
    gateway.terminate().await;

    for (round, broken) in
        [globex.replace("waits", "weights"), "[tenants.globex\nkeys = [".to_owned()].iter().enumerate()
    {
        write(&gateway, "tenants.d/globex.toml", broken);
        let mut check = Command::new(binary());
        let checked = run(check.current_dir(gateway.folder()).arg("check"), b"").await.expect(78);
        assert!(checked.stderr.contains("tenants.d/globex.toml"), "{}", checked.stderr);
        gateway.start_again().await;
        problems(&gateway, 1).await;
        gateway
            .logged(&["ERROR", "tenants.d/globex.toml", "a part of the configuration can't be used"])
            .await;
        let refused = gateway.sender_of("globex", OTHER).post(&[], r#"{"type":"a.b","data":1}"#).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("30")), "{refused}");
        gateway.sender().event("a.b", "1").await;
        receiver.wait_for(2 + round).await;
        let overview = gateway.admin().get("/").await.expect(200).text();
        assert!(overview.contains("A part of the configuration can't be used"), "{overview}");
        assert!(overview.contains("globex.toml:"), "{overview}");
        gateway.terminate().await;
    }
    write(&gateway, "tenants.d/globex.toml", &globex);
    gateway.start_again().await;
    problems(&gateway, 0).await;
    // What waited was not cancelled, although the file was wrong for longer than such deliveries wait.
    gateway.admin().delivery("globex", &waiting, "hook", "pending").await;
    gateway.sender_of("globex", OTHER).event("a.b", "2").await;
}

#[tokio::test]
async fn at_a_reload_a_wrong_file_leaves_its_tenant_as_it_was_and_the_others_change() {
    let (old, new) = (Receiver::always(Reply::Status(200)).await, Receiver::always(Reply::Status(200)).await);
    let (acme, globex) = (file("acme", KEY, &old.url("/a")), file("globex", OTHER, &old.url("/g")));
    let files = [("tenants.d/acme.toml", acme.as_str()), ("tenants.d/globex.toml", globex.as_str())];
    let gateway = Gateway::start_with_files(&main_file(), &files).await;
    let (sender, other) = (gateway.sender(), gateway.sender_of("globex", OTHER));
    write(&gateway, "tenants.d/acme.toml", &file("acme", KEY, &new.url("/a")));
    write(&gateway, "tenants.d/globex.toml", &file("globex", OTHER, "ftp://nowhere/"));
    gateway.reload();
    problems(&gateway, 1).await;
    let event = sender.event("a.b", "1").await;
    new.wait_for_event(&event).await;
    let event = other.event("a.b", "2").await;
    assert_eq!(old.wait_for_event(&event).await.path, "/g");

    // A main file that is wrong is refused whole.
    write(&gateway, "tenants.d/globex.toml", &globex);
    write(&gateway, "tenants.d/acme.toml", &acme);
    write(&gateway, "hookweir.toml", &main_file().replace("[egress]", "[ingress]"));
    gateway.reload();
    gateway.logged(&["ERROR", "the old one stays in force", "ingress"]).await;
    let event = sender.event("a.b", "3").await;
    new.wait_for_event(&event).await;

    write(&gateway, "hookweir.toml", &main_file());
    gateway.reload();
    problems(&gateway, 0).await;
    let event = sender.event("a.b", "4").await;
    old.wait_for_event(&event).await;
}

/// Nobody writes to it: who opens it to read would wait for ever.
#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_holds_up_no_reload_no_start_and_no_end() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let (acme, globex) = (file("acme", KEY, &receiver.url("/a")), file("globex", OTHER, &receiver.url("/g")));
    let files = [("tenants.d/acme.toml", acme.as_str()), ("tenants.d/globex.toml", globex.as_str())];
    let mut gateway = Gateway::start_with_files(&main_file(), &files).await;
    let pipe = gateway.folder().join("pipe");
    run(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe), b"").await.expect(0);
    for line in ["keys = [{ file = \"../pipe\" }]", "plugins.p = { file = \"../pipe\" }"] {
        write(&gateway, "tenants.d/globex.toml", &format!("[tenants.globex]\n{line}\n"));
        gateway.reload();
        gateway.logged(&["ERROR", "it is a pipe", line.split(['.', ' ']).next().expect("a key")]).await;
        let event = gateway.sender_of("globex", OTHER).event("a.b", "1").await;
        assert_eq!(receiver.wait_for_event(&event).await.path, "/g", "it stays as it was");
    }
    assert!(gateway.terminate().await.success());
    gateway.start_again().await;
    let event = gateway.sender().event("a.b", "2").await;
    receiver.wait_for_event(&event).await;
    assert!(gateway.terminate().await.success());
}

#[tokio::test]
async fn a_file_that_is_named_and_not_there_is_its_tenants_trouble() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let main = main_file().replace("tenants.d/*.toml", "acme.toml\", \"globex.toml");
    let (acme, globex) = (file("acme", KEY, &receiver.url("/a")), file("globex", OTHER, &receiver.url("/g")));
    let files = [("acme.toml", acme.as_str()), ("globex.toml", globex.as_str())];
    let mut gateway = Gateway::start_with_files(&main, &files).await;
    std::fs::remove_file(gateway.folder().join("globex.toml")).expect("removed");
    gateway.reload();
    problems(&gateway, 1).await;
    let event = gateway.sender_of("globex", OTHER).event("a.b", "1").await;
    receiver.wait_for_event(&event).await;
    gateway.terminate().await;
    gateway.start_again().await;
    let refused = gateway.sender_of("globex", OTHER).post(&[], r#"{"type":"a.b","data":1}"#).await;
    assert_eq!(refused.status, 503, "{refused}");
    gateway.sender().post(&[], r#"{"type":"a.b","data":1}"#).await.expect(202);
}

#[tokio::test]
async fn a_plugin_that_can_not_be_used_is_its_tenants_trouble() {
    let (old, new) = (Receiver::always(Reply::Status(200)).await, Receiver::always(Reply::Status(200)).await);
    let with_plugin = |component: &str| {
        tenant("globex", OTHER)
            + &format!(
                "[tenants.globex.plugins.p]\nfile = {component:?}\nconfig = {{ field = \"n\", minimum = 100 }}\n"
            )
            + &endpoint("globex", "plain", &old.url("/plain"), "")
            + &endpoint("globex", "hook", &old.url("/g"), "filters = [\"p\"]")
    };
    let good = plugin("keep-above").display().to_string();
    let files = [
        ("tenants.d/acme.toml", file("acme", KEY, &old.url("/a"))),
        ("tenants.d/globex.toml", with_plugin(&good)),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let mut gateway = Gateway::start_with_files(&main_file(), &files).await;
    let (sender, other) = (gateway.sender(), gateway.sender_of("globex", OTHER));
    std::fs::write(gateway.folder().join("bad.wasm"), b"\0asm\x0d\0\x01\0 and something else")
        .expect("written");
    write(&gateway, "tenants.d/acme.toml", &file("acme", KEY, &new.url("/a")));
    write(&gateway, "tenants.d/globex.toml", &with_plugin("../bad.wasm"));
    gateway.reload();
    problems(&gateway, 1).await;
    let event = sender.event("a.b", "1").await;
    new.wait_for_event(&event).await;
    let event = other.event("a.b", r#"{"n":500}"#).await;
    for endpoint in ["hook", "plain"] {
        gateway.admin().delivery("globex", &event, endpoint, "delivered").await;
    }

    // At a start nobody is left to go on as before: what needs the plugin waits, and the rest goes on.
    gateway.terminate().await;
    gateway.start_again().await;
    problems(&gateway, 1).await;
    let event = gateway.sender_of("globex", OTHER).event("a.b", r#"{"n":500}"#).await;
    let admin = gateway.admin();
    admin.delivery("globex", &event, "plain", "delivered").await;
    let endpoint = admin.json("/v1/tenants/globex/endpoints/hook").await;
    assert!(endpoint["waits"].as_str().is_some_and(|why| why.contains("plugin p")), "{endpoint}");
    write(&gateway, "tenants.d/globex.toml", &with_plugin(&good));
    gateway.reload();
    admin.delivery("globex", &event, "hook", "delivered").await;
    problems(&gateway, 0).await;
}

#[tokio::test]
async fn a_wrong_main_file_is_refused_whole_at_a_start() {
    let text = main_file().replace("[egress]", "[ingress]");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("tenants.d")).expect("a folder");
    std::fs::write(folder.path().join("hookweir.toml"), text).expect("written");
    let output = run(Command::new(binary()).current_dir(folder.path()).arg("serve"), b"").await.expect(78);
    assert!(output.stderr.contains("ingress"), "{}", output.stderr);
}
