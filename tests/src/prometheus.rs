//! A real Prometheus, which scrapes a gateway and judges it by the rules of `examples/observability`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use bytes::Bytes;
use hyper::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::eventually::{eventually, within};
use crate::free_port;
use crate::http::Client;

#[derive(Debug)]
pub struct Prometheus {
    client: Client,
    _child: Child,
    /// Gone with it.
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one with these files, by name; `prometheus.yml` is its configuration. It is ready when this returns.
    pub async fn start(files: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for Prometheus");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file for Prometheus");
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let log = std::fs::File::create(folder.path().join("log")).expect("a file for its log");
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("Prometheus can't be run ({error}): `tests/run` installs it"));
        let prometheus = Self { client: Client::new(address), _child: child, _folder: folder };
        eventually("Prometheus to be ready", async || {
            let answer = prometheus.client.call(Method::GET, "/-/ready", &[], Bytes::new()).await;
            match answer {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!(
                    "{other:?}\n{}",
                    std::fs::read_to_string(prometheus._folder.path().join("log")).unwrap_or_default()
                )),
            }
        })
        .await;
        prometheus
    }

    /// What a query yields now; an error where it does not parse.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.get(&format!("/api/v1/query?query={encoded}")).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// The rules that it judges by: their names, queries, annotations.
    pub async fn rules(&self) -> Vec<Value> {
        let data = self.get("/api/v1/rules").await.expect("the rules");
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// The alerts that are pending or firing now.
    pub async fn alerts(&self) -> Result<Vec<Value>, String> {
        Ok(self.get("/api/v1/alerts").await?["alerts"].as_array().cloned().unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let answer =
            within("an answer of Prometheus", self.client.call(Method::GET, path, &[], Bytes::new())).await?;
        let body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        if body["status"] == "success" { Ok(body["data"].clone()) } else { Err(body.to_string()) }
    }
}
