use std::fmt;

use async_trait::async_trait;

use crate::LogError;

/// How a group's members share out a topic's partitions.
#[async_trait]
pub trait Membership: Send + 'static {
    /// The next change of what this member should claim. Waits for it, for ever if none comes. An error
    /// ends the membership; join again.
    async fn next(&mut self) -> Result<Change, LogError>;

    /// Ends the membership; returns when the group knows, or could not be told in a bounded time. A process that ends
    /// after a mere drop may be gone before the group is told, which then waits for it as for a dead one. Stop the
    /// workers first.
    async fn leave(&mut self) {}
}

/// A process of a group and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The name that the process has in its engine: where others reach it, `host:port`.
    pub name: String,
    /// Its partitions, ascending.
    pub partitions: Vec<u32>,
}

/// What happened to a member's partitions.
#[derive(Debug)]
pub enum Change {
    /// These are this member's from now on, besides those that it has: claim them.
    Assigned(Vec<u32>),
    /// These go to another member, which gets them when the release is dropped: stop their workers first.
    Revoked(Vec<u32>, Release),
    /// These were given away already, for this member was not heard of. Their claims are or will be fenced.
    Lost(Vec<u32>),
}

/// Gives revoked partitions free when it is dropped.
pub struct Release(Option<Box<dyn FnOnce() + Send>>);

impl Release {
    /// `free` is called once, at the drop.
    pub fn new(free: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(free)))
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(free) = self.0.take() {
            free();
        }
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Release")
    }
}

/// The only member there can be: it has every partition from the first moment.
pub(crate) struct Sole(pub(crate) Option<u32>);

#[async_trait]
impl Membership for Sole {
    async fn next(&mut self) -> Result<Change, LogError> {
        match self.0.take() {
            Some(partitions) => Ok(Change::Assigned((0..partitions).collect())),
            None => std::future::pending().await,
        }
    }
}
