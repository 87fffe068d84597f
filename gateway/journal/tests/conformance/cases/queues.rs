//! Messages: put there with their delivery's end, handed out once at a time, and kept until they are answered for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hookweir_journal::{
    Answered, Content, Journal, KeptClock, Look, Made, Message, NewMessage, Next, Old, QueueStats, Receipt,
    Receive, Received, Redrive, Settled, Settlement, Verdict,
};
use hookweir_model::{EndpointKey, EventType, Outcome, Status, Timestamp};

use crate::sample::{NOON, at, attempt, delivery, ended, id, key, lane, own, put, settle, shaped};
use crate::subject::Subject;

const TOKEN: [u8; 16] = [7; 16];
const ALL: usize = 1 << 30;

/// A message that is visible at noon.
pub(crate) fn message(name: &str, body: &str) -> NewMessage {
    NewMessage {
        content: Content {
            id: id(name),
            event_type: EventType::new("order.created").unwrap(),
            source: "/shop".to_owned(),
            subject: Some(format!("subject of {name}")),
            time: "2023-11-14T22:13:20Z".to_owned(),
            shaped: shaped(body),
        },
        enqueued: at(NOON),
        visible: at(NOON),
    }
}

fn visible_at(name: &str, millis: i64) -> NewMessage {
    NewMessage { visible: at(millis), ..message(name, "") }
}

async fn enqueue(journal: &Arc<dyn Journal>, queue: &EndpointKey, messages: Vec<NewMessage>) -> Vec<u64> {
    journal.enqueue(queue, messages).await.unwrap()
}

fn ask(queue: &EndpointKey, now: i64, until: i64) -> Receive {
    Receive {
        queue: queue.clone(),
        now: at(now),
        until: at(until),
        limit: 100,
        bytes: ALL,
        max_receives: None,
        token: TOKEN,
    }
}

async fn receive(journal: &Arc<dyn Journal>, ask: Receive) -> Received {
    journal.receive(ask).await.unwrap()
}

fn names(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.content.id.as_str()).collect()
}

fn receipt(message: &Message, token: [u8; 16]) -> Receipt {
    Receipt { number: message.number, token }
}

async fn answer(
    journal: &Arc<dyn Journal>,
    queue: &EndpointKey,
    receipt: Receipt,
    verdict: Verdict,
) -> Answered {
    let answered = journal.answer(queue, vec![(receipt, verdict)]).await.unwrap();
    assert_eq!(answered.len(), 1);
    answered[0]
}

async fn stats(journal: &Arc<dyn Journal>, queue: &EndpointKey, now: i64) -> [u64; 4] {
    let QueueStats { visible, in_flight, delayed, dead, .. } =
        journal.queue_stats(queue, at(now)).await.unwrap();
    [visible, in_flight, delayed, dead]
}

pub(crate) async fn a_message_is_there_with_its_exact_bytes(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    let new = message("1", "ü\0\u{1f980}");
    let plain = NewMessage { content: Content { subject: None, ..new.content.clone() }, ..new.clone() };
    let numbers = enqueue(journal, &queue, vec![new.clone(), plain.clone()]).await;
    assert!(numbers[0] < numbers[1]);
    let looked =
        journal.messages(&queue, Look::Visible { now: at(NOON) }, 9, usize::MAX).await.unwrap().messages;
    let contents: Vec<&Content> = looked.iter().map(|message| &message.content).collect();
    assert_eq!(contents, [&new.content, &plain.content]);
    assert_eq!((looked[0].receives, looked[0].first_received), (0, None));
    let received = receive(journal, ask(&queue, NOON, NOON + 50)).await;
    assert_eq!(names(&received.messages), ["1", "1"]);
    assert_eq!(
        received.messages[0],
        Message {
            number: numbers[0],
            content: new.content,
            enqueued: at(NOON),
            visible: at(NOON + 50),
            receives: 1,
            first_received: Some(at(NOON)),
        }
    );
}

pub(crate) async fn a_delivery_ends_in_its_queue_in_one_step(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    let kept = Next::RetryAt { due: at(5), reason: Some("why".to_owned()) };
    assert_eq!(settle(journal, &queue, seq, 1, kept).await, Settled::Applied);
    let settlement = Settlement {
        made: Made::default(),
        endpoint: queue.clone(),
        seq,
        epoch: own(journal, &queue).await,
        attempt: Some(attempt(2, Outcome::Delivered)),
        next: Next::Queued(Box::new(message("1", "body"))),
    };
    let settled = journal.settle(vec![settlement.clone(), settlement]).await.unwrap();
    assert_eq!(settled, [Settled::Applied, Settled::Repeated]);
    let shown = delivery(journal, &key("1", "a")).await;
    assert_eq!((shown.status, shown.attempts, shown.due, shown.reason), (Status::Delivered, 2, None, None));
    assert_eq!(journal.counts(&queue).await.unwrap().of(Status::Delivered), 1);
    let received = receive(journal, ask(&queue, NOON, NOON + 50)).await;
    assert_eq!(names(&received.messages), ["1"], "once, and not again by the repetition");

    // The message outlives its event.
    assert_eq!(journal.expire(Old::All, 9).await.unwrap().events, 1);
    let again = receive(journal, ask(&queue, NOON + 50, NOON + 90)).await;
    assert_eq!(again.messages[0].content.shaped, shaped("body"));
}

pub(crate) async fn a_refused_settlement_puts_no_message(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("a");
    let seq = put(journal, "1", &["a"]).await;
    assert_eq!(settle(journal, &queue, seq, 1, ended(Status::Cancelled)).await, Settled::Applied);
    let queued = Next::Queued(Box::new(message("1", "")));
    assert_eq!(settle(journal, &queue, seq, 2, queued).await, Settled::Repeated);
    assert_eq!(stats(journal, &queue, NOON).await, [0; 4]);
}

pub(crate) async fn a_received_message_is_invisible_until_its_time(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    enqueue(journal, &queue, vec![message("1", "")]).await;
    assert!(receive(journal, ask(&queue, NOON - 1, NOON)).await.messages.is_empty(), "too early");
    let first = receive(journal, ask(&queue, NOON, NOON + 30)).await;
    assert_eq!((names(&first.messages), first.next), (vec!["1"], Some(at(NOON + 30))));
    let between = receive(journal, ask(&queue, NOON + 29, NOON + 90)).await;
    assert_eq!((between.messages.len(), between.next), (0, Some(at(NOON + 30))));
    let second = receive(journal, ask(&queue, NOON + 30, NOON + 90)).await;
    assert_eq!(second.messages[0].receives, 2);
    assert_eq!(second.messages[0].first_received, Some(at(NOON)));
    assert_eq!(receive(journal, ask(&lane("other"), NOON, NOON + 1)).await, Received::default());
}

pub(crate) async fn messages_come_in_the_order_in_which_they_became_visible(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    let late = vec![visible_at("c", NOON + 5), visible_at("a", NOON), visible_at("b", NOON)];
    enqueue(journal, &queue, late).await;
    let received = receive(journal, Receive { limit: 2, ..ask(&queue, NOON + 9, NOON + 99) }).await;
    assert_eq!((names(&received.messages), received.next), (vec!["a", "b"], Some(at(NOON + 5))));
    // Given back, they stand behind those that waited.
    let nack = Verdict::Nack { visible: at(NOON + 10), max_receives: None };
    answer(journal, &queue, receipt(&received.messages[0], TOKEN), nack).await;
    let received = receive(journal, ask(&queue, NOON + 10, NOON + 99)).await;
    assert_eq!(names(&received.messages), ["c", "a"]);
}

pub(crate) async fn an_answer_holds_no_more_than_was_asked_for(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    let body = "x".repeat(10);
    enqueue(journal, &queue, (0..9).map(|number| message(&number.to_string(), &body)).collect()).await;
    for (limit, bytes, wanted) in [(0, ALL, 0), (2, ALL, 2), (9, 30, 3), (9, 0, 1), (9, 29, 2), (9, ALL, 1)] {
        let received = receive(journal, Receive { limit, bytes, ..ask(&queue, NOON, NOON + 9) }).await;
        assert_eq!(received.messages.len(), wanted, "{limit} of {bytes} bytes");
    }
}

pub(crate) async fn an_acknowledged_message_is_gone(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    enqueue(journal, &queue, vec![message("1", ""), message("2", "")]).await;
    let received = receive(journal, ask(&queue, NOON, NOON + 9)).await;
    let receipts = [0, 1].map(|place| receipt(&received.messages[place], TOKEN));
    // Late is early enough while nobody else has received it.
    let acks = vec![(receipts[0], Verdict::Ack), (receipts[0], Verdict::Ack), (receipts[1], Verdict::Ack)];
    let answered = journal.answer(&queue, acks).await.unwrap();
    assert_eq!(answered, [Answered::Done, Answered::Gone, Answered::Done]);
    assert!(receive(journal, ask(&queue, NOON + 99, NOON + 100)).await.messages.is_empty());
    assert_eq!(stats(journal, &queue, NOON).await, [0; 4]);
    let numbers = enqueue(journal, &queue, vec![message("3", "")]).await;
    assert!(numbers[0] > receipts[1].number, "a number is never given twice");
}

pub(crate) async fn a_receipt_is_good_for_its_receive_alone(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    enqueue(journal, &queue, vec![message("1", "")]).await;
    enqueue(journal, &lane("other"), vec![message("2", "")]).await;
    let first = receive(journal, ask(&queue, NOON, NOON + 9)).await;
    let first = receipt(&first.messages[0], TOKEN);
    let forged = Receipt { token: [8; 16], ..first };
    let unknown = Receipt { number: 9999, ..first };
    let verdicts = [
        Verdict::Ack,
        Verdict::Nack { visible: at(NOON), max_receives: None },
        Verdict::Extend { until: at(NOON + 99) },
        Verdict::Return { now: at(NOON) },
    ];
    for verdict in verdicts {
        assert_eq!(answer(journal, &queue, forged, verdict).await, Answered::Stale, "{verdict:?}");
        assert_eq!(answer(journal, &queue, unknown, verdict).await, Answered::Gone, "{verdict:?}");
        assert_eq!(answer(journal, &lane("other"), first, verdict).await, Answered::Gone, "{verdict:?}");
    }
    let second = receive(journal, Receive { token: [9; 16], ..ask(&queue, NOON + 9, NOON + 19) }).await;
    let second = receipt(&second.messages[0], [9; 16]);
    for verdict in verdicts {
        assert_eq!(answer(journal, &queue, first, verdict).await, Answered::Stale, "{verdict:?}");
    }
    assert_eq!(answer(journal, &queue, second, Verdict::Ack).await, Answered::Done);
    assert_eq!(stats(journal, &lane("other"), NOON).await, [1, 0, 0, 0], "the other queue was left alone");
}

pub(crate) async fn a_message_given_back_is_visible_when_it_should_be(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    enqueue(journal, &queue, vec![message("1", "")]).await;
    let mut now = NOON;
    for (wait, returned, receives) in [(0, false, 1), (5, false, 2), (0, true, 3), (0, false, 3)] {
        let received = receive(journal, ask(&queue, now, now + 1000)).await;
        assert_eq!(received.messages[0].receives, receives);
        let held = receipt(&received.messages[0], TOKEN);
        let verdict = if returned {
            Verdict::Return { now: at(now) }
        } else {
            Verdict::Nack { visible: at(now + wait), max_receives: None }
        };
        assert_eq!(answer(journal, &queue, held, verdict).await, Answered::Done);
        assert_eq!(answer(journal, &queue, held, Verdict::Ack).await, Answered::Stale, "it was given back");
        if wait > 0 {
            assert_eq!(stats(journal, &queue, now).await, [0, 0, 1, 0]);
            let early = receive(journal, ask(&queue, now + wait - 1, now + 1000)).await;
            assert_eq!((early.messages.len(), early.next), (0, Some(at(now + wait))));
        }
        now += wait;
    }
}

pub(crate) async fn more_time_can_be_asked_for(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    enqueue(journal, &queue, vec![message("1", "")]).await;
    let received = receive(journal, ask(&queue, NOON, NOON + 10)).await;
    let held = receipt(&received.messages[0], TOKEN);
    for until in [NOON + 50, NOON + 20] {
        assert_eq!(answer(journal, &queue, held, Verdict::Extend { until: at(until) }).await, Answered::Done);
        assert!(receive(journal, ask(&queue, until - 1, until + 9)).await.messages.is_empty());
    }
    assert_eq!(receive(journal, ask(&queue, NOON + 20, NOON + 30)).await.messages[0].receives, 2);
}

pub(crate) async fn a_look_is_bounded_in_bytes(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    let numbers =
        enqueue(journal, &queue, ["1", "22", "333", "4444"].map(|name| message(name, name)).to_vec()).await;
    let look = Look::Visible { now: at(NOON) };
    for (limit, bytes, wanted, next) in [
        (9, 10, &["1", "22", "333", "4444"][..], None),
        (9, 9, &["1", "22", "333"], Some(2)),
        (9, 3, &["1", "22"], Some(1)),
        (9, 0, &["1"], Some(0)),
        (4, 10, &["1", "22", "333", "4444"], Some(3)),
        (2, 10, &["1", "22"], Some(1)),
        (0, 10, &[], None),
    ] {
        let looked = journal.messages(&queue, look, limit, bytes).await.unwrap();
        assert_eq!(names(&looked.messages), wanted, "{limit} {bytes}");
        assert_eq!(looked.next, next.map(|place: usize| numbers[place]), "{limit} {bytes}");
    }
}

pub(crate) async fn what_is_received_too_often_is_a_dead_letter(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    enqueue(journal, &queue, ["1", "2", "3"].map(|name| message(name, "")).to_vec()).await;
    let twice = |now| Receive { max_receives: Some(2), ..ask(&queue, now, now + 10) };
    for now in [NOON, NOON + 10] {
        assert_eq!(receive(journal, twice(now)).await.messages.len(), 3);
    }
    // Given back after its last chance, it is dead at once; the others when they would be received again.
    let dead =
        journal.messages(&queue, Look::Visible { now: at(NOON + 20) }, 9, usize::MAX).await.unwrap().messages;
    let nack = Verdict::Nack { visible: at(NOON + 12), max_receives: Some(2) };
    assert_eq!(answer(journal, &queue, receipt(&dead[1], TOKEN), nack).await, Answered::Dead);
    assert_eq!(stats(journal, &queue, NOON + 20).await, [2, 0, 0, 1]);
    assert_eq!(receive(journal, twice(NOON + 20)).await, Received::default());
    assert_eq!(stats(journal, &queue, NOON + 20).await, [0, 0, 0, 3]);
    assert_eq!(answer(journal, &queue, receipt(&dead[0], TOKEN), Verdict::Ack).await, Answered::Stale);

    let letters = journal.messages(&queue, Look::Dead { after: 0 }, 2, usize::MAX).await.unwrap().messages;
    assert_eq!((names(&letters), letters[0].receives), (vec!["1", "2"], 2));
    let rest = journal
        .messages(&queue, Look::Dead { after: letters[1].number }, 2, usize::MAX)
        .await
        .unwrap()
        .messages;
    assert_eq!(names(&rest), ["3"]);

    let named = Redrive::Numbers(vec![rest[0].number, rest[0].number, 9999]);
    assert_eq!(journal.redrive(&queue, named, at(NOON + 30)).await.unwrap(), 1);
    assert_eq!(journal.redrive(&queue, Redrive::Oldest(1), at(NOON + 31)).await.unwrap(), 1);
    let back = receive(journal, twice(NOON + 31)).await;
    assert_eq!(names(&back.messages), ["3", "1"]);
    assert_eq!((back.messages[0].receives, back.messages[0].first_received), (1, Some(at(NOON + 31))));
    assert_eq!(journal.redrive(&queue, Redrive::Oldest(9), at(NOON)).await.unwrap(), 1);
    assert_eq!(journal.redrive(&queue, Redrive::Oldest(9), at(NOON)).await.unwrap(), 0);
    assert_eq!(journal.redrive(&lane("other"), Redrive::Oldest(9), at(NOON)).await.unwrap(), 0);
}

pub(crate) async fn dead_letters_do_not_hide_those_behind_them(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    let many = (0..2500).map(|number| message(&format!("dead-{number}"), "")).collect();
    enqueue(journal, &queue, many).await;
    receive(journal, Receive { limit: 2500, ..ask(&queue, NOON, NOON + 1) }).await;
    enqueue(journal, &queue, vec![visible_at("live", NOON + 2)]).await;
    // One call may end early, as long as it says that there is more.
    let mut calls = 0;
    loop {
        calls += 1;
        let received =
            receive(journal, Receive { max_receives: Some(1), ..ask(&queue, NOON + 9, NOON + 99) }).await;
        if let Some(message) = received.messages.first() {
            assert_eq!(message.content.id.as_str(), "live");
            break;
        }
        assert!(received.next.is_some_and(|next| next <= at(NOON + 9)) && calls < 50);
    }
    assert_eq!(stats(journal, &queue, NOON + 9).await, [0, 1, 0, 2500]);
}

pub(crate) async fn a_queue_is_counted_by_how_its_messages_are(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    assert_eq!(journal.queue_stats(&queue, at(NOON)).await.unwrap(), QueueStats::default());
    assert!(journal.queues().await.unwrap().is_empty());
    let first = NewMessage { enqueued: at(NOON - 7), ..message("1", "") };
    enqueue(journal, &queue, vec![first, visible_at("2", NOON + 50), message("3", "")]).await;
    enqueue(journal, &lane("p"), vec![message("4", "")]).await;
    let received = receive(journal, Receive { limit: 1, ..ask(&queue, NOON, NOON + 20) }).await;
    assert_eq!(stats(journal, &queue, NOON).await, [1, 1, 1, 0]);
    assert_eq!(stats(journal, &queue, NOON + 20).await, [2, 0, 1, 0]);
    assert_eq!(stats(journal, &queue, NOON + 50).await, [3, 0, 0, 0]);
    let oldest = async || {
        let stats = journal.queue_stats(&queue, at(NOON)).await.unwrap();
        stats.oldest.map(|oldest| (oldest.received, oldest.before.is_some()))
    };
    assert_eq!(oldest().await, Some((at(NOON - 7), false)));
    journal.keep_clock(&KeptClock::default()).await.unwrap();
    assert_eq!(oldest().await, Some((at(NOON - 7), true)));
    assert_eq!(journal.queues().await.unwrap(), [lane("p"), lane("q")]);
    answer(journal, &queue, receipt(&received.messages[0], TOKEN), Verdict::Ack).await;
    assert_eq!(oldest().await, Some((at(NOON), true)));
}

pub(crate) async fn what_waited_too_long_is_removed(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    let put = async |names: &[&str]| {
        // The wall clock was days behind when they came, and says nothing of their age.
        let old = |name: &&str| NewMessage { enqueued: at(1), ..message(name, "") };
        enqueue(journal, &queue, names.iter().map(old).collect()).await
    };
    let at_hour = |hour: u64| Duration::from_secs(3600 * hour);
    let keep = async |hour| {
        let clock = KeptClock { running: at_hour(hour), ..KeptClock::default() };
        journal.keep_clock(&clock).await.unwrap();
    };
    put(&["1", "2", "3"]).await;
    keep(1).await;
    put(&["4", "5"]).await;
    keep(2).await;
    let [nothing, first, all] = [Duration::ZERO, at_hour(1), at_hour(2)].map(Old::At);
    assert_eq!(journal.expire_messages(&queue, nothing, 9).await.unwrap(), 0);
    let received = receive(journal, Receive { limit: 1, ..ask(&queue, NOON, NOON + 9) }).await;
    assert_eq!(journal.expire_messages(&queue, first, 2).await.unwrap(), 2);
    assert_eq!(journal.expire_messages(&queue, first, 9).await.unwrap(), 1, "up to one that is younger");
    assert_eq!(journal.expire_messages(&queue, first, 9).await.unwrap(), 0);
    let held = receipt(&received.messages[0], TOKEN);
    assert_eq!(answer(journal, &queue, held, Verdict::Ack).await, Answered::Gone);
    let left = receive(journal, ask(&queue, NOON, NOON + 9)).await;
    assert_eq!(names(&left.messages), ["4", "5"]);
    receive(journal, Receive { max_receives: Some(1), ..ask(&queue, NOON + 9, NOON + 99) }).await;
    assert_eq!(stats(journal, &queue, NOON).await, [0, 0, 0, 2]);
    assert_eq!(journal.expire_messages(&queue, all, 9).await.unwrap(), 2, "dead letters too");
    assert_eq!(stats(journal, &queue, NOON).await, [0; 4]);
    assert_eq!(journal.expire_messages(&lane("other"), Old::All, 9).await.unwrap(), 0);
}

pub(crate) async fn no_message_goes_to_two_at_once(subject: Subject) {
    let journal = &subject.journal;
    let queue = lane("q");
    enqueue(journal, &queue, (0..500).map(|number| message(&number.to_string(), "x")).collect()).await;
    let mut consumers = tokio::task::JoinSet::new();
    for consumer in 0..8_u8 {
        let (journal, queue) = (Arc::clone(journal), queue.clone());
        consumers.spawn(async move {
            let mut numbers = Vec::new();
            loop {
                let token = [consumer; 16];
                let few = Receive { limit: 7, token, ..ask(&queue, NOON, NOON + 1_000_000) };
                let received = journal.receive(few).await.unwrap();
                if received.messages.is_empty() {
                    return numbers;
                }
                let acks = received.messages.iter().map(|message| (receipt(message, token), Verdict::Ack));
                let answered = journal.answer(&queue, acks.collect()).await.unwrap();
                assert!(answered.iter().all(|answered| *answered == Answered::Done));
                numbers.extend(received.messages.into_iter().map(|message| message.number));
            }
        });
    }
    let all: Vec<u64> = consumers.join_all().await.into_iter().flatten().collect();
    assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (500, 500));
    assert_eq!(
        journal.queue_stats(&queue, Timestamp::from_millis(i64::MAX)).await.unwrap(),
        QueueStats::default()
    );
}
