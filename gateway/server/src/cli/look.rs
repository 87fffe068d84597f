//! Where a command looks: at a running gateway, or at the files of one that is not running.

use std::path::PathBuf;

use anyhow::anyhow;
use hookweir_journal::engines::embedded::Embedded;
use http::Uri;

use super::client::{AdminArgs, Answer, Client};
use super::show;
use crate::admin::offline;
use crate::log;
use crate::numbers::Numbers;

#[derive(Debug, clap::Args)]
pub(crate) struct LookArgs {
    #[command(flatten)]
    pub gateway: AdminArgs,
    /// Look into this journal instead, while no gateway is at work on it: the `path` of `[journal]`
    #[arg(long, value_name = "DIR", conflicts_with = "token")]
    data: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) enum Source {
    Gateway(Client),
    Files { journal: Box<Embedded>, numbers: Numbers },
}

impl Source {
    pub(crate) fn open(args: &LookArgs) -> anyhow::Result<Self> {
        match &args.data {
            Some(directory) => {
                // What is shown then is what SQLite takes of the log, which is less than was answered.
                if let Some(damage) = Embedded::check_log(directory)? {
                    log::say(&format!("warning: the journal is damaged: {}\n", show::escaped(&damage.what)));
                }
                let journal = Box::new(Embedded::look(directory)?);
                Ok(Self::Files { journal, numbers: Numbers::look(directory) })
            }
            None => Client::admin(&args.gateway).map(Self::Gateway),
        }
    }

    /// What is answered to a GET of this path and query.
    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> anyhow::Result<Answer> {
        match self {
            Self::Gateway(client) => Ok(client.get(path, query).await?),
            Self::Files { journal, numbers } => {
                let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
                let uri = Uri::try_from(format!("/?{query}"))?;
                let answered = offline::answer(&**journal, numbers, path, &uri).await;
                answered.map(Answer::new).map_err(|problem| anyhow!("{}", problem.detail()))
            }
        }
    }
}
