//! Which of many subscribers want an event type, found without asking each of them.

use std::collections::HashMap;

use crate::event_type::{EventType, TypePattern};

/// Subscribers by their patterns. A subscriber is known by its place.
///
/// Patterns without a star are found by the type itself, those that name a first segment by that; only patterns that
/// begin with a star are tried for every event.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions {
    exact: HashMap<String, Vec<usize>>,
    by_first: HashMap<String, Vec<(TypePattern, usize)>>,
    by_star: Vec<(TypePattern, usize)>,
}

impl Subscriptions {
    /// The subscribers in order, each with its patterns.
    pub fn new<'p>(subscribers: impl IntoIterator<Item = &'p [TypePattern]>) -> Self {
        let mut all = Self::default();
        for (place, patterns) in subscribers.into_iter().enumerate() {
            for pattern in patterns {
                if !pattern.has_star() {
                    all.exact.entry(pattern.as_str().to_owned()).or_default().push(place);
                    continue;
                }
                let found_by = match pattern.first() {
                    None => &mut all.by_star,
                    Some(first) => all.by_first.entry(first.to_owned()).or_default(),
                };
                found_by.push((pattern.clone(), place));
            }
        }
        all
    }

    /// The places of those who want a type, rising, each once.
    pub fn wanting(&self, event_type: &EventType) -> Vec<usize> {
        let mut places = self.naming(event_type);
        places.extend(matching(&self.by_star, event_type));
        sorted(places)
    }

    /// Of these, those of whose patterns one names the first segment itself.
    pub fn wanting_by_name(&self, event_type: &EventType) -> Vec<usize> {
        sorted(self.naming(event_type))
    }

    fn naming(&self, event_type: &EventType) -> Vec<usize> {
        let name = event_type.as_str();
        let mut places = self.exact.get(name).cloned().unwrap_or_default();
        if let Some(patterns) = name.split('.').next().and_then(|first| self.by_first.get(first)) {
            places.extend(matching(patterns, event_type));
        }
        places
    }
}

fn matching<'p>(
    patterns: &'p [(TypePattern, usize)],
    event_type: &'p EventType,
) -> impl Iterator<Item = usize> + 'p {
    patterns.iter().filter(|(pattern, _)| pattern.matches(event_type)).map(|(_, place)| *place)
}

fn sorted(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What asking each pattern would find.
    fn asked(subscribers: &[Vec<TypePattern>], event_type: &EventType) -> Vec<usize> {
        let wants = |patterns: &Vec<TypePattern>| patterns.iter().any(|pattern| pattern.matches(event_type));
        let places = subscribers.iter().enumerate().filter(|(_, patterns)| wants(patterns));
        places.map(|(place, _)| place).collect()
    }

    #[test]
    fn the_index_finds_what_asking_each_would_find() {
        let patterns = [
            &["order.created"][..],
            &["order.*", "order.created"],
            &["**"],
            &["*"],
            &["*.created", "invoice.**"],
            &[],
            &["order.item.*"],
            &["order.**", "a"],
            &["*.*"],
        ];
        let parse = |list: &&[&str]| list.iter().map(|text| TypePattern::parse(text).unwrap()).collect();
        let subscribers: Vec<Vec<TypePattern>> = patterns.iter().map(parse).collect();
        let index = Subscriptions::new(subscribers.iter().map(Vec::as_slice));
        for name in ["order.created", "order.item.added", "order", "a", "a.b", "invoice.paid", "x.created"] {
            let event_type = EventType::new(name).unwrap();
            assert_eq!(index.wanting(&event_type), asked(&subscribers, &event_type), "{name}");
        }
    }

    #[test]
    fn a_star_at_the_beginning_names_nobody() {
        let parse = |text| vec![TypePattern::parse(text).unwrap()];
        let subscribers =
            ["hookweir.*", "**", "*.plugin.*", "hookweir.plugin.paused", "hookweir.**"].map(parse);
        let index = Subscriptions::new(subscribers.iter().map(Vec::as_slice));
        let event_type = EventType::new("hookweir.plugin.paused").unwrap();
        assert_eq!(index.wanting_by_name(&event_type), [3, 4]);
        assert_eq!(index.wanting(&event_type), [1, 2, 3, 4]);
    }
}
