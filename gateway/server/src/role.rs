//! What a key may do.

/// What a request does, as far as it takes leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Sends events, and takes messages from the tenant's queues: all that the accept listener does.
    Send,
    /// Looks at what there is.
    Read,
    /// Sends again, switches on and off, tries: what mends a delivery.
    Operate,
    /// Changes what runs for the tenant: its plugins' components.
    Administer,
}

/// A key's role, by the word of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Role {
    Send,
    Read,
    Operate,
    /// All of it: what a key may do that names no role.
    #[default]
    Admin,
}

impl Role {
    /// Of a tenant's key.
    pub(crate) const OF_TENANT: [(&'static str, Self); 4] =
        [("send", Self::Send), ("read", Self::Read), ("operate", Self::Operate), ("admin", Self::Admin)];
    /// Of a key of the admin listener, which takes no events.
    pub(crate) const OF_OPERATOR: [(&'static str, Self); 3] =
        [("read", Self::Read), ("operate", Self::Operate), ("admin", Self::Admin)];

    pub(crate) const fn may(self, action: Action) -> bool {
        match self {
            Self::Send => matches!(action, Action::Send),
            Self::Read => matches!(action, Action::Read),
            Self::Operate => matches!(action, Action::Read | Action::Operate),
            Self::Admin => true,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_what() {
        use Action::{Administer, Operate, Read, Send};
        for (role, may) in [
            (Role::Send, &[Send][..]),
            (Role::Read, &[Read]),
            (Role::Operate, &[Read, Operate]),
            (Role::Admin, &[Send, Read, Operate, Administer]),
        ] {
            for action in [Send, Read, Operate, Administer] {
                assert_eq!(role.may(action), may.contains(&action), "{role:?} {action:?}");
            }
        }
    }
}
