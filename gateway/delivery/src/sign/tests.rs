//! Vectors from the specifications, and a second implementation as the judge.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PRIVATE: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const TOLERANCE: Duration = Duration::from_secs(300);

fn key(secret: &str) -> Key {
    Key::parse(secret).unwrap()
}

fn signed(id: &str, timestamp: i64, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(WEBHOOK_ID, HeaderValue::from_str(id).unwrap());
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
    headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(signature).unwrap());
    headers
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

#[test]
fn standard_webhooks_vectors() {
    for (secret, verifying, id, timestamp, body, wanted) in [
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (
            SECRET,
            SECRET,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            PRIVATE,
            PUBLIC,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
        ),
    ] {
        assert_eq!(sign_standard(&[key(secret)], id, timestamp, body.as_bytes()), wanted);
        let verifying = VerifyingKey::parse(verifying).unwrap();
        let headers = signed(id, timestamp, wanted);
        assert_eq!(
            verify_standard(&[verifying], &headers, body.as_bytes(), at(timestamp), TOLERANCE),
            Ok(())
        );
    }
}

#[test]
fn ims_figures() {
    const URL: &str = "https://www.example.com/your/callback";
    for (secret, wanted) in [
        ("test123", "c72b60894140fa98920f1279219b7ed4"),
        ("Test123", "c587b80d2d0ede300e8967937da7219b"),
        ("TestKey001", "9527c91bc59e190322db051b8af1b212"),
    ] {
        let secret = SecretString::from(secret);
        assert_eq!(sign_ims(URL, 1_519_375_990, &secret), wanted);

        let mut headers = HeaderMap::new();
        headers.insert(IMS_TIMESTAMP, HeaderValue::from(1_519_375_990));
        headers.insert(IMS_SIGNATURE, HeaderValue::from_str(wanted).unwrap());
        let now = at(1_519_375_990 + 300);
        let other = SecretString::from("other");
        assert_eq!(verify_ims(&[other.clone(), secret.clone()], URL, &headers, now, TOLERANCE), Ok(()));
        assert_eq!(
            verify_ims(&[other], URL, &headers, now, TOLERANCE),
            Err(VerifyFault::NoMatch),
            "another key"
        );
        assert_eq!(
            verify_ims(std::slice::from_ref(&secret), &format!("{URL}/"), &headers, now, TOLERANCE),
            Err(VerifyFault::NoMatch),
            "another URL"
        );
        let late = at(1_519_375_990 + 301);
        assert_eq!(
            verify_ims(&[secret], URL, &headers, late, TOLERANCE),
            Err(VerifyFault::TooOld(TOLERANCE))
        );
    }
}

#[test]
fn every_key_signs_and_any_of_them_verifies() {
    let new = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let signature = sign_standard(&[key(new), key(SECRET), key(PRIVATE)], "evt_1", 1000, b"body");
    let versions: Vec<&str> =
        signature.split(' ').filter_map(|entry| Some(entry.split_once(',')?.0)).collect();
    assert_eq!(versions, ["v1", "v1", "v1a"]);
    let headers = signed("evt_1", 1000, &signature);
    for one in [new, SECRET, PRIVATE, PUBLIC] {
        let one = VerifyingKey::parse(one).unwrap();
        assert_eq!(verify_standard(&[one], &headers, b"body", at(1000), TOLERANCE), Ok(()));
    }
    assert_eq!(verify_standard(&[], &headers, b"body", at(1000), TOLERANCE), Err(VerifyFault::NoMatch));
}

#[test]
fn what_does_not_verify_says_why() {
    let keys = [VerifyingKey::parse(SECRET).unwrap()];
    let good = sign_standard(&[key(SECRET)], "evt_1", 1000, b"body");
    let bare = good.strip_prefix("v1,").unwrap();
    let verify = |headers: &HeaderMap, now| verify_standard(&keys, headers, b"body", at(now), TOLERANCE);
    for (signature, wanted) in [
        (good.clone(), Ok(())),
        (format!("v2,{bare} {good}"), Ok(())),
        (format!("v1,AAAA v1,!!! nonsense {good}"), Ok(())),
        (format!("v1a,{bare}"), Err(VerifyFault::NoMatch)),
        (format!("v2,{bare}"), Err(VerifyFault::NoMatch)),
        (bare.to_owned(), Err(VerifyFault::NoMatch)),
        (String::new(), Err(VerifyFault::NoMatch)),
        ("v1,".to_owned(), Err(VerifyFault::NoMatch)),
    ] {
        assert_eq!(verify(&signed("evt_1", 1000, &signature), 1000), wanted, "{signature}");
    }
    let headers = signed("evt_1", 1000, &good);
    for (now, wanted) in [
        (700, Ok(())),
        (1300, Ok(())),
        (699, Err(VerifyFault::TooNew(TOLERANCE))),
        (1301, Err(VerifyFault::TooOld(TOLERANCE))),
    ] {
        assert_eq!(verify(&headers, now), wanted, "at {now}");
    }
    for name in [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE] {
        let mut headers = headers.clone();
        headers.insert(&name, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(verify(&headers, 1000), Err(VerifyFault::NotText(name.clone())));
        headers.remove(&name);
        assert_eq!(verify(&headers, 1000), Err(VerifyFault::Missing(name)));
    }
    for bad in ["", "soon", "1e3", "1000.5", "99999999999999999999"] {
        let mut headers = headers.clone();
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from_str(bad).unwrap());
        assert_eq!(verify(&headers, 1000), Err(VerifyFault::NotSeconds(WEBHOOK_TIMESTAMP)), "{bad}");
    }
    for far in [i64::MIN, i64::MAX] {
        assert!(verify(&signed("evt_1", far, &good), 1000).is_err());
    }
}

/// The official crate judges our signatures, and we judge its.
#[test]
fn a_second_implementation_agrees() {
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let now = Timestamp::now();
    for round in 0..1000 {
        let raw: Vec<u8> = (0..random.usize(24..=64)).map(|_| random.u8(..)).collect();
        let secret = format!("whsec_{}", STANDARD.encode(&raw));
        // The crate takes text alone, so the bodies are text, with characters of one to four bytes.
        let body: String = (0..random.usize(0..200)).map(|_| random.char(..)).collect();
        let id = format!("evt_{round}");
        let signature = sign_standard(&[key(&secret)], &id, now.as_seconds(), body.as_bytes());
        let headers = signed(&id, now.as_seconds(), &signature);

        let theirs = standardwebhooks::Webhook::new(&secret).unwrap();
        let ours = [VerifyingKey::parse(&secret).unwrap()];
        assert_eq!(theirs.sign(&id, now.as_seconds(), body.as_bytes()).unwrap(), signature);
        assert!(theirs.verify(body.as_bytes(), &headers).is_ok());
        assert_eq!(verify_standard(&ours, &headers, body.as_bytes(), now, TOLERANCE), Ok(()));

        let mut flipped = body.clone().into_bytes();
        if let Some(index) = (!flipped.is_empty()).then(|| random.usize(..flipped.len())) {
            flipped[index] ^= 1 << random.u8(..8);
            assert!(theirs.verify(&flipped, &headers).is_err());
            assert_eq!(verify_standard(&ours, &headers, &flipped, now, TOLERANCE), Err(VerifyFault::NoMatch));
        }
        let other = signed(&format!("evt_{round}x"), now.as_seconds(), &signature);
        assert!(theirs.verify(body.as_bytes(), &other).is_err());
        assert!(verify_standard(&ours, &other, body.as_bytes(), now, TOLERANCE).is_err());
    }
}

#[test]
fn bodies_that_are_not_text_are_signed_as_they_are() {
    let body: Vec<u8> = (0..=255).collect();
    let signature = sign_standard(&[key(SECRET), key(PRIVATE)], "evt_1", 1000, &body);
    let keys = [VerifyingKey::parse(PUBLIC).unwrap()];
    let headers = signed("evt_1", 1000, &signature);
    assert_eq!(verify_standard(&keys, &headers, &body, at(1000), TOLERANCE), Ok(()));
    for index in 0..body.len() {
        let mut flipped = body.clone();
        flipped[index] ^= 0x80;
        assert_eq!(
            verify_standard(&keys, &headers, &flipped, at(1000), TOLERANCE),
            Err(VerifyFault::NoMatch)
        );
    }
}

#[test]
fn bad_secrets_are_named_and_never_repeated() {
    let bytes = |prefix: &str, count: usize| format!("{prefix}{}", STANDARD.encode(vec![7; count]));
    let mut swapped = STANDARD.decode(PRIVATE.strip_prefix("whsk_").unwrap()).unwrap();
    swapped[40] ^= 1;
    for (secret, wanted) in [
        (String::new(), KeyFault::Prefix),
        ("hunter2".to_owned(), KeyFault::Prefix),
        ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), KeyFault::Prefix),
        (PUBLIC.to_owned(), KeyFault::PublicCannotSign),
        ("whsec_hunter2!".to_owned(), KeyFault::NotBase64("whsec_")),
        (format!("{SECRET}\n"), KeyFault::NotBase64("whsec_")),
        ("whsk_hunter2!".to_owned(), KeyFault::NotBase64("whsk_")),
        ("whsec_".to_owned(), KeyFault::SymmetricLength(0)),
        (bytes("whsec_", 23), KeyFault::SymmetricLength(23)),
        (bytes("whsec_", 65), KeyFault::SymmetricLength(65)),
        (bytes("whsk_", 32), KeyFault::PrivateLength(32)),
        (format!("whsk_{}", STANDARD.encode(&swapped)), KeyFault::Halves),
    ] {
        let fault = Key::parse(&secret).unwrap_err();
        assert_eq!(fault, wanted, "{secret}");
        assert!(secret.len() < 12 || !fault.to_string().contains(&secret[6..]));
    }
    for (text, wanted) in [
        ("hunter2".to_owned(), KeyFault::VerifyingPrefix),
        (bytes("whpk_", 31), KeyFault::PublicLength(31)),
        (format!("whpk_{}", STANDARD.encode([2; 32])), KeyFault::NotAPoint),
        ("whpk_hunter2!".to_owned(), KeyFault::NotBase64("whpk_")),
    ] {
        assert_eq!(VerifyingKey::parse(&text).unwrap_err(), wanted, "{text}");
    }
    for count in [24, 64] {
        assert!(Key::parse(&bytes("whsec_", count)).is_ok());
    }
    let unpadded = bytes("whsec_", 25);
    assert!(Key::parse(unpadded.trim_end_matches('=')).is_ok());
}

#[test]
fn no_debug_form_shows_a_secret() {
    for (secret, wanted) in [(SECRET, "Key(whsec_***)"), (PRIVATE, "Key(whsk_***)")] {
        assert_eq!(format!("{:?}", key(secret)), wanted);
        assert!(format!("{:?}", key(secret).verifying()).ends_with("_***)"));
    }
}

#[test]
fn a_key_that_has_ended_signs_no_more() {
    let (body, now, new) = (b"{}", Instant::now(), key("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"));
    // What the wall clock said when it was read, and whether any time was left then.
    for (wall, is_left) in [(at(999), true), (at(1000), false), (at(1001), false)] {
        let old = key(SECRET).until(Some(End::new(at(1000 + 3600 * i64::from(is_left)), wall, now)));
        let signature = sign_standard(&[new.clone(), old.clone()], "evt_1", 1000, body);
        assert_eq!(signature.split(' ').count(), 1 + usize::from(is_left), "{wall}: {signature}");
        let headers = signed("evt_1", 1000, &signature);
        let verified = |key: &Key| verify_standard(&[key.verifying()], &headers, body, at(1000), TOLERANCE);
        assert_eq!(verified(&new), Ok(()));
        assert_eq!(verified(&old).is_ok(), is_left);
    }
}

#[test]
fn a_span_that_is_left_is_no_moment_of_the_wall_clock() {
    let (now, hour) = (Instant::now(), Duration::from_secs(3600));
    let end = End::new(at(3600), at(0), now);
    let old = key(SECRET).until(Some(end));
    for (passed, left) in
        [(Duration::ZERO, hour), (hour / 4, hour * 3 / 4), (hour, Duration::ZERO), (hour * 2, Duration::ZERO)]
    {
        assert_eq!(end.left(now + passed), left);
        assert_eq!(old.signs_at(now + passed), !left.is_zero(), "{passed:?}");
    }
    let far = End::new(at(i64::MAX / 1000), at(0), now);
    assert!(far.left(now) > hour, "later than any clock tells");
    // Read again after the wall clock was set forward by a day: the same line is the same end.
    let again = |text: &str, written| key(text).until(Some(End::new(at(written), at(86_400), now)));
    let before = [key(PRIVATE), old];
    assert_eq!(again(SECRET, 3600).end_among(&before), Some(end));
    for (text, written) in [(SECRET, 3601), (PRIVATE, 3600)] {
        let other = again(text, written);
        assert_eq!(other.end_among(&before), other.end(), "{text} {written}");
    }
    assert_eq!(key(SECRET).end_among(&before), None, "it has no end any more");
}

#[test]
fn a_key_is_followed_by_one_of_its_kind() {
    for (secret, prefix, public) in [(SECRET, "whsec_", false), (PRIVATE, "whsk_", true)] {
        let made = key(secret).algorithm().secret([7; 32]);
        let text = made.secret.expose_secret();
        assert!(text.starts_with(prefix), "{secret}");
        assert_eq!(made.public.is_some(), public);
        let signature = sign_standard(&[key(text)], "evt_1", 1000, b"{}");
        let verifying = VerifyingKey::parse(made.public.as_deref().unwrap_or(text)).unwrap();
        let headers = signed("evt_1", 1000, &signature);
        assert_eq!(verify_standard(&[verifying], &headers, b"{}", at(1000), TOLERANCE), Ok(()));
    }
}
