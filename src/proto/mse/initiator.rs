//! The side that opened the connection, and knows which torrent it is about.

use super::dh::{self, KEY_LENGTH, PRIVATE_LENGTH};
use super::{
    Agreement, Input, Method, Methods, MseFault, Progress, Random, Rc4, Receive, VERIFICATION,
    ciphers, hash, mask, pad, pad_length, private_key,
};
use crate::proto::ids::InfoHash;
use crate::proto::wire::PROTOCOL;

#[derive(Debug)]
enum Stage {
    /// Waits for the other side's key.
    Key,
    /// Looks for the eight zeros, as they look when encrypted.
    Sync { mark: [u8; VERIFICATION.len()] },
    /// Waits for what the other side chose.
    Choice,
    /// Waits for the end of the last padding.
    Pad { method: Method, length: usize },
}

/// A handshake that we began.
#[derive(Debug)]
pub struct Initiator {
    info_hash: InfoHash,
    methods: Methods,
    private: [u8; PRIVATE_LENGTH],
    pad: Vec<u8>,
    first: Vec<u8>,
    stage: Stage,
    /// Ours and theirs, once there is a secret.
    streams: Option<(Rc4, Rc4)>,
    pub(super) input: Input,
}

impl Initiator {
    /// Begins: `out` gets our key. `first` is what is to be said first on the stream (no more than
    /// 64 KiB): it goes along with the handshake, which saves a journey there and back.
    pub fn new(
        info_hash: InfoHash,
        methods: Methods,
        first: &[u8],
        random: Random,
        out: &mut Vec<u8>,
    ) -> Initiator {
        let private = private_key(random);
        out.extend_from_slice(&dh::public_key(&private));
        out.extend_from_slice(&pad(random));
        Initiator {
            info_hash,
            methods,
            private,
            pad: pad(random),
            first: first.to_vec(),
            stage: Stage::Key,
            streams: None,
            input: Input::default(),
        }
    }

    /// Takes in what came; `out` gets what is to be sent. Not to be called again once it is done.
    ///
    /// # Errors
    /// What is wrong with the other side's handshake.
    pub fn on_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, MseFault> {
        self.input.bytes.extend_from_slice(bytes);
        Ok(self
            .go_on(out)?
            .map_or(Progress::More, |agreement| Progress::Agreed(Box::new(agreement))))
    }

    /// `None` if more bytes are needed.
    fn go_on(&mut self, out: &mut Vec<u8>) -> Result<Option<Agreement>, MseFault> {
        loop {
            let next = match &self.stage {
                // No key begins like this but once in 2^160 times.
                Stage::Key if self.input.bytes.starts_with(PROTOCOL) => {
                    return Err(MseFault::Plain);
                }
                Stage::Key => self.key(out),
                Stage::Sync { mark } => self.input.find(mark)?.then_some(Stage::Choice),
                Stage::Choice => self.choice()?,
                Stage::Pad { method, length } => return Ok(self.end(*method, *length)),
            };
            match next {
                Some(stage) => self.stage = stage,
                None => return Ok(None),
            }
        }
    }

    /// Their key is there: answers with all that there is to say.
    fn key(&mut self, out: &mut Vec<u8>) -> Option<Stage> {
        let secret = dh::shared_secret(&self.input.take::<KEY_LENGTH>()?, &self.private);
        let (mut send, mut receive) = ciphers(&secret, self.info_hash);
        out.extend_from_slice(&hash(b"req1", &[&secret]));
        out.extend_from_slice(&mask(&secret, &hash(b"req2", &[&self.info_hash.0])));
        let encrypted = out.len();
        out.extend_from_slice(&VERIFICATION);
        out.extend_from_slice(&self.methods.bits().to_be_bytes());
        put_sized(out, &self.pad);
        put_sized(out, &self.first);
        send.apply(&mut out[encrypted..]);
        let mut mark = VERIFICATION;
        receive.apply(&mut mark);
        self.streams = Some((send, receive));
        Some(Stage::Sync { mark })
    }

    fn choice(&mut self) -> Result<Option<Stage>, MseFault> {
        let Some((_, receive)) = &mut self.streams else { return Ok(None) };
        let Some(bytes) = self.input.decrypt::<6>(receive) else { return Ok(None) };
        let (chosen, length) = bytes.split_at(4);
        let chosen = u32::from_be_bytes(chosen.try_into().expect("split after four bytes"));
        let method = self.methods.chosen(chosen).ok_or(MseFault::NoMethod)?;
        Ok(Some(Stage::Pad { method, length: pad_length(length)? }))
    }

    fn end(&mut self, method: Method, length: usize) -> Option<Agreement> {
        let (_, receive) = self.streams.as_mut()?;
        self.input.skip(length, receive)?;
        let (send, receive) = self.streams.take()?;
        let mut receive = Receive::new(receive, method, 0);
        let mut rest = std::mem::take(&mut self.input.bytes);
        receive.apply(&mut rest);
        let send = (method == Method::Rc4).then_some(send);
        Some(Agreement { info_hash: self.info_hash, method, send, receive, rest })
    }
}

/// Appends bytes and, before them, how many there are.
fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("no padding and no first word is so long");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}
