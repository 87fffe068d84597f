//! Tenants' plugins: what they do is seen in the deliveries, and what they do wrong stays their own tenant's affair.

pub(crate) mod guests;
mod hostile;
mod interpreted;
mod life;
mod shipped;
mod sizes;

use std::path::Path;
use std::time::Duration;

use hookweir_tests::{Gateway, binary, run_for};
use tokio::process::Command;

/// Tools, and the compiler with an interpreter, have much to do where the machine does something else too.
const PATIENCE: Duration = Duration::from_secs(900);

/// Starts a gateway that finds its components compiled: an interpreter takes longer than a start may.
async fn gateway_of(tenants: String, components: &[impl AsRef<Path>]) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder for the gateway");
    let mut command = Command::new(binary());
    command.args(["plugin", "compile"]).args(components.iter().map(AsRef::as_ref));
    command.arg("--data").arg(folder.path().join("data"));
    run_for(PATIENCE, &mut command, b"").await.expect(0);
    Gateway::try_start_in(folder, tenants).await.unwrap_or_else(|refused| panic!("{refused:?}"))
}
