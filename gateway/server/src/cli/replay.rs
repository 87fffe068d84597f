//! `hookweir replay`: sends one event anew to every endpoint that wants it.

use hookweir_model::EventId;
use reqwest::header::HeaderMap;

use super::client::{AdminArgs, Client};
use super::{Exit, TenantArg, show};
use crate::api::Requeued;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  hookweir replay --tenant acme evt_0190163d8694739b8e1a1f0c8ab2c1f7

Filters and transformers run again, as they are configured now. Receivers see the same webhook-id as before.")]
pub(crate) struct Args {
    #[command(flatten)]
    tenant: TenantArg,
    /// The event's id
    event: EventId,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let path = ["v1", "tenants", args.tenant.as_str(), "events", args.event.as_str(), "replay"];
    let answer = Client::admin(&args.admin)?.post(&path, HeaderMap::new(), None).await?;
    if args.admin.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        let requeued: Requeued = answer.read()?;
        show::print(&format!("{}\n", anew(requeued.deliveries, args.event.as_str())))?;
    }
    Ok(Exit::Done)
}

fn anew(endpoints: u64, event: &str) -> String {
    match endpoints {
        0 => format!("nothing to replay: no endpoint wants {event}"),
        1 => format!("{event} is sent anew to 1 endpoint"),
        many => format!("{event} is sent anew to {many} endpoints"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_told_in_words() {
        for (endpoints, wanted) in [
            (0, "nothing to replay: no endpoint wants evt_1"),
            (1, "evt_1 is sent anew to 1 endpoint"),
            (3, "evt_1 is sent anew to 3 endpoints"),
        ] {
            assert_eq!(anew(endpoints, "evt_1"), wanted);
        }
    }
}
