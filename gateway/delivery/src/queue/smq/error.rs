//! What SMQ's answers mean for a message.

use http::StatusCode;

use super::xml::Element;
use crate::queue::Fault;

/// Reads what became of each of `wanted` messages of one request, in their order.
pub(super) fn ends(status: StatusCode, body: &[u8], wanted: usize) -> Vec<Result<Sent, Fault>> {
    let Ok(answer) = Element::parse(body) else {
        let fault = unreadable(status);
        return vec![Err(fault); wanted];
    };
    match answer.name.as_str() {
        "Message" if wanted == 1 => vec![end(&answer)],
        // Some messages of a batch may have failed, whatever the status says.
        "Messages" => {
            let mut ends: Vec<_> = answer.all("Message").map(end).collect();
            ends.resize_with(wanted, || {
                Err(Fault::unknown("the broker's answer does not tell of this message"))
            });
            ends
        }
        "Error" => {
            let code = answer.get("Code").unwrap_or_default();
            vec![Err(refusal(code, answer.get("Message").unwrap_or_default())); wanted]
        }
        _ => vec![Err(unreadable(status)); wanted],
    }
}

/// A message that the queue has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) id: String,
    /// In hex; of the body as it was sent.
    pub(super) body_md5: Option<String>,
}

fn end(message: &Element) -> Result<Sent, Fault> {
    match (message.get("MessageId"), message.get("ErrorCode")) {
        (_, Some(code)) => Err(refusal(code, message.get("ErrorMessage").unwrap_or_default())),
        (Some(id), None) if !id.is_empty() => {
            Ok(Sent { id: id.to_owned(), body_md5: message.get("MessageBodyMD5").map(str::to_owned) })
        }
        _ => Err(Fault::unknown("the broker's answer names no message")),
    }
}

/// All that an operator can mend at the broker is tried again by the endpoint's schedule.
fn refusal(code: &str, message: &str) -> Fault {
    let what = match code {
        "QueueNotExist" => "the queue does not exist: correct `queue`, or create it",
        "SignatureDoesNotMatch" => "the secret is not that of the access key: correct `access.secret`",
        "InvalidAccessKeyId" => "the access key is not known: correct `access.id`",
        "AccessDenied" | "NoPermission" => "the access key may not send to the queue",
        "InvalidSecurityToken" | "SecurityTokenExpired" => "the security token is not valid (any more)",
        "TimeExpired" => "the broker refused the time of the request: set the gateway's clock",
        "QpsLimitExceeded" => "the queue takes no more messages a second",
        "InternalError" | "InternalServerError" => "the broker failed",
        _ => return Fault::refused(code, message),
    };
    Fault::retry(format!("{what} ({code})"))
}

/// Something else than SMQ answered, or something on the way to it. An error status says that it was not taken.
fn unreadable(status: StatusCode) -> Fault {
    let reason = format!("answered {} and no XML of SMQ: correct `url`", status.as_u16());
    if status.is_success() { Fault::unknown(reason) } else { Fault::retry(reason) }
}

#[cfg(test)]
mod tests {
    use hookweir_model::Outcome;

    use super::*;

    fn sent(id: &str) -> Result<Sent, Fault> {
        Ok(Sent { id: id.to_owned(), body_md5: None })
    }

    fn outcomes(status: u16, body: &str, wanted: usize) -> Vec<Result<String, Outcome>> {
        ends(StatusCode::from_u16(status).unwrap(), body.as_bytes(), wanted)
            .into_iter()
            .map(|end| end.map(|sent| sent.id).map_err(|fault| fault.outcome))
            .collect()
    }

    #[test]
    fn each_message_of_a_batch_has_its_own_end() {
        let body = b"<Messages><Message><MessageId>1</MessageId></Message><Message><ErrorCode>InternalError</ErrorCode>\
            <ErrorMessage>x</ErrorMessage></Message></Messages>";
        let ends = ends(StatusCode::CREATED, body, 3);
        assert_eq!(ends[0], sent("1"));
        assert_eq!(ends[1], Err(Fault::retry("the broker failed (InternalError)")));
        assert_eq!(ends[2].as_ref().unwrap_err().outcome, Outcome::Unknown);
    }

    #[test]
    fn errors_are_told_apart() {
        for (status, code, part) in [
            (404, "QueueNotExist", "does not exist"),
            (403, "SignatureDoesNotMatch", "the secret"),
            (403, "InvalidAccessKeyId", "is not known"),
            (408, "TimeExpired", "clock"),
            (400, "MalformedXML", "the broker refused it (MalformedXML): why"),
        ] {
            let body = format!("<Error xmlns='x'><Code>{code}</Code><Message>why</Message></Error>");
            let ends = ends(StatusCode::from_u16(status).unwrap(), body.as_bytes(), 2);
            assert_eq!(ends.len(), 2);
            let fault = ends[1].as_ref().unwrap_err();
            assert_eq!(fault.outcome, Outcome::Retry);
            assert!(fault.reason.contains(part), "{}", fault.reason);
        }
    }

    #[test]
    fn what_is_not_smq_is_no_success() {
        assert_eq!(outcomes(200, "<html></html>", 1), [Err(Outcome::Unknown)]);
        assert_eq!(outcomes(201, "", 1), [Err(Outcome::Unknown)]);
        assert_eq!(outcomes(502, "bad gateway", 2), [Err(Outcome::Retry), Err(Outcome::Retry)]);
        assert_eq!(outcomes(201, "<Message/>", 1), [Err(Outcome::Unknown)]);
        assert_eq!(outcomes(201, "<Message><MessageId>7</MessageId></Message>", 1), [Ok("7".to_owned())]);
    }
}
