//! Answers made of a file: the whole of it, ranges, or the news that the asker has it already
//! (RFC 9110, sections 13 and 14).

use std::borrow::Cow;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::answer::Answer;
use super::request::{Header, Request};
use super::stream::Chunk;
use crate::io::storage::Part;
use crate::proto::ranges::{Selection, select};
use crate::proto::resume::client::Stamp;

/// A file that can be had.
#[derive(Debug)]
pub struct Content {
    /// The file, open.
    pub file: Arc<File>,
    /// How it looks; as soon as it does not, the answer breaks off.
    pub looks: Stamp,
    /// What kind of content it is.
    pub content_type: Cow<'static, str>,
    /// What no other content has, without the quotes around it: printable ASCII.
    pub etag: String,
    /// When it was last written to, as HTTP has dates; empty if that is not told.
    pub modified: String,
}

impl Content {
    /// What a request for it is answered with.
    pub fn answer(self, request: &Request) -> Answer {
        if self.is_known(request) {
            return self.headed(Answer::empty(304, "Not Modified"));
        }
        let length = self.looks.size;
        match self.selected(request) {
            Selection::Whole => {
                let answer = self.typed(Answer::empty(200, "OK"));
                self.headed(answer).stream(vec![self.chunk(0..length)])
            }
            Selection::Unsatisfiable => {
                let answer = Answer::new(416, "Range Not Satisfiable", "text/plain");
                let range = format!("bytes */{length}");
                self.headed(answer.header("Content-Range", range)).body("there is no such range\n")
            }
            Selection::Parts(parts) => match &parts[..] {
                [part] => {
                    let answer = self.typed(Answer::empty(206, "Partial Content"));
                    let answer = answer.header("Content-Range", content_range(part, length));
                    self.headed(answer).stream(vec![self.chunk(part.clone())])
                }
                parts => self.several(parts),
            },
        }
    }

    /// Several ranges, each with a head of its own.
    fn several(&self, parts: &[Range<u64>]) -> Answer {
        let (boundary, length) = (boundary(), self.looks.size);
        let kind = format!("multipart/byteranges; boundary={boundary}");
        let mut chunks = Vec::with_capacity(2 * parts.len() + 1);
        for part in parts {
            let (kind, range) = (&self.content_type, content_range(part, length));
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {range}\r\n\r\n"
            );
            chunks.push(Chunk::Bytes(head.into()));
            chunks.push(self.chunk(part.clone()));
        }
        chunks.push(Chunk::Bytes(format!("\r\n--{boundary}--\r\n").into()));
        let answer = Answer::empty(206, "Partial Content").header("Content-Type", kind);
        self.headed(answer).stream(chunks)
    }

    fn chunk(&self, range: Range<u64>) -> Chunk {
        let (file, length) = (Arc::clone(&self.file), range.end - range.start);
        Chunk::File(Part { file, offset: range.start, length }, self.looks)
    }

    /// The range that is wanted, if the asker still means this content.
    fn selected(&self, request: &Request) -> Selection {
        let Some(range) = request.header(Header::Range).filter(|_| !request.head_only) else {
            return Selection::Whole;
        };
        let same = |value: &[u8]| value == self.quoted().as_bytes() || self.is_date(value);
        match request.header(Header::IfRange).is_none_or(same) {
            true => select(range, self.looks.size),
            false => Selection::Whole,
        }
    }

    /// Whether the asker says that it has this already.
    fn is_known(&self, request: &Request) -> bool {
        let Some(tags) = request.header(Header::IfNoneMatch) else {
            return request
                .header(Header::IfModifiedSince)
                .is_some_and(|value| self.is_date(value));
        };
        let ours = self.quoted();
        let weak = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag) == ours.as_bytes();
        tags.split(|b| *b == b',').map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || weak(tag))
    }

    fn is_date(&self, value: &[u8]) -> bool {
        !self.modified.is_empty() && value == self.modified.as_bytes()
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.etag)
    }

    fn typed(&self, answer: Answer) -> Answer {
        answer.header("Content-Type", self.content_type.clone())
    }

    /// The same with what every answer about this content says.
    fn headed(&self, answer: Answer) -> Answer {
        let mut answer = answer.header("ETag", self.quoted()).header("Accept-Ranges", "bytes");
        if !self.modified.is_empty() {
            answer = answer.header("Last-Modified", self.modified.clone());
        }
        answer.header("X-Content-Type-Options", "nosniff")
    }
}

fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

/// What stands between ranges. Nobody can know it beforehand and put it into a file.
fn boundary() -> &'static str {
    static BOUNDARY: OnceLock<String> = OnceLock::new();
    BOUNDARY.get_or_init(|| {
        let draw = || RandomState::new().build_hasher().finish();
        format!("bittornado-{:016x}{:016x}", draw(), draw())
    })
}
