//! The engines behind the contract. Each is chosen by the configuration; nothing outside this crate can tell them
//! apart but by what they promise about power cuts and about many nodes.

pub mod embedded;
pub mod memory;
