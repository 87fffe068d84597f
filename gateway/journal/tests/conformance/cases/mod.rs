//! The cases, a module for each part of the contract.

pub(crate) mod append;
pub(crate) mod damage;
pub(crate) mod due;
pub(crate) mod leases;
pub(crate) mod lists;
pub(crate) mod queues;
pub(crate) mod random;
pub(crate) mod requeue;
pub(crate) mod settle;
pub(crate) mod upkeep;
