//! From topics to tables: reads the records, folds them to facts, fills `jobs`, `deliveries` and `dead_letters`.
//!
//! The pure part takes values and returns values: [`batch`], [`fold`], [`tables`], [`native`], [`failure`], [`months`]. Around
//! it, one thread consumes ([`run`], [`group`]) and one writes ([`worker`], [`writer`], [`rollup`]).

pub mod batch;
pub mod business;
mod capped;
pub mod config;
pub mod failure;
pub mod fault;
pub mod fold;
pub mod group;
pub mod lag;
pub mod letter;
pub mod metrics;
pub mod months;
pub mod native;
pub mod patience;
pub mod post;
pub mod replay;
pub mod rollup;
pub mod run;
pub mod sink;
pub mod tables;
pub mod topic;
pub mod worker;
pub mod writer;
