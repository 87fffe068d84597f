//! The kinds of endpoints: each has keys of its own, beside those that all have.

#[cfg_attr(
    not(feature = "all-kinds"),
    allow(dead_code, reason = "what the kinds of queue share is there, whichever of them are built in")
)]
mod broker;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
mod pull;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "smq")]
mod smq;
#[cfg(feature = "sqs")]
mod sqs;

use std::fmt;

use hookweir_delivery::Target;
use hookweir_model::RetryPolicy;

pub(crate) use self::pull::VISIBILITY;
pub(super) use self::pull::access_ids;

use super::check::Surroundings;
use super::checked::Destination;
use super::problem::{Fault, Report};
use super::written::Table;

/// One kind, as `kind` names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    name: &'static str,
    /// Its own keys.
    pub keys: &'static [&'static str],
    /// Reads them.
    pub target: fn(&Table<'_>, &Common<'_>, &mut Report) -> Option<Target>,
}

/// What is known of an endpoint when its own keys are read.
pub(super) struct Common<'a> {
    /// As written: a name that can't be one is reported elsewhere.
    pub tenant: &'a str,
    pub endpoint: &'a str,
    pub retry: &'a RetryPolicy,
    pub outside: &'a Surroundings<'a>,
}

/// Those of this binary. The first is meant where no kind is named.
const KINDS: &[Kind] = &[
    http::KIND,
    #[cfg(feature = "kafka")]
    kafka::KIND,
    #[cfg(feature = "mqtt")]
    mqtt::KIND,
    #[cfg(feature = "nats")]
    nats::KIND,
    #[cfg(feature = "rabbitmq")]
    rabbitmq::KIND,
    #[cfg(feature = "redis")]
    redis::KIND,
    #[cfg(feature = "smq")]
    smq::KIND,
    #[cfg(feature = "sqs")]
    sqs::KIND,
];

/// All that a binary can be built with.
const ALL: [&str; 7] = ["kafka", "mqtt", "nats", "rabbitmq", "redis", "smq", "sqs"];

/// Which kind an endpoint is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choice {
    Outside(Kind),
    Pull,
}

impl Choice {
    /// The keys of this kind alone.
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Outside(kind) => kind.keys,
            Self::Pull => &pull::KEYS,
        }
    }

    /// Reads them.
    pub(super) fn destination(
        self,
        table: &Table<'_>,
        common: &Common<'_>,
        report: &mut Report,
    ) -> Option<Destination> {
        match self {
            Self::Outside(kind) => {
                (kind.target)(table, common, report).map(|target| Destination::Outside(Box::new(target)))
            }
            Self::Pull => pull::pull(table, common.outside, report).map(Destination::Pull),
        }
    }
}

/// Reads which kind an endpoint is of. The keys of a kind that is not known are not looked at.
pub(super) fn kind(table: &Table<'_>, report: &mut Report) -> Option<Choice> {
    let Some(value) = table.get("kind") else { return KINDS.first().copied().map(Choice::Outside) };
    let here = KINDS.iter().map(|kind| (kind.name, Some(Choice::Outside(*kind))));
    let left_out = ALL.iter().filter(|name| KINDS.iter().all(|kind| kind.name != **name));
    let words: Vec<(&str, Option<Choice>)> =
        here.chain([("pull", Some(Choice::Pull))]).chain(left_out.map(|name| (*name, None))).collect();
    let found = value.one_of(&words, report)?;
    if found.is_none() {
        let help = "run a binary that was built with it, or leave the endpoint out";
        value.refuse(Fault::new("this binary was built without this kind of endpoint", help), report);
    }
    found
}

/// A sentence of a parser, which says what is wrong before its colon and what to do after it.
fn told(fault: &impl fmt::Display, otherwise: &str) -> Fault {
    let sentence = fault.to_string();
    match sentence.split_once(": ") {
        Some((what, help)) => Fault::new(what, help),
        None => Fault::new(sentence, otherwise),
    }
}
