//! Signing secrets as `sign`, `verify` and `listen` take them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hookweir_delivery::sign::{Key, KeyFault, VerifyingKey};
use secrecy::{ExposeSecret as _, SecretString};

use super::exit::Usage;
use super::input;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SecretArgs {
    /// A signing secret; several, joined by commas, while one is being replaced. Better given as HOOKWEIR_SECRET or by
    /// --secret-file, since other users of the machine can read a command's arguments
    #[arg(long, env = "HOOKWEIR_SECRET", hide_env_values = true, value_delimiter = ',')]
    secret: Vec<SecretString>,
    /// A file that holds the secrets, one a line; --secret and HOOKWEIR_SECRET are not looked at then
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretArgs {
    /// The keys to sign with: `whsec_...` or `whsk_...`, at least one.
    pub(crate) fn signing(&self) -> anyhow::Result<Vec<Key>> {
        at_least_one(self.keys(Key::parse)?)
    }

    /// The keys to verify with, at least one; here the public `whpk_...` will do too.
    pub(crate) fn verifying(&self) -> anyhow::Result<Vec<VerifyingKey>> {
        at_least_one(self.keys(VerifyingKey::parse)?)
    }

    /// The keys to verify with, or none.
    pub(crate) fn verifying_if_any(&self) -> anyhow::Result<Vec<VerifyingKey>> {
        self.keys(VerifyingKey::parse)
    }

    fn keys<K>(&self, parse: impl Fn(&str) -> Result<K, KeyFault>) -> anyhow::Result<Vec<K>> {
        let from_file;
        let secrets = match &self.secret_file {
            Some(path) => {
                let text = text_of(path)?;
                from_file = text.lines().map(SecretString::from).collect::<Vec<_>>();
                &from_file
            }
            None => &self.secret,
        };
        let secrets =
            secrets.iter().map(|secret| secret.expose_secret().trim()).filter(|secret| !secret.is_empty());
        secrets
            .enumerate()
            .map(|(index, secret)| {
                parse(secret).with_context(|| format!("secret {} can't be used", index + 1))
            })
            .collect()
    }
}

/// The text of a file with secrets.
pub(super) fn text_of(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(input::read_file(path)?)
        .with_context(|| format!("{} holds no secret: it is not text", path.display()))
}

fn at_least_one<K>(keys: Vec<K>) -> anyhow::Result<Vec<K>> {
    if keys.is_empty() {
        let advice = "there is no secret: set HOOKWEIR_SECRET, or add --secret-file FILE or --secret S";
        return Err(Usage(advice.to_owned()).into());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn args(secrets: &[&str], file: Option<PathBuf>) -> SecretArgs {
        SecretArgs {
            secret: secrets.iter().map(|secret| SecretString::from(*secret)).collect(),
            secret_file: file,
        }
    }

    #[test]
    fn a_file_holds_a_secret_a_line_and_goes_before_all_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        std::fs::write(&path, format!("{FIRST}\n\n {SECOND}\r\n")).unwrap();
        assert_eq!(args(&["not one"], Some(path)).signing().unwrap().len(), 2);
        let missing = args(&[FIRST], Some(folder.path().join("missing"))).signing();
        assert!(missing.unwrap_err().to_string().starts_with("can't read "));
    }

    #[test]
    fn an_empty_variable_is_no_secret() {
        assert!(args(&[""], None).verifying_if_any().unwrap().is_empty());
        assert!(args(&[""], None).verifying().unwrap_err().is::<Usage>());
    }

    #[test]
    fn a_bad_secret_is_counted_and_not_repeated() {
        let error = args(&[FIRST, "hush-hush"], None).signing().unwrap_err();
        assert_eq!(error.to_string(), "secret 2 can't be used");
        assert!(!format!("{error:?}").contains("hush-hush"));
    }
}
