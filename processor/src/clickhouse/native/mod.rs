//! A block in ClickHouse's Native format: columns one after the other, which costs the server less than rows.
//!
//! The encoder is our own because the `clickhouse` crate's `insert_native` does not compress, and its `RowBinary` costs the
//! server 2.3 µs more for each event; with a new release of the crate this is worth another look. Native matches columns by
//! name and skips what it does not know without an error; [`Encoded::columns`] of each table is therefore compared with the
//! server's table before the first insert (see [`crate::clickhouse::inserter::ClickHouse::check`]).

mod column;

pub use self::column::{Dictionary, Number};

use bytes::Bytes;

/// How many bytes of a block are compressed and sent at once.
const CHUNK: usize = 1 << 20;

/// A block under construction. The methods add one column each, in the order in which they are called.
#[derive(Debug)]
pub struct Block {
    chunks: Vec<Vec<u8>>,
    chunk: Vec<u8>,
    columns: Vec<(String, String)>,
}

/// A whole block, ready to be sent. The last column may be encoded only while it is sent: bodies are most of the bytes, and
/// so they are not in memory twice.
pub struct Encoded<'t> {
    /// Name and type of each column.
    pub columns: Vec<(String, String)>,
    chunks: std::vec::IntoIter<Vec<u8>>,
    texts: Box<dyn Iterator<Item = &'t [u8]> + 't>,
}

impl Iterator for Encoded<'_> {
    type Item = Bytes;

    /// The next piece of the block, about [`CHUNK`] bytes long.
    fn next(&mut self) -> Option<Bytes> {
        self.chunks.next().map(Bytes::from).or_else(|| {
            let mut chunk = Vec::with_capacity(CHUNK + CHUNK / 4);
            while chunk.len() < CHUNK
                && let Some(text) = self.texts.next()
            {
                put_text(&mut chunk, text);
            }
            (!chunk.is_empty()).then(|| chunk.into())
        })
    }
}

impl Block {
    /// A block whose columns will all have `rows` values.
    pub fn new(rows: usize) -> Self {
        // The first byte is the number of columns, which `finish_after` knows.
        let mut chunk = vec![0];
        put_varint(&mut chunk, rows as u64);
        Self { chunks: Vec::new(), chunk, columns: Vec::new() }
    }

    /// Ends the block; its number of columns is what was added.
    pub fn finish<'t>(self) -> Encoded<'t> {
        self.finish_after(std::iter::empty())
    }

    /// Ends the block with one more column of texts, which is encoded while the block is sent.
    pub fn finish_with_texts<'t>(mut self, name: &str, values: impl Iterator<Item = &'t [u8]> + 't) -> Encoded<'t> {
        self.header(name, "String");
        self.finish_after(values)
    }

    fn finish_after<'t>(mut self, texts: impl Iterator<Item = &'t [u8]> + 't) -> Encoded<'t> {
        // After a cut nothing may be left, and ClickHouse refuses a compressed frame of no bytes.
        if !self.chunk.is_empty() {
            self.chunks.push(self.chunk);
        }
        if let Some(count) = self.chunks.first_mut().and_then(|chunk| chunk.first_mut()) {
            // A varint of one byte: no table here has 128 columns.
            *count = self.columns.len() as u8;
        }
        Encoded { columns: self.columns, chunks: self.chunks.into_iter(), texts: Box::new(texts) }
    }

    /// Adds a column of numbers.
    pub fn numbers<N: Number>(&mut self, name: &str, values: impl Iterator<Item = N>) {
        self.header(name, N::TYPE);
        for value in values {
            value.put(&mut self.chunk);
        }
        self.cut();
    }

    /// Adds a column of numbers that may be missing.
    pub fn nullable<N: Number>(&mut self, name: &str, values: impl Iterator<Item = Option<N>> + Clone) {
        self.header(name, &format!("Nullable({})", N::TYPE));
        self.chunk.extend(values.clone().map(|value| u8::from(value.is_none())));
        for value in values {
            value.unwrap_or_default().put(&mut self.chunk);
        }
        self.cut();
    }

    /// Adds a column of texts.
    pub fn texts<'t>(&mut self, name: &str, values: impl Iterator<Item = &'t [u8]>) {
        self.header(name, "String");
        for value in values {
            put_text(&mut self.chunk, value);
            if self.chunk.len() >= CHUNK {
                self.cut();
            }
        }
        self.cut();
    }

    /// Adds a column of texts with few different values.
    pub fn low_cardinality<'t>(&mut self, name: &str, values: impl Iterator<Item = &'t str>) {
        /// The block brings a dictionary of its own; the low byte says how wide its keys are.
        const OWN_DICTIONARY: u64 = 1 << 9 | 1 << 10;
        let mut dictionary = Dictionary::default();
        let keys: Vec<u32> = values.map(|value| dictionary.key(value)).collect();
        let wide = dictionary.values().len() > usize::from(u16::MAX);
        self.header(name, "LowCardinality(String)");
        1_u64.put(&mut self.chunk);
        (OWN_DICTIONARY | if wide { 2 } else { 1 }).put(&mut self.chunk);
        (dictionary.values().len() as u64).put(&mut self.chunk);
        for value in dictionary.values() {
            put_text(&mut self.chunk, value.as_bytes());
        }
        (keys.len() as u64).put(&mut self.chunk);
        for key in keys {
            match u16::try_from(key) {
                Ok(key) if !wide => key.put(&mut self.chunk),
                _ => self.chunk.extend_from_slice(&key.to_le_bytes()),
            }
        }
        self.cut();
    }

    fn header(&mut self, name: &str, type_name: &str) {
        self.columns.push((name.to_owned(), type_name.to_owned()));
        for text in [name, type_name] {
            put_text(&mut self.chunk, text.as_bytes());
        }
    }

    /// Begins a new chunk where the current one is long enough.
    fn cut(&mut self) {
        if self.chunk.len() >= CHUNK {
            self.chunks.push(std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK + CHUNK / 4)));
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Writes `value` as LEB128: seven bits a byte, the lowest first.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_of_a_block_is_empty() {
        for bytes in [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK] {
            let text = vec![b'x'; bytes];
            let mut block = Block::new(1);
            block.texts("body", std::iter::once(&*text));
            let pieces: Vec<_> = block.finish().collect();
            assert!(pieces.iter().all(|piece| !piece.is_empty()), "{bytes}");
            assert!(pieces.iter().map(Bytes::len).sum::<usize>() > bytes, "{bytes}");
        }
    }
}
