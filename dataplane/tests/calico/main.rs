//! The datastore and the tables that follow from it, against Calico's rules.

mod addresses;
mod bgp;
mod bgp_resources;
mod cards;
mod codes;
mod datastore;
mod decisions;
mod deletion;
mod destinations;
mod environment;
mod felix;
mod installation;
mod owners;
mod properties;
mod rules;
mod services;
mod succession;
mod tables;
mod truths;
mod update;
mod workloads;
