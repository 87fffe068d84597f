//! From what the user wrote to what the program may assume: every file is walked to its end, and every problem on
//! the way is reported.
//!
//! This step reads the files that the configuration names. It dials nothing, resolves no name and compiles no plugin.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hookweir_delivery::{EgressPolicy, system_trust};
use hookweir_host::Exports;
use hookweir_journal::engines::embedded::{Disk, LEAST_RESERVE, OnDamage, default_reserve};
use hookweir_model::{InvalidName, PluginRole};
use secrecy::ExposeSecret as _;
use toml::de::DeTable;

use super::authority::authorities;
use super::checked::{Accept, Admin, Broken, Config, Dispatch, Journal, Plugin};
use super::env::Env;
use super::file;
use super::limits::{self, Ceilings};
use super::problem::{Blame, Fault, Problems, Report};
use super::quantity::{address, cidr, duration, nameserver, show_duration, show_size, size};
use super::secret::{self, check_bearer, secret};
use super::source::{FileId, Source, shown};
use super::telemetry;
use super::tenant::Tenants;
use super::unreadable;
use super::written::{Table, Value};
use crate::role::Role;

/// Looks into a plugin's component, compiles it if need be, runs its sample in the roles in which endpoints use it, and
/// says what it exports.
pub(crate) type Inspect<'a> = &'a dyn Fn(&Plugin, &[PluginRole], &Bytes) -> Result<Exports, Unusable>;

/// Why a plugin can't be used, in a sentence.
#[derive(Debug)]
pub(crate) enum Unusable {
    Component(String),
    /// It gives no result for its sample.
    Sample(String),
}

const MAIN_KEYS: [&str; 10] = [
    "include",
    "allow_inline_secrets",
    "accept",
    "admin",
    "journal",
    "dispatch",
    "plugins",
    "egress",
    "telemetry",
    "tenants",
];
const SIZE_HELP: &str = "write a size in quotes, such as \"1MiB\"";
pub(super) const DURATION_HELP: &str = "write a duration in quotes, such as \"7d\"";
pub(super) const DAY: u64 = 24 * 60 * 60;

/// What the walk needs to know besides the value at hand.
pub(super) struct Surroundings<'a> {
    pub env: &'a dyn Env,
    pub inspect: Option<Inspect<'a>>,
    pub allow_inline_secrets: bool,
    pub egress: EgressPolicy,
    pub ceilings: Ceilings,
    /// Processor time that compiling one component may take.
    pub compile_deadline: Duration,
    /// The path of each file.
    files: Vec<PathBuf>,
}

impl Surroundings<'_> {
    /// A path as a file gives it, relative to that file.
    pub(super) fn resolve(&self, file: FileId, path: &str) -> PathBuf {
        let folder = self.files.get(file.0).and_then(|file| file.parent());
        folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }

    /// The path of an included file; `None` for the main one.
    pub(super) fn included(&self, file: FileId) -> Option<PathBuf> {
        self.files.get(file.0).filter(|_| file != FileId(0)).cloned()
    }
}

/// Reads and checks a configuration. Plugins are read and compared with their pins, but not looked into.
///
/// Included files that can't be used are left out, and named by [`Config::broken`]: one tenant's mistake is not the others'.
pub(crate) fn load(path: &Path, env: &dyn Env) -> Result<Config, Problems> {
    let Read { config, problems, .. } = read(path, env, None)?;
    let problems = problems.map_or_else(Vec::new, |problems| problems.lines());
    Ok(Config { problems, ..config })
}

/// Reads and checks a configuration, and has every plugin looked into, so that its faults are reported with all
/// others.
pub(crate) fn load_inspecting(path: &Path, env: &dyn Env, inspect: Inspect<'_>) -> Result<Config, Problems> {
    match read(path, env, Some(inspect))? {
        Read { config, problems: None } => Ok(config),
        Read { problems: Some(problems), .. } => Err(problems),
    }
}

/// A configuration of which the main file can be used.
struct Read {
    /// Without the files that can't be used.
    config: Config,
    problems: Option<Problems>,
}

fn read(path: &Path, env: &dyn Env, inspect: Option<Inspect<'_>>) -> Result<Read, Problems> {
    let mut report = Report::default();
    let main = match Source::read(path.to_owned()) {
        Ok(main) => main,
        Err(error) => {
            let help = "name the configuration by --config, or start where hookweir.toml lies";
            let what = format!("the configuration can't be read: {}", unreadable::reason(path, &error));
            let fault = Fault::new(what, unreadable::help(&error, help));
            return Err(Problems::of_unreadable(path, fault));
        }
    };
    let document = file::parse(FileId(0), &main, &mut report);
    let included = document.as_ref().map(|document| file::included(&main, document, &mut report));
    let file::Included { sources: included, patterns } = included.unwrap_or_default();
    let mut others = Vec::new();
    for (index, source) in included.iter().enumerate() {
        let file = FileId(index + 1);
        others.extend(file::parse(file, source, &mut report).map(|document| (file, document)));
    }
    let sources: Vec<&Source> = std::iter::once(&main).chain(&included).collect();
    let config = document.as_ref().map(|document| {
        let walk = |others: &[&(FileId, DeTable<'_>)], inspect, report: &mut Report| {
            let files = sources.iter().map(|source| source.path().to_owned()).collect();
            config(document, others, files, env, inspect, report)
        };
        let config = walk(&others.iter().collect::<Vec<_>>(), inspect, &mut report);
        let (config, broken) = match report.blame() {
            Blame::Nobody | Blame::Main => (config, Vec::new()),
            Blame::Included(files, missing) => {
                let good: Vec<_> = others.iter().filter(|(file, _)| !files.contains(file)).collect();
                // What two files make together is wrong in none of them alone, so that this finds nothing new.
                let config = walk(&good, None, &mut Report::default());
                (config, broken(&files, missing, &sources, &others))
            }
        };
        let warnings = report.take_warnings(&sources);
        Config { includes: patterns, warnings, broken, ..config }
    });
    let blame = report.blame();
    drop((document, others));
    let problems = report.into_problems(std::iter::once(main).chain(included));
    match config {
        Some(config) if blame != Blame::Main => Ok(Read { config, problems }),
        _ => Err(problems.unwrap_or_default()),
    }
}

/// The files that can't be used, with the tenants that are known to stand in them.
fn broken(
    files: &BTreeSet<FileId>,
    missing: BTreeSet<PathBuf>,
    sources: &[&Source],
    others: &[(FileId, DeTable<'_>)],
) -> Vec<Broken> {
    let of_file = |file: &FileId| {
        let path = sources.get(file.0)?.path().to_owned();
        let document = others.iter().find(|(other, _)| other == file);
        let tenants = document.map(|(file, document)| {
            let tenants = Table::whole(*file, document).get("tenants");
            let tenants = tenants.and_then(|tenants| tenants.as_table());
            tenants.iter().flat_map(Table::entries).map(|(key, _)| key.text.to_owned()).collect()
        });
        Some(Broken { path, tenants })
    };
    let unread = missing.into_iter().map(|path| Broken { path, tenants: None });
    files.iter().filter_map(of_file).chain(unread).collect()
}

fn config(
    main: &DeTable<'_>,
    others: &[&(FileId, DeTable<'_>)],
    files: Vec<PathBuf>,
    env: &dyn Env,
    inspect: Option<Inspect<'_>>,
    report: &mut Report,
) -> Config {
    let main = Table::whole(FileId(0), main);
    main.allow(&MAIN_KEYS, report);
    let inline = main.get("allow_inline_secrets").and_then(|value| value.boolean(report));
    let part = |key: &str, report: &mut Report| {
        let help = format!("write it as a table: [{key}]");
        main.get(key).and_then(|value| value.table(&help, report))
    };
    let plugins = part("plugins", report);
    if let Some(table) = &plugins {
        table.allow(&[&limits::KEYS[..], &[limits::COMPILE_KEY]].concat(), report);
    }
    let egress_table = part("egress", report);
    let mut outside = Surroundings {
        env,
        inspect,
        allow_inline_secrets: inline.unwrap_or(false),
        egress: egress(egress_table.as_ref(), report),
        ceilings: Ceilings::of_gateway(plugins.as_ref(), report),
        compile_deadline: limits::compile_deadline(plugins.as_ref(), report),
        files,
    };
    outside.egress.ca = egress_table.and_then(|table| authorities(&table, true, &outside, report));
    let accept = accept(part("accept", report), report);
    let admin = admin(part("admin", report), accept.listen, &outside, report);
    let journal = journal(part("journal", report), &outside, report);
    let dispatch = dispatch(part("dispatch", report), accept.max_body, report);
    let otlp = telemetry::otlp(part("telemetry", report), &outside, report);
    // Port 0 stands for one that is not known before the listener is bound.
    outside.egress.own_addresses =
        [accept.listen, admin.listen].into_iter().filter(|own| own.port() != 0).collect();

    let mut tenants = Tenants::default();
    tenants.read(&main, &outside, report);
    for (file, document) in others {
        let other = Table::whole(*file, document);
        for (key, _) in other.entries().filter(|(key, _)| key.text != "tenants") {
            let help = "move it to the main file";
            let fault = Fault::new("an included file may hold only [tenants.<id>] tables", help);
            report.add(&key.name, &key.place, fault);
        }
        tenants.read(&other, &outside, report);
    }
    let (tenants, egress) = (tenants.into_tenants(), outside.egress);
    let (includes, warnings, broken, problems) = Default::default();
    let config = Config {
        accept,
        admin,
        journal,
        dispatch,
        egress,
        otlp,
        tenants,
        includes,
        warnings,
        broken,
        problems,
    };
    // That is told before the first delivery.
    if config.trusts_the_machine()
        && let Some((what, help)) = system_trust().warning()
    {
        report.warn("egress.ca", None, Fault::new(what, help));
    }
    config
}

fn accept(table: Option<Table<'_>>, report: &mut Report) -> Accept {
    let mut accept = Accept { listen: SocketAddr::from(([0, 0, 0, 0], 8080)), max_body: 1 << 20 };
    let Some(table) = table else { return accept };
    table.allow(&["listen", "max_body"], report);
    listen(&table, &mut accept.listen, report);
    // A body is held in memory and journalled whole.
    let bounds = (1, 64 << 20);
    if let Some(bytes) = table.get("max_body").and_then(|value| size_within(&value, bounds, report)) {
        accept.max_body = usize::try_from(bytes).unwrap_or(accept.max_body);
    }
    accept
}

fn admin(
    table: Option<Table<'_>>,
    accept: SocketAddr,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Admin {
    let listen_at = SocketAddr::from(([127, 0, 0, 1], 9080));
    let mut admin = Admin { listen: listen_at, token: None, keys: Vec::new(), origin: None };
    let Some(table) = table else { return admin };
    table.allow(&["listen", "token", "keys", "origin"], report);
    admin.origin = origin(&table, report);
    listen(&table, &mut admin.listen, report);
    if admin.listen == accept
        && admin.listen.port() != 0
        && let Some(value) = table.get("listen")
    {
        let help = "give the two listeners ports of their own";
        value.refuse(Fault::new(format!("the accept listener has {accept} already"), help), report);
    }
    match table.get("token") {
        Some(value) => {
            admin.token = secret(&value, outside, report)
                .and_then(|token| value.take(check_bearer(token.expose_secret(), 1).map(|()| token), report));
        }
        None if !admin.listen.ip().to_canonical().is_loopback() => {
            let help = format!(
                "{} can be reached from other machines: as `token`, {}; or listen on 127.0.0.1",
                admin.listen,
                secret::EXAMPLE
            );
            table.need("token", &help, report);
        }
        None => {}
    }
    if let Some(value) = table.get("keys") {
        let keys = secret::keys(&value, &Role::OF_OPERATOR, outside, report);
        admin.keys = keys.into_iter().map(|(_, key)| key).collect();
        // With keys alone, nobody could do what takes the admin's leave, and a page could do all of it without any.
        if admin.token.is_none() && table.get("token").is_none() {
            let help = format!("add `token`, whose holder may do all: {}", secret::EXAMPLE);
            value.refuse_key(Fault::new("there are keys, and no token", help), report);
        }
    }
    admin
}

/// What browsers call the admin listener.
fn origin(table: &Table<'_>, report: &mut Report) -> Option<url::Origin> {
    let help =
        "write what stands in the browser's address line up to the path, as \"https://ops.example.com\"";
    let value = table.get("origin")?;
    let text = value.text(help, report)?;
    let read =
        crate::admin::origin::parse(text).ok_or_else(|| Fault::new(format!("{text:?} is no origin"), help));
    value.take(read, report)
}

fn journal(table: Option<Table<'_>>, outside: &Surroundings<'_>, report: &mut Report) -> Journal {
    let mut journal = Journal {
        path: outside.resolve(FileId(0), "hookweir-data"),
        retention: Duration::from_secs(7 * DAY),
        max_size: 10 << 30,
        reserve: None,
        on_damage: OnDamage::default(),
        keep_removed: Duration::from_secs(DAY),
    };
    if let Some(table) = table {
        read_journal(&table, &mut journal, outside, report);
    }
    warn_of_disk(&journal, report);
    journal
}

fn read_journal(table: &Table<'_>, journal: &mut Journal, outside: &Surroundings<'_>, report: &mut Report) {
    let keys = ["engine", "url", "path", "retention", "max_size", "reserve", "on_damage", "keep_removed"];
    table.allow(&keys, report);
    let engine = table
        .get("engine")
        .map(|value| (value.one_of(&[("embedded", true), ("postgres", false)], report), value));
    match (engine, table.get("url")) {
        (Some((Some(false), value)), _) => {
            value.refuse(not_yet("the engine \"postgres\"", "use engine = \"embedded\""), report);
        }
        (_, Some(url)) => {
            report.hide(url.place());
            url.refuse_key(
                Fault::new("the embedded engine has no URL", "set `path`, where its files go"),
                report,
            );
        }
        _ => {}
    }
    if let Some(value) = table.get("path")
        && let Some(path) = value.text("write the path of a folder, in quotes", report)
    {
        if path.is_empty() {
            value.refuse(
                Fault::new("the path is empty", "write the path of a folder of the gateway's own"),
                report,
            );
        }
        journal.path = outside.resolve(FileId(0), path);
        value.take(parent_is_there(&journal.path), report);
    }
    if let Some(value) = table.get("retention")
        && let Some(retention) = value.parsed(duration, DURATION_HELP, report)
    {
        // Below a second an event could go before its deliveries have come; ten years is for ever.
        let bounds = (Duration::from_secs(1), Duration::from_secs(3650 * DAY));
        if let Some(retention) = value.take(within(retention, bounds, show_duration), report) {
            journal.retention = retention;
        }
    }
    let bounds = (1 << 20, u64::MAX);
    if let Some(bytes) = table.get("max_size").and_then(|value| size_within(&value, bounds, report)) {
        journal.max_size = bytes;
    }
    if let Some(value) = table.get("keep_removed")
        && let Some(keep) = value.parsed(duration, DURATION_HELP, report)
    {
        let bounds = (Duration::ZERO, Duration::from_secs(365 * DAY));
        journal.keep_removed =
            value.take(within(keep, bounds, show_duration), report).unwrap_or(journal.keep_removed);
    }
    let bounds = (LEAST_RESERVE, u64::MAX);
    if let Some(bytes) = table.get("reserve").and_then(|value| size_within(&value, bounds, report)) {
        journal.reserve = Some(bytes);
    }
    let words = [("stop", OnDamage::Stop), ("continue", OnDamage::Continue)];
    if let Some(on_damage) = table.get("on_damage").and_then(|value| value.one_of(&words, report)) {
        journal.on_damage = on_damage;
    }
}

/// The journal's folder is made where it is missing, but not those above it: where a disk is not mounted, an empty
/// journal must not take the place of the one that lies on it.
fn parent_is_there(path: &Path) -> Result<(), Fault> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || parent.is_dir() {
        return Ok(());
    }
    let parent = shown(parent);
    let help = format!("mount its disk, or make the folder: mkdir -p {parent}");
    Err(Fault::new(format!("there is no folder {parent}, where the journal's is to be"), help))
}

/// Says so where the disk leaves little or no room for events.
fn warn_of_disk(journal: &Journal, report: &mut Report) {
    let folder = if journal.path.is_dir() { Some(&*journal.path) } else { journal.path.parent() };
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(disk) = Disk::under(folder) else { return };
    let reserve = journal.reserve.unwrap_or_else(|| default_reserve(disk.total));
    if let Some(what) = little_room(disk, reserve) {
        let help = "put `journal.path` on a larger disk, free this one, or set a smaller `journal.reserve`";
        report.warn("journal.path", None, Fault::new(what, help));
    }
}

/// What is wrong with the room that a disk has, if anything is.
fn little_room(disk: Disk, reserve: u64) -> Option<String> {
    const MIB: u64 = 1 << 20;
    let Disk { total, free } = disk;
    if reserve >= total {
        let (reserve, total) = (reserve.div_ceil(MIB), total / MIB);
        return Some(format!(
            "no event would ever be taken: {reserve} MiB are kept free for deliveries, and the disk has {total} MiB"
        ));
    }
    (free < reserve.saturating_add(reserve / 4)).then(|| {
        let (reserve, free) = (reserve.div_ceil(MIB), free / MIB);
        format!(
            "the disk has {free} MiB left, and {reserve} MiB are kept free for deliveries: the oldest finished events give \
             way, and where there are none, events are refused"
        )
    })
}

fn dispatch(table: Option<Table<'_>>, max_body: usize, report: &mut Report) -> Dispatch {
    let mut dispatch = Dispatch { memory: None };
    let Some(table) = table else { return dispatch };
    table.allow(&["memory"], report);
    let Some(value) = table.get("memory") else { return dispatch };
    let Some(bytes) = size_within(&value, (8 << 20, u64::MAX), report) else { return dispatch };
    // An event is held twice where a plugin or a format makes a copy of it.
    let least = 4 * u64::try_from(max_body).unwrap_or(u64::MAX);
    if bytes < least {
        let what = format!("{} is less than four events of `accept.max_body`", show_size(bytes));
        value.refuse(Fault::new(what, format!("write at least \"{}\"", show_size(least))), report);
    }
    dispatch.memory = Some(bytes);
    dispatch
}

fn egress(table: Option<&Table<'_>>, report: &mut Report) -> EgressPolicy {
    let mut policy = EgressPolicy { allow_ports: vec![443, 80, 8443, 8080], ..EgressPolicy::default() };
    let Some(table) = table else { return policy };
    table.allow(&["allow_cidrs", "allow_ports", "nameservers", "local_names", "ca"], report);
    policy.local_names = table.get("local_names").and_then(|value| value.boolean(report)).unwrap_or(false);
    if let Some(value) = table.get("allow_cidrs") {
        let help = "write a range in quotes, such as \"127.0.0.0/8\"";
        let ranges =
            value.list("write a list of ranges, such as [\"127.0.0.0/8\"]", report).unwrap_or_default();
        policy.allow_cidrs = ranges.into_iter().filter_map(|item| item.parsed(cidr, help, report)).collect();
    }
    if let Some(value) = table.get("allow_ports") {
        let ports = value.list("write a list of ports, such as [443, 8443]; [] allows any", report);
        let port =
            |item: Value<'_>| item.whole_number(1..=65535, report).and_then(|port| u16::try_from(port).ok());
        if let Some(ports) = ports {
            policy.allow_ports = ports.into_iter().filter_map(port).collect();
        }
    }
    if let Some(value) = table.get("nameservers") {
        let help = "write an address in quotes, such as \"127.0.0.1:53\"";
        let servers =
            value.list("write a list of addresses, such as [\"127.0.0.1:53\"]", report).unwrap_or_default();
        policy.nameservers =
            servers.into_iter().filter_map(|item| item.parsed(nameserver, help, report)).collect();
    }
    policy
}

fn listen(table: &Table<'_>, address_of: &mut SocketAddr, report: &mut Report) {
    let help = "write an address in quotes, such as \"127.0.0.1:9080\"";
    if let Some(found) = table.get("listen").and_then(|value| value.parsed(address, help, report)) {
        *address_of = found;
    }
}

fn size_within(value: &Value<'_>, bounds: (u64, u64), report: &mut Report) -> Option<u64> {
    let found = value.parsed(size, SIZE_HELP, report)?;
    value.take(within(found, bounds, show_size), report)
}

pub(super) fn within<T: Copy + PartialOrd>(
    found: T,
    (lowest, highest): (T, T),
    show: fn(T) -> String,
) -> Result<T, Fault> {
    if found < lowest {
        let lowest = show(lowest);
        Err(Fault::new(
            format!("{} is less than {lowest}", show(found)),
            format!("write at least \"{lowest}\""),
        ))
    } else if found > highest {
        let highest = show(highest);
        Err(Fault::new(
            format!("{} is more than {highest}", show(found)),
            format!("write at most \"{highest}\""),
        ))
    } else {
        Ok(found)
    }
}

/// The refusal of what the configuration may hold one day: silently ignoring it would promise what is not kept.
pub(super) fn not_yet(what: &str, help: &str) -> Fault {
    Fault::new(format!("{what} is not part of this version yet"), help)
}

pub(super) fn bad_name(of: &str, text: &str, error: &InvalidName) -> Fault {
    let sentence = error.to_string();
    let rule = sentence.split_once(": ").map_or(sentence.as_str(), |(_, rule)| rule);
    Fault::new(format!("{text:?} can't be the name of {of}"), rule)
}

#[cfg(test)]
mod tests;
