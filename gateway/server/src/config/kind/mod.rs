//! The kinds of endpoints: each has keys of its own, beside those that all have.

mod broker;
mod http;
mod nats;
mod pull;
mod rabbitmq;
mod redis;
mod smq;
mod sqs;

use hookweir_delivery::Target;
use hookweir_delivery::guard::UrlFault;
use hookweir_model::RetryPolicy;

pub(crate) use self::pull::VISIBILITY;
pub(super) use self::pull::access_ids;

use super::check::{Surroundings, not_yet};
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

/// The first is meant where no kind is named.
const KINDS: [Kind; 6] = [http::KIND, nats::KIND, rabbitmq::KIND, redis::KIND, smq::KIND, sqs::KIND];

/// The kinds that are planned, and those that this binary was built without.
const MISSING: [&str; 2] = ["kafka", "mqtt"];

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
    let here = here.chain([("pull", Some(Choice::Pull))]);
    let words: Vec<(&str, Option<Choice>)> = here.chain(MISSING.iter().map(|name| (*name, None))).collect();
    let found = value.one_of(&words, report)?;
    if found.is_none() {
        let help = "leave the endpoint out, or write kind = \"http\"";
        value.refuse(not_yet("this kind of endpoint", help), report);
    }
    found
}

/// The guard's sentence, which says what is wrong before its colon and what to do after it.
fn url_fault(fault: &UrlFault, otherwise: &str) -> Fault {
    let sentence = fault.to_string();
    match sentence.split_once(": ") {
        Some((what, help)) => Fault::new(what, help),
        None => Fault::new(sentence, otherwise),
    }
}
