//! The faces of the gateway's own queues: JSON for a tenant's key, and SMQ's protocol.

mod json;
mod smq;

use bytes::Bytes;
use hookweir_model::EndpointKey;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use self::json::Action;
use super::{Accept, hygiene};
use crate::listen::{Peer, Share};
use crate::problem::Problem;
use crate::pull::WHILE_MADE;

/// How many messages one request may be about.
const MOST: usize = 100;
/// Bytes of body in one answer: a consumer that asks for many large messages gets some of them.
const ANSWER_BYTES: usize = 4 << 20;

/// What a path asks of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Json { tenant: String, queue: String, action: Action },
    Smq,
}

impl Route {
    /// `None` for a path that is not about queues.
    pub(super) fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["", "v1", "tenants", tenant, "queues", queue, action] => {
                let action = Action::named(action)?;
                Some(Self::Json { tenant: tenant.to_owned(), queue: queue.to_owned(), action })
            }
            ["", "queues", ..] => Some(Self::Smq),
            _ => None,
        }
    }
}

impl Accept {
    pub(super) async fn queue(
        &self,
        route: &Route,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        hygiene::check(&request)?;
        match route {
            Route::Json { tenant, queue, action } => {
                self.json_queue(tenant, queue, *action, request, peer).await
            }
            Route::Smq => Ok(self.smq(request, peer).await),
        }
    }

    /// Room for an answer with messages of a queue, of which nothing is taken yet.
    fn answer_room(&self, queue: &EndpointKey) -> Share {
        self.budgets.answers.share(Some(queue.tenant.clone()), WHILE_MADE * ANSWER_BYTES)
    }
}
