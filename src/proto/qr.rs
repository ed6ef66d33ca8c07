//! QR codes (ISO/IEC 18004): a text as dark and light squares, for the publisher's page.
//!
//! Bytes alone, error correction of level M (a seventh of the code may be unreadable), versions 1
//! to 10: enough for any address of a page.

use std::fmt::Write;

/// Versions that are made: squares a side are 17 and four a version.
const VERSIONS: usize = 10;

/// Codewords of each version, for data and error correction together.
const CODEWORDS: [usize; VERSIONS] = [26, 44, 70, 100, 134, 172, 196, 242, 292, 346];

/// Codewords for error correction of each block, at level M.
const CORRECTION: [usize; VERSIONS] = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26];

/// Blocks, at level M.
const BLOCKS: [usize; VERSIONS] = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5];

/// Where the middles of the alignment patterns are, beside 6 on both axes; 0 for none.
const ALIGNMENT: [[usize; 2]; VERSIONS] =
    [[0, 0], [18, 0], [22, 0], [26, 0], [30, 0], [34, 0], [22, 38], [24, 42], [26, 46], [28, 50]];

/// Light squares that a reader needs around the code.
const QUIET: usize = 4;

/// A code: a square of squares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    size: usize,
    /// Row by row.
    dark: Vec<bool>,
    /// Which of them hold no data.
    fixed: Vec<bool>,
}

impl Code {
    /// The smallest code of these bytes; `None` if they are more than 213.
    pub fn of(text: &[u8]) -> Option<Code> {
        let fits = |version: &usize| header_bits(*version) + 8 * text.len() <= 8 * data(*version);
        let version = (1..=VERSIONS).find(fits)?;
        let mut plain = Code::blank(version);
        plain.put(&interleaved(&codewords(text, version), version));
        let masked = (0..8).map(|mask| plain.masked(mask));
        masked.min_by_key(Code::penalty)
    }

    /// Squares a side, without the light border.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether a square is dark.
    pub fn is_dark(&self, x: usize, y: usize) -> bool {
        self.dark[y * self.size + x]
    }

    /// An SVG picture of it, to stand in HTML, with its light border; `label` must be plain text
    /// without any character that HTML minds.
    pub fn svg(&self, label: &str) -> String {
        let side = self.size + 2 * QUIET;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" role=\"img\" \
             aria-label=\"{label}\" shape-rendering=\"crispEdges\">\
             <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/><path d=\""
        );
        for y in 0..self.size {
            let mut x = 0;
            while x < self.size {
                let run = (x..self.size).take_while(|x| self.is_dark(*x, y)).count();
                if run > 0 {
                    write!(svg, "M{} {}h{run}v1h-{run}z", x + QUIET, y + QUIET)
                        .expect("a String takes every write");
                }
                x += run.max(1);
            }
        }
        svg + "\" fill=\"#000\"/></svg>"
    }

    /// The code without data: what every code of its version has.
    fn blank(version: usize) -> Code {
        let size = 17 + 4 * version;
        let mut code =
            Code { size, dark: vec![false; size * size], fixed: vec![false; size * size] };
        for at in 0..size {
            code.fix(at, 6, at % 2 == 0);
            code.fix(6, at, at % 2 == 0);
        }
        for (x, y) in [(3, 3), (size - 4, 3), (3, size - 4)] {
            code.finder(x, y);
        }
        let [one, two] = ALIGNMENT[version - 1];
        let middles: Vec<usize> = [6, one, two].into_iter().filter(|at| *at > 0).collect();
        let last = *middles.last().expect("there is one");
        for (x, y) in middles.iter().flat_map(|x| middles.iter().map(move |y| (*x, *y))) {
            // Three corners have something better.
            let corner = [(6, 6), (6, last), (last, 6)].contains(&(x, y));
            if !corner && version > 1 {
                code.ring(x, y, 2);
            }
        }
        code.format(0);
        if version >= 7 {
            code.version(version);
        }
        code
    }

    fn fix(&mut self, x: usize, y: usize, dark: bool) {
        self.dark[y * self.size + x] = dark;
        self.fixed[y * self.size + x] = true;
    }

    fn finder(&mut self, x: usize, y: usize) {
        self.ring(x, y, 4);
    }

    /// Rings around a middle, as far as they are in the code: for an alignment pattern with the
    /// radius 2, for a finder, with its light border, with 4.
    fn ring(&mut self, x: usize, y: usize, radius: usize) {
        let reach = |at: usize| at.saturating_sub(radius)..(at + radius + 1).min(self.size);
        let (rows, columns) = (reach(y), reach(x));
        for row in rows {
            for column in columns.clone() {
                let distance = x.abs_diff(column).max(y.abs_diff(row));
                let dark = match radius {
                    2 => distance != 1,
                    _ => distance != 2 && distance != 4,
                };
                self.fix(column, row, dark);
            }
        }
    }

    /// Tells the level and the mask, twice.
    fn format(&mut self, mask: u32) {
        // Level M is 00.
        let bits = ((mask << 10) | remainder(mask << 10, 0x537, 10)) ^ 0x5412;
        let last = self.size - 1;
        for n in 0..15 {
            let dark = bits >> n & 1 == 1;
            let (x, y) = match n {
                0..=5 => (8, n),
                6 => (8, 7),
                7 => (8, 8),
                8 => (7, 8),
                _ => (14 - n, 8),
            };
            self.fix(x, y, dark);
            let (x, y) = if n < 8 { (last - n, 8) } else { (8, last - 14 + n) };
            self.fix(x, y, dark);
        }
        self.fix(8, last - 7, true);
    }

    /// Tells the version, twice.
    fn version(&mut self, version: usize) {
        let number = version as u32;
        let bits = (number << 12) | remainder(number << 12, 0x1f25, 12);
        for n in 0..18 {
            let dark = bits >> n & 1 == 1;
            let (far, near) = (self.size - 11 + n % 3, n / 3);
            self.fix(far, near, dark);
            self.fix(near, far, dark);
        }
    }

    /// The squares for data in their order: up and down in columns of two, from the right.
    fn places(&self) -> Vec<(usize, usize)> {
        let mut places = Vec::with_capacity(self.size * self.size);
        let columns = (0..self.size).rev().filter(|x| *x != 6);
        let columns: Vec<usize> = columns.collect();
        for (n, pair) in columns.chunks(2).enumerate() {
            for row in 0..self.size {
                let y = if n % 2 == 0 { self.size - 1 - row } else { row };
                places.extend(pair.iter().map(|x| (*x, y)));
            }
        }
        places.retain(|(x, y)| !self.fixed[y * self.size + x]);
        places
    }

    fn put(&mut self, bytes: &[u8]) {
        let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1 == 1));
        // The few places beyond stay light.
        for ((x, y), dark) in self.places().into_iter().zip(bits) {
            self.dark[y * self.size + x] = dark;
        }
    }

    fn masked(&self, mask: u32) -> Code {
        let mut code = self.clone();
        code.format(mask);
        for (x, y) in self.places() {
            code.dark[y * self.size + x] ^= is_flipped(mask, x, y);
        }
        code
    }

    /// How hard it is to read.
    fn penalty(&self) -> usize {
        let lines = |turned: bool| {
            let at = move |a: usize, b: usize| match turned {
                true => self.is_dark(b, a),
                false => self.is_dark(a, b),
            };
            (0..self.size).map(move |b| (0..self.size).map(|a| at(a, b)).collect::<Vec<bool>>())
        };
        let all = lines(false).chain(lines(true));
        let along: usize = all.map(|line| runs(&line) + false_finders(&line)).sum();
        let inner = || 0..self.size - 1;
        let even = |x: usize, y: usize| {
            let first = self.is_dark(x, y);
            [(1, 0), (0, 1), (1, 1)].iter().all(|(a, b)| self.is_dark(x + a, y + b) == first)
        };
        let squares = inner().flat_map(|y| inner().map(move |x| (x, y)));
        let squares = squares.filter(|(x, y)| even(*x, *y)).count();
        let dark = self.dark.iter().filter(|dark| **dark).count();
        let off = (20 * dark).abs_diff(10 * self.dark.len()) / self.dark.len();
        along + 3 * squares + 10 * off
    }
}

/// What runs of more than four squares alike cost.
fn runs(line: &[bool]) -> usize {
    let lengths = line.chunk_by(|a, b| a == b).map(<[bool]>::len);
    lengths.filter(|length| *length >= 5).map(|length| length - 2).sum()
}

/// What looks like a finder costs.
fn false_finders(line: &[bool]) -> usize {
    const FINDER: [bool; 7] = [true, false, true, true, true, false, true];
    let light = |part: Option<&[bool]>| part.is_some_and(|part| part.iter().all(|dark| !dark));
    let found = |at: &usize| {
        let before = at.checked_sub(4).and_then(|from| line.get(from..*at));
        line[*at..].starts_with(&FINDER) && (light(before) || light(line.get(at + 7..at + 11)))
    };
    40 * (0..line.len()).filter(found).count()
}

fn is_flipped(mask: u32, x: usize, y: usize) -> bool {
    0 == match mask {
        0 => (x + y) % 2,
        1 => y % 2,
        2 => x % 3,
        3 => (x + y) % 3,
        4 => (y / 2 + x / 3) % 2,
        5 => x * y % 2 + x * y % 3,
        6 => (x * y % 2 + x * y % 3) % 2,
        _ => ((x + y) % 2 + x * y % 3) % 2,
    }
}

/// Codewords for data.
fn data(version: usize) -> usize {
    CODEWORDS[version - 1] - CORRECTION[version - 1] * BLOCKS[version - 1]
}

/// Bits before the bytes: the mode, and how many they are.
fn header_bits(version: usize) -> usize {
    if version < 10 { 12 } else { 20 }
}

/// The codewords for data: mode, length, bytes, end, and padding.
fn codewords(text: &[u8], version: usize) -> Vec<u8> {
    const BYTES: u32 = 0b0100;
    let length = u32::try_from(text.len()).expect("they fit the version");
    let digits = header_bits(version) - 4;
    let mut bits: Vec<bool> = Vec::with_capacity(8 * data(version));
    let mut put = |value: u32, count: usize| {
        bits.extend((0..count).rev().map(|n| value >> n & 1 == 1));
    };
    put(BYTES, 4);
    put(length, digits);
    text.iter().for_each(|byte| put((*byte).into(), 8));
    // The end is four light squares, which also fill the last codeword.
    put(0, 4);
    let byte = |bits: &[bool]| bits.iter().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit));
    let mut bytes: Vec<u8> = bits.chunks_exact(8).map(byte).collect();
    let padding = [0xec, 0x11].into_iter().cycle();
    bytes.extend(padding.take(data(version) - bytes.len()));
    bytes
}

/// All codewords in the order in which they stand in the code.
fn interleaved(data: &[u8], version: usize) -> Vec<u8> {
    let (count, correction) = (BLOCKS[version - 1], CORRECTION[version - 1]);
    // The last blocks have one more.
    let (short, long) = (data.len() / count, data.len() % count);
    let mut rest = data;
    let mut blocks = Vec::with_capacity(count);
    for n in 0..count {
        let (block, after) = rest.split_at(short + usize::from(n >= count - long));
        blocks.push((block, corrections(block, correction)));
        rest = after;
    }
    let mut all = Vec::with_capacity(CODEWORDS[version - 1]);
    for n in 0..=short {
        all.extend(blocks.iter().filter_map(|(block, _)| block.get(n)));
    }
    for n in 0..correction {
        all.extend(blocks.iter().map(|(_, corrections)| corrections[n]));
    }
    all
}

/// The Reed-Solomon codewords of a block.
fn corrections(block: &[u8], count: usize) -> Vec<u8> {
    let mut generator = vec![1u8];
    let mut root = 1;
    for _ in 0..count {
        let mut next = generator.clone();
        next.push(0);
        for (n, factor) in generator.iter().enumerate() {
            next[n + 1] ^= product(*factor, root);
        }
        generator = next;
        root = product(root, 2);
    }
    let mut remainder = vec![0u8; count];
    for byte in block {
        let factor = byte ^ remainder[0];
        remainder.rotate_left(1);
        remainder[count - 1] = 0;
        for (place, term) in remainder.iter_mut().zip(&generator[1..]) {
            *place ^= product(*term, factor);
        }
    }
    remainder
}

/// In the field of 256 elements with the polynomial 0x11d.
fn product(a: u8, b: u8) -> u8 {
    (0..8).rev().fold(0u8, |sum, n| {
        let doubled = sum << 1 ^ if sum & 0x80 == 0 { 0 } else { 0x1d };
        doubled ^ if b >> n & 1 == 1 { a } else { 0 }
    })
}

/// What is left of a polynomial over two elements, divided by one of this degree.
fn remainder(mut value: u32, divisor: u32, degree: u32) -> u32 {
    for n in (degree..32).rev() {
        if value >> n & 1 == 1 {
            value ^= divisor << (n - degree);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_correction_is_that_of_the_standard() {
        // Its example: 01234567 in version 1-M.
        let block = [
            0x10, 0x20, 0x0c, 0x56, 0x61, 0x80, 0xec, 0x11, 0xec, 0x11, 0xec, 0x11, 0xec, 0x11,
            0xec, 0x11,
        ];
        let wanted = [0xa5, 0x24, 0xd4, 0xc1, 0xed, 0x36, 0xc7, 0x87, 0x2c, 0x55];
        assert_eq!(corrections(&block, 10), wanted);
        // Level M with mask 101, and version 7, as its tables have them.
        assert_eq!(((5 << 10) | remainder(5 << 10, 0x537, 10)) ^ 0x5412, 0b100_0000_1100_1110);
        assert_eq!((7 << 12) | remainder(7 << 12, 0x1f25, 12), 0b00_0111_1100_1001_0100);
    }

    /// Reads a code as the standard says, without using what wrote it.
    fn read(code: &Code) -> Vec<u8> {
        let version = (code.size - 17) / 4;
        let bit = |(x, y): (usize, usize)| u32::from(code.is_dark(x, y));
        // The three bits of the mask stand beside the upper left finder.
        let mask = (bit((2, 8)) << 2 | bit((3, 8)) << 1 | bit((4, 8))) ^ 0b101;
        let places = Code::blank(version).places();
        let bits: Vec<u8> = places
            .iter()
            .map(|(x, y)| u8::from(code.is_dark(*x, *y) ^ is_flipped(mask, *x, *y)))
            .collect();
        let words: Vec<u8> =
            bits.chunks_exact(8).map(|b| b.iter().fold(0, |byte, bit| byte << 1 | bit)).collect();
        assert_eq!(words.len(), CODEWORDS[version - 1], "version {version}");
        let (count, short) = (BLOCKS[version - 1], data(version) / BLOCKS[version - 1]);
        let long = data(version) % count;
        let mut blocks = vec![Vec::new(); count];
        let mut next = words.into_iter();
        for n in 0..=short {
            let from = if n < short { 0 } else { count - long };
            blocks[from..].iter_mut().for_each(|block| block.push(next.next().unwrap()));
        }
        let stream: Vec<u8> = blocks.concat();
        assert_eq!(stream[0] >> 4, 4, "bytes");
        let at = |nibble: usize| stream[nibble / 2] >> (4 * (1 - nibble % 2)) & 15;
        let digits = (header_bits(version) - 4) / 4;
        let length = (1..=digits).fold(0usize, |n, at_| n << 4 | usize::from(at(at_)));
        let from = 1 + digits;
        (0..length).map(|n| at(from + 2 * n) << 4 | at(from + 2 * n + 1)).collect()
    }

    #[test]
    fn every_length_comes_back_in_the_smallest_version_that_holds_it() {
        let text: Vec<u8> = (0..214).map(|n| b'!' + (n * 7 % 90) as u8).collect();
        let mut last = 0;
        for length in 0..=213 {
            let code = Code::of(&text[..length]).unwrap();
            assert_eq!(read(&code), &text[..length]);
            assert!(code.size() >= last);
            last = code.size();
        }
        assert_eq!((last, Code::of(&text)), (57, None));
        assert_eq!(Code::of(&text[..14]).unwrap().size(), 21);
    }

    #[test]
    fn the_picture_has_a_light_border_and_each_dark_square() {
        let code = Code::of(b"http://192.168.1.5:8000/").unwrap();
        let svg = code.svg("address");
        assert!(svg.starts_with("<svg ") && svg.contains("viewBox=\"0 0 33 33\""), "{svg}");
        let runs = svg.split('h').filter_map(|part| part.split('v').next()?.parse::<usize>().ok());
        assert_eq!(runs.sum::<usize>(), code.dark.iter().filter(|dark| **dark).count());
        assert!(svg.contains("M4 4h7v1h-7z"), "the finder in the corner");
    }

    #[test]
    #[ignore = "needs zbarimg"]
    fn another_program_reads_it() {
        for text in ["http://192.168.1.5:8000/", "http://[2001:db8::1]:8000/", &"x/".repeat(100)] {
            let code = Code::of(text.as_bytes()).unwrap();
            let (side, scale) = (code.size + 2 * QUIET, 4);
            let mut picture = format!("P1\n{0} {0}\n", side * scale);
            for (y, x) in (0..side * scale).flat_map(|y| (0..side * scale).map(move |x| (y, x))) {
                let inside = |at: usize| (at / scale).checked_sub(QUIET).filter(|a| *a < code.size);
                let dark = inside(x).zip(inside(y)).is_some_and(|(x, y)| code.is_dark(x, y));
                picture.push_str(if dark { "1 " } else { "0 " });
            }
            let path = std::env::temp_dir().join(format!("bt-qr-{}.pbm", std::process::id()));
            std::fs::write(&path, picture).unwrap();
            let read =
                std::process::Command::new("zbarimg").args(["-q", "--raw"]).arg(&path).output();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(String::from_utf8(read.unwrap().stdout).unwrap().trim(), text);
        }
    }
}
