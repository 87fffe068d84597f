//! A configuration is taken over whole or not at all, while events flow.

use hookweir_tests::{Config, Gateway, KEY, Receiver, Reply, endpoint, eventually, one_endpoint, tenant};

#[tokio::test]
async fn a_good_configuration_is_taken_over_whole() {
    let (first, second) =
        (Receiver::always(Reply::Status(200)).await, Receiver::always(Reply::Status(200)).await);
    let before = one_endpoint(&first.url("/hook"), "");
    let gateway = Gateway::start(before.clone()).await;
    gateway.sender().event("a.b", "1").await;
    first.wait_for(1).await;

    let new_key = "key-of-the-new-tenant-0123456789";
    let added = endpoint("acme", "added", &second.url("/added"), "")
        + &tenant("initech", new_key)
        + &endpoint("initech", "hook", &second.url("/initech"), "");
    gateway.reconfigure(before + &added);
    gateway.reload();
    eventually("the new endpoint to be listed", async || {
        let answer = gateway.admin().try_get("/v1/tenants/acme/endpoints/added").await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    let event = gateway.sender().event("a.b", "2").await;
    let of_new_tenant = gateway.sender_of("initech", new_key).event("a.b", "3").await;
    assert_eq!(second.wait_for_event(&event).await.path, "/added");
    assert_eq!(second.wait_for_event(&of_new_tenant).await.path, "/initech");
    first.wait_for_event(&event).await;
}

#[tokio::test]
async fn a_bad_configuration_is_reported_and_the_old_one_stays() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let good = one_endpoint(&receiver.url("/hook"), "");
    let gateway = Gateway::start(good.clone()).await;
    let bad = Config::new(good + &endpoint("acme", "added", "http://10.0.0.1/", "concurency = 3"));
    let text = bad.text();
    gateway.reconfigure(bad);
    gateway.reload();
    for (what, words) in [("url = \"http://10.0.0.1/\"", "10.0.0.1"), ("concurency", "concurency")] {
        let line = 1 + text.lines().position(|line| line.contains(what)).expect("the bad line");
        gateway.logged(&[&format!("hookweir.toml:{line}"), words]).await;
    }
    gateway.admin().get("/v1/tenants/acme/endpoints/added").await.expect(404);
    let event = gateway.sender().event("a.b", "1").await;
    receiver.wait_for_event(&event).await;

    // A later good one is taken over all the same.
    gateway.reconfigure(one_endpoint(&receiver.url("/moved"), ""));
    gateway.reload();
    eventually("the endpoint to have moved", async || {
        let event = gateway.sender().event("a.b", "2").await;
        match receiver.wait_for_event(&event).await.path.as_str() {
            "/moved" => Ok(()),
            path => Err(path.to_owned()),
        }
    })
    .await;
}

#[tokio::test]
async fn deliveries_of_a_removed_endpoint_are_cancelled_after_their_time_and_can_be_recovered() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    let keep = endpoint("acme", "kept", &receiver.url("/kept"), "");
    let drop = endpoint("acme", "dropped", &receiver.url("/dropped"), "retry = { waits = [\"1h\"] }");
    let with = |endpoints: &str| {
        let mut config = Config::new(tenant("acme", KEY) + endpoints);
        config.journal = "keep_removed = \"1s\"".to_owned();
        config
    };
    let gateway = Gateway::start(with(&(keep.clone() + &drop))).await;
    let event = gateway.sender().event("a.b", "1").await;
    receiver.wait_for(2).await;
    gateway.reconfigure(with(&keep));
    gateway.reload();
    let detail = gateway.admin().delivery("acme", &event, "dropped", "cancelled").await;
    assert!(
        detail["delivery"]["reason"].as_str().is_some_and(|reason| reason.contains("removed")),
        "{detail}"
    );
    gateway.admin().delivery("acme", &event, "kept", "pending").await;
    gateway.logged(&["WARN", "deliveries are cancelled", "acme/dropped"]).await;

    // It is back: what the configuration cancelled is recovered.
    receiver.follow(|_, _| Reply::Status(200));
    gateway.reconfigure(with(&(keep + &drop)));
    gateway.reload();
    let admin = gateway.admin();
    let recover = "/v1/tenants/acme/endpoints/dropped/recover";
    let answer = eventually("the endpoint to be back", async || {
        let answer = admin.post(recover, "{\"since\":\"2020-01-01T00:00:00Z\"}").await;
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.to_string()) }
    })
    .await;
    assert_eq!(answer["deliveries"], 1);
    admin.delivery("acme", &event, "dropped", "delivered").await;
}

#[tokio::test]
async fn a_folder_of_tenants_that_is_missing_for_a_while_cancels_nothing() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    let text = format!("include = [\"tenants.d/*.toml\"]\n{}", Config::new("").text());
    let file =
        tenant("acme", KEY) + &endpoint("acme", "hook", &receiver.url("/"), "retry = { waits = [\"1h\"] }");
    let mut gateway = Gateway::start_with_files(&text, &[("tenants.d/acme.toml", &file)]).await;
    let mut events = Vec::new();
    for number in 0..5 {
        events.push(gateway.sender().event("a.b", &number.to_string()).await);
    }
    receiver.wait_for(5).await;
    let (there, away) = (gateway.folder().join("tenants.d"), gateway.folder().join("elsewhere"));

    // The folder is gone: the old configuration stays.
    std::fs::rename(&there, &away).expect("renamed");
    gateway.reload();
    gateway.logged(&["tenants.d", "there is no such folder"]).await;
    // It is there, and its files have another name.
    std::fs::create_dir(&there).expect("a folder");
    std::fs::copy(away.join("acme.toml"), there.join("acme.toml.bak")).expect("a copy");
    gateway.reload();
    gateway.logged(&["tenants.d/*.toml", "matches no file, and matched 1 before"]).await;
    assert_eq!(gateway.admin().count("acme", "hook", "pending").await, 5);

    // It is empty, as meant: the tenant is gone, and what waits for it waits, over a restart too.
    std::fs::remove_file(there.join("acme.toml.bak")).expect("removed");
    gateway.reload();
    gateway.logged(&["WARN", "wait for endpoints that are not in the configuration", "acme"]).await;
    gateway.kill9().await;
    gateway.start_again().await;
    gateway.logged(&["WARN", "tenants.d/*.toml", "matches no file"]).await;

    // It comes back, and they arrive.
    receiver.follow(|_, _| Reply::Status(200));
    std::fs::rename(away.join("acme.toml"), there.join("acme.toml")).expect("renamed");
    gateway.reload();
    let admin = gateway.admin();
    eventually("the tenant to be back", async || {
        match admin.try_get("/v1/tenants/acme/endpoints/hook").await? {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.to_string()),
        }
    })
    .await;
    assert_eq!(admin.count("acme", "hook", "cancelled").await, 0);
    for event in &events {
        let path = format!("/v1/tenants/acme/events/{event}/deliveries/hook");
        admin.post(&format!("{path}/retry"), "").await.expect(200);
        admin.delivery("acme", event, "hook", "delivered").await;
    }
    // A start without the folder is refused.
    gateway.terminate().await;
    std::fs::rename(&there, away.join("again")).expect("renamed");
    let refused = gateway.try_start_again().await.expect_err("refused");
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    assert!(refused.stderr.contains("there is no such folder"), "{}", refused.stderr);
}

#[tokio::test]
async fn an_endpoint_that_is_switched_off_keeps_its_deliveries_for_later() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), "")).await;
    let admin = gateway.admin();
    admin.post("/v1/tenants/acme/endpoints/hook/disable", "").await.expect(200);
    let endpoint = admin.json("/v1/tenants/acme/endpoints/hook").await;
    assert_eq!(endpoint["enabled"], false, "{endpoint}");
    assert!(endpoint["disabled"]["reason"].is_string(), "{endpoint}");

    let mut events = Vec::new();
    for _ in 0..20 {
        events.push(gateway.sender().event("a.b", "1").await);
    }
    gateway.kill9().await;
    gateway.start_again().await;
    events.push(gateway.sender().event("a.b", "1").await);
    let admin = gateway.admin();
    assert_eq!(admin.count("acme", "hook", "pending").await, 21);
    assert_eq!(receiver.count(), 0, "nothing is sent to an endpoint that is switched off");

    admin.post("/v1/tenants/acme/endpoints/hook/enable", "").await.expect(200);
    for event in &events {
        admin.delivery("acme", event, "hook", "delivered").await;
    }
    assert_eq!(receiver.count(), 21);
    let endpoint = admin.json("/v1/tenants/acme/endpoints/hook").await;
    assert_eq!(endpoint["enabled"], true, "{endpoint}");
}

#[tokio::test]
async fn an_endpoint_that_answers_410_is_switched_off() {
    let gone = Receiver::always(Reply::Status(410)).await;
    let gateway = Gateway::start(one_endpoint(&gone.url("/hook"), "")).await;
    let admin = gateway.admin();
    let event = gateway.sender().event("a.b", "1").await;
    let endpoint = eventually("the endpoint to be switched off", async || {
        let endpoint = admin.json("/v1/tenants/acme/endpoints/hook").await;
        if endpoint["enabled"] == false { Ok(endpoint) } else { Err(endpoint.to_string()) }
    })
    .await;
    assert!(
        endpoint["disabled"]["reason"].as_str().is_some_and(|reason| reason.contains("410")),
        "{endpoint}"
    );
    let later = gateway.sender().event("a.b", "2").await;
    admin.delivery("acme", &later, "hook", "pending").await;

    gone.follow(|_, _| Reply::Status(200));
    admin.post("/v1/tenants/acme/endpoints/hook/enable", "").await.expect(200);
    admin.delivery("acme", &later, "hook", "delivered").await;
    let since = "{\"since\":\"2020-01-01T00:00:00Z\"}";
    let answer = admin.post("/v1/tenants/acme/endpoints/hook/recover", since).await;
    assert!((200..300).contains(&answer.status), "{answer}");
    admin.delivery("acme", &event, "hook", "delivered").await;
    assert_eq!(gone.count(), 3);
}
