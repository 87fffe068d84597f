//! A configuration with mistakes is explained, all of it, in one run.
//!
//! `tests/config` holds configurations: each broken one beside the text that `hookweir check` has to print about it
//! (`.err`), each good one (`good-*`) beside what `check` says to it (`.out`). The texts are reviewed like prose; with
//! `UPDATE_GOLDEN=1` they are written anew.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hookweir_tests::{Output, binary, repository, run};
use serde_json::Value;
use tokio::process::Command;

const GOOD: i32 = 0;
const WRONG_CONFIGURATION: i32 = 78;

/// The environment that the configurations refer to.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("HOOKWEIR_TOKEN", "token-for-the-tests"),
    ("ACME_KEY", "acme-key-for-the-tests"),
    ("BILLING_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("BILLING_SECRET_OLD", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
    ("EMPTY", ""),
];

/// Parts of every secret that stands in the environment, in the secret files or in a configuration itself.
const SECRETS: [&str; 11] = [
    "for-the-tests",
    "MfKQ",
    "C2FV",
    "closed-to-everyone-else",
    "open-to-the-whole-machine",
    "in-the-open",
    "the-same-key-for-two",
    "hush-hush",
    "swordfish",
    "more-than-thirty-two",
    "Test 123",
];

fn folder() -> PathBuf {
    repository().join("tests").join("config")
}

/// What `check` says in the folder of the configurations.
async fn check(args: &[&str]) -> Output {
    // A checkout says nothing of who may read a file, so it is said here.
    for (file, mode) in [("closed", 0o600), ("open", 0o644)] {
        let path = folder().join("secrets").join(file);
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .expect("a secret file whose mode can be set");
    }
    let mut command = Command::new(binary());
    command.env_clear().envs(ENVIRONMENT).current_dir(folder()).arg("check").args(args);
    run(&mut command, b"").await
}

/// The names of the files in the folder that end in `.{extension}`, without that end.
fn names(extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder()).expect("the folder of the configurations");
    entries
        .map(|entry| PathBuf::from(entry.expect("an entry of the folder").file_name()))
        .filter(|name| name.extension().is_some_and(|found| found == extension))
        .map(|name| name.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        .collect()
}

/// What is wrong with what `check` said, compared with the text that is kept.
fn compare(said: &str, golden: &Path) -> Option<String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, said).expect("a golden text that can be written");
        return None;
    }
    let wanted = fs::read_to_string(golden).unwrap_or_default();
    let differs = said != wanted;
    differs.then(|| format!("--- {} has ---\n{wanted}\n--- check said ---\n{said}", golden.display()))
}

#[tokio::test]
async fn every_configuration_is_explained_as_its_golden_text_says() {
    let mut faults = Vec::new();
    for name in names("toml") {
        let output = check(&["--config", &format!("{name}.toml")]).await;
        let (code, said, silent, extension) = if name.starts_with("good-") {
            (GOOD, &output.stdout, &output.stderr, "out")
        } else {
            (WRONG_CONFIGURATION, &output.stderr, &output.stdout, "err")
        };
        if output.code != Some(code) {
            faults.push(format!("{name}: the exit code is {:?}, not {code}", output.code));
        }
        if !silent.is_empty() {
            faults.push(format!("{name}: something stands on the other stream:\n{silent}"));
        }
        for secret in SECRETS.iter().filter(|secret| said.contains(**secret)) {
            faults.push(format!("{name}: the secret {secret:?} is shown"));
        }
        faults.extend(compare(said, &folder().join(format!("{name}.{extension}"))));
    }
    assert!(
        faults.is_empty(),
        "{}\n{} faults; if the new texts are the better ones, run again with UPDATE_GOLDEN=1 and review them",
        faults.join("\n"),
        faults.len()
    );
}

#[test]
fn every_golden_text_belongs_to_a_configuration() {
    let (configurations, mut texts) = (names("toml"), names("err"));
    texts.append(&mut names("out"));
    assert_eq!(configurations, texts);
}

#[tokio::test]
async fn scripts_get_every_place_as_json() {
    let output =
        check(&["--json", "--config", "include-tenant-twice.toml"]).await.expect(WRONG_CONFIGURATION);
    let said: Value = serde_json::from_str(&output.stdout).expect("JSON on standard output");
    let problems = said["problems"].as_array().expect("a list of problems");
    let place = |problem: &Value| {
        let text = |field: &str| problem[field].as_str().unwrap_or("?").to_owned();
        (text("file"), problem["line"].as_u64(), problem["column"].as_u64(), text("key"))
    };
    let wanted = [
        ("tenants/twice-acme.toml", 1, 10, "tenants.acme"),
        ("tenants/twice-acme.toml", 5, 7, "tenants.acme.endpoints.billing.url"),
        ("tenants/twice-globex.toml", 2, 9, "tenants.globex.keys[0]"),
        ("tenants/twice-globex.toml", 5, 8, "tenants.globex.plugins.large-only.file"),
    ];
    assert_eq!(
        problems.iter().map(place).collect::<Vec<_>>(),
        wanted.map(|(file, line, column, key)| (file.to_owned(), Some(line), Some(column), key.to_owned()))
    );
    for problem in problems {
        assert!(problem["message"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        assert!(problem["help"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }

    let output = check(&["--json", "--config", "good-whole.toml"]).await.expect(GOOD);
    let said: Value = serde_json::from_str(&output.stdout).expect("JSON on standard output");
    assert_eq!(
        said,
        serde_json::json!({ "problems": [], "warnings": [], "tenants": [
            { "id": "acme", "endpoints": 3, "plugins": 3 },
            { "id": "globex", "endpoints": 0, "plugins": 0 },
        ] })
    );
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_named() {
    let output = check(&["--config", "no-such-file.toml"]).await.expect(WRONG_CONFIGURATION);
    assert_eq!(
        output.stderr,
        "error: no-such-file.toml: the configuration can't be read: there is no such file\n \
         |\n \
         = help: name the configuration by --config, or start where hookweir.toml lies\n\n\
         1 problem in the configuration\n"
    );
    // Without --config it is the one that lies where the program was started.
    let output = check(&[]).await.expect(WRONG_CONFIGURATION);
    assert!(output.stderr.starts_with("error: hookweir.toml: "), "{}", output.stderr);
}
