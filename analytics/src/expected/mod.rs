//! What Hookline expects of the servers: `migrate` creates what is missing of it.

pub mod topics;
