//! The page's examples, typed one after the other as a reader would, with what each prints compared with the page.

use std::time::Duration;

use hookweir_tests::{DEADLINE, Relay, try_eventually};

use super::page::{Block, Step, blocks, steps};
use super::pattern::{Names, filled, matched};
use super::ports::Ports;
use super::shell::{Printed, Shell};
use super::update;

/// The ports of the page: the gateway's two listeners, and two receivers.
const ACCEPT: u16 = 8080;
const ADMIN: u16 = 9080;
const RECEIVERS: [u16; 2] = [9000, 9001];

/// How long what is still to come is waited for once the page is known to be wrong, or while it is written.
const IMPATIENCE: Duration = Duration::from_secs(3);

/// Commands that change nothing. What they show may come a moment later, so that they are asked until it has.
const LOOKS: [&str; 4] = [" list ", " get ", " stats ", " peek "];

/// A reader of the page at work.
struct Reader {
    shell: Shell,
    ports: Ports,
    /// Stands before the admin listener, and sees when the gateway has answered.
    door: Relay,
    /// Processes that go on to the end of the page.
    going_on: Vec<i32>,
    /// What was printed otherwise than it is written.
    wrong: Vec<String>,
}

/// A process that goes on beside the commands below it.
struct Beside {
    process: i32,
    printed: Printed,
    /// How much of it was compared already.
    seen: usize,
}

/// Types the whole page, and answers what is wrong in it.
pub(crate) async fn typed(page: &str) -> Vec<String> {
    let ports = Ports::free(&[ACCEPT, ADMIN, RECEIVERS[0], RECEIVERS[1]]);
    let door = Relay::start(ports.used(ADMIN)).await;
    let accept = format!("http://127.0.0.1:{}", ports.used(ACCEPT));
    let admin = format!("http://{}", door.address());
    let shell = Shell::start(&[("HOOKWEIR_ACCEPT", &accept), ("HOOKWEIR_ADMIN", &admin)]);
    let mut reader = Reader { shell, ports, door, going_on: Vec::new(), wrong: Vec::new() };
    for block in blocks(page) {
        match block.language {
            "toml" => reader.shell.write("hookweir.toml", &reader.ports.typed(&block.lines.join("\n"))),
            "console" => reader.session(&block).await,
            _ => {}
        }
    }
    reader.end().await;
    reader.wrong
}

impl Reader {
    /// A block of the page. Names stand for something within it alone.
    async fn session(&mut self, block: &Block<'_>) {
        let steps = steps(block);
        let mut names = Names::new();
        let mut beside = None;
        for (index, step) in steps.iter().enumerate() {
            let before = self.door.handed_on();
            let typed = self.ports.typed(&filled(&step.typed, &names));
            let (status, printed) = self.shell.run(&typed).await;
            let asks_for_status = steps.get(index + 1).is_some_and(|next| next.typed == "echo $?");
            if step.typed != "echo $?" && (status == 0) == asks_for_status {
                self.wrong.push(format!(
                    "line {}: $ {}\nended with {status}; `$ echo $?` follows what does not end with 0",
                    step.number, step.typed
                ));
            }
            if typed.ends_with(" &") {
                let process = self.shell.last_process().await;
                self.begun(step, before).await;
                let of = Beside { process, printed, seen: 0 };
                beside = self.compare(step, &typed, None, Some(of), &mut names).await;
                self.going_on.push(process);
                continue;
            }
            let ended = typed.starts_with("kill ");
            if ended && let Some(beside) = &beside {
                self.ended(beside.process).await;
            }
            beside = self.compare(step, &typed, Some(printed), beside, &mut names).await;
            if ended {
                beside = None;
            }
        }
    }

    /// A command that goes on and prints nothing at first has begun once the gateway has answered it.
    async fn begun(&mut self, step: &Step, before: usize) {
        if !step.written.is_empty() {
            return;
        }
        let answered = try_eventually(self.patience(), async || match self.door.handed_on() - before {
            0 => Err(()),
            _ => Ok(()),
        });
        if answered.await.is_err() {
            self.wrong
                .push(format!("line {}: `{}` prints nothing and is not answered", step.number, step.typed));
        }
    }

    /// How long something is waited for.
    fn patience(&self) -> Duration {
        if self.wrong.is_empty() && !update() { DEADLINE } else { IMPATIENCE }
    }

    /// Waits for a process that was told to end.
    async fn ended(&mut self, process: i32) {
        let status = self.shell.wait(process).await;
        self.going_on.retain(|going_on| *going_on != process);
        if status != 0 {
            self.wrong.push(format!("what went on beside the commands of the page ended with {status}"));
        }
    }

    /// Compares what stands below a command with what it has printed and what the one beside it prints by and by, in
    /// this order.
    async fn compare(
        &mut self,
        step: &Step,
        typed: &str,
        mut printed: Option<Printed>,
        mut beside: Option<Beside>,
        names: &mut Names,
    ) -> Option<Beside> {
        let is_look = printed.is_some() && LOOKS.iter().any(|look| step.typed.contains(look));
        let patience = if is_look || beside.is_some() { self.patience() } else { Duration::ZERO };
        let written: Vec<&str> = step.written.iter().map(String::as_str).collect();
        let back = self.ports.back(self.door.address().port(), ADMIN);
        let (shell, mut again) = (&mut self.shell, false);
        let mut seen = 0;
        let found = try_eventually(patience, async || {
            if is_look && again {
                printed = Some(shell.run(typed).await.1);
            }
            again = true;
            let own = printed.as_ref().map(Printed::text).unwrap_or_default();
            let all = beside.as_ref().map(|beside| beside.printed.text()).unwrap_or_default();
            let other = all[beside.as_ref().map_or(0, |beside| beside.seen)..].to_owned();
            seen = all.len();
            compared(&written, &back(&own), &back(&other), names).ok_or_else(|| back(&(own + &other)))
        })
        .await;
        match found {
            Ok(found) => *names = found,
            Err(printed) => self.wrong.push(format!(
                "line {}: $ {}\n--- written\n{}\n--- printed\n{printed}",
                step.number,
                step.typed,
                step.written.join("\n")
            )),
        }
        if let Some(beside) = &mut beside {
            beside.seen = seen;
        }
        beside
    }

    /// Ends what has gone on to the end of the page.
    async fn end(&mut self) {
        for process in self.going_on.clone() {
            self.shell.run(&format!("kill {process}")).await;
            self.ended(process).await;
        }
    }
}

/// Compares lines with what one command has printed, and then another.
fn compared(written: &[&str], own: &str, other: &str, names: &Names) -> Option<Names> {
    let [own, other] = [own, other].map(|printed| printed.lines().collect::<Vec<_>>());
    (0..=written.len()).find_map(|end| {
        let names = matched(&written[..end], &own, names)?;
        matched(&written[end..], &other, &names)
    })
}

#[test]
fn what_goes_on_beside_a_command_prints_after_it() {
    for (written, own, other, wanted) in [
        ("a\nb", "a", "b", true),
        ("a\nb", "b", "a", false),
        ("a\nb", "a", "", false),
        ("a", "a", "b", false),
        ("b", "", "b", true),
        ("[A]\n...\n[A]", "a", "b\na", true),
        ("[A]\n...\n[A]", "a", "b\nc", false),
    ] {
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(compared(&lines, own, other, &Names::new()).is_some(), wanted, "{written:?}");
    }
}
