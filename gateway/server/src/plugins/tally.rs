//! How a component does on trial, by chain, type of event and role.

use hookweir_host::{Fault, FaultKind, Ran, Verdict};
use hookweir_model::{EndpointId, Event, EventId, EventType, PluginId, PluginKey, PluginRole};

use crate::shell::Word;

/// A component that has failed on so many events of one type, and on all that it was tried on, fails on that type.
const ENOUGH: u32 = 20;

/// The calls of a plugin for events of one type, in one role in one chain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its place among the chains.
    pub chain: usize,
    event_type: EventType,
    role: PluginRole,
    /// Calls that ended by a fault of the plugin's own.
    faults: u32,
    /// The newest event that met one, and the fault.
    newest: Option<(EventId, String)>,
    /// Whether any call gave an answer, be it that the event can't be handled.
    answered: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tally(Vec<Group>);

impl Tally {
    /// Whether another event of the type would tell nothing new of the plugin in any of these roles.
    pub(super) fn is_settled(
        &self,
        chain: usize,
        event_type: &EventType,
        mut roles: impl Iterator<Item = PluginRole>,
    ) -> bool {
        roles.all(|role| {
            let group = self.0.iter().find(|group| group.is(chain, event_type, role));
            group.is_some_and(|group| group.answered || group.faults >= ENOUGH)
        })
    }

    /// Takes note of the plugin's calls for an event. A fault of another plugin of the chain says nothing of this one.
    pub(super) fn note(&mut self, chain: usize, event: &Event, plugin: &PluginId, ran: &Ran) {
        let fault = own_fault(plugin, ran);
        for (number, call) in ran.calls.iter().enumerate().filter(|(_, call)| call.plugin == *plugin) {
            let is_last = number + 1 == ran.calls.len();
            let group = self.group(chain, &event.event_type, call.role);
            match fault.filter(|_| is_last) {
                Some(fault) => {
                    group.faults += 1;
                    group.newest.get_or_insert_with(|| (event.id.clone(), fault.message.clone()));
                }
                // The host's own fault says nothing of the plugin.
                None if is_last && is_hosts(ran) => {}
                None => group.answered = true,
            }
        }
    }

    fn group(&mut self, chain: usize, event_type: &EventType, role: PluginRole) -> &mut Group {
        let place = self.0.iter().position(|group| group.is(chain, event_type, role));
        let place = place.unwrap_or_else(|| {
            let event_type = event_type.clone();
            self.0.push(Group { chain, event_type, role, faults: 0, newest: None, answered: false });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    /// Whether it is refused whatever follows.
    pub(super) fn has_enough(&self) -> bool {
        self.refusal().is_some_and(|group| group.faults >= ENOUGH)
    }

    /// The events that refuse the component, if any do: all that it was called for of their type met a fault.
    pub(super) fn refusal(&self) -> Option<&Group> {
        self.0.iter().filter(|group| group.faults > 0 && !group.answered).max_by_key(|group| group.faults)
    }
}

impl Group {
    fn is(&self, chain: usize, event_type: &EventType, role: PluginRole) -> bool {
        self.chain == chain && self.role == role && self.event_type == *event_type
    }

    /// A sentence about a component that failed on all of it.
    pub(super) fn told(&self, endpoint: Option<&EndpointId>, key: &PluginKey) -> String {
        let Some((event, fault)) = &self.newest else { return String::new() };
        let PluginKey { tenant, plugin } = key;
        let (kind, role) = (self.event_type.as_str(), self.role.as_str());
        let place = endpoint.map(|id| format!(" (as endpoint {id} would run it)")).unwrap_or_default();
        let on = match self.faults {
            1 => format!("the stored event of type {kind}"),
            faults => format!("all {faults} stored events of type {kind}"),
        };
        let event = Word(event.as_str());
        format!(
            "on a trial{place} it failed as a {role} on {on} that came to it; on {event}: {fault}; `hookweir event get \
             --tenant {tenant} {event}` shows that event, and `hookweir plugin test FILE --tenant {tenant} --plugin \
             {plugin} --event-type {kind}` what the component makes of such events"
        )
    }
}

/// The fault that ended a chain, if it is this plugin's, and not an answer of it.
pub(super) fn own_fault<'a>(plugin: &PluginId, ran: &'a Ran) -> Option<&'a Fault> {
    match &ran.verdict {
        Verdict::Fault(fault) if fault.plugin == *plugin && fault.kind.is_plugins_own() => Some(fault),
        _ => None,
    }
}

fn is_hosts(ran: &Ran) -> bool {
    matches!(&ran.verdict, Verdict::Fault(fault) if fault.kind == FaultKind::Host)
}

/// The role in which a chain's last call was made.
pub(super) fn failed_in(ran: &Ran) -> PluginRole {
    ran.calls.last().map_or(PluginRole::Filter, |call| call.role)
}

#[cfg(test)]
mod tests {
    use hookweir_model::{Digest, PluginCall, TenantId, Timestamp};

    use super::*;

    const FILTER: PluginRole = PluginRole::Filter;
    const TRANSFORMER: PluginRole = PluginRole::Transformer;

    fn event(id: &str, event_type: &str) -> Event {
        Event {
            tenant: TenantId::new("acme").unwrap(),
            id: EventId::new(id).unwrap(),
            event_type: EventType::new(event_type).unwrap(),
            source: String::new(),
            subject: None,
            time: String::new(),
            received: Timestamp::from_millis(0),
            content_type: String::new(),
            attributes: Vec::new(),
            ordering_key: None,
            data: bytes::Bytes::new(),
        }
    }

    fn plugin(name: &str) -> PluginId {
        PluginId::new(name).unwrap()
    }

    /// A chain that called these and ended by a fault of the last, or by none.
    fn ran(calls: &[(&str, PluginRole)], fault: Option<FaultKind>) -> Ran {
        let call = |(name, role): &(&str, PluginRole)| PluginCall {
            plugin: plugin(name),
            digest: Digest::of(b""),
            role: *role,
            micros: 0,
            memory: 0,
            log: String::new(),
        };
        let verdict = match (fault, calls.last()) {
            (Some(kind), Some((name, _))) => Verdict::Fault(Fault {
                plugin: plugin(name),
                digest: Digest::of(b""),
                kind,
                message: format!("{kind:?}"),
            }),
            _ => Verdict::Keep(None),
        };
        Ran { verdict, calls: calls.iter().map(call).collect(), used: Vec::new() }
    }

    /// The role, the newest event, and how many it failed on.
    type Refused = Option<(PluginRole, &'static str, u32)>;
    type Met = (&'static str, &'static [(&'static str, PluginRole)], Option<FaultKind>);

    #[test]
    fn a_component_is_refused_where_it_failed_on_all_of_one_type() {
        const TRAP: Option<FaultKind> = Some(FaultKind::Trap);
        let filtered: &[_] = &[("p", FILTER)];
        let both: &[_] = &[("p", FILTER), ("p", TRANSFORMER)];
        let behind: &[_] = &[("other", FILTER), ("p", TRANSFORMER)];
        let before: &[_] = &[("p", FILTER), ("other", TRANSFORMER)];
        let stopped: &[_] = &[("other", FILTER)];
        let cases: &[(&[Met], Refused)] = &[
            (&[], None),
            (&[("a", filtered, None)], None),
            (&[("a", filtered, TRAP)], Some((FILTER, "1", 1))),
            (&[("a", filtered, TRAP), ("a", filtered, TRAP)], Some((FILTER, "1", 2))),
            (&[("a", filtered, TRAP), ("a", filtered, None)], None),
            (&[("a", filtered, None), ("b", filtered, TRAP)], Some((FILTER, "2", 1))),
            (&[("a", filtered, Some(FaultKind::Invalid))], None),
            (&[("a", filtered, Some(FaultKind::Unavailable))], None),
            (&[("a", filtered, Some(FaultKind::Host))], None),
            (&[("a", filtered, TRAP), ("a", filtered, Some(FaultKind::Invalid))], None),
            (&[("a", filtered, TRAP), ("a", filtered, Some(FaultKind::Host))], Some((FILTER, "1", 1))),
            (&[("a", filtered, None), ("a", both, TRAP)], Some((TRANSFORMER, "2", 1))),
            (&[("a", both, TRAP), ("a", both, None)], None),
            (&[("a", behind, Some(FaultKind::Memory))], Some((TRANSFORMER, "1", 1))),
            (&[("a", before, TRAP)], None),
            (&[("a", stopped, TRAP)], None),
        ];
        for (met, refused) in cases {
            let mut tally = Tally::default();
            for (number, (event_type, calls, fault)) in met.iter().enumerate() {
                let event = event(&(number + 1).to_string(), event_type);
                tally.note(0, &event, &plugin("p"), &ran(calls, *fault));
            }
            let found = tally.refusal().map(|group| {
                (group.role, group.newest.as_ref().map(|(event, _)| event.as_str()).unwrap(), group.faults)
            });
            assert_eq!(found, *refused, "{met:?}");
        }
    }

    #[test]
    fn a_type_is_settled_by_an_answer_in_each_role_or_by_many_faults() {
        let a = EventType::new("a").unwrap();
        let mut tally = Tally::default();
        let roles = || [FILTER, TRANSFORMER].into_iter();
        tally.note(0, &event("1", "a"), &plugin("p"), &ran(&[("p", FILTER)], None));
        assert!(tally.is_settled(0, &a, [FILTER].into_iter()));
        assert!(!tally.is_settled(0, &a, roles()), "nothing came to it as a transformer");
        assert!(!tally.is_settled(1, &a, [FILTER].into_iter()), "another chain");
        let failed = ran(&[("p", FILTER), ("p", TRANSFORMER)], Some(FaultKind::Trap));
        for number in 1..=ENOUGH {
            assert!(!tally.is_settled(0, &a, roles()) && !tally.has_enough(), "{number}");
            tally.note(0, &event("2", "a"), &plugin("p"), &failed);
        }
        assert!(tally.is_settled(0, &a, roles()) && tally.has_enough());
    }

    #[test]
    fn the_event_and_the_commands_are_named() {
        let mut tally = Tally::default();
        tally.note(0, &event("a'b$", "a.b"), &plugin("p"), &ran(&[("p", FILTER)], Some(FaultKind::Trap)));
        let key = PluginKey::new(TenantId::new("acme").unwrap(), plugin("p"));
        let endpoint = EndpointId::new("hook").unwrap();
        assert_eq!(
            tally.refusal().unwrap().told(Some(&endpoint), &key),
            "on a trial (as endpoint hook would run it) it failed as a filter on the stored event of type a.b that came to it; \
             on 'a'\\''b$': Trap; `hookweir event get --tenant acme 'a'\\''b$'` shows that event, and `hookweir plugin test \
             FILE --tenant acme --plugin p --event-type a.b` what the component makes of such events"
        );
    }
}
