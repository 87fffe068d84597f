//! What a configuration comes to when nothing is wrong with it, and that nothing brings the check down.

use std::collections::HashMap;
use std::time::Duration;

use hookweir_delivery::{HttpTarget, Signing, Target};
use hookweir_host::Limits;
use hookweir_model::{BreakerPolicy, Digest, RetryPolicy, Success};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::checked::{Destination, Endpoint, Format, PluginSource, Tenant};
use crate::config::env::Unreadable;
use crate::config::read_component;

/// An environment of variables alone.
struct Variables(HashMap<&'static str, &'static str>);

impl Env for Variables {
    fn variable(&self, name: &str) -> Result<String, Unreadable> {
        self.0.get(name).map(|value| (*value).to_owned()).ok_or(Unreadable::Unset)
    }

    fn secret_file(&self, _: &Path) -> Result<String, Unreadable> {
        Err(Unreadable::NotText)
    }
}

fn variables() -> Variables {
    Variables(HashMap::from([
        ("KEY", "a-key-of-acme-alone"),
        ("SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("TOKEN", "token-of-the-operator"),
    ]))
}

/// A component's first bytes: all that is looked at here.
const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

fn checked(text: &str) -> (TempDir, Result<Config, Problems>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plugin.wasm"), WASM).unwrap();
    std::fs::write(folder.path().join("hookweir.toml"), text).unwrap();
    let config = load(&folder.path().join("hookweir.toml"), &variables());
    (folder, config)
}

fn tenant(config: &Config) -> &Tenant {
    config.tenants.get("acme").unwrap()
}

fn endpoint<'a>(config: &'a Config, id: &str) -> &'a Endpoint {
    tenant(config).endpoints.get(id).unwrap()
}

fn http(endpoint: &Endpoint) -> &HttpTarget {
    match &endpoint.target {
        Destination::Outside(target) => match &**target {
            Target::Http(target) => target,
            other => panic!("{}", other.kind()),
        },
        Destination::Pull(_) => panic!("a queue"),
    }
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let (folder, config) = checked(
        "[tenants.acme]\nkeys = [{ env = 'KEY' }]\n\
         plugins.p.file = 'plugin.wasm'\n\
         endpoints.plain.url = 'https://example.com/a'\n\
         endpoints.signed = { url = 'https://example.com/b', secret = { env = 'SECRET' } }\n",
    );
    let config = config.unwrap();
    assert_eq!(config.accept, Accept { listen: "0.0.0.0:8080".parse().unwrap(), max_body: 1 << 20 });
    assert_eq!(config.admin.listen, "127.0.0.1:9080".parse().unwrap());
    assert!(config.admin.token.is_none());
    assert_eq!(
        config.journal,
        Journal {
            path: folder.path().join("hookweir-data"),
            retention: Duration::from_secs(7 * 24 * 3600),
            max_size: 10 << 30,
            keep_removed: Duration::from_secs(86_400),
            reserve: None,
            on_damage: OnDamage::Stop,
        }
    );
    assert_eq!(config.egress.allow_ports, [443, 80, 8443, 8080]);
    assert!(config.egress.allow_cidrs.is_empty() && config.egress.nameservers.is_empty());

    let plugin = tenant(&config).plugins.get("p").unwrap();
    assert_eq!((plugin.config.as_ref(), plugin.limits, plugin.reuse), ("{}", Limits::default(), false));
    assert_eq!(plugin.compile_deadline, Duration::from_secs(60));
    let PluginSource::File { path, digest } = &plugin.source else { panic!("{plugin:?}") };
    assert_eq!((path, *digest), (&folder.path().join("plugin.wasm"), Digest::of(WASM)));
    assert_eq!(read_component(path, *digest).unwrap(), WASM);
    assert!(read_component(path, Digest::of(b"")).unwrap_err().contains("has changed"));

    let plain = endpoint(&config, "plain");
    assert!(matches!(http(plain).signing, Signing::None));
    assert!(matches!(&http(endpoint(&config, "signed")).signing, Signing::Standard(keys) if keys.len() == 1));
    assert!(
        plain
            .event_types
            .iter()
            .any(|pattern| pattern.matches(&"any.type.at_all".to_owned().try_into().unwrap()))
    );
    assert_eq!((plain.format, plain.pace.concurrency, plain.enabled), (Format::Data, 16, true));
    assert_eq!(plain.retry, RetryPolicy::standard());
    assert_eq!(
        (http(plain).timeout, http(plain).connect_timeout),
        (plain.retry.timeout, plain.retry.connect_timeout)
    );
    assert!(plain.filters.is_empty() && plain.transformers.is_empty() && http(plain).headers.is_empty());
}

#[test]
fn an_empty_file_is_a_configuration() {
    let (_folder, config) = checked("");
    assert!(config.unwrap().tenants.is_empty());
}

#[test]
fn what_is_written_is_what_comes_out() {
    let (folder, config) = checked(
        r#"
        [admin]
        listen = "0.0.0.0:9080"
        token = { env = "TOKEN" }
        [journal]
        path = "elsewhere"
        [plugins]
        compile_deadline = "2m"
        [tenants.acme]
        keys = [{ env = "KEY" }]
        limits = { memory = "8MiB" }
        [tenants.acme.plugins.p]
        file = "plugin.wasm"
        config = { minimum = 100 }
        limits = { deadline = "5ms" }
        [tenants.acme.endpoints.a]
        url = "https://EXAMPLE.com:443/a b"
        "#,
    );
    // The URL is refused, which must not hide that all else is read.
    assert_eq!(config.unwrap_err().count(), 1);

    let text = std::fs::read_to_string(folder.path().join("hookweir.toml")).unwrap().replace("a b", "a");
    let text = text
        + r#"
        event_types = ["order.*"]
        filters = ["p"]
        transformers = ["p"]
        format = "ims"
        user_id = 7
        sign = "ims"
        secret = [{ env = "TOKEN" }, { env = "KEY" }]
        headers = { x-team = "billing" }
        retry = { preset = "ims", timeout = "2s", success = [204] }
        concurrency = 1
        rate = { per_second = 50 }
        breaker = { failures = 5 }
        enabled = false
        "#;
    let (folder, config) = checked(&text);
    let config = config.unwrap();
    assert_eq!(config.admin.token.as_ref().unwrap().expose_secret(), "token-of-the-operator");
    assert_eq!(config.journal.path, folder.path().join("elsewhere"));
    assert_eq!(tenant(&config).keys[0].secret.expose_secret(), "a-key-of-acme-alone");
    let plugin = tenant(&config).plugins.get("p").unwrap();
    assert_eq!(plugin.config.as_ref(), r#"{"minimum":100}"#);
    let limits = Limits { deadline: Duration::from_millis(5), memory: 8 << 20, ..Limits::default() };
    assert_eq!((plugin.limits, plugin.compile_deadline), (limits, Duration::from_secs(120)));

    let endpoint = endpoint(&config, "a");
    assert_eq!(
        http(endpoint).configured_url,
        "https://EXAMPLE.com:443/a",
        "the IMS signature covers this text"
    );
    assert_eq!(http(endpoint).url.as_str(), "https://example.com/a");
    assert_eq!((endpoint.filters.len(), endpoint.transformers.len()), (1, 1));
    assert_eq!(
        (endpoint.format, endpoint.pace.concurrency, endpoint.enabled),
        (Format::Ims { user_id: 7 }, 1, false)
    );
    let breaker = Some(BreakerPolicy { failures: 5, ..BreakerPolicy::default() });
    assert_eq!((endpoint.pace.per_second, endpoint.pace.breaker), (Some(50), breaker));
    assert!(
        matches!(&http(endpoint).signing, Signing::Ims(key) if key.expose_secret() == "token-of-the-operator"),
        "the first key signs"
    );
    let header = &http(endpoint).headers["x-team"];
    assert!(header == "billing" && header.is_sensitive());
    let timeout = Duration::from_secs(2);
    let policy = RetryPolicy {
        timeout,
        connect_timeout: timeout,
        success: Success::Only(vec![204]),
        ..RetryPolicy::ims()
    };
    assert_eq!(endpoint.retry, policy, "what is given changes the preset, the rest of it stays");
}

#[test]
fn plugins_are_looked_into_with_all_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plugin.wasm"), WASM).unwrap();
    let file = folder.path().join("hookweir.toml");
    let text = "[tenants.acme]\nkeys = []\nplugins.p.file = 'plugin.wasm'\n\
                [tenants.acme.endpoints.a]\nurl = 'https://example.com/'\ntransformers = ['p']\nrtry = {}\n";
    std::fs::write(&file, text).unwrap();
    let problems =
        |inspect: Inspect<'_>| load_inspecting(&file, &variables(), inspect).unwrap_err().to_string();

    let shown = problems(&|_, roles, _| {
        assert_eq!(roles, [hookweir_model::PluginRole::Transformer], "as what it is used");
        Ok(Exports { filter: true, transformer: false })
    });
    assert!(shown.contains("transformers[0]: \"p\" exports no transformer"), "{shown}");
    assert!(shown.contains("rtry"), "{shown}");
    let shown = problems(&|_, _, _| Err(Unusable::Component("it imports `clock`".to_owned())));
    assert!(shown.contains("tenants.acme.plugins.p.file: it imports `clock`"), "{shown}");
    assert!(!shown.contains("exports no"), "nothing is said of what can't be told: {shown}");
}

/// A configuration with a little of everything.
const EVERYTHING: &str = r#"
allow_inline_secrets = true
[accept]
listen = "127.0.0.1:0"
max_body = "1MiB"
[plugins]
deadline = "10ms"
[egress]
allow_cidrs = ["127.0.0.0/8"]
[tenants.acme]
keys = ["an-inline-key-of-acme", { env = "KEY" }]
[tenants.acme.plugins.p]
file = "plugin.wasm"
config = { a = [1, 2.5, "x", { b = 1979-05-27 }] }
[tenants.acme.endpoints.a]
url = "http://127.0.0.1:3000/"
event_types = ["order.*", "**"]
filters = ["p"]
secret = { env = "SECRET" }
headers = { x-team = "ünï" }
retry = { waits = ["5s"], jitter = 0.2 }
"#;

proptest! {
    #[test]
    fn no_file_brings_the_check_down(
        cut in any::<prop::sample::Index>(),
        length in 0_usize..12,
        put in "[\\[\\]{}=\"'.,#a-z0-9\\\\ \\n\\r\\u{0}é-]{0,4}",
    ) {
        let letters: Vec<char> = EVERYTHING.chars().collect();
        let start = cut.index(letters.len());
        let end = (start + length).min(letters.len());
        let text: String = letters[..start].iter().copied().chain(put.chars()).chain(letters[end..].iter().copied()).collect();
        let (_folder, config) = checked(&text);
        if let Err(problems) = config {
            prop_assert!(problems.count() > 0);
            prop_assert!(!problems.render(true).is_empty());
            prop_assert_eq!(problems.views().count(), problems.count());
        }
    }

    #[test]
    fn no_text_brings_the_parser_of_it_down(text in ".{0,40}") {
        let _ = (duration(&text), size(&text), address(&text), cidr(&text), nameserver(&text));
    }
}
