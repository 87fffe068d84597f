//! The faults, each by itself; several of them last until another one of their kind comes, so that they meet.

use std::time::Duration;

use hookweir_tests::eventually;
use hookweir_tests::raw::Begun;
use serde_json::json;
use tokio::time::sleep;

use super::events::{Endpoint, Which};
use super::outside::Trouble;
use super::world::{World, globex, main_file};

/// A fault, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    Kill,
    Stop,
    /// The wall clock is set by so many seconds, or right.
    Clock(i64),
    ClockRight,
    Fickle(Trouble),
    Hook(Trouble),
    /// A caller hangs up so many microseconds after it has asked.
    HangUp(Request, u64),
    /// A tenant's file is broken, and read so; or is whole again, if it is.
    TenantFile,
    /// The main file is broken, read so, and mended.
    MainFile,
    DiskFull,
    /// The disk is full, and the gateway is killed then and started again.
    DiskFullAndKill,
    /// The broker is killed, or falls silent; or it is back, if it was not there.
    BrokerKilled,
    BrokerSilent,
    BrokerBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Recover,
    Cancel,
    Enable,
}

/// All kinds of faults, shuffled, again and again: each comes in each round.
#[derive(Debug)]
pub(super) struct Deck {
    random: fastrand::Rng,
    cards: Vec<Fault>,
    rounds: usize,
}

impl Deck {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), cards: Vec::new(), rounds: 0 }
    }

    /// Whether all kinds have come, equally often.
    pub(super) fn is_through(&self) -> bool {
        self.rounds > 0 && self.cards.is_empty()
    }

    pub(super) fn draw(&mut self) -> Fault {
        if self.cards.is_empty() {
            self.rounds += 1;
            self.cards = round(&mut self.random);
        }
        self.cards.pop().expect("a round of faults")
    }
}

fn round(random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut cards = vec![
        Fault::Kill,
        Fault::Kill,
        Fault::Stop,
        // From a second to some months, as often small as large.
        Fault::Clock(1 << random.u32(0..24)),
        Fault::Clock(-(1 << random.u32(0..24))),
        Fault::ClockRight,
        Fault::TenantFile,
        Fault::TenantFile,
        Fault::MainFile,
        Fault::DiskFull,
        Fault::DiskFullAndKill,
        Fault::BrokerKilled,
        Fault::BrokerSilent,
        Fault::BrokerBack,
    ];
    for request in [Request::Recover, Request::Cancel, Request::Enable, Request::Enable] {
        // Within the time that a write to the journal takes.
        cards.push(Fault::HangUp(request, random.u64(200..4000)));
    }
    cards.extend(Trouble::ALL.map(Fault::Fickle));
    // It is well for a good part of the time, or what waits for it would only grow.
    cards.extend([Fault::Fickle(Trouble::Nothing); 10]);
    let hook = || Trouble::ALL[random.usize(..Trouble::ALL.len())];
    cards.extend(std::iter::repeat_with(hook).take(6).map(Fault::Hook));
    random.shuffle(&mut cards);
    cards
}

impl Fault {
    /// What it is counted as.
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Stop => "SIGTERM",
            Self::Clock(_) | Self::ClockRight => "steps of the clock",
            Self::Fickle(_) | Self::Hook(_) => "troubles of a receiver",
            Self::HangUp(Request::Recover, _) => "recover, hung up",
            Self::HangUp(Request::Cancel, _) => "cancel, hung up",
            Self::HangUp(Request::Enable, _) => "enable, hung up",
            Self::TenantFile => "reloads of a tenant's file",
            Self::MainFile => "reloads of the main file",
            Self::DiskFull => "full disk",
            Self::DiskFullAndKill => "full disk and kill -9",
            Self::BrokerKilled => "broker killed",
            Self::BrokerSilent => "broker silent",
            Self::BrokerBack => "broker back",
        }
    }
}

impl World {
    pub(super) async fn meet(&mut self, fault: Fault) {
        *self.accounts.faults.entry(fault.name()).or_default() += 1;
        match fault {
            Fault::Kill => {
                self.kill().await;
                self.start().await;
            }
            Fault::Stop => {
                self.stop().await;
                self.start().await;
            }
            Fault::Clock(by @ 0..) => self.clock.forward(Duration::from_secs(by.unsigned_abs())),
            Fault::Clock(by) => self.clock.back(Duration::from_secs(by.unsigned_abs())),
            Fault::ClockRight => self.clock.set_right(),
            Fault::Fickle(trouble) => self.fickle.suffer(trouble),
            Fault::Hook(trouble) => self.hook.suffer(trouble),
            Fault::HangUp(request, micros) => self.hang_up(request, Duration::from_micros(micros)).await,
            Fault::TenantFile => self.reload_tenant().await,
            Fault::MainFile => self.reload_main().await,
            Fault::DiskFull => self.fill_disk().await,
            Fault::DiskFullAndKill => self.fill_disk_and_kill().await,
            Fault::BrokerKilled => self.store.kill().await,
            Fault::BrokerSilent => self.store.fall_silent().await,
            Fault::BrokerBack => self.store.mend().await,
        }
        // The load goes on for a moment before the next.
        self.acknowledged(40).await;
    }

    /// Asks something of the admin listener and is gone before it is answered.
    async fn hang_up(&mut self, request: Request, after: Duration) {
        let endpoint = Endpoint::Fickle.path();
        let (path, body) = match request {
            Request::Recover => {
                self.gives_up().await;
                let body = json!({ "since": "1970-01-01T00:00:00Z" }).to_string();
                (format!("{}/recover", Endpoint::Hook.path()), body)
            }
            Request::Enable => {
                self.admin().post(&format!("{endpoint}/disable"), "").await.expect(200);
                (format!("{endpoint}/enable"), String::new())
            }
            Request::Cancel => (self.cancel_path().await, String::new()),
        };
        let (address, length) = (self.gateway.admin_address(), body.len());
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let begun = Begun::send(address, text.as_bytes()).await;
        sleep(after).await;
        begun.hang_up();
    }

    /// Waits until a delivery of the other tenant's receiver is given up.
    async fn gives_up(&mut self) {
        // A tenant that is off sends nothing.
        if self.metric("hookweir_config_problems").await > 0 {
            self.reload_tenant().await;
        }
        // A 410 may have switched it off.
        self.admin().post(&format!("{}/enable", Endpoint::Hook.path()), "").await.expect(200);
        self.hook.suffer(Trouble::Status(500));
        eventually("a delivery to be given up", async || {
            let hook = self.endpoint(Endpoint::Hook).await;
            if hook["deliveries"]["exhausted"].as_u64() > Some(0) { Ok(()) } else { Err(hook.to_string()) }
        })
        .await;
    }

    /// What cancels a delivery of the fickle receiver, which is noted.
    async fn cancel_path(&mut self) -> String {
        self.fickle.suffer(Trouble::Refused);
        let pending = eventually("a pending delivery", async || {
            let path =
                format!("/v1/tenants/acme/deliveries?endpoint={}&status=pending", Endpoint::Fickle.id());
            let page = self.admin().json(&path).await;
            page["data"][0]["event"].as_str().map(str::to_owned).ok_or_else(|| page.to_string())
        })
        .await;
        self.accounts.cancelled.insert((Endpoint::Fickle, Which::of(&pending)));
        format!("/v1/tenants/acme/events/{pending}/deliveries/{}/cancel", Endpoint::Fickle.id())
    }

    async fn reload_tenant(&mut self) {
        let whole = globex(&self.hook);
        let is_broken = self.metric("hookweir_config_problems").await > 0;
        self.write_globex(&if is_broken { whole } else { whole.replace("waits", "weights") });
        self.gateway.reload();
        self.config_is_whole(is_broken).await;
    }

    async fn reload_main(&mut self) {
        let was_whole = self.metric("hookweir_config_problems").await == 0;
        self.write_main(&main_file().replace("[egress]", "[ingress]"));
        self.gateway.reload();
        self.config_is_whole(false).await;
        self.write_main(&main_file());
        self.gateway.reload();
        self.config_is_whole(was_whole).await;
    }

    async fn config_is_whole(&self, wanted: bool) {
        eventually("the configuration to be read", async || {
            let is_whole = self.metric("hookweir_config_reload_success").await == 1;
            if is_whole == wanted { Ok(()) } else { Err(self.gateway.log()) }
        })
        .await;
    }

    /// Another program takes all of the disk for a while. What the gateway removes for it is told by its own count.
    async fn fill_disk(&mut self) {
        self.note_removed().await;
        self.disk.fill();
        self.refused(20).await;
        self.disk.clear();
        self.acknowledged(1).await;
        self.note_removed().await;
    }

    /// The same, with a kill that its count is lost by: so the events are counted.
    async fn fill_disk_and_kill(&mut self) {
        // A tenant that is off after the start has no list.
        if self.metric("hookweir_config_problems").await > 0 {
            self.reload_tenant().await;
        }
        self.note_removed().await;
        let accepted = self.accepted();
        let (listed, _) = self.listed().await;
        let before = accepted.difference(&listed).count();
        self.disk.fill();
        self.refused(20).await;
        self.kill().await;
        self.start_while_full().await;
        self.acknowledged(1).await;
        // What the new life has removed is in its own count.
        let by_count = self.metric("hookweir_journal_removed_early_total").await;
        let accepted = self.accepted();
        let (listed, _) = self.listed().await;
        let after = accepted.difference(&listed).count();
        self.accounts.removed_untold += ((after - before) as u64).saturating_sub(by_count);
        self.note_removed().await;
    }
}
