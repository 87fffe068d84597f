//! Puts one event through an endpoint's filters and transformers, on the thread that calls it.
//!
//! Every step starts from a fresh instance, except that a plugin which the same event meets again, as filter and as
//! transformer, keeps its instance, and that a step with `reuse` takes one that has seen earlier events of its tenant.
//! The first step that drops the event or fails ends the chain.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use hookweir_model::{InvalidHeader, PluginCall, PluginRole, check_content_type, check_headers};

use crate::bindings::{self, Failure, filter, transformer};
use crate::contract::{Fault, FaultKind, Job, Limits, Outgoing, Ran, Step, Used, Verdict};
use crate::engine::INSTANCES_PER_JOB;
use crate::fault::{Cause, too_much};
use crate::instance::Instance;
use crate::text;
use crate::warm::{Key, Warm};

/// Runs the job to its verdict. It takes as long as the plugins take, up to their deadlines.
pub(crate) fn run(job: &Job, warm: &Warm) -> Ran {
    let mut chain = Chain { job, warm, kept: Vec::new(), made: None };
    let mut calls = Vec::with_capacity(job.steps.len());
    let mut used = Vec::with_capacity(job.steps.len());
    let verdict = job
        .steps
        .iter()
        .enumerate()
        .find_map(|(index, step)| {
            let started = Instant::now();
            let Called { ended, took, log } = chain.step(index, step);
            used.push(took);
            calls.push(PluginCall {
                plugin: step.id.clone(),
                digest: step.plugin.digest(),
                role: step.role,
                micros: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
                memory: took.memory as u64,
                log,
            });
            match ended {
                Ok(Next::GoOn) => None,
                Ok(Next::Drop(reason)) => {
                    Some(Verdict::Drop { plugin: step.id.clone(), digest: step.plugin.digest(), reason })
                }
                Err(cause) => Some(Verdict::Fault(fault(step, cause))),
            }
        })
        .unwrap_or_else(|| Verdict::Keep(chain.made.take()));
    chain.end();
    Ran { verdict, calls, used }
}

pub(crate) fn fault(step: &Step, cause: Cause) -> Fault {
    Fault { plugin: step.id.clone(), digest: step.plugin.digest(), kind: cause.kind, message: cause.message }
}

/// One call, made.
struct Called {
    ended: Result<Next, Cause>,
    took: Used,
    /// What the guest logged.
    log: String,
}

/// What follows a call that gave a result.
enum Next {
    GoOn,
    Drop(String),
}

struct Chain<'a> {
    job: &'a Job,
    warm: &'a Warm,
    /// Instances that a later step may meet again, with the step that they were made for.
    kept: Vec<(&'a Step, Instance)>,
    /// What the transformers so far have made.
    made: Option<Outgoing>,
}

impl<'a> Chain<'a> {
    /// Makes one call. What a warm instance can't do is asked of a fresh one, so that reuse never costs a delivery: an
    /// earlier event may have left a full memory or a broken state behind.
    fn step(&mut self, index: usize, step: &'a Step) -> Called {
        let instance = self.instance(step);
        let is_warm = instance.is_warm();
        let called = self.call(index, step, instance);
        match &called.ended {
            Err(cause) if is_warm && !is_answer(cause) => {
                let mut again = self.call(index, step, Instance::new(step));
                again.took.processor += called.took.processor;
                again
            }
            _ => called,
        }
    }

    fn call(&mut self, index: usize, step: &'a Step, mut instance: Instance) -> Called {
        let fresh = !instance.is_warm();
        let called = guarded(|| match step.role {
            PluginRole::Filter => self.filter(&mut instance),
            PluginRole::Transformer => self.transform(&mut instance, step),
        });
        let log = instance.take_log();
        let took = Used {
            processor: instance.processor(),
            memory: instance.memory(),
            output: called.as_ref().map_or(0, |next| self.handed_over(step, next)),
            log: log.len(),
            fresh,
        };
        if called.as_ref().map_or_else(is_answer, |_| true) {
            self.keep(index, step, instance);
        }
        Called { ended: called, took, log }
    }

    fn instance(&mut self, step: &Step) -> Instance {
        if let Some(place) = self.kept.iter().position(|(made_for, _)| same_plugin(made_for, step)) {
            return self.kept.swap_remove(place).1;
        }
        let warm = step.reuse.and_then(|_| self.warm.take(&Key::new(&self.job.tenant, step)));
        warm.unwrap_or_else(|| Instance::new(step))
    }

    /// Keeps an instance that is sound for a later step of this event, or else for the tenant's next event.
    fn keep(&mut self, index: usize, step: &'a Step, instance: Instance) {
        let wanted_again = self.job.steps.iter().skip(index + 1).any(|later| same_plugin(step, later));
        if wanted_again && self.kept.len() < INSTANCES_PER_JOB - 1 {
            self.kept.push((step, instance));
        } else {
            self.give_back(step, instance);
        }
    }

    /// Ends the event for an instance.
    fn give_back(&self, step: &Step, mut instance: Instance) {
        if step.reuse.is_some_and(|reuse| instance.may_see_another(reuse.events)) {
            self.warm.put(Key::new(&self.job.tenant, step), instance);
        }
    }

    /// Ends the event for all instances: a drop or a fault may have come before the step that would have met them.
    fn end(mut self) {
        for (step, instance) in std::mem::take(&mut self.kept) {
            self.give_back(step, instance);
        }
    }

    /// Bytes that a call handed over.
    fn handed_over(&self, step: &Step, next: &Next) -> usize {
        match (step.role, next, &self.made) {
            (PluginRole::Filter, Next::Drop(reason), _) => reason.len(),
            (PluginRole::Transformer, _, Some(made)) => made.size(),
            _ => 0,
        }
    }

    fn filter(&self, instance: &mut Instance) -> Result<Next, Cause> {
        let verdict = self.with_event(|event| instance.filter(event))?.map_err(said)?;
        Ok(match verdict {
            filter::Verdict::Keep => Next::GoOn,
            filter::Verdict::Drop(reason) => Next::Drop(text::reason(&reason)),
        })
    }

    fn transform(&mut self, instance: &mut Instance, step: &Step) -> Result<Next, Cause> {
        let outgoing = self.with_event(|event| instance.transform(event))?.map_err(said)?;
        let made = accept(outgoing, self.made.as_ref(), &step.limits)?;
        self.made = Some(made);
        Ok(Next::GoOn)
    }

    /// The event as the coming call sees it: its data is what the last transformer made of it.
    fn with_event<T>(&self, call: impl FnOnce(bindings::Event<'_>) -> T) -> T {
        let event = &self.job.event;
        let attributes: Vec<(&str, &str)> =
            event.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (content_type, data) = match &self.made {
            Some(made) => (made.content_type.as_str(), &made.data),
            None => (event.content_type.as_str(), &event.data),
        };
        call(bindings::Event {
            id: event.id.as_str(),
            type_: event.event_type.as_str(),
            source: &event.source,
            subject: event.subject.as_deref(),
            time: &event.time,
            content_type,
            attributes: &attributes,
            data,
        })
    }
}

/// Whether two steps call the same plugin in the same way, so that one instance may serve both.
fn same_plugin(one: &Step, other: &Step) -> bool {
    one.id == other.id
        && one.plugin.digest() == other.plugin.digest()
        && one.config == other.config
        && one.limits == other.limits
}

/// Whether the guest gave the failure as its answer, in good order.
fn is_answer(cause: &Cause) -> bool {
    matches!(cause.kind, FaultKind::Invalid | FaultKind::Unavailable)
}

/// What a guest said that it can't do.
fn said(failure: Failure) -> Cause {
    match failure {
        Failure::Invalid(text) => Cause::new(FaultKind::Invalid, text::reason(&text)),
        Failure::Unavailable(text) => Cause::new(FaultKind::Unavailable, text::reason(&text)),
    }
}

/// Checks what a transformer made and adds the headers of the ones before it.
fn accept(
    outgoing: transformer::Outgoing,
    earlier: Option<&Outgoing>,
    limits: &Limits,
) -> Result<Outgoing, Cause> {
    let transformer::Outgoing { content_type, headers, data } = outgoing;
    let made = Outgoing { content_type, headers, data: data.into() };
    if made.size() > limits.output {
        return Err(Cause::new(FaultKind::Output, too_much(limits)));
    }
    let refuse = |error: InvalidHeader| {
        Cause::new(FaultKind::InvalidOutput, text::reason(&format!("its headers can't be sent: {error}")))
    };
    check_headers(&made.headers).map_err(refuse)?;
    check_content_type(&made.content_type).map_err(refuse)?;
    let headers = merge(earlier.map_or(&[], |earlier| &earlier.headers), made.headers);
    check_headers(&headers).map_err(refuse)?;
    Ok(Outgoing { headers, ..made })
}

/// Later headers take the place of earlier ones of the same name.
fn merge(earlier: &[(String, String)], later: Vec<(String, String)>) -> Vec<(String, String)> {
    let replaced = |name: &str| later.iter().any(|(newer, _)| newer.eq_ignore_ascii_case(name));
    let mut merged: Vec<_> = earlier.iter().filter(|(name, _)| !replaced(name)).cloned().collect();
    merged.extend(later);
    merged
}

/// Turns a panic of the host into a fault of this call, so that its thread goes on.
fn guarded<T>(call: impl FnOnce() -> Result<T, Cause>) -> Result<T, Cause> {
    // What the call worked on is dropped after a panic, so nothing half changed is seen again.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let message = format!("the plugin host panicked: {}", panic_text(panic.as_ref()));
        tracing::error!(target: "hookweir::plugin", "{message}");
        Err(Cause::new(FaultKind::Host, message))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn outgoing(content_type: &str, list: &[(&str, &str)], data: &[u8]) -> transformer::Outgoing {
        transformer::Outgoing {
            content_type: content_type.to_owned(),
            headers: headers(list),
            data: data.to_vec(),
        }
    }

    #[test]
    fn later_headers_win_by_name_in_any_case() {
        let merged = merge(&headers(&[("X-A", "1"), ("x-b", "1")]), headers(&[("x-a", "2"), ("x-c", "2")]));
        assert_eq!(merged, headers(&[("x-b", "1"), ("x-a", "2"), ("x-c", "2")]));
    }

    #[test]
    fn the_output_limit_counts_everything() {
        let limits = Limits { output: 12, ..Limits::default() };
        let at_limit = accept(outgoing("a/b", &[("x-a", "1")], b"12345"), None, &limits).unwrap();
        assert_eq!(at_limit.data.as_ref(), b"12345");
        let over = accept(outgoing("a/b", &[("x-a", "1")], b"123456"), None, &limits).unwrap_err();
        assert_eq!(over, Cause::new(FaultKind::Output, "it handed over more than 12 bytes"));
    }

    #[test]
    fn what_can_not_be_sent_is_refused() {
        let limits = Limits::default();
        for (made, message) in [
            (
                outgoing("a/b", &[("Host", "x")], b""),
                "its headers can't be sent: header \"Host\" is set by the gateway, by HTTP or by a broker and can't be given",
            ),
            (
                outgoing("a/b\r\nhost: x", &[], b""),
                "its headers can't be sent: the content type \"a/b\\r\\nhost: x\" may only hold visible ASCII and spaces, \
                 and begin and end with no space",
            ),
            (outgoing("", &[], b""), "its headers can't be sent: the content type is empty"),
            (
                outgoing(&format!("a/{}", "b".repeat(254)), &[], b""),
                "its headers can't be sent: the content type has 256 bytes; at most 255 may be given",
            ),
        ] {
            let refused = accept(made, None, &limits).unwrap_err();
            assert_eq!(refused, Cause::new(FaultKind::InvalidOutput, message));
        }
        let earlier = Outgoing {
            content_type: "a/b".to_owned(),
            headers: (0..64).map(|index| (format!("x-{index}"), String::new())).collect(),
            data: Vec::new().into(),
        };
        let too_many = accept(outgoing("a/b", &[("y", "")], b""), Some(&earlier), &limits).unwrap_err();
        assert!(too_many.message.contains("there are 65 headers"), "{}", too_many.message);
    }

    #[test]
    fn a_panic_of_the_host_is_one_calls_fault() {
        let fault = guarded::<()>(|| panic!("index {} out of range", 7)).unwrap_err();
        assert_eq!(fault, Cause::new(FaultKind::Host, "the plugin host panicked: index 7 out of range"));
        assert_eq!(guarded(|| Ok(1)), Ok(1));
    }
}
