//! Names, by a name server of our own: what a name resolves to is judged as a whole, and nothing that was refused is
//! dialled.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hookweir_delivery::{EgressPolicy, HttpClient};
use hookweir_model::Outcome::{Blocked, Delivered, Retry};

use crate::harness::{BlackHole, LONG, Receiver, SHORT, Script, ending, loopback, send_to, target};

/// What the name server says of a name.
#[derive(Debug, Clone)]
enum Zone {
    /// Addresses of both families; the question picks.
    Has(&'static [&'static str]),
    /// The first list for the first question of each family, the second one after that.
    Turns(&'static [&'static str], &'static [&'static str]),
    /// Aliases, each for the next, and the addresses of the last one.
    Alias(&'static [&'static str], &'static [&'static str]),
    Fails(ResponseCode),
    /// "Ask again over TCP", where nobody listens.
    Truncated,
    Silent,
}

type Questions = Arc<Mutex<Vec<(String, RecordType)>>>;

struct NameServer {
    address: SocketAddr,
    questions: Questions,
}

impl NameServer {
    /// Runs on a thread of its own, so that a busy runtime does not look like a lost packet. The thread ends with
    /// the process.
    fn start<const N: usize>(zones: [(&'static str, Zone); N]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let questions = Questions::default();
        let zones: HashMap<_, _> = zones.into_iter().collect();
        let asked = Arc::clone(&questions);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                if let Some(answer) = answer(&question, &zones, &asked) {
                    socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
                }
            }
        });
        Self { address, questions }
    }

    fn count(&self, name: &str) -> usize {
        self.questions.lock().unwrap().iter().filter(|(asked, _)| asked == name).count()
    }

    /// A client that asks this server.
    fn client(&self, allow: &[&str]) -> HttpClient {
        HttpClient::new(EgressPolicy {
            allow_cidrs: allow.iter().map(|range| range.parse().unwrap()).collect(),
            nameservers: vec![self.address],
            ..loopback()
        })
        .unwrap()
    }
}

fn answer(question: &Message, zones: &HashMap<&str, Zone>, asked: &Questions) -> Option<Message> {
    let query = question.queries.first()?;
    let name = query.name().to_ascii().trim_end_matches('.').to_owned();
    let kind = query.query_type();
    let before = {
        let mut asked = asked.lock().unwrap();
        asked.push((name.clone(), kind));
        asked.iter().filter(|earlier| **earlier == (name.clone(), kind)).count() - 1
    };
    let mut message = question.clone().into_response();
    let mut answers = Vec::new();
    let mut push = |name: &Name, addresses: &[&str]| {
        for address in addresses {
            let data = match address.parse::<IpAddr>().unwrap() {
                IpAddr::V4(ip) if kind == RecordType::A => RData::A(ip.into()),
                IpAddr::V6(ip) if kind == RecordType::AAAA => RData::AAAA(ip.into()),
                _ => continue,
            };
            answers.push(Record::from_rdata(name.clone(), 0, data));
        }
    };
    match zones.get(name.as_str()) {
        Some(Zone::Has(addresses)) => push(query.name(), addresses),
        Some(Zone::Turns(first, _)) if before == 0 => push(query.name(), first),
        Some(Zone::Turns(_, after)) => push(query.name(), after),
        Some(Zone::Alias(aliases, addresses)) => {
            let mut from = query.name().clone();
            let mut chain = Vec::new();
            for alias in *aliases {
                let to = Name::from_ascii(alias).unwrap();
                chain.push(Record::from_rdata(from, 0, RData::CNAME(CNAME(to.clone()))));
                from = to;
            }
            push(&from, addresses);
            answers.splice(0..0, chain);
        }
        Some(Zone::Fails(code)) => message.metadata.response_code = *code,
        Some(Zone::Truncated) => message.metadata.truncation = true,
        Some(Zone::Silent) => return None,
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    message.add_answers(answers);
    Some(message)
}

async fn ok() -> Receiver {
    Receiver::start(Script::answer("200 OK", "", "")).await
}

fn url(name: &str, receiver: &Receiver) -> String {
    format!("http://{name}:{}/", receiver.address.port())
}

#[tokio::test]
async fn a_name_is_asked_for_once_a_family_and_its_answer_is_dialled() {
    let receiver = ok().await;
    // A second look-up within the attempt would get the address that is forbidden.
    let server = NameServer::start([("hooks.example.com", Zone::Turns(&["127.0.0.1"], &["10.0.0.1"]))]);
    let report =
        send_to(&server.client(&["127.0.0.0/8"]), &target(&url("hooks.example.com", &receiver), LONG)).await;
    assert_eq!(ending(&report), (Delivered, None));
    assert_eq!(server.count("hooks.example.com"), 2);
    let host = format!("host: hooks.example.com:{}\r\n", receiver.address.port());
    assert!(receiver.requests()[0].contains(&host));
}

#[tokio::test]
async fn private_answers_are_blocked_and_nothing_is_dialled() {
    let receiver = ok().await;
    let server = NameServer::start([
        ("a.example.com", Zone::Has(&["127.0.0.1"])),
        ("ten.example.com", Zone::Has(&["10.0.0.1"])),
        ("metadata.example.com", Zone::Has(&["169.254.169.254"])),
        ("ula.example.com", Zone::Has(&["fd00::1"])),
        ("loopback6.example.com", Zone::Has(&["::1"])),
        ("mapped.example.com", Zone::Has(&["::ffff:127.0.0.1"])),
        ("siit.example.com", Zone::Has(&["::ffff:0:127.0.0.1"])),
        ("nat64.example.com", Zone::Has(&["64:ff9b::127.0.0.1"])),
        ("mixed.example.com", Zone::Has(&["93.184.215.14", "127.0.0.1"])),
        ("mixed2.example.com", Zone::Has(&["127.0.0.1", "93.184.215.14"])),
        ("families.example.com", Zone::Has(&["93.184.215.14", "::1"])),
        ("alias.example.com", Zone::Alias(&["one.example.net.", "two.example.net."], &["127.0.0.1"])),
    ]);
    let client = server.client(&[]);
    for name in "a ten metadata ula loopback6 mapped siit nat64 mixed mixed2 families alias".split(' ') {
        let name = format!("{name}.example.com");
        let report = send_to(&client, &target(&url(&name, &receiver), LONG)).await;
        assert_eq!(ending(&report), (Blocked, Some("blocked address")), "{name}");
        assert_eq!(report.answer, None, "{name}");
        assert_eq!(server.count(&name), 2, "{name}");
    }
    assert_eq!(receiver.connections(), 0);
    // With loopback allowed the same name reaches the same receiver, so that silence above means something.
    let report =
        send_to(&server.client(&["127.0.0.0/8"]), &target(&url("a.example.com", &receiver), LONG)).await;
    assert_eq!(ending(&report), (Delivered, None));
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_name_that_is_rebound_between_attempts_is_blocked() {
    let receiver = ok().await;
    let server = NameServer::start([("hooks.example.com", Zone::Turns(&["127.0.0.1"], &["10.0.0.1"]))]);
    let client = server.client(&["127.0.0.0/8"]);
    let target = target(&url("hooks.example.com", &receiver), LONG);
    assert_eq!(ending(&send_to(&client, &target).await), (Delivered, None));
    assert_eq!(ending(&send_to(&client, &target).await), (Blocked, Some("blocked address")));
    assert_eq!(server.count("hooks.example.com"), 4);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn another_policy_uses_no_connection_of_the_old_one() {
    let receiver =
        Receiver::start(Script::Serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())).await;
    let server = NameServer::start([("hooks.example.com", Zone::Has(&["127.0.0.1"]))]);
    let target = target(&url("hooks.example.com", &receiver), LONG);
    let before = server.client(&["127.0.0.0/8"]);
    assert_eq!(ending(&send_to(&before, &target).await), (Delivered, None));
    assert_eq!(ending(&send_to(&server.client(&[]), &target).await), (Blocked, Some("blocked address")));
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn names_without_an_address() {
    let receiver = ok().await;
    let server = NameServer::start([
        ("empty.example.com", Zone::Has(&[])),
        ("broken.example.com", Zone::Fails(ResponseCode::ServFail)),
        ("refused.example.com", Zone::Fails(ResponseCode::Refused)),
        ("loop.example.com", Zone::Alias(&["loop.example.com."], &[])),
        ("truncated.example.com", Zone::Truncated),
        ("silent.example.com", Zone::Silent),
        ("alias.example.com", Zone::Alias(&["one.example.net."], &["127.0.0.1"])),
    ]);
    let client = server.client(&["127.0.0.0/8"]);
    for (name, outcome, reason) in [
        ("missing", Retry, Some("the name does not exist")),
        ("empty", Retry, Some("the name has no address")),
        ("broken", Retry, Some("the name could not be looked up")),
        ("refused", Retry, Some("the name could not be looked up")),
        ("loop", Retry, Some("the name has no address")),
        ("truncated", Retry, Some("the name could not be looked up")),
        (
            "silent",
            Retry,
            Some("no name server answered within 2 s, of those that `nameservers` in [egress] names"),
        ),
        ("alias", Delivered, None),
    ] {
        let name = format!("{name}.example.com");
        let report = send_to(&client, &target(&url(&name, &receiver), LONG)).await;
        assert_eq!(ending(&report), (outcome, reason), "{name}");
        let asked = server.count(&name);
        // The resolver follows eight aliases, for each of the two families.
        assert!((2..=16).contains(&asked), "{name} was asked for {asked} times");
    }
    assert_eq!(server.count("missing.example.com"), 2);
    assert_eq!(receiver.connections(), 1);
}

/// Of the addresses of a name those that are silent share the time with the one that answers, whatever their order and
/// number; a name of which none answers tells operators what was tried.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_a_name_share_the_time() {
    let receiver = Receiver::at("127.0.0.3:0".parse().unwrap(), Script::answer("200 OK", "", "")).await;
    let port = receiver.address.port();
    let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);
    let _holes = (BlackHole::at(at("127.0.0.2")).await, BlackHole::at(at("127.0.0.4")).await);
    let server = NameServer::start([
        ("one.example.com", Zone::Has(&["127.0.0.2", "127.0.0.3"])),
        ("two.example.com", Zone::Has(&["127.0.0.2", "127.0.0.4", "127.0.0.3"])),
        ("families.example.com", Zone::Has(&["::1", "127.0.0.2", "127.0.0.3"])),
        ("refusing.example.com", Zone::Has(&["127.0.0.5", "127.0.0.3"])),
        ("none.example.com", Zone::Has(&["127.0.0.2", "127.0.0.5", "127.0.0.4"])),
        ("refused.example.com", Zone::Has(&["127.0.0.5", "127.0.0.6"])),
    ]);
    let client = server.client(&["127.0.0.0/8", "::1/128"]);
    for name in ["one", "two", "families", "refusing"] {
        let mut target = target(&url(&format!("{name}.example.com"), &receiver), LONG);
        target.connect_timeout = LONG;
        let report = send_to(&client, &target).await;
        assert_eq!(ending(&report), (Delivered, None), "{name}");
    }
    let mut none = target(&url("none.example.com", &receiver), LONG);
    none.connect_timeout = SHORT * 5;
    let report = send_to(&client, &none).await;
    assert_eq!(ending(&report), (Retry, Some("no connection within 1500 ms")));
    let mut tried = report.exchange.unwrap().tried;
    tried.sort();
    let lines = ["2:PORT: no answer", "4:PORT: no answer", "5:PORT: refused"];
    assert_eq!(tried, lines.map(|line| format!("127.0.0.{line}").replace("PORT", &port.to_string())));
    let refused = send_to(&client, &target(&url("refused.example.com", &receiver), LONG)).await;
    assert_eq!(ending(&refused), (Retry, Some("connection refused")));
    assert_eq!(refused.exchange.unwrap().tried.len(), 2);
}

/// A name's form says nothing of its address: one without a dot is looked for in the hosts file, and at name servers where
/// the policy says so. What comes is judged as ever.
#[tokio::test]
async fn names_without_a_dot_are_asked_for_where_the_policy_says_so() {
    let receiver = ok().await;
    let server = NameServer::start([("receiver", Zone::Has(&["127.0.0.1"]))]);
    let target = target(&url("receiver", &receiver), LONG);
    let report = send_to(&server.client(&["127.0.0.0/8"]), &target).await;
    assert_eq!(report.outcome, Retry);
    assert!(report.reason.unwrap().contains("`local_names = true` in [egress]"));
    assert_eq!(server.count("receiver"), 0);
    let client = |allow: &[&str]| {
        let allow_cidrs = allow.iter().map(|range| range.parse().unwrap()).collect();
        let nameservers = vec![server.address];
        HttpClient::new(EgressPolicy { allow_cidrs, nameservers, local_names: true, ..loopback() }).unwrap()
    };
    assert_eq!(ending(&send_to(&client(&["127.0.0.0/8"]), &target).await), (Delivered, None));
    assert_eq!(ending(&send_to(&client(&[]), &target).await), (Blocked, Some("blocked address")));
    assert_eq!(receiver.connections(), 1);
}

/// Sixteen addresses are used at most; the ones after them count all the same.
#[tokio::test]
async fn every_address_of_a_long_answer_is_judged() {
    const GOOD: &[&str] = &["127.0.0.1"; 20];
    const BAD: &[&str] = &[
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
        "10.0.0.1",
    ];
    let receiver = ok().await;
    let server =
        NameServer::start([("good.example.com", Zone::Has(GOOD)), ("bad.example.com", Zone::Has(BAD))]);
    let client = server.client(&["127.0.0.0/8"]);
    let report = send_to(&client, &target(&url("bad.example.com", &receiver), LONG)).await;
    assert_eq!(ending(&report), (Blocked, Some("blocked address")));
    assert_eq!(receiver.connections(), 0);
    let report = send_to(&client, &target(&url("good.example.com", &receiver), LONG)).await;
    assert_eq!(ending(&report), (Delivered, None));
}
