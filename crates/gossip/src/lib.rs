//! What ingress decides before a transaction costs a log write: is it well formed and signed
//! ([`screen`]), is it known already ([`Recent`]), is there room for it ([`Admission`]).
//!
//! Pure: no clock, no IO. Times are log milliseconds that the caller passes in.

mod admission;
mod drain;
mod recent;
mod screen;

pub use admission::{Admission, Admitted, Held, Limits, LimitsError, ReleaseError, Shed, ShedReason};
pub use drain::{RETRY_MAX_MS, RETRY_MIN_MS};
pub use recent::{Recent, Sight};
pub use screen::{Refused, Screened, screen};
