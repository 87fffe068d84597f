//! Secrets are in the gateway's memory: it leaves no core dump, and no program of its user looks into it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::Stdio;

use hookweir_tests::{
    Admin, Config, KEY, Receiver, Reply, Sender, binary, endpoint, eventually, plugin, tenant, within,
};
use rustix::process::{Signal, geteuid, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// Whoever has it owns nothing.
const NOBODY: u32 = 65534;

fn core_size(process: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("the limits of a process");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    line.unwrap_or_else(|| panic!("no such limit in\n{limits}")).to_owned()
}

#[tokio::test]
async fn it_leaves_no_core_dump_and_can_not_be_looked_into_unless_it_is_allowed() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::copy(binary(), path("hookweir")).expect("a copy of the gateway");
    fs::set_permissions(path("hookweir"), Permissions::from_mode(0o755)).expect("a mode");
    // A plugin, so that the compiler is started too.
    fs::copy(plugin("keep-above"), path("large.wasm")).expect("a copy of the plugin");
    let tenants = tenant("acme", KEY)
        + "[tenants.acme.plugins.large]\nfile = \"large.wasm\"\nconfig = { field = \"total\", minimum = 1 }\n"
        + &endpoint("acme", "hook", &receiver.url("/hook"), "filters = [\"large\"]");
    fs::write(path("hookweir.toml"), Config::new(tenants).text()).expect("the configuration to be written");
    let is_root = geteuid().is_root();
    let user = if is_root { NOBODY } else { geteuid().as_raw() };
    if is_root {
        for path in [folder.path().to_owned(), path("hookweir.toml"), path("large.wasm")] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("another owner");
        }
    }
    for (count, allowed) in [(1, None), (2, Some("0")), (3, Some("1"))] {
        let mut command = Command::new(path("hookweir"));
        command.arg("serve").current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        if let Some(allowed) = allowed {
            command.env("HOOKWEIR_CORE_DUMPS", allowed);
        }
        let mut gateway = command.kill_on_drop(true).spawn().expect("the gateway to run");
        let mut lines = BufReader::new(gateway.stdout.take().expect("its output")).lines();
        let mut address = async |which: &str| {
            let line = within("an address", lines.next_line()).await.expect("text").expect("a line");
            let address = line.strip_prefix(which).and_then(|rest| rest.trim().parse().ok());
            address.unwrap_or_else(|| panic!("no address in {line:?}"))
        };
        let accept = address("accept listening on ").await;
        let admin = Admin::new(address("admin listening on ").await);
        eventually("the gateway to be ready", async || match admin.try_get("/readyz").await? {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.to_string()),
        })
        .await;
        Sender::new(accept, "acme", KEY).event("a.b", r#"{"total":2}"#).await;
        receiver.wait_for(count).await;

        let number = gateway.id().expect("a number");
        // What belongs to the system's administrator is for nobody else of the user's.
        let owner = fs::metadata(format!("/proc/{number}/environ")).expect("the process's environment").uid();
        let limit = core_size(&number.to_string());
        if allowed == Some("1") {
            assert_eq!((owner, limit), (user, core_size("self")));
        } else {
            assert_eq!(owner, 0, "as if it were the administrator's");
            assert_eq!(limit.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{limit}");
        }
        kill_process(hookweir_tests::pid_of(&gateway).expect("a number"), Signal::TERM).expect("a signal");
        let status = within("the gateway to end", gateway.wait()).await.expect("its exit status");
        assert_eq!(status.code(), Some(0));
    }
}
