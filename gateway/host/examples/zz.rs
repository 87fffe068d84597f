use bytes::Bytes;
use hookweir_host::*;
use hookweir_model::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
fn main() {
    if std::env::args().nth(1).as_deref() == Some("compile-plugin") {
        std::process::exit(if compile_child() == std::process::ExitCode::SUCCESS { 0 } else { 65 });
    }
    run();
}
#[tokio::main]
async fn run() {
    let dir = tempfile::tempdir().unwrap();
    let compiler =
        Compiler { program: std::env::current_exe().unwrap(), args: vec!["compile-plugin".into()] };
    let host = Host::new(Config { threads: 2, ..Config::new(dir.path().join("cache"), compiler) }).unwrap();
    for f in std::env::args().skip(1) {
        let t = Instant::now();
        let p = match host.load(Bytes::from(std::fs::read(&f).unwrap())).await {
            Ok(p) => p,
            Err(e) => {
                println!("{f}: {e}");
                continue;
            }
        };
        println!("{f}: {:?} loaded in {:?}", p, t.elapsed());
        let tenant = TenantId::new("a").unwrap();
        let e = Arc::new(Event {
            tenant: tenant.clone(),
            id: EventId::new("evt_1").unwrap(),
            event_type: EventType::new("order.created").unwrap(),
            source: "/s".into(),
            subject: None,
            time: "2026-01-31T12:00:00Z".into(),
            received: Timestamp::from_millis(0),
            content_type: "application/json".into(),
            attributes: vec![],
            ordering_key: None,
            data: Bytes::from_static(b"{\"amount\": 250}"),
        });
        for (mem, ms) in [(16usize, 10u64), (64, 100)] {
            for role in [PluginRole::Filter, PluginRole::Transformer] {
                let s = Step {
                    id: PluginId::new("x").unwrap(),
                    role,
                    plugin: p.clone(),
                    config: "{}".into(),
                    limits: Limits {
                        memory: mem << 20,
                        deadline: Duration::from_millis(ms),
                        ..Limits::default()
                    },
                };
                let r =
                    host.run(Job { tenant: tenant.clone(), event: e.clone(), steps: vec![s].into() }).await;
                println!("  {mem} MiB {ms} ms {role:?}: {:?} {} us", r.verdict, r.calls[0].micros);
            }
        }
    }
    host.close();
}
