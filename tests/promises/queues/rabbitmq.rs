//! `kind = "rabbitmq"`.

use hookweir_tests::broker::{Broker, PASSWORD, RABBITMQ, USER};

use super::{PLACE, outlives_a_kill};

pub(super) fn lines(broker: &Broker) -> String {
    format!(
        "url = \"amqp://{}\"\nexchange = \"{PLACE}\"\nrouting_key = \"{PLACE}.{{type}}\"\n\
         user = \"{USER}\"\npassword = \"{PASSWORD}\"",
        broker.address()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rabbitmq_server_loses_nothing() {
    let mut broker = Broker::start(RABBITMQ).await;
    broker.prepare(PLACE).await;
    let lines = lines(&broker);
    outlives_a_kill(&mut broker, &lines, "rabbitmq").await;
}
