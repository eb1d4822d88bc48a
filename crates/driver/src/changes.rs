use bytes::Bytes;
use eschaton_types::pb::log::Changes;
use prost::Message as _;

/// A commit's changes, cut into records of about so many bytes.
pub(crate) struct Parts {
    /// What each part says beside its share.
    empty: Changes,
    part: Changes,
    bytes: usize,
    bytes_max: usize,
    done: Vec<Bytes>,
}

impl Parts {
    pub(crate) fn new(empty: Changes, bytes_max: usize) -> Self {
        Self { part: empty.clone(), empty, bytes: 0, bytes_max, done: Vec::with_capacity(1) }
    }

    /// Puts an item of so many bytes into the part at hand.
    pub(crate) fn add(&mut self, bytes: usize, put: impl FnOnce(&mut Changes)) {
        put(&mut self.part);
        // With its tag and length.
        self.bytes += bytes + 8;
        if self.bytes >= self.bytes_max {
            self.cut();
        }
    }

    /// The payloads; none of no items.
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        if self.bytes > 0 {
            self.cut();
        }
        self.done
    }

    fn cut(&mut self) {
        let part = std::mem::replace(&mut self.part, self.empty.clone());
        self.done.push(Bytes::from(part.encode_to_vec()));
        self.bytes = 0;
    }
}
