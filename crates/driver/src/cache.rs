use bytes::Bytes;
use eschaton_core::Table;
use hashlink::LruCache;

type At = (Table, Bytes);

/// About what an entry takes beside its key and value: map, links, two counted buffers.
const ENTRY_BYTES: usize = 192;

/// Rows that this worker wrote, that are in the store and that its core is likely to read again, the most recently used
/// of them, so that a payment that spends what another has created reads nothing.
///
/// A worker is the only one that writes its partition's rows, as long as its commits succeed; so a cached row is what
/// the store holds, and a worker that lost its partition commits nothing that it decided from here.
pub(crate) struct Cache {
    rows: LruCache<At, Option<Bytes>>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    /// Of about so many bytes; with 0 it keeps nothing.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { rows: LruCache::new_unbounded(), bytes: 0, bytes_max }
    }

    /// Whether it keeps anything.
    pub(crate) fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    pub(crate) fn get(&mut self, at: &At) -> Option<Option<Bytes>> {
        self.rows.get(at).cloned()
    }

    /// A row as it is in the store now.
    pub(crate) fn insert(&mut self, at: At, value: Option<Bytes>) {
        self.forget(&at);
        let bytes = size(&at, value.as_ref());
        if bytes > self.bytes_max {
            return;
        }
        self.rows.insert(at, value);
        self.bytes += bytes;
        while self.bytes > self.bytes_max {
            let Some((at, value)) = self.rows.remove_lru() else { break };
            self.bytes -= size(&at, value.as_ref());
        }
    }

    /// A row that is about to change.
    pub(crate) fn forget(&mut self, at: &At) {
        if let Some((at, value)) = self.rows.remove_entry(at) {
            self.bytes -= size(&at, value.as_ref());
        }
    }
}

fn size(at: &At, value: Option<&Bytes>) -> usize {
    ENTRY_BYTES + at.1.len() + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> At {
        (Table::Outputs, Bytes::from(vec![n; 8]))
    }

    #[test]
    fn keeps_the_most_recently_used_within_its_bytes() {
        let value = Some(Bytes::from_static(b"0123456789abcdef"));
        let mut cache = Cache::new(3 * (ENTRY_BYTES + 8 + 16));
        for n in 0..3 {
            cache.insert(at(n), value.clone());
        }
        assert_eq!(cache.get(&at(0)), Some(value.clone()));
        cache.insert(at(3), value.clone());
        assert_eq!(cache.get(&at(1)), None, "the one that was not used for longest");
        cache.insert(at(0), None);
        assert_eq!(cache.get(&at(0)), Some(None), "known to be absent");
        cache.forget(&at(2));
        assert_eq!(cache.get(&at(2)), None);
        cache.insert(at(9), Some(Bytes::from(vec![0; 4_096])));
        assert_eq!(cache.get(&at(9)), None, "larger than all of it");
        assert_eq!(cache.bytes, cache.rows.iter().map(|(at, value)| size(at, value.as_ref())).sum::<usize>());
        assert_eq!(Cache::new(0).rows.len(), 0);
    }
}
