//! Which partition a row is in. Any rule here keeps scans right as long as a partition is the first bits
//! of its keys; the numbers decide only how large partitions get and how many rows a batch finds in one.

use eschaton_ports::Table;

/// A partition's key: the first bits of its rows' keys, zeros up to a whole byte. Never empty.
pub(crate) type Part = Vec<u8>;

/// Partitions that a prefix spans are counted out rather than looked up when these bits, at most, are free.
const FREE_BITS_MAX: usize = 8;
/// Longer than any partition's key.
const PART_BYTES_MAX: usize = 16;

/// The rules of one installation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partitioning {
    bits: usize,
}

/// Partitions that may hold rows under a prefix, ascending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// These, whether or not they have rows.
    Counted(Vec<Part>),
    /// Those from the first to the second, both included, that exist.
    Between(Part, Part),
}

impl Partitioning {
    /// `bits`: see [`crate::CqlConfig::partition_bits`].
    pub(crate) fn new(bits: u8) -> Self {
        Self { bits: bits.into() }
    }

    /// The partition of a row. Never descends as keys ascend: a key's bits are cut off, and keys that are
    /// cut at other places differ in the bits before.
    pub(crate) fn part(self, table: Table, key: &[u8]) -> Part {
        let kind = kind_at(table).map_or(0, |at| key.get(at).copied().unwrap_or(0));
        cut(key, self.width(table, kind))
    }

    /// The partitions of all keys under a prefix.
    pub(crate) fn span(self, table: Table, prefix: &[u8]) -> Span {
        let kind = kind_at(table).map_or(Some(0), |at| prefix.get(at).copied());
        if let Some(kind) = kind {
            let width = self.width(table, kind);
            let free = width.saturating_sub(8 * prefix.len());
            if free <= FREE_BITS_MAX {
                return Span::Counted(counted(prefix, width, free));
            }
        }
        let mut last = prefix.to_vec();
        last.resize(last.len() + PART_BYTES_MAX, 0xff);
        Span::Between(self.part(table, prefix), self.part(table, &last))
    }

    /// Bits of the key that make the partition.
    fn width(self, table: Table, kind: u8) -> usize {
        // A payment makes two outputs and one of everything else, and those rows are smaller.
        let fewer = |less: usize| self.bits.saturating_sub(less);
        match (table, kind) {
            // The owner's first bits: all of an owner's outputs are together.
            (Table::Outputs, _) => self.bits,
            (Table::Transactions, _) => fewer(2),
            // Shard and kind; fees also by the transaction's first bits, for there is one for each.
            (Table::Totals, 2) => 40 + fewer(2),
            (Table::Totals, _) => 40,
            // Shard and the transaction's first bits. These rows come and go, and a scan reads over what
            // has gone.
            (Table::Pending, _) => 32 + self.bits / 2,
            (Table::Workers, _) => 0,
            // Bucket: depth and the path's first bits.
            (Table::Trees, b'M') => 24 + fewer(4),
            // Tiles and sequence rows, at most 8 KiB each: level and number without its last 12 bits.
            (Table::Trees, b'T') => 68,
            (Table::Trees, b'S') => 60,
            // Checkpoint: number without its last 16 bits.
            (Table::Trees, b'C') => 56,
            (Table::Trees, _) => 8,
            // A letter, and the digest's first bits.
            (Table::Digests, _) => 8 + self.bits,
            // Commitments, 12 KiB a row: letter, shard and interval without its last 4 bits; what stands above them,
            // 8; intervals, 16.
            (Table::Intervals, b'C') => 100,
            (Table::Intervals, b'U') => 96,
            (Table::Intervals, b'I') => 88,
            (Table::Intervals, _) => 8,
            // An interval's root, whose bits are even; trees, 8 KiB a row: anchor without its last 4 bits; anchors, 12.
            (Table::Anchors, b'R') => 8 + fewer(4),
            (Table::Anchors, b'D' | b'V') => 68,
            (Table::Anchors, b'A') => 60,
            (Table::Anchors, _) => 8,
            (Table::StampWorkers, _) => 0,
        }
    }
}

/// Where a table's keys say their kind, in bytes from the start. The kind is always inside the partition.
fn kind_at(table: Table) -> Option<usize> {
    match table {
        Table::Totals => Some(4),
        Table::Trees | Table::Intervals | Table::Anchors => Some(0),
        Table::Outputs
        | Table::Transactions
        | Table::Pending
        | Table::Workers
        | Table::Digests
        | Table::StampWorkers => None,
    }
}

/// The first `width` bits of a key; a shorter one is taken to go on with zeros. At least a byte.
fn cut(key: &[u8], width: usize) -> Part {
    let bytes = width.div_ceil(8).max(1);
    let mut part: Part = key.iter().copied().take(bytes).collect();
    part.resize(bytes, 0);
    if let Some(last) = part.last_mut() {
        let unused = 8 * bytes - width;
        *last &= if unused >= 8 { 0 } else { 0xff << unused };
    }
    part
}

/// All partitions of `width` bits under a prefix that leaves `free` of them open.
fn counted(prefix: &[u8], width: usize, free: usize) -> Vec<Part> {
    let base = cut(prefix, width);
    let open = base.len().min(4);
    let (fixed, tail) = base.split_at(base.len() - open);
    let start = tail.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let step = 1_u64 << (8 * base.len() - width).min(8);
    (0..1_u64 << free)
        .map(|n| {
            let tail = (start + n * step).to_be_bytes();
            [fixed, &tail[tail.len() - open..]].concat()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The application's forms and arbitrary bytes.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        let kinds = prop_oneof![
            Just(b"M\0".to_vec()),
            Just(b"T".to_vec()),
            Just(b"S".to_vec()),
            Just(b"C".to_vec()),
            Just(b"C\0\0\0\x01\0\0\0\0".to_vec()),
            Just(b"I\0\0\0\x01".to_vec()),
            Just(b"L".to_vec()),
            Just(b"R".to_vec()),
            Just(vec![0, 0, 0, 1, 2]),
            Just(vec![0, 0, 0]),
            Just(Vec::new())
        ];
        let byte = prop_oneof![Just(0_u8), Just(0xff), Just(1), any::<u8>()];
        (kinds, vec(byte, 0..14)).prop_map(|(kind, rest)| [kind, rest].concat())
    }

    fn tables() -> impl Strategy<Value = Table> {
        proptest::sample::select(Table::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn partitions_ascend_with_keys(table in tables(), bits in 2_u8..=18, a in keys(), b in keys()) {
            let (low, high) = if a <= b { (a, b) } else { (b, a) };
            let rules = Partitioning::new(bits);
            prop_assert!(rules.part(table, &low) <= rules.part(table, &high), "{low:02x?} {high:02x?}");
            prop_assert!(!rules.part(table, &low).is_empty());
        }

        #[test]
        fn a_span_has_every_key_under_its_prefix(
            table in tables(), bits in 2_u8..=18, prefix in keys(), rest in vec(any::<u8>(), 0..12)
        ) {
            let rules = Partitioning::new(bits);
            let part = rules.part(table, &[&prefix[..], &rest].concat());
            match rules.span(table, &prefix) {
                Span::Counted(parts) => {
                    prop_assert!(parts.is_sorted_by(|a, b| a < b) && parts.len() <= 256);
                    prop_assert!(parts.contains(&part), "{part:02x?} is not in {parts:02x?}");
                }
                Span::Between(from, to) => prop_assert!(from <= part && part <= to),
            }
        }
    }

    #[test]
    fn the_application_scans_few_partitions() {
        let rules = Partitioning::new(12);
        let count = |table, prefix: &[u8]| match rules.span(table, prefix) {
            Span::Counted(parts) => parts.len(),
            Span::Between(..) => usize::MAX,
        };
        assert_eq!(count(Table::Outputs, &[7; 32]), 1, "an owner's outputs");
        assert_eq!(count(Table::Pending, &[0, 0, 0, 3]), 64, "a shard's pending rows");
        assert_eq!(count(Table::Workers, b""), 1);
        assert_eq!(count(Table::Trees, b"M"), usize::MAX, "all buckets: what exists is looked up");
    }

    #[test]
    fn partitions_are_the_first_bits() {
        let rules = Partitioning::new(12);
        assert_eq!(rules.part(Table::Outputs, &[0xab, 0xcd, 0xef]), [0xab, 0xc0]);
        assert_eq!(rules.part(Table::Outputs, &[0xab]), [0xab, 0]);
        assert_eq!(rules.part(Table::Transactions, &[0xab, 0xff]), [0xab, 0xc0]);
        assert_eq!(rules.part(Table::Workers, b"conflict-resolver/3"), [0]);
        assert_eq!(rules.part(Table::Totals, &[0, 0, 0, 1, 1, 9, 9]), [0, 0, 0, 1, 1]);
        assert_eq!(rules.part(Table::Totals, &[0, 0, 0, 1, 2, 9, 0xff]), [0, 0, 0, 1, 2, 9, 0xc0]);
        let tile = [&b"T\0"[..], &0x1234_5678_u64.to_be_bytes()].concat();
        assert_eq!(rules.part(Table::Trees, &tile), [b'T', 0, 0, 0, 0, 0, 0x12, 0x34, 0x50]);
        assert_eq!(rules.part(Table::Trees, &tile[..9]), [b'T', 0, 0, 0, 0, 0, 0x12, 0x34, 0x50]);
    }
}
