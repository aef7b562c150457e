//! Dead letters on the command line: `dead-letters` lists them, and `redrive` sends those that can be processed now back into
//! their resource topics.
//!
//! A redrive is repeated as a whole after any end. What makes that safe is not its own notes but the tables and the topics: a
//! letter is told from every other delivery by its source, its signature and its receive time (`identity`), which the record
//! that it becomes has, too, so whatever has such a record already is not sent again (`arrived`).

mod arrived;
mod identity;
mod judge;
mod letter;
pub mod list;
mod original;
mod plan;
mod producer;
pub mod redrive;
mod report;
mod select;
mod tables;
