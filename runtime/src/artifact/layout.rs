//! Where the bytes are: the header page with the section table, and the rules every section obeys.

use super::checksum;
use crate::{Error, Result};

/// First bytes of every artifact. The high bit and the line ends catch transfers that are not byte for byte.
pub const MAGIC: [u8; 8] = *b"\x89KILN\r\n\x1a";
/// The format version that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 5;
/// Sections begin at multiples of this; the header takes the first of them.
pub const PAGE: u64 = 4096;
/// Most sections of a file: what the header page has room for.
pub const MAX_SECTIONS: usize = (PAGE as usize - TABLE) / ENTRY;

const TABLE: usize = 64;
const ENTRY: usize = 64;
const NAME: usize = 32;
const CHECKSUM: std::ops::Range<usize> = 24..32;

/// One line of the section table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionEntry {
    /// The section's name, 1 to 32 bytes of printable ASCII.
    pub name: String,
    /// First byte in the file, a multiple of [`PAGE`].
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// Checksum of its bytes.
    pub checksum: u64,
}

impl SectionEntry {
    /// One past the last byte. Only for entries that [`decode`] or the writer made: the sum is known to fit.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.size
    }
}

/// The first multiple of [`PAGE`] at or after `offset`.
pub(super) fn page_up(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(PAGE)
}

/// The header page for a file of that table and length. The table obeys the rules that [`decode`] checks.
pub(super) fn encode(sections: &[SectionEntry], file_len: u64) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE as usize);
    page.extend(MAGIC);
    page.extend(FORMAT_VERSION.to_le_bytes());
    page.extend((sections.len() as u32).to_le_bytes());
    page.extend(file_len.to_le_bytes());
    page.resize(TABLE, 0);
    for s in sections {
        let at = page.len();
        page.extend(s.name.as_bytes());
        page.resize(at + NAME, 0);
        page.extend(s.offset.to_le_bytes());
        page.extend(s.size.to_le_bytes());
        page.extend(s.checksum.to_le_bytes());
        page.resize(at + ENTRY, 0);
    }
    page.resize(PAGE as usize, 0);
    let sum = checksum::of(&page);
    page[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
    page
}

/// Reads the table of a whole file and checks everything but the sections' own bytes: lengths, order, and that what lies
/// between sections is zero.
pub(super) fn decode(file: &str, bytes: &[u8]) -> Result<Vec<SectionEntry>> {
    let damaged = |what: &str, expected: String, found: String| Error::Damaged {
        file: file.into(),
        what: what.into(),
        expected,
        found,
    };
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if magic != MAGIC {
        return Err(Error::NotAnArtifact { file: file.into(), expected: MAGIC.to_vec(), found: magic.to_vec() });
    }
    if let Some(version) = bytes.get(8..12).map(u32_of)
        && version != FORMAT_VERSION
    {
        return Err(Error::FormatVersion { file: file.into(), expected: FORMAT_VERSION, found: version });
    }
    let Some(header) = bytes.get(..PAGE as usize) else {
        return Err(damaged("header", format!("{PAGE} bytes"), format!("a file of {}", bytes.len())));
    };
    let stored = u64_of(&header[CHECKSUM]);
    let mut blank = header.to_vec();
    blank[CHECKSUM].fill(0);
    let computed = checksum::of(&blank);
    if stored != computed {
        return Err(damaged("header", format!("checksum {stored:016x}"), format!("{computed:016x}")));
    }
    let file_len = u64_of(&header[16..24]);
    if file_len != bytes.len() as u64 {
        return Err(damaged("length of the file", format!("{file_len} bytes"), format!("{}", bytes.len())));
    }
    let count = u32_of(&header[12..16]) as usize;
    if count > MAX_SECTIONS {
        return Err(damaged("section table", format!("at most {MAX_SECTIONS} sections"), count.to_string()));
    }
    let mut sections: Vec<SectionEntry> = Vec::with_capacity(count);
    let mut end = PAGE;
    for (i, line) in header[TABLE..].chunks_exact(ENTRY).take(count).enumerate() {
        let what = format!("entry {i} of the section table");
        let (name, rest) = line.split_at(NAME);
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        let name = match std::str::from_utf8(name) {
            Ok(s) if !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic()) => s.to_string(),
            _ => return Err(damaged(&what, "a name".into(), format!("{name:02x?}"))),
        };
        if sections.iter().any(|s| s.name == name) {
            return Err(damaged(&what, "a name used once".into(), format!("`{name}` again")));
        }
        let entry = SectionEntry {
            name,
            offset: u64_of(&rest[..8]),
            size: u64_of(&rest[8..16]),
            checksum: u64_of(&rest[16..24]),
        };
        if page_up(end) != Some(entry.offset) {
            let expected = format!("offset {}", end.next_multiple_of(PAGE));
            return Err(damaged(&format!("section `{}`", entry.name), expected, entry.offset.to_string()));
        }
        end = match entry.offset.checked_add(entry.size) {
            Some(end) if end <= file_len => end,
            _ => {
                let expected = format!("at most {} bytes", file_len.saturating_sub(entry.offset));
                return Err(damaged(&format!("section `{}`", entry.name), expected, entry.size.to_string()));
            }
        };
        sections.push(entry);
    }
    if end != file_len {
        return Err(damaged("end of the last section", format!("{file_len}, the end of the file"), end.to_string()));
    }
    let starts = sections.iter().map(|s| s.offset);
    let ends = std::iter::once(PAGE).chain(sections.iter().map(SectionEntry::end));
    for (from, to) in ends.zip(starts) {
        if let Some(at) = bytes[from as usize..to as usize].iter().position(|b| *b != 0) {
            let what = format!("padding at byte {}", from as usize + at);
            return Err(damaged(&what, "0".into(), bytes[from as usize + at].to_string()));
        }
    }
    Ok(sections)
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))
}

fn u64_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[SectionEntry], len: u64) -> Vec<u8> {
        let mut bytes = encode(entries, len);
        bytes.resize(len.clamp(PAGE, 1 << 20) as usize, 0);
        bytes
    }

    fn entry(name: &str, offset: u64, size: u64) -> SectionEntry {
        SectionEntry { name: name.into(), offset, size, checksum: 7 }
    }

    #[test]
    fn a_table_reads_back() {
        let table = vec![entry("a", 4096, 5000), entry("empty", 12288, 0), entry("b", 12288, 1)];
        assert_eq!(decode("f", &file(&table, 12289)).unwrap(), table);
        assert_eq!(decode("f", &file(&[], 4096)).unwrap(), vec![]);
        let full: Vec<_> = (0..MAX_SECTIONS).map(|i| entry(&format!("s{i}"), 4096, 0)).collect();
        assert_eq!(decode("f", &file(&full, 4096)).unwrap(), full);
    }

    #[test]
    fn absurd_tables_are_refused_with_their_part() {
        let cases = [
            (vec![entry("a", 4096, u64::MAX)], 4097, "section `a`"),
            (vec![entry("a", !4095, 4096)], 4097, "section `a`"),
            (vec![entry("a", 0, 10)], 4106, "section `a`"),
            (vec![entry("a", 4097, 10)], 4107, "section `a`"),
            (vec![entry("a", 8192, 10)], 8202, "section `a`"),
            (vec![entry("a", 4096, 5000), entry("b", 8192, 1)], 9096, "section `b`"),
            (vec![entry("a", 4096, 1), entry("a", 8192, 1)], 8193, "`a` again"),
            (vec![entry("", 4096, 1)], 4097, "a name"),
            (vec![entry("a", 4096, 1)], 4100, "end of the last section"),
        ];
        for (table, len, part) in cases {
            let message = decode("f", &file(&table, len)).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
