//! One suite per port. An adapter's test makes fresh instances and calls the suite; engines that cost
//! seconds to start are started once, outside.

pub mod ambient;
pub mod log;
pub mod store;
