//! Look-ups and scans.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eschaton_ports::{Row, SCAN_ROWS_MAX, ScanPage, Table};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;

use crate::error::Failure;
use crate::metrics::{self, Kind};
use crate::partition::{Part, Span};
use crate::store::{CqlStore, KEY_BYTES_MAX};

/// Keys of one look-up. Scylla refuses more than 100.
const GET_KEYS_MAX: usize = 100;
/// Rows of one answer while scanning.
const PAGE_ROWS_MAX: usize = 1_000;
/// A page of the port ends early when it has so many bytes.
const SCAN_BYTES_MAX: usize = 4 << 20;
/// Partitions that one scan reads at once.
const SCAN_WINDOW_MAX: usize = 16;
/// Partitions of one table that are remembered; more are a broken rule.
const PARTS_MAX: usize = 1 << 20;
/// How long the list of a table's partitions serves the later pages of a scan.
const PARTS_AGE_MAX: Duration = Duration::from_secs(60);

/// Rows of one partition.
struct Slice {
    rows: Vec<Row>,
    /// There may be more rows than these.
    cut: bool,
}

impl CqlStore {
    pub(crate) async fn get(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        let statement = &self.statements.of(table)?.get;
        let mut by_part: HashMap<Part, Vec<&[u8]>> = HashMap::new();
        for key in keys.iter().filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len())) {
            by_part.entry(self.partitioning.part(table, key)).or_default().push(key);
        }
        for keys in by_part.values_mut() {
            keys.sort_unstable();
            keys.dedup();
        }
        // Collected, so that each future's lifetimes are settled before the stream sees it.
        let requests: Vec<_> = by_part
            .iter()
            .flat_map(|(part, keys)| keys.chunks(GET_KEYS_MAX).map(move |keys| (part, keys)))
            .map(|(part, keys)| self.get_some(table, statement, part, keys))
            .collect();
        let found = stream::iter(requests)
            .buffer_unordered(self.concurrency)
            .try_fold(HashMap::with_capacity(keys.len()), async |mut found, rows| {
                found.extend(rows);
                Ok(found)
            })
            .await?;
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn get_some(
        &self,
        table: Table,
        statement: &PreparedStatement,
        part: &[u8],
        keys: &[&[u8]],
    ) -> Result<Vec<Row>, Failure> {
        let request = self.turn(table.family(), Kind::Get).await?;
        let answer = self.session.execute_unpaged(statement, (part, keys)).await;
        let answer = request.end(answer.map_err(Failure::from))?;
        let mut rows = Vec::with_capacity(keys.len());
        read_rows(answer, &mut rows)?;
        Ok(rows)
    }

    pub(crate) async fn scan_page(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, Failure> {
        let limit = limit.clamp(1, SCAN_ROWS_MAX);
        let from = match after {
            Some(after) if after >= prefix => [after, &[0]].concat(),
            // No key is empty.
            _ if prefix.is_empty() => vec![0],
            _ => prefix.to_vec(),
        };
        let end = end_of(prefix);
        let mut page = ScanPage::default();
        if from.len() > KEY_BYTES_MAX || end.as_ref().is_some_and(|end| from >= *end) {
            return Ok(page);
        }
        let parts = self.parts(table, prefix, &from, after.is_some()).await?;
        let (mut done, mut window) = (0, 1);
        while done < parts.len() {
            // One more than asked for tells whether there is another page.
            let wanted = limit + 1 - page.rows.len();
            let next = &parts[done..parts.len().min(done + window)];
            let slices: Vec<_> =
                next.iter().map(|part| self.slice(table, part, &from, end.as_deref(), wanted)).collect();
            let slices: Vec<Slice> = stream::iter(slices).buffered(window).try_collect().await?;
            for slice in slices {
                page.rows.extend(slice.rows);
                if slice.cut || page.rows.len() > limit {
                    page.rows.truncate(limit);
                    page.next = page.rows.last().map(|(key, _)| key.clone());
                    return Ok(page);
                }
            }
            done += next.len();
            // As many as are likely to fill the page.
            let each = (page.rows.len() / done).max(1);
            window = ((limit - page.rows.len()) / each).clamp(1, SCAN_WINDOW_MAX.min(2 * window));
        }
        Ok(page)
    }

    /// Rows of one partition from a key on, at most `wanted`.
    async fn slice(
        &self,
        table: Table,
        part: &[u8],
        from: &[u8],
        end: Option<&[u8]>,
        wanted: usize,
    ) -> Result<Slice, Failure> {
        let of_table = self.statements.of(table)?;
        let mut statement = if end.is_some() { of_table.between.clone() } else { of_table.from.clone() };
        statement.set_page_size(narrow(wanted.min(PAGE_ROWS_MAX)));
        let limit = narrow(wanted);
        let mut slice = Slice { rows: Vec::new(), cut: false };
        let (mut bytes, mut at) = (0, PagingState::start());
        loop {
            let request = self.turn(table.family(), Kind::Scan).await?;
            let answer = match end {
                Some(end) => self.session.execute_single_page(&statement, (part, from, end, limit), at).await,
                None => self.session.execute_single_page(&statement, (part, from, limit), at).await,
            };
            let (answer, next) = request.end(answer.map_err(Failure::from))?;
            let before = slice.rows.len();
            read_rows(answer, &mut slice.rows)?;
            bytes += slice.rows[before..].iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
            slice.cut = slice.rows.len() >= wanted;
            match next {
                _ if slice.cut => return Ok(slice),
                PagingStateResponse::NoMorePages => return Ok(slice),
                PagingStateResponse::HasMorePages { .. } if bytes >= SCAN_BYTES_MAX => {
                    slice.cut = true;
                    return Ok(slice);
                }
                PagingStateResponse::HasMorePages { state } => at = state,
            }
        }
    }

    /// Partitions that may hold rows under the prefix from the key `from` on, ascending.
    async fn parts(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        later: bool,
    ) -> Result<Vec<Part>, Failure> {
        let least = self.partitioning.part(table, from);
        Ok(match self.partitioning.span(table, prefix) {
            Span::Counted(parts) => parts.into_iter().filter(|part| *part >= least).collect(),
            Span::Between(first, last) => {
                let there = self.existing(table, later).await?;
                let begin = there.partition_point(|part| *part < least.clone().max(first.clone()));
                there[begin..].iter().take_while(|part| **part <= last).cloned().collect()
            }
        })
    }

    /// All partitions of a table, ascending. A scan's later pages may use the list of its first.
    async fn existing(&self, table: Table, later: bool) -> Result<Arc<Vec<Part>>, Failure> {
        if later
            && let Some((at, parts)) = self.existing.lock().get(&table)
            && at.elapsed() < PARTS_AGE_MAX
        {
            return Ok(Arc::clone(parts));
        }
        let began = metrics::now();
        let mut statement = self.statements.of(table)?.parts.clone();
        statement.set_page_size(narrow(PAGE_ROWS_MAX));
        let (mut parts, mut at) = (Vec::new(), PagingState::start());
        loop {
            let request = self.turn(table.family(), Kind::Partitions).await?;
            let answer = self.session.execute_single_page(&statement, (), at).await;
            let (answer, next) = request.end(answer.map_err(Failure::from))?;
            let answer = answer.into_rows_result().map_err(Failure::answer)?;
            for row in answer.rows::<(&[u8],)>().map_err(Failure::answer)? {
                parts.push(row.map_err(Failure::answer)?.0.to_vec());
            }
            if parts.len() > PARTS_MAX {
                return Err(Failure::Answer(format!(
                    "table {} has over {PARTS_MAX} partitions",
                    table.name()
                )));
            }
            match next {
                PagingStateResponse::NoMorePages => break,
                PagingStateResponse::HasMorePages { state } => at = state,
            }
        }
        parts.sort_unstable();
        let parts = Arc::new(parts);
        self.existing.lock().insert(table, (began, Arc::clone(&parts)));
        Ok(parts)
    }
}

/// Copies an answer's rows: a slice of it would keep all of it in memory.
fn read_rows(
    answer: scylla::response::query_result::QueryResult,
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    let answer = answer.into_rows_result().map_err(Failure::answer)?;
    for row in answer.rows::<(&[u8], Option<&[u8]>)>().map_err(Failure::answer)? {
        if let (key, Some(value)) = row.map_err(Failure::answer)? {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
    }
    Ok(())
}

/// The least key after all that begin with `prefix`; none when there is no such key.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

fn narrow(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// For later pages of scans: a table's partitions, and when they were asked for.
pub(crate) type Existing = BTreeMap<Table, (tokio::time::Instant, Arc<Vec<Part>>)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(end_of(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end_of(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(end_of(b"\xff"), None);
        assert_eq!(end_of(b""), None);
    }
}
