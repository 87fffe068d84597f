//! What must not vanish by accident: tenants whose files are not found any more.

use std::collections::HashSet;

use hookweir_model::TenantId;
use secrecy::ExposeSecret as _;

use super::checked::{Config, Destination, Include, Tenant};

/// The patterns that match nothing where they matched before: their tenants would be gone, by a disk that is not mounted
/// or a folder that was renamed more likely than by intent. A folder with nothing in it at all is taken as meant.
pub(crate) fn vanished<'a>(
    before: &'a [Include],
    now: &'a [Include],
) -> impl Iterator<Item = anyhow::Error> + 'a {
    now.iter().filter(|include| include.matched == 0 && !include.is_empty).filter_map(|include| {
        let before = before.iter().find(|before| before.pattern == include.pattern)?;
        let count = Some(before.matched).filter(|matched| *matched > 0)?;
        Some(anyhow::anyhow!(
            "the pattern {:?} of `include` matches no file, and matched {count} before: put the files back, remove the \
             pattern, or leave its folder empty",
            include.pattern,
        ))
    })
}

impl Config {
    /// Lets the tenants of files that can't be used stay as they were `before`. Of keys, those stay that nobody else has now.
    pub(crate) fn keep_broken(&mut self, before: &Self) {
        let kept: Vec<(TenantId, Tenant)> = before
            .tenants
            .iter()
            .filter(|(id, tenant)| !self.tenants.contains_key(*id) && self.is_broken(id, tenant))
            .map(|(id, tenant)| (id.clone(), tenant.clone()))
            .collect();
        for (id, tenant) in kept {
            let tenant = self.without_taken_keys(tenant);
            self.tenants.insert(id, tenant);
        }
    }

    /// Whether a tenant that is not there may stand in a file that can't be used.
    pub(crate) fn may_be_off(&self, id: &str) -> bool {
        !self.tenants.contains_key(id)
            && self.broken.iter().any(|broken| {
                broken.tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|tenant| tenant == id))
            })
    }

    fn is_broken(&self, id: &TenantId, before: &Tenant) -> bool {
        self.broken.iter().any(|broken| {
            let stands_there = |tenants: &Vec<String>| tenants.iter().any(|tenant| tenant == id.as_str());
            before.file.as_ref() == Some(&broken.path) || broken.tenants.as_ref().is_some_and(stands_there)
        })
    }

    fn without_taken_keys(&self, mut tenant: Tenant) -> Tenant {
        let keys = self.tenants.values().flat_map(|tenant| &tenant.keys);
        let keys: HashSet<&str> = keys.map(|key| key.secret.expose_secret()).collect();
        tenant.keys.retain(|key| !keys.contains(key.secret.expose_secret()));
        let endpoints = self.tenants.values().flat_map(|tenant| tenant.endpoints.values());
        let ids: HashSet<&str> = endpoints
            .filter_map(|endpoint| match &endpoint.target {
                Destination::Pull(pull) => Some(pull.access.iter().map(|access| access.id.as_str())),
                Destination::Outside(_) => None,
            })
            .flatten()
            .collect();
        for endpoint in tenant.endpoints.values_mut() {
            if let Destination::Pull(pull) = &mut endpoint.target {
                pull.access.retain(|access| !ids.contains(access.id.as_str()));
            }
        }
        tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn include(pattern: &str, matched: usize, is_empty: bool) -> Include {
        Include { pattern: pattern.to_owned(), matched, is_empty }
    }

    #[test]
    fn a_pattern_that_matched_must_match_or_be_left_out() {
        for (before, now, is_refused) in [
            (vec![include("a/*", 3, false)], vec![include("a/*", 0, false)], true),
            (vec![include("a/*", 3, false)], vec![include("a/*", 0, true)], false),
            (vec![include("a/*", 3, false)], vec![include("a/*", 1, false)], false),
            (vec![include("a/*", 3, false)], vec![], false),
            (vec![include("a/*", 0, false)], vec![include("a/*", 0, false)], false),
            (vec![include("a/*", 3, false)], vec![include("b/*", 0, false)], false),
        ] {
            assert_eq!(vanished(&before, &now).count() > 0, is_refused, "{before:?} {now:?}");
        }
    }
}
