//! With many tenants and endpoints the overview shows those that somebody may have to look after, and finds the others.

use hookweir_tests::{Gateway, KEY, Receiver, Reply, endpoint, eventually, tenant};

/// What an overview of these shows: whether a text is on the page.
async fn shows(gateway: &Gateway, path: &str, text: &str) -> bool {
    gateway.admin().get(path).await.expect(200).text().contains(text)
}

/// Waits until it does.
async fn comes_to_show(gateway: &Gateway, path: &str, text: &str) {
    eventually(&format!("{text} on {path}"), async || match shows(gateway, path, text).await {
        true => Ok(()),
        false => Err("it is not there".to_owned()),
    })
    .await;
}

#[tokio::test]
async fn of_many_tenants_those_with_trouble_come_first_and_any_is_found() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    let key = |number: usize| format!("key-of-tenant-{number:04}-0123456789");
    let of = |number: usize| {
        let id = format!("t{number:03}");
        let retry = "retry = { waits = [\"1h\"] }";
        tenant(&id, &key(number)) + &endpoint(&id, "hook", &receiver.url("/"), retry)
    };
    let gateway = Gateway::start((0..230).map(of).collect::<String>()).await;
    assert!(shows(&gateway, "/", "href=\"/t/t000/endpoints/hook\"").await);
    assert!(shows(&gateway, "/", "30 more tenants are not shown").await);
    assert!(!shows(&gateway, "/", "href=\"/t/t229/endpoints/hook\"").await, "it is beyond the end");

    gateway.sender_of("t229", &key(229)).event("a.b", "1").await;
    comes_to_show(&gateway, "/", "href=\"/t/t229/endpoints/hook\"").await;
    assert!(!shows(&gateway, "/", "href=\"/t/t199/endpoints/hook\"").await, "it has made room");
    assert!(shows(&gateway, "/?id=t19", "href=\"/t/t199/endpoints/hook\"").await);
    assert!(!shows(&gateway, "/?id=t19", "href=\"/t/t229/endpoints/hook\"").await);
    assert!(!shows(&gateway, "/?id=t19", "not shown").await);
    assert!(shows(&gateway, "/?id=none", "No tenant has this in its id").await);
    let refused = gateway.admin().get("/?name=t19").await.expect(400).text();
    assert!(refused.contains("name"), "{refused}");
}

#[tokio::test]
async fn of_many_endpoints_the_same() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let endpoints = (0..201).map(|number| endpoint("acme", &format!("e{number:03}"), &receiver.url("/"), ""));
    let gateway = Gateway::start(tenant("acme", KEY) + &endpoints.collect::<String>()).await;
    assert!(shows(&gateway, "/t/acme", "1 more is not shown").await);
    assert!(!shows(&gateway, "/t/acme", "/endpoints/e200\"").await);
    gateway.admin().post("/v1/tenants/acme/endpoints/e199/disable", "").await.expect(200);
    assert!(!shows(&gateway, "/t/acme", "/endpoints/e200\"").await, "that it is off is no trouble");
    assert!(shows(&gateway, "/t/acme?id=e2", "/endpoints/e200\"").await);
    assert!(!shows(&gateway, "/t/acme?id=e2", "/endpoints/e199\"").await);
    assert!(shows(&gateway, "/t/acme?id=none", "No endpoint has this in its id").await);
    assert!(shows(&gateway, "/", "1 more is not shown").await, "and on the page of all tenants");
}

#[tokio::test]
async fn the_healthy_endpoints_of_one_tenant_take_no_room_from_the_failing_ones_of_others() {
    let receiver = Receiver::start(|_, request| match request.path.as_str() {
        "/failing" => Reply::Status(500),
        _ => Reply::Status(200),
    })
    .await;
    let key = "key-of-the-other-tenant-0123456789";
    let retry = "retry = { waits = [\"1h\"] }";
    let failing = |tenant: &str| endpoint(tenant, "z-failing", &receiver.url("/failing"), retry);
    let well = |number: usize| endpoint("acme", &format!("e{number:03}"), &receiver.url("/"), "");
    let config = tenant("acme", KEY)
        + &(0..205).map(well).collect::<String>()
        + &failing("acme")
        + &tenant("zeta", key)
        + &failing("zeta");
    let gateway = Gateway::start(config).await;
    gateway.sender().event("a.b", "1").await;
    gateway.sender_of("zeta", key).event("a.b", "1").await;
    comes_to_show(&gateway, "/", "href=\"/t/acme/endpoints/z-failing\"").await;
    comes_to_show(&gateway, "/", "href=\"/t/zeta/endpoints/z-failing\"").await;
    assert!(shows(&gateway, "/", "7 more are not shown").await);

    // What waits for one that is off is for somebody to look after.
    gateway.admin().post("/v1/tenants/acme/endpoints/e204/disable", "").await.expect(200);
    gateway.sender().event("a.b", "2").await;
    comes_to_show(&gateway, "/", "href=\"/t/acme/endpoints/e204\"").await;
}
