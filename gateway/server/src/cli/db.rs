//! `hookweir db`: looks after the files of a journal while no gateway is at work on them.

use std::path::PathBuf;

use anyhow::Result;
use hookweir_journal::Damage;
use hookweir_journal::engines::embedded::{Embedded, Examined};
use serde_json::json;

use super::{Exit, show};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Look for damage in a journal: pages, indexes, every event, delivery and upload
    #[command(after_help = "\
It changes nothing. A gateway that is started on a damaged journal mends what can be mended, and tells what is lost.

Exit codes: 0 the journal is whole, 1 damage was found, or the journal could not be looked at.")]
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The journal: the `path` of `[journal]`
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Result<Exit> {
    let Command::Check(args) = command;
    let examined = Embedded::examine(&args.data)?;
    let text = if args.json { format!("{}\n", as_json(&examined)) } else { lines(&examined) };
    show::print(&text)?;
    Ok(if examined.damage.is_empty() { Exit::Done } else { Exit::Failed })
}

fn as_json(examined: &Examined) -> serde_json::Value {
    let one = |damage: &Damage| {
        json!({
            "kind": damage.kind.as_str(),
            "first": damage.events.map(|(first, _)| first.0),
            "last": damage.events.map(|(_, last)| last.0),
            "tenant": damage.tenant,
            "endpoint": damage.endpoint,
            "event": damage.event,
            "what": damage.what,
        })
    };
    json!({
        "damage": examined.damage.iter().map(one).collect::<Vec<_>>(),
        "events": examined.events,
        "recorded": examined.recorded,
    })
}

/// A line for each finding, and one for all.
fn lines(examined: &Examined) -> String {
    let mut text = String::new();
    for damage in &examined.damage {
        let mut line = damage.kind.as_str().to_owned();
        if let Some(tenant) = &damage.tenant {
            line.push_str(&format!(" {tenant}"));
        }
        if let Some(event) = &damage.event {
            line.push_str(&format!(" {event}"));
        }
        if let Some(endpoint) = &damage.endpoint {
            line.push_str(&format!(" to {endpoint}"));
        }
        if let Some((first, last)) = damage.events {
            let numbers =
                if first == last { format!("{}", first.0) } else { format!("{} to {}", first.0, last.0) };
            line.push_str(&format!(" (number {numbers})"));
        }
        text.push_str(&show::escaped(&format!("{line}: {}", damage.what)));
        text.push('\n');
    }
    let events = examined.events;
    match examined.damage.len() {
        0 => text.push_str(&format!("the journal is whole: {events} events\n")),
        1 => text.push_str(&format!("1 place is damaged in a journal of {events} events\n")),
        places => text.push_str(&format!("{places} places are damaged in a journal of {events} events\n")),
    }
    if examined.recorded > 0 {
        let records = examined.recorded;
        text.push_str(&format!(
            "{records} records of earlier damage are not acknowledged yet: `hookweir damage list` of a running gateway \
             shows them\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use hookweir_journal::{DamageKind, Seq};
    use hookweir_model::{EndpointId, EventId, TenantId};

    use super::*;

    #[test]
    fn findings_are_lines_and_a_sum() {
        let file = Damage::new(DamageKind::File, "page 7 is\u{1b} bad");
        let delivery = Damage {
            events: Some((Seq(3), Seq(3))),
            tenant: Some(TenantId::new("acme").unwrap()),
            endpoint: Some(EndpointId::new("billing").unwrap()),
            event: Some(EventId::new("evt_1").unwrap()),
            ..Damage::new(DamageKind::Delivery, "lost")
        };
        let range = Damage { events: Some((Seq(4), Seq(9))), ..Damage::new(DamageKind::Event, "gone") };
        for (damage, recorded, wanted) in [
            (vec![], 0, "the journal is whole: 5 events\n"),
            (
                vec![],
                2,
                "the journal is whole: 5 events\n2 records of earlier damage are not acknowledged yet: `hookweir damage \
                 list` of a running gateway shows them\n",
            ),
            (
                vec![file, delivery, range],
                0,
                "file: page 7 is\\u{1b} bad\ndelivery acme evt_1 to billing (number 3): lost\nevent (number 4 to 9): \
                 gone\n3 places are damaged in a journal of 5 events\n",
            ),
        ] {
            assert_eq!(lines(&Examined { damage, events: 5, recorded }), wanted);
        }
    }
}
