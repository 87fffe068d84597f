//! Another signing secret for an endpoint, in the file that the configuration names, while the one before it signs on.
//!
//! The file is the only place of a secret: it is written before the secret is in force, and what is in force is read from it
//! again at the next start or reload.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hookweir_delivery::sign::{Algorithm, Key, KeyFault, NewSecret};
use hookweir_delivery::{HttpTarget, Signing, Target};
use hookweir_model::{EndpointKey, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::config::{self, Config, Destination, Env as _, StdEnv, Unreadable};
use crate::live::Live;
use crate::plugins::Plugins;
use crate::secret_file::{self, Line, Misread};

/// A line's end stays as it is written, where the clock tells another one by no more than this.
const AS_WRITTEN: Duration = Duration::from_secs(2);

/// The new secret, as far as it may be told.
#[derive(Debug)]
pub(crate) struct Rotated {
    /// What its receiver has to be given, unless the caller brought the secret.
    pub told: Option<Told>,
    /// When those before it sign for the last time.
    pub until: Timestamp,
}

#[derive(Debug)]
pub(crate) enum Told {
    Secret(SecretString),
    /// Of a key pair, the half that verifies; the other one never leaves the file.
    Public(String),
}

/// Why an endpoint has the secrets that it had.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    #[error("there is no such endpoint")]
    Gone,
    /// A sentence that says what to do.
    #[error("{0}")]
    Conflict(String),
    #[error("the secret can't be used: {0}")]
    Secret(KeyFault),
    #[error("failed to make a secret: {0}")]
    Random(getrandom::Error),
}

/// Makes a secret, or takes the one that is given, and puts it in force. Those before it sign beside it for a while.
pub(crate) async fn rotate(
    plugins: &Plugins,
    key: &EndpointKey,
    given: Option<SecretString>,
    keep: Duration,
) -> Result<Rotated, Refused> {
    let change = plugins.change().await;
    let live = change.live();
    let (path, in_force) = file(&live, key)?;
    let (secret, told) = match given {
        Some(secret) => {
            Key::parse(secret.expose_secret()).map_err(Refused::Secret)?;
            (secret, None)
        }
        None => {
            let algorithm = in_force.first().map_or(Algorithm::HmacSha256, Key::algorithm);
            let mut random = [0; 32];
            getrandom::fill(&mut random).map_err(Refused::Random)?;
            let NewSecret { secret, public } = algorithm.secret(random);
            (secret.clone(), Some(public.map_or(Told::Secret(secret), Told::Public)))
        }
    };
    let written = tokio::task::spawn_blocking({
        let path = path.clone();
        move || write(&path, secret, &in_force, keep)
    });
    let (lines, until) = written.await.map_err(|_| conflict(&path, &"writing it was broken off"))??;
    let keys = keys(&lines).map_err(|fault| conflict(&path, &fault))?;
    change.put(signing_with(&live, key, &path, &keys));
    tracing::info!(
        target: "hookweir::endpoint",
        endpoint = %key,
        %until,
        "another signing secret is in force; those before it sign up to then"
    );
    Ok(Rotated { told, until })
}

/// The file that holds all signing secrets of an endpoint, and its keys. Endpoints of the same tenant may share it.
fn file(live: &Live, key: &EndpointKey) -> Result<(PathBuf, Vec<Key>), Refused> {
    let settings = &live.endpoint(key).ok_or(Refused::Gone)?.settings;
    let refused = |reason: &str| Err(Refused::Conflict(reason.to_owned()));
    let Some(keys) = standard(&settings.target) else {
        return refused(
            "the endpoint's requests are not signed as Standard Webhooks has it: only such a secret is rotated here",
        );
    };
    let (Some(path), false) = (&settings.secret_file, keys.is_empty()) else {
        return refused(
            "the endpoint's secret is from no file of its own: write secret = { file = \"path\" }, or change it where it is",
        );
    };
    let others = live.config.tenants.iter().filter(|(tenant, _)| **tenant != key.tenant);
    let mut others = others.flat_map(|(_, tenant)| tenant.endpoints.values());
    if others.any(|endpoint| endpoint.secret_file.as_ref() == Some(path)) {
        return refused("another tenant's endpoint has the same file: give each a file of its own");
    }
    Ok((path.clone(), keys.to_vec()))
}

fn standard(target: &Destination) -> Option<&[Key]> {
    match target {
        Destination::Outside(target) => match &**target {
            Target::Http(HttpTarget { signing: Signing::Standard(keys), .. }) => Some(keys),
            _ => None,
        },
        Destination::Pull(_) => None,
    }
}

/// Reads the file as it is now and writes it with another secret. Answers what is in it then, and when the secrets before end.
fn write(
    path: &Path,
    secret: SecretString,
    in_force: &[Key],
    keep: Duration,
) -> Result<(Vec<Line>, Timestamp), Refused> {
    let text = StdEnv.secret_file(path).map_err(|error: Unreadable| conflict(path, &error))?;
    let before = secret_file::lines(&text).map_err(|misread: Misread| conflict(path, &misread))?;
    // What could not be read back must not get in.
    let parsed = keys(&before).map_err(|fault| conflict(path, &fault))?;
    let (wall, now) = (Timestamp::now(), Instant::now());
    let until = wall.after(keep);
    let left = parsed.iter().map(|key| key.end_among(in_force).map(|end| end.left(now)));
    let after = secret_file::rotated(by_the_clock(before, left, wall), secret, wall, until);
    secret_file::replace(path, &after).map_err(|error: io::Error| conflict(path, &error))?;
    Ok((after, until))
}

/// The lines with their ends as the wall clock tells them now, where it was set since they were written.
fn by_the_clock(
    lines: Vec<Line>,
    left: impl Iterator<Item = Option<Duration>>,
    wall: Timestamp,
) -> Vec<Line> {
    let told = |(line, left): (Line, Option<Duration>)| {
        let until = left.filter(|left| *left < Duration::MAX).map(|left| wall.after(left));
        match (line.until, until) {
            (Some(written), Some(until)) if apart(written, until) > AS_WRITTEN => {
                Line { until: Some(until), ..line }
            }
            _ => line,
        }
    };
    lines.into_iter().zip(left).map(told).collect()
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

/// Has the keys of a configuration that was read again end when they would have ended by the one before: what is left of a
/// secret's time goes on, though the wall clock may have been set since it was written.
pub(crate) fn keep_ends(config: &mut Config, before: &Config) {
    for (tenant, settings) in &mut config.tenants {
        let Some(before) = before.tenants.get(tenant) else { continue };
        for (endpoint, settings) in &mut settings.endpoints {
            let before = before.endpoints.get(endpoint).and_then(|endpoint| standard(&endpoint.target));
            let (Some(before), Some(keys)) = (before, standard_mut(&mut settings.target)) else { continue };
            for key in keys {
                let end = key.end_among(before);
                *key = key.clone().until(end);
            }
        }
    }
}

fn standard_mut(target: &mut Destination) -> Option<&mut Vec<Key>> {
    match target {
        Destination::Outside(target) => match &mut **target {
            Target::Http(HttpTarget { signing: Signing::Standard(keys), .. }) => Some(keys),
            _ => None,
        },
        Destination::Pull(_) => None,
    }
}

fn keys(lines: &[Line]) -> Result<Vec<Key>, KeyFault> {
    lines.iter().map(Line::key).collect()
}

/// What is in force, with other keys for those endpoints of the tenant whose secrets are in the file.
fn signing_with(live: &Live, key: &EndpointKey, path: &Path, keys: &[Key]) -> Live {
    let mut tenant: config::Tenant = live.config.tenants.get(&key.tenant).cloned().unwrap_or_default();
    for endpoint in tenant.endpoints.values_mut() {
        if endpoint.secret_file.as_deref() == Some(path)
            && let Some(signing) = standard_mut(&mut endpoint.target)
        {
            *signing = keys.to_vec();
        }
    }
    live.with_secrets(&key.tenant, tenant)
}

fn conflict(path: &Path, reason: &dyn std::fmt::Display) -> Refused {
    let name = path.display();
    Refused::Conflict(format!("the secrets stay as they are, since {name} can't be replaced: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_line_is_told_by_the_clock_as_it_is_now() {
        let second = Duration::from_secs(1);
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        for (written, left, wall, wanted) in [
            (None, None, 500, None),
            (Some(1000), Some(500 * second), 500, Some(1000)),
            (Some(1000), Some(501 * second), 500, Some(1000)),
            (Some(1000), Some(500 * second), 90_000, Some(90_500)),
            (Some(90_000), Some(500 * second), 100, Some(600)),
            (Some(1000), Some(Duration::ZERO), 90_000, Some(90_000)),
            (Some(1000), Some(Duration::MAX), 500, Some(1000)),
        ] {
            let line = Line { secret: "s".into(), until: written.map(at) };
            let told = by_the_clock(vec![line], [left].into_iter(), at(wall));
            assert_eq!(told[0].until, wanted.map(at), "{written:?} {left:?} {wall}");
        }
    }
}
