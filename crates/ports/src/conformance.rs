//! One suite per port. An adapter's test makes fresh instances and calls the suite; engines that cost
//! seconds to start are started once, outside.
//!
//! The suites need no runtime of their own: they are futures, run by whatever runs the adapter.

// A suite speaks by panicking; a case's name is added by `run_cases`.
#![allow(clippy::unwrap_used, clippy::panic)]

pub mod ambient;
pub mod chain;
pub mod log;
pub mod store;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::BoxFuture;

/// One named promise of a port, checked on an instance of type `T`.
pub struct Case<T> {
    /// What is promised.
    pub name: &'static str,
    /// Panics when the promise does not hold.
    pub check: fn(T) -> BoxFuture<'static, ()>,
}

/// Runs every case on an instance of its own, then panics with the names of all that failed.
pub async fn run_cases<T>(cases: &[Case<T>], make: impl AsyncFn() -> T) {
    let mut failed = Vec::new();
    for case in cases {
        let instance = make().await;
        if AssertUnwindSafe((case.check)(instance)).catch_unwind().await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "broken promises: {failed:?}; what was found is above");
}

/// Lists async functions as cases, named by the functions.
macro_rules! cases {
    ($($check:ident),+ $(,)?) => {
        [$($crate::conformance::Case { name: stringify!($check), check: |it| Box::pin($check(it)) }),+]
    };
}
pub(crate) use cases;
