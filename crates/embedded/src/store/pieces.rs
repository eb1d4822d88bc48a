use eschaton_ports::Table;
use fjall::Keyspace;

/// How many keyspaces share a table's rows.
///
/// The engine holds up readers of a keyspace while it puts a flushed write buffer in its place: it syncs its list of
/// files and frees the buffer's rows one by one under that keyspace's lock, 50 to 150 ms for 32 MiB. Pieces are
/// an eighth as large, flush at different moments, and together cost the same.
pub(super) fn count(table: Table) -> usize {
    match table {
        // Their keys begin with a hash, so the pieces are alike.
        Table::Outputs | Table::Transactions => 8,
        Table::Totals | Table::Pending | Table::Workers | Table::Trees => 1,
        // Their keys begin with a letter for each kind of row.
        Table::Digests | Table::Intervals | Table::Anchors | Table::StampWorkers => 1,
    }
}

/// Bytes of the n-th piece's write buffer, of `total` for the table. Each is larger than the one before, for pieces of
/// one size would all flush at the same moment, and readers wait for one after the other.
pub(super) fn write_buffer(table: Table, n: usize, total: u64) -> u64 {
    let (count, n) = (count(table) as u64, n as u64);
    (total * 2 * (n + 2) / (count * (count + 3))).max(512 << 10)
}

/// The name of a table's n-th piece. Written in the directory: never change one.
pub(super) fn name(table: Table, n: usize) -> String {
    if count(table) == 1 { table.name().to_owned() } else { format!("{}-{n}", table.name()) }
}

/// A table's keyspaces, each with a range of first bytes: in order they hold the rows in key order.
#[derive(Clone)]
pub(super) struct Pieces(Vec<Keyspace>);

impl Pieces {
    /// `keyspaces` in order, a power of two of them.
    pub(super) fn new(keyspaces: Vec<Keyspace>) -> Self {
        Self(keyspaces)
    }

    fn index(&self, key: &[u8]) -> usize {
        usize::from(key.first().copied().unwrap_or(0)) * self.0.len() / 256
    }

    /// Where a row is.
    pub(super) fn of(&self, key: &[u8]) -> &Keyspace {
        &self.0[self.index(key)]
    }

    /// From the one that holds the first row at or after `key`, in key order.
    pub(super) fn from(&self, key: &[u8]) -> &[Keyspace] {
        &self.0[self.index(key)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_share_the_first_bytes_evenly_and_in_order() {
        for table in Table::ALL {
            let pieces = count(table);
            assert!(pieces.is_power_of_two() && 256 % pieces == 0);
            let index = |byte: usize| byte * pieces / 256;
            assert_eq!((index(0), index(255)), (0, pieces - 1));
            assert!(
                (1..256).all(|byte| index(byte) - index(byte - 1) == usize::from(byte % (256 / pieces) == 0))
            );
        }
        let buffers: Vec<u64> = (0..8).map(|n| write_buffer(Table::Outputs, n, 44 << 20)).collect();
        assert_eq!(buffers, [2, 3, 4, 5, 6, 7, 8, 9].map(|mib: u64| mib << 20));
        assert_eq!(write_buffer(Table::Workers, 0, 8 << 20), 8 << 20);
        assert_eq!(
            (name(Table::Outputs, 7), name(Table::Pending, 0)),
            ("outputs-7".to_owned(), "pending".to_owned())
        );
    }
}
