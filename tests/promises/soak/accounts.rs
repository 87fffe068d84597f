//! The accounts of the soak: what the gateway says of each delivery, held against what was sent and seen.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::events::{Endpoint, NEWS, Tenant, Which};
use super::outside::{Came, Messages, Tally};
use super::world::{CONCURRENCY, STREAM, World};

/// Events of each tenant that are sent in the last life.
const LAST: u32 = 30;

/// In a life of which nothing is lost the metrics tell the same as the lists, to the event.
pub(super) async fn last_life_counts_itself(world: &mut World) {
    let before = counts(world).await;
    world.stop().await;
    let (new, accepted) = (world.ledger.as_new(), world.ledger.count());
    world.start().await;
    world.send(LAST);
    world.ledger.wait_for(accepted + 2 * LAST as usize).await;
    world.all_sent().await;
    world.all_ended().await;
    let (new, after) = ((world.ledger.as_new() - new) as u64, counts(world).await);
    assert_eq!(new, 2 * u64::from(LAST));
    assert_eq!(world.metric("hookweir_events_accepted_total").await, new);
    let mut pending = 0;
    for (key, count) in &after {
        let (endpoint, status) = key;
        if status == "pending" {
            pending += count;
            continue;
        }
        let name = format!(
            "hookweir_deliveries_total{{tenant=\"{}\",endpoint=\"{}\",status=\"{status}\"}}",
            endpoint.tenant(),
            endpoint.id()
        );
        assert_eq!(
            world.metric(&name).await,
            count - before.get(key).copied().unwrap_or(0),
            "{name}, {before:?}, {after:?}"
        );
    }
    assert_eq!(world.metric("hookweir_pending_deliveries").await, pending);
}

/// The gateway's counts of deliveries by endpoint and status.
async fn counts(world: &World) -> BTreeMap<(Endpoint, String), u64> {
    let mut counts = BTreeMap::new();
    for endpoint in Endpoint::ALL {
        let state = world.endpoint(endpoint).await;
        for (status, count) in state["deliveries"].as_object().expect("counts") {
            counts.insert((endpoint, status.clone()), count.as_u64().expect("a count"));
        }
    }
    counts
}

/// Each event that was accepted is there, or was removed when it had ended well; each of its deliveries is in the state that
/// it must be in, by what was seen outside; and the counts are those of the lists.
pub(super) async fn are_balanced(world: &mut World) {
    world.note_removed().await;
    let accepted = world.accepted();
    let (listed, news) = world.listed().await;
    let unknown: Vec<_> = listed.difference(&accepted).collect();
    assert!(unknown.is_empty(), "nobody was told that these were accepted: {unknown:?}");
    let missing = accepted.difference(&listed).count();
    let seen = Seen::gather(world, &accepted).await;
    let twice = seen.accepted_twice(world);
    let told = usize::try_from(world.accounts.removed + world.accounts.removed_untold).expect("a number");
    // What was accepted, removed, and then accepted once more, since its first answer was lost, is missing no more. The
    // gateway's own events are removed too. Of either, those of the moment before a kill were not told.
    let own = seen.messages.news.difference(&news).count();
    assert!(
        (missing..=missing + twice + own).contains(&told),
        "{told} were removed for room, {missing} are missing with {own} of the gateway's own, and {twice} were accepted twice"
    );

    let states = states(world).await;
    let mut sums = BTreeMap::<(Endpoint, String), u64>::new();
    for ((endpoint, event), status) in &states {
        assert!(listed.contains(event), "a delivery of {event:?}, which is not listed");
        assert!(event.endpoints().contains(endpoint), "{event:?} does not go to {endpoint:?}");
        *sums.entry((*endpoint, status.clone())).or_default() += 1;
    }
    for (key, count) in counts(world).await {
        assert_eq!(sums.get(&key).copied().unwrap_or(0), count, "{key:?}: listed, and counted");
    }
    for event in &accepted {
        for endpoint in event.endpoints() {
            let status = states.get(&(endpoint, *event)).map(String::as_str);
            assert_eq!(status.is_some(), listed.contains(event), "{event:?} at {endpoint:?}");
            seen.judge(endpoint, *event, status);
        }
    }
    report(world, &sums, [missing, twice, own], &seen);
}

/// The status of every delivery that the gateway lists.
async fn states(world: &World) -> HashMap<(Endpoint, Which), String> {
    let mut states = HashMap::new();
    for tenant in Tenant::ALL {
        for delivery in world.list(&format!("/v1/tenants/{}/deliveries", tenant.id())).await {
            if delivery["endpoint"] == NEWS {
                assert_eq!(delivery["status"], "delivered", "{delivery}");
                continue;
            }
            let text =
                |name: &str| delivery[name].as_str().unwrap_or_else(|| panic!("no {name} in {delivery}"));
            let key = (Endpoint::of(text("endpoint")), Which::of(text("event")));
            assert!(states.insert(key, text("status").to_owned()).is_none(), "twice: {delivery}");
        }
    }
    states
}

/// What was seen outside of the gateway.
struct Seen {
    http: Tally,
    messages: Messages,
    stream: HashMap<Which, usize>,
    cancelled: HashSet<(Endpoint, Which)>,
}

impl Seen {
    async fn gather(world: &mut World, accepted: &HashSet<Which>) -> Self {
        let mut http = Tally::new();
        for site in [&world.good, &world.fickle, &world.hook] {
            http.extend(site.tally().iter().map(|(key, seen)| (*key, *seen)));
        }
        let crowd = world.crowd.take().expect("the consumers");
        let wanted = accepted.iter().filter(|which| which.0 == Tenant::Acme).count();
        let mut stream = HashMap::new();
        for message in world.store.read(STREAM, wanted).await {
            *stream.entry(Which::of(&message.id)).or_default() += 1;
        }
        Self { http, messages: crowd.end().await, stream, cancelled: world.accounts.cancelled.clone() }
    }

    /// How many events the gateway has accepted a second time under their ids, when it had removed the first. A queue has a
    /// message for each.
    fn accepted_twice(&self, world: &World) -> usize {
        let again = world.ledger.sent_again();
        let twice = self.messages.sent.iter().filter(|(_, numbers)| numbers.len() > 1);
        let extra = twice.map(|(event, numbers)| {
            assert!(again.contains(&event.id()), "{event:?} is in its queue twice: {numbers:?}");
            numbers.len() - 1
        });
        extra.sum()
    }

    /// Whether a delivery may be in that state. An event that was removed has none: it had ended well.
    fn judge(&self, endpoint: Endpoint, event: Which, status: Option<&str>) {
        let came = self.http.get(&(endpoint, event)).copied().unwrap_or_default();
        let Came { requests, successes, gone } = came;
        let was_cancelled = self.cancelled.contains(&(endpoint, event));
        let is_right = match (endpoint, status) {
            (Endpoint::Good, Some("delivered") | None) => successes > 0,
            (Endpoint::Chosen, Some("filtered")) => event.is_dropped() && requests == 0,
            (Endpoint::Chosen, Some("delivered")) => !event.is_dropped() && successes > 0,
            (Endpoint::Chosen, None) => event.is_dropped() == (successes == 0),
            (Endpoint::Inbox | Endpoint::Mail, Some("delivered") | None) => {
                self.messages.sent.contains_key(&event)
            }
            (Endpoint::Stream, Some("delivered") | None) => self.stream.contains_key(&event),
            (Endpoint::Parked, Some("pending")) => requests == 0,
            (Endpoint::Fickle | Endpoint::Hook, Some("delivered")) => successes > 0,
            (Endpoint::Fickle | Endpoint::Hook, Some("exhausted")) => true,
            (Endpoint::Fickle, Some("cancelled")) => was_cancelled,
            (Endpoint::Fickle | Endpoint::Hook, Some("failed")) => gone > 0,
            (Endpoint::Fickle, None) => successes > 0 || was_cancelled || gone > 0,
            // Or it was given up, which nobody outside sees where connections are refused.
            (Endpoint::Hook, None) => true,
            _ => false,
        };
        assert!(is_right, "{event:?} at {endpoint:?} is {status:?}; {came:?}");
    }

    /// How many requests or messages of an endpoint were repetitions. Those of a queue are told apart by their numbers.
    fn repeated(&self, endpoint: Endpoint) -> usize {
        let http = self.http.iter().filter(|((of, _), _)| *of == endpoint);
        let http: usize = http.map(|(_, came)| came.requests as usize - 1).sum();
        let stream: usize = self.stream.values().map(|times| times - 1).sum();
        if endpoint == Endpoint::Stream { stream } else { http }
    }
}

fn report(
    world: &World,
    sums: &BTreeMap<(Endpoint, String), u64>,
    [missing, twice, own]: [usize; 3],
    seen: &Seen,
) {
    let ledger = &world.ledger;
    println!("ledger of a soak, seed {}", world.seed);
    let line = |name: &str, value: &dyn std::fmt::Display| println!("  {name:<28}{value}");
    for (fault, count) in &world.accounts.faults {
        line(fault, count);
    }
    line("longest stop", &format_args!("{:.1} s", world.accounts.longest_stop.as_secs_f64()));
    line("accepted", &ledger.count());
    line("requests without an answer", &ledger.unanswered());
    line("refused, by status", &format_args!("{:?}", ledger.refused()));
    line("removed for room", &format_args!("{missing}, and {own} of the gateway's own"));
    line(
        "accepted twice",
        &format_args!("{twice}, of which the first was removed before its answer was repeated"),
    );
    line("listed", &(ledger.count() - missing));
    for endpoint in Endpoint::ALL {
        let of: Vec<String> = sums
            .iter()
            .filter(|((of, _), _)| *of == endpoint)
            .map(|((_, status), count)| format!("{count} {status}"))
            .collect();
        let repeated = seen.repeated(endpoint);
        line(endpoint.id(), &format_args!("{}; {repeated} repeated", of.join(", ")));
    }
    for endpoint in [Endpoint::Good, Endpoint::Chosen] {
        let (repeated, most) = (seen.repeated(endpoint), world.accounts.kills * CONCURRENCY + twice);
        assert!(repeated <= most, "{repeated} repeated, where {} kills allow {most}", world.accounts.kills);
    }
}
