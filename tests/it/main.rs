//! One binary for all integration tests: each starts the real program, and tries it from outside.

mod activation;
mod connections;
mod contract;
mod crowds;
mod documents;
mod drain;
mod explain;
mod failover;
mod fenced;
mod gates;
mod manager;
mod nemesis;
mod operator;
mod protocols;
mod reload;
mod retries;
mod routing;
mod setting;
mod sticky;
mod stopping;
mod streams;
mod tidy;
mod traffic;
mod upgrade;
mod watchdog;
mod window;
