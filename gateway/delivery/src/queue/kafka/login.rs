//! Saying who we are: SASL, in the mechanisms that show a password.

use std::io::Cursor;
use std::sync::Arc;

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechname::Mechname;
use rsasl::prelude::{SASLClient, Session, SessionError, State};
use rsasl::property::{AuthId, Password};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Fault, KafkaLogin, SaslMechanism};

/// Rounds of hashing that a broker may ask of us. Kafka asks for 4096; more than this would be an attack on our processor.
const MOST_ROUNDS: u32 = 100_000;

impl SaslMechanism {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A login under way.
pub(super) struct Login {
    session: Session,
    is_done: bool,
}

/// What the library asks for.
struct Credentials {
    user: SecretString,
    password: SecretString,
}

impl SessionCallback for Credentials {
    fn callback(
        &self,
        _session: &SessionData,
        _context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request
            .satisfy::<AuthId>(self.user.expose_secret())?
            .satisfy::<Password>(self.password.expose_secret().as_bytes())?;
        Ok(())
    }
}

impl Login {
    pub(super) fn new(login: &KafkaLogin) -> Result<Self, Fault> {
        let credentials = Credentials { user: login.user.clone(), password: login.password.clone() };
        let config = SASLConfig::builder().with_defaults().with_callback(credentials);
        let name = Mechname::parse(login.mechanism.name().as_bytes());
        let session = config
            .ok()
            .zip(name.ok())
            .and_then(|(config, name)| SASLClient::new(Arc::clone(&config)).start_suggested(&[name]).ok());
        session.map(|session| Self { session, is_done: false }).ok_or_else(unsayable)
    }

    /// What to say next, after what was heard; nothing when the login is done.
    pub(super) fn step(&mut self, heard: Option<&[u8]>) -> Result<Option<Vec<u8>>, Fault> {
        if self.is_done {
            return Ok(None);
        }
        if heard.and_then(rounds).is_some_and(|rounds| rounds > MOST_ROUNDS) {
            return Err(Fault::retry(format!(
                "the broker asks for more than {MOST_ROUNDS} rounds of hashing"
            )));
        }
        let mut said = Cursor::new(Vec::new());
        let state = self.session.step(heard, &mut said).map_err(|_| {
            Fault::retry(
                "the broker did not show that it knows the password, or the login can't be made with it",
            )
        })?;
        let has_more = match state {
            State::Running => true,
            State::Finished(sent) => {
                self.is_done = true;
                sent == rsasl::prelude::MessageSent::Yes
            }
        };
        Ok(has_more.then(|| said.into_inner()))
    }
}

fn unsayable() -> Fault {
    Fault::retry("the login can't be made with these credentials")
}

/// The rounds that a challenge of SCRAM asks for.
fn rounds(challenge: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(challenge).ok()?;
    let digits = text.split(',').find_map(|part| part.strip_prefix("i="))?;
    // What is too long for a number is too many.
    Some(digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(mechanism: SaslMechanism) -> Login {
        let (user, password) = (SecretString::from("gateway"), SecretString::from("secret"));
        Login::new(&KafkaLogin { mechanism, user, password }).unwrap()
    }

    #[test]
    fn a_plain_login_says_all_at_once() {
        let mut plain = login(SaslMechanism::Plain);
        assert_eq!(plain.step(None).unwrap().as_deref(), Some(&b"\0gateway\0secret"[..]));
        assert_eq!(plain.step(Some(b"")).unwrap(), None);
    }

    #[test]
    fn a_broker_can_not_make_us_hash_for_ever() {
        for (rounds, part) in
            [("4294967295", "rounds"), ("99999999999999999999", "rounds"), ("100001", "rounds")]
        {
            let mut scram = login(SaslMechanism::ScramSha512);
            let first = String::from_utf8(scram.step(None).unwrap().unwrap()).unwrap();
            let nonce = first.split_once("r=").unwrap().1;
            let fault = scram.step(Some(format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i={rounds}").as_bytes()));
            let reason = fault.unwrap_err().reason;
            assert!(reason.contains(part), "{reason}");
        }
        let mut scram = login(SaslMechanism::ScramSha256);
        scram.step(None).unwrap();
        // Another nonce than ours.
        assert!(scram.step(Some(b"r=another,s=QSXCR+Q6sek8bf92,i=4096")).is_err());
    }
}
