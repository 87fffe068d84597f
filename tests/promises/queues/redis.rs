//! `kind = "redis"`.

use hookweir_tests::broker::{Broker, PASSWORD, REDIS};

use super::{PLACE, outlives_a_kill};

pub(super) fn lines(broker: &Broker) -> String {
    format!("url = \"redis://{}/0\"\nstream = \"{PLACE}\"\npassword = \"{PASSWORD}\"", broker.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_redis_server_loses_nothing() {
    let mut broker = Broker::start(REDIS).await;
    let lines = lines(&broker);
    outlives_a_kill(&mut broker, &lines, "redis").await;
    let one = broker.read(PLACE, 1).await.remove(0);
    assert_eq!(one.more["headers"]["type"], "order.created");
    assert_eq!(one.more["headers"]["content-type"], "application/json");
}
