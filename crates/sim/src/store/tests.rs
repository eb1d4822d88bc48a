use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use eschaton_ports::Store;
use eschaton_ports::conformance::store as suite;
use parking_lot::Mutex;

use super::SimStore;
use crate::bug::Bug;
use crate::dice::Dice;
use crate::profile::Profile;
use crate::world::Sim;

/// Makes stores whose rows come one by one and out of order.
#[derive(Default)]
struct Stores {
    bug: Option<Bug>,
    made: Mutex<Vec<Sim>>,
}

impl Stores {
    fn make(&self) -> Arc<dyn Store> {
        let mut dice = Dice::new(1);
        let mut profile = Profile::from(&mut dice);
        profile.rows_singly = true;
        let sim = Sim::new(1, profile, dice, self.bug, false);
        sim.world().faults = false;
        self.made.lock().push(sim.clone());
        Arc::new(SimStore(sim))
    }

    /// Nobody wakes anybody here: time passes, and all is asked again.
    fn complete<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            if let Poll::Ready(value) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return value;
            }
            self.made.lock().iter().for_each(|sim| sim.world().now_ms += 1);
        }
    }
}

#[test]
fn keeps_the_ports_promises() {
    let stores = Stores::default();
    stores.complete(suite::run(async || stores.make()));
}

#[test]
fn the_suite_sees_trees_that_nobody_completes() {
    let stores = Stores { bug: Some(Bug::HalfWrittenTrees), ..Stores::default() };
    let suite = AssertUnwindSafe(|| stores.complete(suite::run(async || stores.make())));
    assert!(catch_unwind(suite).is_err());
}
