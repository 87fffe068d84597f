//! Queues: what is in one, who gets it, and what comes of it.

mod pull;
mod pull_hostile;
mod pull_load;
mod pull_smq;
