//! Random operations on an engine and on the oracle: all answers agree.

use crate::model;
use crate::subject::{Subject, memory};

/// A run is reproduced by its seed, which a failure prints.
pub(crate) async fn engine_and_oracle_agree(subject: Subject) {
    let seed = match std::env::var("JOURNAL_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    println!("JOURNAL_SEED={seed}");
    model::play(&subject.journal, &memory().journal, seed, 3000).await;
}
