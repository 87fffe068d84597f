//! The tables of URLs and addresses that the guard is held to.

use proptest::prelude::*;

use super::*;

/// The policy of a fresh installation.
fn strict() -> EgressPolicy {
    EgressPolicy { allow_ports: vec![443, 80, 8443, 8080], ..EgressPolicy::default() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What must become of a URL.
#[derive(Debug)]
enum Verdict {
    /// Refused when it is configured, by this rule.
    Refused(&'static str),
    /// Accepted when configured; refused when its name resolves to this address.
    AtDial(&'static str),
    /// Accepted, and this host is the one that is dialled.
    Dials(&'static str),
}
use Verdict::{AtDial, Dials, Refused};

fn rule(fault: &UrlFault) -> &'static str {
    match fault {
        UrlFault::TooLong(_) => "length",
        UrlFault::Blank => "blank",
        UrlFault::Malformed(_) => "malformed",
        UrlFault::Scheme(..) => "scheme",
        UrlFault::UserInfo => "user info",
        UrlFault::NoHost => "no host",
        UrlFault::Localhost(_) => "localhost",
        UrlFault::Name(_) => "name",
        UrlFault::PortZero => "port 0",
        UrlFault::Port { .. } => "port",
        UrlFault::Address(..) => "address",
        UrlFault::Gateway(_) => "gateway",
    }
}

/// URLs that parsers read in more than one way, or that name the inside. The numbers count the cases.
const URLS: &[(u8, &str, Verdict)] = &[
    // Loopback in every spelling that an address parser has ever taken.
    (1, "http://127.0.0.1/", Refused("address")),
    (2, "http://127.1/", Refused("address")),
    (3, "http://127.0.1/", Refused("address")),
    (4, "http://2130706433/", Refused("address")),
    (5, "http://0x7f000001/", Refused("address")),
    (6, "http://0x7f.1/", Refused("address")),
    (7, "http://0177.0.0.1/", Refused("address")),
    (8, "http://017700000001/", Refused("address")),
    (9, "http://0177.0x0.0.1/", Refused("address")),
    (10, "http://127.0.0.0x1/", Refused("address")),
    (11, "http://127.0.0.1./", Refused("address")),
    (12, "http://127%2e0%2e0%2e1/", Refused("address")),
    (13, "http://%31%32%37.0.0.1/", Refused("address")),
    (14, "http:127.0.0.1/", Refused("address")),
    (15, "http://１２７.０.０.１/", Refused("address")),
    (16, "http://①②⑦.⓪.⓪.①/", Refused("address")),
    (17, "http://127。0。0。1/", Refused("address")),
    (18, "http:///127.0.0.1/", Refused("address")),
    (19, r"http:\\127.0.0.1\", Refused("address")),
    (20, " http://127.0.0.1/", Refused("blank")),
    (21, "HTTP://127.0.0.1", Refused("address")),
    (22, "http://127.0.0.1:080/", Refused("address")),
    (23, "http://0/", Refused("address")),
    (24, "http://0x0/", Refused("address")),
    (25, "http://00.0.0.0/", Refused("address")),
    (26, "http://0x/", Refused("address")),
    (27, "http://127.0.0/", Refused("address")),
    // Metadata services.
    (28, "http://169.254.169.254/", Refused("address")),
    (29, "http://2852039166/", Refused("address")),
    (30, "http://0xa9fea9fe/", Refused("address")),
    (31, "http://0251.0376.0251.0376/", Refused("address")),
    (32, "http://[fd00:ec2::254]/", Refused("address")),
    // IPv6, and IPv4 within it.
    (33, "http://[::1]/", Refused("address")),
    (34, "http://[::]/", Refused("address")),
    (35, "http://[0:0:0:0:0:0:0:1]/", Refused("address")),
    (36, "http://[::ffff:127.0.0.1]/", Refused("address")),
    (37, "http://[::ffff:7f00:1]/", Refused("address")),
    (38, "http://[::127.0.0.1]/", Refused("address")),
    (39, "http://[::ffff:0:127.0.0.1]/", Refused("address")),
    (40, "http://[::5efe:7f00:1]/", Refused("address")),
    (41, "http://[64:ff9b::7f00:1]/", Refused("address")),
    (42, "http://[64:ff9b:1::a9fe:a9fe]/", Refused("address")),
    (43, "http://[2002:7f00:1::]/", Refused("address")),
    (44, "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/", Refused("address")),
    // Names of this machine, and of the inside.
    (45, "http://localhost/", Refused("localhost")),
    (46, "http://localhost./", Refused("localhost")),
    (47, "http://LOCALHOST/", Refused("localhost")),
    (48, "http://ⓛocalhost/", Refused("localhost")),
    (49, "http://loc%61lhost/", Refused("localhost")),
    (50, "http://127.0.0.1.nip.io/", AtDial("127.0.0.1")),
    (51, "http://metadata.google.internal/", AtDial("169.254.169.254")),
    (52, "http://kubernetes.default.svc/", AtDial("10.96.0.1")),
    (53, "http://instance-data/", AtDial("169.254.169.254")),
    // Credentials, shown and hidden.
    (54, "http://user:pass@example.com/", Refused("user info")),
    (55, "http://example.com@127.0.0.1/", Refused("user info")),
    (56, "http://127.0.0.1@example.com/", Refused("user info")),
    (57, "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/", Refused("blank")),
    (58, "http://@example.com/", Refused("user info")),
    // A backslash ends the host: what follows is path, and is not dialled.
    (59, r"http://example.com\@127.0.0.1/", Dials("example.com")),
    (60, r"http://127.1.1.1:80\@127.2.2.2:80/", Refused("address")),
    // What the parser refuses.
    (61, "http://[fe80::1%25eth0]/", Refused("malformed")),
    (62, "http://[127.0.0.1]/", Refused("malformed")),
    (63, "http://425.510.425.510/", Refused("malformed")),
    (64, "http://0o177.0.0.1/", Refused("malformed")),
    (65, "http://localhost%00.example.com/", Refused("malformed")),
    (66, "http://xn--a/", Refused("malformed")),
    (67, "http://example.com:0/", Refused("port 0")),
    (68, "http://example.com:22/", Refused("port")),
    (69, "http://example.com:65536/", Refused("malformed")),
    (70, "gopher://127.0.0.1:6379/_X", Refused("scheme")),
    (71, "file:///etc/passwd", Refused("scheme")),
    (72, "http+unix://%2Fvar%2Frun%2Fdocker.sock/", Refused("scheme")),
    // Controls: these must pass.
    (73, "https://example.com/a?b=%0d%0a", Dials("example.com")),
    (74, "https://xn--ls8h.example/", Dials("xn--ls8h.example")),
    (75, "https://8.8.8.8/", Dials("8.8.8.8")),
    (76, "https://example.com./hooks", Dials("example.com.")),
    (77, "https://[2606:4700:4700::1111]/", Dials("[2606:4700:4700::1111]")),
    (78, "https://hooks.example.com:8443/a@b?c=d@e#f@g", Dials("hooks.example.com")),
    (79, "https://münchen.example/", Dials("xn--mnchen-3ya.example")),
    // The rest of the rules.
    (80, "ftp://example.com/", Refused("scheme")),
    (81, "dict://example.com/", Refused("scheme")),
    (82, "data:text/plain,x", Refused("scheme")),
    (83, "jar:http://example.com/!/", Refused("scheme")),
    (84, "javascript:alert(1)", Refused("scheme")),
    (85, "unix:/var/run/docker.sock", Refused("scheme")),
    (86, "ws://example.com/", Refused("scheme")),
    (87, "", Refused("malformed")),
    (88, "example.com/hooks", Refused("malformed")),
    (89, "example.com:443/hooks", Refused("scheme")),
    (90, "http://", Refused("malformed")),
    (91, "http://a..example.com/", Refused("name")),
    (92, "http://exa\nmple.com/", Refused("blank")),
    (93, "http://app.localhost/", Refused("localhost")),
    (94, "http://168.63.129.16/", Refused("address")),
    (95, "http://100.100.100.200/", Refused("address")),
    (96, r"http:\\@example.com/", Refused("user info")),
];

#[test]
fn every_url_has_its_verdict() {
    for (number, text, wanted) in URLS {
        match (wanted, check_url(text, &strict())) {
            (Refused(wanted), Err(fault)) => assert_eq!(rule(&fault), *wanted, "{number}: {text}"),
            (AtDial(answer), Ok(_)) => {
                assert!(check_answer(&[ip(answer)], 80, &strict()).is_err(), "{number}: {text}");
            }
            (Dials(host), Ok(url)) => assert_eq!(url.host_str(), Some(*host), "{number}: {text}"),
            (wanted, got) => panic!("{number}: {text}: wanted {wanted:?}, got {got:?}"),
        }
    }
    let numbers: Vec<u8> = URLS.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=96).collect::<Vec<_>>());
}

#[test]
fn what_the_url_encodes_stays_encoded() {
    let url = check_url("https://example.com/a?b=%0d%0a", &strict()).unwrap();
    assert_eq!(url.as_str(), "https://example.com/a?b=%0d%0a");
}

#[test]
fn a_long_url_is_refused() {
    let with = |bytes: usize| format!("https://example.com/{}", "a".repeat(bytes - 20));
    assert!(check_url(&with(MAX_URL_BYTES), &strict()).is_ok());
    assert_eq!(check_url(&with(MAX_URL_BYTES + 1), &strict()), Err(UrlFault::TooLong(2049)));
    let name = format!("https://{}.example/", "a".repeat(64));
    assert!(check_url(&name, &strict()).is_err());
}

#[test]
fn faults_say_what_to_do() {
    for (text, wanted) in [
        (
            "http://127.0.0.1/",
            "127.0.0.1 is a loopback address: use a public address, or add a range that holds it to `allow_cidrs` in [egress]",
        ),
        (
            "http://localhost:8080/",
            "\"localhost\" is this machine: write 127.0.0.1, and allow it with `allow_cidrs = [\"127.0.0.0/8\"]` in [egress]",
        ),
        (
            "http://example.com:22/",
            "port 22 is not allowed: use one of 443, 80, 8443, 8080, or add it to `allow_ports` in [egress]",
        ),
        ("ftp://example.com/", "the scheme \"ftp\" can't be used: only https and http are"),
        (
            "example.com",
            "this is not a URL (relative URL without a base): write it as https://hooks.example.com/path",
        ),
    ] {
        assert_eq!(check_url(text, &strict()).unwrap_err().to_string(), wanted);
    }
}

#[test]
fn any_port_but_zero_passes_where_none_is_listed() {
    let any = EgressPolicy::default();
    assert!(check_url("http://example.com:22/", &any).is_ok());
    assert_eq!(check_url("http://example.com:0/", &any), Err(UrlFault::PortZero));
}

#[test]
fn a_range_opens_its_own_addresses_and_no_others() {
    let policy = EgressPolicy {
        allow_cidrs: vec!["127.0.0.0/8".parse().unwrap(), "fd12::/32".parse().unwrap()],
        ..EgressPolicy::default()
    };
    for allowed in ["127.0.0.1", "127.255.255.255", "fd12::7", "8.8.8.8"] {
        assert_eq!(check_ip(ip(allowed), 80, &policy), Ok(()), "{allowed}");
    }
    for refused in ["10.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "fd13::7", "0.0.0.0"] {
        assert!(check_ip(ip(refused), 80, &policy).is_err(), "{refused}");
    }
    assert!(check_url("http://127.0.0.1:9000/", &policy).is_ok());
    assert!(check_url("http://localhost/", &policy).is_err(), "a name of this machine stays refused");
}

#[test]
fn the_gateway_is_never_its_own_receiver() {
    let policy = EgressPolicy {
        allow_cidrs: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        own_addresses: vec!["127.0.0.1:9080".parse().unwrap(), "0.0.0.0:8080".parse().unwrap()],
        ..EgressPolicy::default()
    };
    for (address, port, wanted) in [
        ("127.0.0.1", 9080, Err(Forbidden::Gateway)),
        ("::ffff:127.0.0.1", 9080, Err(Forbidden::Gateway)),
        ("127.0.0.1", 9081, Ok(())),
        ("127.0.0.2", 9080, Ok(())),
        ("127.0.0.9", 8080, Err(Forbidden::Gateway)),
        ("::1", 8080, Err(Forbidden::Gateway)),
        ("0.0.0.0", 8080, Err(Forbidden::Gateway)),
        ("10.0.0.1", 8080, Ok(())),
    ] {
        assert_eq!(check_ip(ip(address), port, &policy), wanted, "{address} port {port}");
    }
    let fault = check_url("http://127.0.0.1:9080/", &policy).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "127.0.0.1:9080 is an address that the gateway itself listens on: the gateway can't be its own receiver"
    );
}

#[test]
fn one_forbidden_address_refuses_the_whole_answer() {
    for (answer, allowed) in [
        (&["93.184.215.14", "8.8.8.8"][..], true),
        (&["93.184.215.14", "10.0.0.1"], false),
        (&["10.0.0.1", "93.184.215.14"], false),
        (&["93.184.215.14", "::1"], false),
        (&["93.184.215.14", "2606:4700:4700::1111"], true),
    ] {
        let addresses: Vec<IpAddr> = answer.iter().map(|text| ip(text)).collect();
        assert_eq!(check_answer(&addresses, 443, &strict()).is_ok(), allowed, "{answer:?}");
    }
}

/// First and last address of each special range, the neighbours outside it, and addresses with a history.
const ADDRESSES: &[(&str, Option<Forbidden>)] = &[
    ("0.0.0.0", Some(Forbidden::Unspecified)),
    ("0.0.0.1", Some(Forbidden::Unspecified)),
    ("0.255.255.255", Some(Forbidden::Unspecified)),
    ("1.0.0.0", None),
    ("1.1.1.1", None),
    ("8.8.8.8", None),
    ("9.255.255.255", None),
    ("10.0.0.0", Some(Forbidden::Private)),
    ("10.96.0.1", Some(Forbidden::Private)),
    ("10.255.255.255", Some(Forbidden::Private)),
    ("11.0.0.0", None),
    ("93.184.215.14", None),
    ("100.63.255.255", None),
    ("100.64.0.0", Some(Forbidden::Private)),
    ("100.100.100.200", Some(Forbidden::Private)),
    ("100.127.255.255", Some(Forbidden::Private)),
    ("100.128.0.0", None),
    ("126.255.255.255", None),
    ("127.0.0.0", Some(Forbidden::Loopback)),
    ("127.0.0.1", Some(Forbidden::Loopback)),
    ("127.0.0.53", Some(Forbidden::Loopback)),
    ("127.255.255.255", Some(Forbidden::Loopback)),
    ("128.0.0.0", None),
    ("168.63.129.15", None),
    ("168.63.129.16", Some(Forbidden::Metadata)),
    ("168.63.129.17", None),
    ("169.253.255.255", None),
    ("169.254.0.0", Some(Forbidden::LinkLocal)),
    ("169.254.169.254", Some(Forbidden::LinkLocal)),
    ("169.254.170.2", Some(Forbidden::LinkLocal)),
    ("169.254.255.255", Some(Forbidden::LinkLocal)),
    ("169.255.0.0", None),
    ("172.15.255.255", None),
    ("172.16.0.0", Some(Forbidden::Private)),
    ("172.17.0.1", Some(Forbidden::Private)),
    ("172.31.255.255", Some(Forbidden::Private)),
    ("172.32.0.0", None),
    ("191.255.255.255", None),
    ("192.0.0.0", Some(Forbidden::Reserved)),
    ("192.0.0.8", Some(Forbidden::Reserved)),
    ("192.0.0.192", Some(Forbidden::Reserved)),
    ("192.0.0.255", Some(Forbidden::Reserved)),
    ("192.0.1.0", None),
    ("192.0.1.255", None),
    ("192.0.2.0", Some(Forbidden::Reserved)),
    ("192.0.2.255", Some(Forbidden::Reserved)),
    ("192.0.3.0", None),
    ("192.88.98.255", None),
    ("192.88.99.0", Some(Forbidden::Reserved)),
    ("192.88.99.1", Some(Forbidden::Reserved)),
    ("192.88.99.255", Some(Forbidden::Reserved)),
    ("192.88.100.0", None),
    ("192.167.255.255", None),
    ("192.168.0.0", Some(Forbidden::Private)),
    ("192.168.1.1", Some(Forbidden::Private)),
    ("192.168.255.255", Some(Forbidden::Private)),
    ("192.169.0.0", None),
    ("198.17.255.255", None),
    ("198.18.0.0", Some(Forbidden::Reserved)),
    ("198.19.255.255", Some(Forbidden::Reserved)),
    ("198.20.0.0", None),
    ("198.51.99.255", None),
    ("198.51.100.0", Some(Forbidden::Reserved)),
    ("198.51.100.255", Some(Forbidden::Reserved)),
    ("198.51.101.0", None),
    ("203.0.112.255", None),
    ("203.0.113.0", Some(Forbidden::Reserved)),
    ("203.0.113.255", Some(Forbidden::Reserved)),
    ("203.0.114.0", None),
    ("223.255.255.255", None),
    ("224.0.0.0", Some(Forbidden::Multicast)),
    ("224.0.0.251", Some(Forbidden::Multicast)),
    ("239.255.255.250", Some(Forbidden::Multicast)),
    ("239.255.255.255", Some(Forbidden::Multicast)),
    ("240.0.0.0", Some(Forbidden::Reserved)),
    ("254.254.254.254", Some(Forbidden::Reserved)),
    ("255.255.255.254", Some(Forbidden::Reserved)),
    ("255.255.255.255", Some(Forbidden::Reserved)),
    ("::", Some(Forbidden::Unspecified)),
    ("::1", Some(Forbidden::Loopback)),
    ("::2", Some(Forbidden::Embedded)),
    ("::8.8.8.8", Some(Forbidden::Embedded)),
    ("::127.0.0.1", Some(Forbidden::Embedded)),
    ("::10.0.0.1", Some(Forbidden::Embedded)),
    ("::ffff:0.0.0.0", Some(Forbidden::Embedded)),
    ("::ffff:127.0.0.1", Some(Forbidden::Embedded)),
    ("::ffff:10.0.0.1", Some(Forbidden::Embedded)),
    ("::ffff:169.254.169.254", Some(Forbidden::Embedded)),
    ("::ffff:8.8.8.8", Some(Forbidden::Embedded)),
    ("::ffff:0:127.0.0.1", Some(Forbidden::Embedded)),
    ("::ffff:0:8.8.8.8", Some(Forbidden::Embedded)),
    ("::5efe:127.0.0.1", Some(Forbidden::Embedded)),
    ("0:0:0:1::", Some(Forbidden::Embedded)),
    ("64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Embedded)),
    ("64:ff9b::0.0.0.0", Some(Forbidden::Unspecified)),
    ("64:ff9b::10.0.0.1", Some(Forbidden::Private)),
    ("64:ff9b::100.100.100.200", Some(Forbidden::Private)),
    ("64:ff9b::127.0.0.1", Some(Forbidden::Loopback)),
    ("64:ff9b::168.63.129.16", Some(Forbidden::Metadata)),
    ("64:ff9b::169.254.169.254", Some(Forbidden::LinkLocal)),
    ("64:ff9b::192.168.0.1", Some(Forbidden::Private)),
    ("64:ff9b::255.255.255.255", Some(Forbidden::Reserved)),
    ("64:ff9b::1.1.1.1", None),
    ("64:ff9b::8.8.8.8", None),
    ("64:ff9b:0:0:0:1::", Some(Forbidden::Embedded)),
    ("64:ff9b:1::", Some(Forbidden::Embedded)),
    ("64:ff9b:1::169.254.169.254", Some(Forbidden::Embedded)),
    ("64:ff9b:1:ffff:ffff:ffff:8.8.8.8", Some(Forbidden::Embedded)),
    ("64:ff9b:2::", Some(Forbidden::Embedded)),
    ("ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Embedded)),
    ("100::", Some(Forbidden::Reserved)),
    ("100::1", Some(Forbidden::Reserved)),
    ("100:0:0:1::", Some(Forbidden::Reserved)),
    ("200::", Some(Forbidden::Reserved)),
    ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Reserved)),
    ("2000::", None),
    ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    ("2001::", Some(Forbidden::Reserved)),
    ("2001:0:4136:e378:8000:63bf:80ff:fffe", Some(Forbidden::Reserved)),
    ("2001:1::1", Some(Forbidden::Reserved)),
    ("2001:2::", Some(Forbidden::Reserved)),
    ("2001:10::", Some(Forbidden::Reserved)),
    ("2001:20::", Some(Forbidden::Reserved)),
    ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Reserved)),
    ("2001:200::", None),
    ("2001:4860:4860::8888", None),
    ("2001:db7:ffff::", None),
    ("2001:db8::", Some(Forbidden::Reserved)),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Reserved)),
    ("2001:db9::", None),
    ("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    ("2002::", Some(Forbidden::Embedded)),
    ("2002:7f00:1::", Some(Forbidden::Embedded)),
    ("2002:808:808::1", Some(Forbidden::Embedded)),
    ("2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Embedded)),
    ("2003::", None),
    ("2400:cb00::1", None),
    ("2606:4700:4700::1111", None),
    ("2620:fe::fe", None),
    ("2a00:1450:4001:81b::200e", None),
    ("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    ("3fff::", Some(Forbidden::Reserved)),
    ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Reserved)),
    ("3fff:1000::", None),
    ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    ("4000::", Some(Forbidden::Reserved)),
    ("5f00::", Some(Forbidden::Reserved)),
    ("5f00:ffff::1", Some(Forbidden::Reserved)),
    ("8000::1", Some(Forbidden::Reserved)),
    ("fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Reserved)),
    ("fc00::", Some(Forbidden::Private)),
    ("fd00::1", Some(Forbidden::Private)),
    ("fd00:ec2::254", Some(Forbidden::Private)),
    ("fd20:ce::254", Some(Forbidden::Private)),
    ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Private)),
    ("fe00::", Some(Forbidden::Reserved)),
    ("fe80::", Some(Forbidden::LinkLocal)),
    ("fe80::1", Some(Forbidden::LinkLocal)),
    ("fe80::a9fe:a9fe", Some(Forbidden::LinkLocal)),
    ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::LinkLocal)),
    ("fec0::", Some(Forbidden::Private)),
    ("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Private)),
    ("ff00::", Some(Forbidden::Multicast)),
    ("ff02::1", Some(Forbidden::Multicast)),
    ("ff0e::1", Some(Forbidden::Multicast)),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Forbidden::Multicast)),
];

#[test]
fn every_address_has_its_class() {
    assert!(ADDRESSES.len() >= 150, "{}", ADDRESSES.len());
    for (text, wanted) in ADDRESSES {
        assert_eq!(check_ip(ip(text), 443, &strict()).err(), *wanted, "{text}");
    }
}

fn forbidden(bits: u128) -> bool {
    check_ip(IpAddr::V6(Ipv6Addr::from_bits(bits)), 443, &EgressPolicy::default()).is_err()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, ..ProptestConfig::default() })]

    /// All of ::/8 but the NAT64 prefix.
    #[test]
    fn embedded_forms_are_refused(low in 0_u128..1 << 120) {
        prop_assume!(low >> 32 != 0x64_ff9b_u128 << 64);
        prop_assert!(forbidden(low));
    }

    /// Small numbers are where the embedded IPv4 forms lie; a uniform draw never hits them.
    #[test]
    fn embedded_forms_are_refused_at_every_size(low in 0_u128..1 << 120, shift in 0_u32..120) {
        let low = low >> shift;
        prop_assume!(low >> 32 != 0x64_ff9b_u128 << 64);
        prop_assert!(forbidden(low));
    }

    #[test]
    fn six_to_four_is_refused(low in 0_u128..1 << 112) {
        prop_assert!(forbidden(0x2002_u128 << 112 | low));
    }

    #[test]
    fn local_nat64_is_refused(low in 0_u128..1 << 80) {
        prop_assert!(forbidden(0x64_ff9b_0001_u128 << 80 | low));
    }

    #[test]
    fn nat64_inherits_the_verdict_of_its_ipv4_address(v4: u32) {
        let plain = check_ip(IpAddr::V4(Ipv4Addr::from_bits(v4)), 443, &EgressPolicy::default());
        let translated = Ipv6Addr::from_bits(0x64_ff9b_u128 << 96 | u128::from(v4));
        prop_assert_eq!(plain, check_ip(IpAddr::V6(translated), 443, &EgressPolicy::default()));
    }

    #[test]
    fn what_lies_outside_global_unicast_is_refused(block in 2_u128..8, low in 0_u128..1 << 125) {
        prop_assert!(forbidden(block << 125 | low));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    /// Whatever is typed is refused or leaves a URL that the parser reads the same way again.
    #[test]
    fn any_text_has_a_verdict(text in "(http|https|ftp)?:?[/\\\\]{0,3}[\\PC@%\\[\\]:.#?0-9a-f\u{0}\n]{0,40}") {
        if let Ok(url) = check_url(&text, &strict()) {
            prop_assert_eq!(check_url(url.as_str(), &strict()), Ok(url.clone()));
            prop_assert!(url.username().is_empty() && url.password().is_none());
        }
    }
}

#[test]
fn what_goes_out_otherwise_than_it_was_written_is_told() {
    let path = "the path goes out in another form (`.` and `..` are resolved, `\\` is `/`, and what a URL can't hold is \
                percent-encoded)";
    for (text, told) in [
        ("https://hooks.example.com", &[][..]),
        ("https://hooks.example.com/", &[]),
        ("HTTPS://Hooks.Example.com/a/b?c=d%20e", &[]),
        ("https://hooks.example.com:8443/a", &[]),
        ("https://[2001:db8::1]:8443/a", &[]),
        ("https://[2001:db8::1]/a", &[]),
        ("https://hooks.example.com:443/a", &["the port 443 is the scheme's own and is left out"]),
        ("http://hooks.example.com:80", &["the port 80 is the scheme's own and is left out"]),
        ("https://hooks.example.com:08443/", &["the port goes out as 8443"]),
        ("https://hooks.example.com:/", &[]),
        ("https://b\u{fc}cher.example/", &["the host goes out as \"xn--bcher-kva.example\""]),
        ("https://127.1/", &["the host goes out as \"127.0.0.1\""]),
        ("https://[2001:DB8:0::1]/", &["the host goes out as \"[2001:db8::1]\""]),
        ("https://hooks.example.com/a/../b", &[path]),
        ("https://hooks.example.com/a/./b", &[path]),
        ("https://hooks.example.com/%2e%2e/b", &[path]),
        ("https://hooks.example.com\\a", &[path]),
        ("https://hooks.example.com/\u{fc}", &[path]),
        ("https://hooks.example.com/?a=\u{fc}", &["the query goes out percent-encoded"]),
        ("https://hooks.example.com/a#part", &["what stands behind `#` is not sent"]),
        (
            "https://b\u{fc}cher.example:443/a/../b#c",
            &[
                "the host goes out as \"xn--bcher-kva.example\"",
                "the port 443 is the scheme's own and is left out",
                path,
                "what stands behind `#` is not sent",
            ],
        ),
    ] {
        assert_eq!(differences(text, &Url::parse(text).unwrap()), told, "{text}");
    }
}
