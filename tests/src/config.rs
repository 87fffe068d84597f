//! The configuration of a gateway under test.

/// What a test says beyond the defaults of the harness: free ports, a journal in the test's own folder, inline
/// secrets, and loopback receivers allowed.
#[derive(Debug, Clone)]
pub struct Config {
    /// Lines of `[accept]` other than `listen`.
    pub accept: String,
    /// Lines of `[admin]` other than `listen`.
    pub admin: String,
    /// Lines of `[journal]` other than `path`.
    pub journal: String,
    /// Lines of `[dispatch]`.
    pub dispatch: String,
    /// Lines of `[plugins]`.
    pub plugins: String,
    /// The lines of `[egress]`.
    pub egress: String,
    /// Everything after: the tenants' tables.
    pub tenants: String,
}

impl Config {
    pub fn new(tenants: impl Into<String>) -> Self {
        Self {
            accept: String::new(),
            admin: String::new(),
            journal: String::new(),
            dispatch: String::new(),
            plugins: String::new(),
            egress: "allow_cidrs = [\"127.0.0.0/8\"]\nallow_ports = []".to_owned(),
            tenants: tenants.into(),
        }
    }

    /// The text of `hookweir.toml`.
    pub fn text(&self) -> String {
        let Self { accept, admin, journal, dispatch, plugins, egress, tenants } = self;
        format!(
            r#"allow_inline_secrets = true

[accept]
listen = "127.0.0.1:0"
{accept}

[admin]
listen = "127.0.0.1:0"
{admin}

[journal]
path = "data"
{journal}

[dispatch]
{dispatch}

[plugins]
{plugins}

[egress]
{egress}

{tenants}
"#
        )
    }
}

impl From<&str> for Config {
    fn from(tenants: &str) -> Self {
        Self::new(tenants)
    }
}

impl From<String> for Config {
    fn from(tenants: String) -> Self {
        Self::new(tenants)
    }
}

/// A tenant's table, with its API key.
pub fn tenant(id: &str, key: &str) -> String {
    format!("[tenants.{id}]\nkeys = [\"{key}\"]\n")
}

/// An endpoint's table: its URL and more lines.
pub fn endpoint(tenant: &str, id: &str, url: &str, lines: &str) -> String {
    format!("[tenants.{tenant}.endpoints.{id}]\nurl = \"{url}\"\n{lines}\n")
}

/// The first tenant with one endpoint, `hook`.
pub fn one_endpoint(url: &str, lines: &str) -> String {
    tenant("acme", crate::KEY) + &endpoint("acme", "hook", url, lines)
}
