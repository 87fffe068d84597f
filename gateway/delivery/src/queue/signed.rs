//! A request to a queue whose server speaks HTTP.

use bytes::Bytes;
use hookweir_model::{InvalidHeader, Timestamp};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Fault;
use crate::HttpClient;
use crate::client::{Post, Reply};

/// Makes a request whose head `sign` makes of its body and of the wall clock, when there is a connection: the server compares
/// the date with its own clock, so that it must be that of the moment at which it is sent.
pub(super) async fn post(
    http: &HttpClient,
    post: Post<'_>,
    body: Bytes,
    sign: impl FnOnce(&[u8], Timestamp) -> Result<HeaderMap, Fault>,
) -> Result<Reply, Fault> {
    let mut unsigned = None;
    let write = || match sign(&body, Timestamp::now()) {
        Ok(headers) => Ok((headers, body)),
        Err(fault) => {
            unsigned = Some(fault);
            Err(InvalidHeader::Value { name: AUTHORIZATION.to_string() })
        }
    };
    let answered = http.post(post, write).await;
    // Credentials that can't be sent are no fault of the message, as a header would be.
    unsigned.map_or_else(|| answered.map_err(Fault::from), Err)
}
