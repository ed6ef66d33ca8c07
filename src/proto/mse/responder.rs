//! The side that somebody connected to: it does not know yet whether he speaks in plain text, nor
//! about which torrent.

use super::dh::{self, KEY_LENGTH};
use super::{
    Agreement, Input, Method, Methods, MseFault, Names, Progress, Random, Rc4, Receive,
    VERIFICATION, be16, ciphers, hash, mask, pad, pad_length, private_key,
};
use crate::proto::ids::InfoHash;
use crate::proto::wire::PROTOCOL;

#[derive(Debug)]
enum Stage {
    /// Waits for the first bytes, and then for the other side's key.
    Key,
    /// Looks for the end of the padding.
    Sync,
    /// Waits for the name of the torrent.
    Name,
    /// Waits for what the other side offers.
    Offer,
    /// Waits for the end of the padding, and the length of what is said first.
    Pad { method: Method, length: usize },
}

/// A handshake that somebody else began, if it is one.
#[derive(Debug)]
pub struct Responder {
    methods: Methods,
    stage: Stage,
    secret: Box<[u8; KEY_LENGTH]>,
    /// Our last padding.
    pad: Vec<u8>,
    info_hash: InfoHash,
    /// Theirs and ours, once the torrent is known.
    streams: Option<(Rc4, Rc4)>,
    pub(super) input: Input,
}

impl Responder {
    /// Somebody connected.
    pub fn new(methods: Methods) -> Responder {
        Responder {
            methods,
            stage: Stage::Key,
            secret: Box::new([0; KEY_LENGTH]),
            pad: Vec::new(),
            info_hash: InfoHash([0; 20]),
            streams: None,
            input: Input::default(),
        }
    }

    /// Takes in what came; `out` gets what is to be sent. He may mean one of the torrents `names`.
    /// Not to be called again once it is done, or is none.
    ///
    /// # Errors
    /// What is wrong with the other side's handshake.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        names: &Names,
        out: &mut Vec<u8>,
    ) -> Result<Progress, MseFault> {
        self.input.bytes.extend_from_slice(bytes);
        loop {
            let next = match self.stage {
                Stage::Key => return Ok(self.first_bytes()),
                Stage::Sync => {
                    self.input.find(&hash(b"req1", &[&*self.secret]))?.then_some(Stage::Name)
                }
                Stage::Name => self.name(names)?,
                Stage::Offer => self.offer()?,
                Stage::Pad { method, length } => {
                    let end = self.end(method, length, out);
                    return Ok(end.map_or(Progress::More, |end| Progress::Agreed(Box::new(end))));
                }
            };
            match next {
                Some(stage) => self.stage = stage,
                None => return Ok(Progress::More),
            }
        }
    }

    /// Goes on once the other side's key is there: `out` gets ours. To be followed by
    /// [`on_bytes`](Self::on_bytes), with no bytes or with more. Nothing happens before.
    pub fn exchange(&mut self, random: Random, out: &mut Vec<u8>) {
        if !matches!(self.stage, Stage::Key) {
            return;
        }
        let Some(theirs) = self.input.take::<KEY_LENGTH>() else { return };
        let ours = private_key(random);
        out.extend_from_slice(&dh::public_key(&ours));
        out.extend_from_slice(&pad(random));
        self.pad = pad(random);
        *self.secret = dh::shared_secret(&theirs, &ours);
        self.stage = Stage::Sync;
    }

    /// A plain handshake is known by its first bytes. A key that begins like one is less likely
    /// than a bad disk.
    fn first_bytes(&mut self) -> Progress {
        let known = self.input.bytes.len().min(PROTOCOL.len());
        let is_plain = self.input.bytes[..known] == PROTOCOL[..known];
        match (is_plain, self.input.bytes.len()) {
            (true, 20..) => Progress::Plain(std::mem::take(&mut self.input.bytes)),
            (false, KEY_LENGTH..) => Progress::Key,
            _ => Progress::More,
        }
    }

    fn name(&mut self, names: &Names) -> Result<Option<Stage>, MseFault> {
        let Some(masked) = self.input.take::<20>() else { return Ok(None) };
        let hidden = mask(&self.secret, &masked);
        self.info_hash = names.find(&hidden).ok_or(MseFault::UnknownTorrent)?;
        self.streams = Some(ciphers(&self.secret, self.info_hash));
        Ok(Some(Stage::Offer))
    }

    fn offer(&mut self) -> Result<Option<Stage>, MseFault> {
        let Some((receive, _)) = &mut self.streams else { return Ok(None) };
        let Some(bytes) = self.input.decrypt::<14>(receive) else { return Ok(None) };
        let (verification, rest) = bytes.split_at(VERIFICATION.len());
        if verification != VERIFICATION {
            return Err(MseFault::NotVerified);
        }
        let (offered, length) = rest.split_at(4);
        let offered = u32::from_be_bytes(offered.try_into().expect("split after four bytes"));
        let method = self.methods.choose(offered).ok_or(MseFault::NoMethod)?;
        Ok(Some(Stage::Pad { method, length: pad_length(length)? }))
    }

    /// All is there but what is said first, which is read as the stream itself is.
    fn end(&mut self, method: Method, length: usize, out: &mut Vec<u8>) -> Option<Agreement> {
        if self.input.bytes.len() < length + 2 {
            return None;
        }
        let (mut receive, mut send) = self.streams.take()?;
        self.input.skip(length, &mut receive)?;
        let first = be16(&self.input.decrypt::<2>(&mut receive)?);
        let encrypted = out.len();
        out.extend_from_slice(&VERIFICATION);
        out.extend_from_slice(&method.bit().to_be_bytes());
        // No more than 512.
        out.extend_from_slice(&(self.pad.len() as u16).to_be_bytes());
        out.extend_from_slice(&self.pad);
        send.apply(&mut out[encrypted..]);
        let mut receive = Receive::new(receive, method, first);
        let mut rest = std::mem::take(&mut self.input.bytes);
        receive.apply(&mut rest);
        let send = (method == Method::Rc4).then_some(send);
        Some(Agreement { info_hash: self.info_hash, method, send, receive, rest })
    }
}
