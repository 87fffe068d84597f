//! The signature of Amazon's APIs, version 4, for a POST to the root of a host. Pure.

use hookweir_model::Digest;
use ring::hmac::{HMAC_SHA256, Key, sign};
use secrecy::{ExposeSecret as _, SecretString};

use crate::text::hex;

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// As in 20260131T120000Z.
    pub(super) date: &'a str,
    /// Names in lower case and in the order of the alphabet; `host` and `x-amz-date` are among them.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

impl Signed<'_> {
    /// The value of `Authorization`.
    pub(super) fn authorization(&self, id: &str, secret: &SecretString) -> String {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let request = format!("POST\n/\n\n{headers}\n{names}\n{}", Digest::of(self.body));
        let day = self.date.get(..8).unwrap_or(self.date);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", self.date, Digest::of(request.as_bytes()));
        let start = format!("AWS4{}", secret.expose_secret());
        let key = [day, self.region, self.service, "aws4_request"]
            .into_iter()
            .fold(start.into_bytes(), |key, part| mac(&key, part.as_bytes()));
        let signature = hex(&mac(&key, text.as_bytes()));
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What botocore 1.44.8 signs for the same request.
    #[test]
    fn the_figures_of_botocore() {
        let signed = Signed {
            region: "eu-west-1",
            service: "sqs",
            date: "20260131T120000Z",
            headers: &[
                ("content-type", "application/x-amz-json-1.0"),
                ("host", "sqs.eu-west-1.amazonaws.com"),
                ("x-amz-date", "20260131T120000Z"),
                ("x-amz-target", "AmazonSQS.SendMessage"),
            ],
            body: b"{\"QueueUrl\":\"https://sqs.eu-west-1.amazonaws.com/1/q\",\"MessageBody\":\"a\"}",
        };
        let secret = SecretString::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        assert_eq!(
            signed.authorization("AKIDEXAMPLE", &secret),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260131/eu-west-1/sqs/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=02621048993057bd152421449d1b5f5a692e5a4d2747da6494b3bb1da0ab4f32"
        );
        let more = [
            ("content-type", "application/x-amz-json-1.0"),
            ("host", "127.0.0.1:15000"),
            ("x-amz-date", "20260131T120000Z"),
            ("x-amz-security-token", "token+of/a=session"),
            ("x-amz-target", "AmazonSQS.SendMessage"),
        ];
        assert_eq!(
            Signed { headers: &more, body: b"", ..signed }.authorization("AKIDEXAMPLE", &secret),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260131/eu-west-1/sqs/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=81e5619a3fa43962cde9a2395e6762460631a7d0fea300144a6467f1c155cd08"
        );
    }
}
