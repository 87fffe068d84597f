//! What hookweir promises, a module each, tested from outside. One binary, so that it is linked once.

mod accept;
mod admin;
mod bench;
mod bytes;
mod cli;
mod config;
mod crash;
mod demo;
mod egress;
mod examples;
mod fairness;
mod ledger;
mod pace;
mod plugin_tools;
mod plugins;
mod queues;
mod quota;
mod reload;
mod retry_after;
mod seed_rule;
mod shutdown;
mod signatures;
mod times;
