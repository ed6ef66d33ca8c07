//! Vectors from a computation in Python (its own `pow`, SHA-1, and a plain RC4), and both machines
//! against each other and against strangers.

use super::*;
use crate::proto::wire::PROTOCOL;

const PUBLIC_A: &str = "\
    96e112dab29e8c5272accb9b17b26887ce54a144a4e3b697c7d159b7a817e556b0918db2b4c658e0\
    2a87f7e5fb14b18a553e084cbf3dad2d30f16596ccb982d406258c61b30c5c1dae2ddc60bdbd48d7\
    9896312aad63238c39e1a633821eb693";
const PUBLIC_B: &str = "\
    d32ae8cedd0de9ca4fe67e35626bb8c7cdb0966727d899f6a62fdb2b68817f9ddc4b684e3eb34030\
    b8dba4e028b7cff3264020340cb4eab61923cdc4e4216ba873368d83f0a38e497f1f6b4e3d2012eb\
    91a3ee6056f966f9eae732089b6fa46e";
const SECRET: &str = "\
    d05ed96a95215a89b44073afe5d0b1626289ac01cff7849392948b2470b346547e944d7562a897ae\
    86976bc389999083ec09572dbdc8ed7f6a0a86a1aa42a3ca04209b72d8239890360435640643b764\
    79ed7836f1857963fcc7cb72084c3ab4";
const REQUEST: &str = "\
    78fffb0f23055a793ff7609f359e04e383ec350563bd6f80e6d62a7949456343e8430ed7af815f36\
    eb9019cefc52a2cf40081f4ec5290458632e3524209979e5bbaf31168ace";
const ANSWER: &str = "\
    017927230ee8b5091b3c08202504";
const LATER_A: &str = "\
    b7f18db303";
const LATER_B: &str = "\
    3ead3fbd36b0";
const BIGGEST: &str = "\
    94ac2e467a831931b23abe2f13dbb8055ffa1f513758f457546d275e90caeae4cf07358ea7dcfe3e\
    fe3a504627aad77aa09860721335890554e33fbf530395fb54ad738679b467f4b10f26ecc006cf18\
    2bbc2692f2cc6395bcf2617cf079cac9";
const GREATEST_PUBLIC: &str = "\
    fe9aac142f64ad4d5bca7e30bea17d62c709de9e4c5694e2b27e8c6ed82510bb57952fcce38f6a50\
    84b9699ec34b033ed1a0dbd51d70274bff40ae493f0ce2cdbd3cbd6055c9677a7eb70d29f4d8ecfb\
    c2625316a7ae1a0d3d6605f0406bad79";
const OF_THREE: &str = "\
    53bb88c8d242866e42a58eb28373242f946305eca8aa2bb350119b12706e9a6a717c68ed4dd15ed8\
    8daa683d3c248375271e2c7538d42df7b105410f1139cbeccf1cc41020d15fc31d4bca81ba8653d4\
    c6744eb8bcc223733e7f6fc6b448afcb";

const NAME: InfoHash = InfoHash([0x55; 20]);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn key(hex: &str) -> [u8; KEY_LENGTH] {
    bytes(hex).try_into().unwrap()
}

/// Random numbers that make a private key of the bytes from `first` on, and paddings of a letter
/// each: so many of the first letter, so many of the second.
fn chosen(first: u8, pads: [(u64, u8); 2]) -> impl FnMut() -> u64 {
    let key: Vec<u8> = (first..first + 24).collect();
    let key = key.chunks(8).map(|part| u64::from_le_bytes(part.try_into().unwrap()));
    let pads = pads.into_iter().flat_map(|(length, letter)| {
        let letters = (0..length.div_ceil(8)).map(move |_| u64::from_le_bytes([letter; 8]));
        std::iter::once(length).chain(letters)
    });
    let mut all = key.chain(pads).collect::<Vec<_>>().into_iter();
    move || all.next().unwrap()
}

fn any(seed: u64) -> impl FnMut() -> u64 {
    let mut rng = seed;
    move || {
        rng = rng.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        rng >> 20 ^ rng << 30
    }
}

fn names() -> Names {
    Names::new([InfoHash([1; 20]), NAME, InfoHash([2; 20])])
}

/// Feeds a responder and does its exchange.
fn respond(
    responder: &mut Responder,
    bytes: &[u8],
    random: Random,
    out: &mut Vec<u8>,
) -> Result<Progress, MseFault> {
    match responder.on_bytes(bytes, &names(), out)? {
        Progress::Key => {
            responder.exchange(random, out);
            responder.on_bytes(&[], &names(), out)
        }
        other => Ok(other),
    }
}

fn agreement(progress: Progress) -> Agreement {
    match progress {
        Progress::Agreed(agreement) => *agreement,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_and_secrets_are_those_of_an_independent_computation() {
    let a: [u8; 20] = std::array::from_fn(|n| n as u8 + 1);
    let b: [u8; 20] = std::array::from_fn(|n| n as u8 + 101);
    assert_eq!(dh::public_key(&a), key(PUBLIC_A));
    assert_eq!(dh::public_key(&b), key(PUBLIC_B));
    assert_eq!(dh::shared_secret(&key(PUBLIC_A), &b), key(SECRET));
    assert_eq!(dh::shared_secret(&key(PUBLIC_B), &a), key(SECRET));
    assert_eq!(dh::public_key(&[255; 20]), key(GREATEST_PUBLIC));
    assert_eq!(dh::shared_secret(&[255; KEY_LENGTH], &[255; 20]), key(BIGGEST));
    let small = |n| std::array::from_fn(|at| if at == KEY_LENGTH - 1 { n } else { 0 });
    assert_eq!(dh::shared_secret(&small(3), &a), key(OF_THREE));
    assert_eq!(dh::shared_secret(&small(0), &a), small(0));
    assert_eq!(dh::shared_secret(&small(1), &a), small(1));
}

#[test]
fn says_to_the_byte_what_the_protocol_has() {
    let (mut a_says, mut b_says) = (Vec::new(), Vec::new());
    let mut random = chosen(1, [(5, b'A'), (3, b'C')]);
    let mut a = Initiator::new(NAME, Methods::Any, b"first words", &mut random, &mut a_says);
    assert_eq!(a_says, [bytes(PUBLIC_A), b"AAAAA".to_vec()].concat());
    let mut b = Responder::new(Methods::Rc4);
    let mut random = chosen(101, [(4, b'B'), (0, b'D')]);
    assert!(matches!(respond(&mut b, &a_says, &mut random, &mut b_says), Ok(Progress::More)));
    assert_eq!(b_says, [bytes(PUBLIC_B), b"BBBB".to_vec()].concat());
    a_says.clear();
    assert!(matches!(a.on_bytes(&b_says, &mut a_says), Ok(Progress::More)));
    assert_eq!(a_says, bytes(REQUEST));
    b_says.clear();
    let mut of_b = agreement(b.on_bytes(&a_says, &names(), &mut b_says).unwrap());
    assert_eq!((b_says, &of_b.rest[..]), (bytes(ANSWER), &b"first words"[..]));
    assert_eq!((of_b.method, of_b.info_hash), (Method::Rc4, NAME));
    let mut of_a = agreement(a.on_bytes(&bytes(ANSWER), &mut a_says).unwrap());
    let (mut later_a, mut later_b) = (*b"later", *b"answer");
    of_a.send.as_mut().unwrap().apply(&mut later_a);
    of_b.send.as_mut().unwrap().apply(&mut later_b);
    assert_eq!((&later_a[..], &later_b[..]), (&bytes(LATER_A)[..], &bytes(LATER_B)[..]));
    of_b.receive.apply(&mut later_a);
    of_a.receive.apply(&mut later_b);
    assert_eq!((&later_a, &later_b), (b"later", b"answer"));
}

/// What one side has got in the end: how the stream goes on, and what was said on it first.
type Heard = (Method, Vec<u8>);

/// Both sides talk; what each says comes to the other in parts as `cut` has it. The first one says
/// something along with the handshake and something behind it, the other something behind it.
fn talk(
    methods: [Methods; 2],
    cut: impl Fn(&[u8]) -> Vec<Vec<u8>>,
    mut random: impl FnMut() -> u64,
) -> [Heard; 2] {
    let (mut to_b, mut to_a) = (Vec::new(), Vec::new());
    let mut a = Initiator::new(NAME, methods[0], b"hello", &mut random, &mut to_b);
    let mut b = Responder::new(methods[1]);
    let (mut of_a, mut of_b): (Option<Agreement>, Option<Agreement>) = (None, None);
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    while !to_a.is_empty() || !to_b.is_empty() {
        for mut part in cut(&std::mem::take(&mut to_b)) {
            if let Some(agreed) = &mut of_b {
                agreed.receive.apply(&mut part);
                at_b.extend(part);
            } else if let Progress::Agreed(agreed) =
                respond(&mut b, &part, &mut random, &mut to_a).unwrap()
            {
                at_b.extend_from_slice(&agreed.rest);
                let mut words = b"to whom opened".to_vec();
                of_b.insert(*agreed).send.iter_mut().for_each(|send| send.apply(&mut words));
                to_a.extend(words);
            }
        }
        for mut part in cut(&std::mem::take(&mut to_a)) {
            if let Some(agreed) = &mut of_a {
                agreed.receive.apply(&mut part);
                at_a.extend(part);
            } else if let Progress::Agreed(agreed) = a.on_bytes(&part, &mut to_b).unwrap() {
                at_a.extend_from_slice(&agreed.rest);
                let mut words = b", world".to_vec();
                of_a.insert(*agreed).send.iter_mut().for_each(|send| send.apply(&mut words));
                to_b.extend(words);
            }
        }
    }
    [(of_a.unwrap().method, at_a), (of_b.unwrap().method, at_b)]
}

#[test]
fn two_of_us_agree_and_understand_each_other_wherever_the_bytes_are_cut() {
    use {Method::*, Methods::Any};
    for (methods, method) in [
        ([Any, Any], Plain),
        ([Any, Methods::Rc4], Rc4),
        ([Methods::Rc4, Any], Rc4),
        ([Methods::Rc4, Methods::Rc4], Rc4),
    ] {
        let right = [(method, b"to whom opened".to_vec()), (method, b"hello, world".to_vec())];
        let single = |bytes: &[u8]| bytes.iter().map(|b| vec![*b]).collect();
        assert_eq!(talk(methods, single, any(7)), right, "byte by byte");
        if methods[0] == Methods::Rc4 {
            continue;
        }
        // Paddings of three bytes: longer than any of what is said at once.
        for at in 0..=KEY_LENGTH + 10 {
            let at_that = |bytes: &[u8]| {
                let (first, second) = bytes.split_at(at.min(bytes.len()));
                vec![first.to_vec(), second.to_vec()]
            };
            assert_eq!(talk(methods, at_that, || 3), right, "cut at {at}");
        }
    }
}

#[test]
fn a_plain_handshake_is_known_by_its_first_bytes() {
    let plain = [&PROTOCOL[..], b"and so on"].concat();
    let mut out = Vec::new();
    for cut in 0..=plain.len() {
        let mut b = Responder::new(Methods::Any);
        let mut progress = b.on_bytes(&plain[..cut], &names(), &mut out).unwrap();
        let mut rest = &plain[cut..];
        if matches!(progress, Progress::More) {
            progress = b.on_bytes(&plain[cut..], &names(), &mut out).unwrap();
            rest = &[];
        }
        let Progress::Plain(first) = progress else { panic!("{progress:?}") };
        assert_eq!(([&first[..], rest].concat(), out.len()), (plain.clone(), 0), "cut at {cut}");
    }
    let mut like_one = [9; KEY_LENGTH];
    like_one[..19].copy_from_slice(&PROTOCOL[..19]);
    let mut b = Responder::new(Methods::Any);
    assert!(matches!(b.on_bytes(&like_one[..95], &names(), &mut out), Ok(Progress::More)));
    assert!(matches!(b.on_bytes(&like_one[95..], &names(), &mut out), Ok(Progress::Key)));
}

/// A responder that has answered, and the secret it shares with us.
fn answered(methods: Methods) -> (Responder, [u8; KEY_LENGTH]) {
    let (mut b, mut out) = (Responder::new(methods), Vec::new());
    let progress = respond(&mut b, &bytes(PUBLIC_A), &mut any(3), &mut out);
    assert!(matches!(progress, Ok(Progress::More)));
    let ours: [u8; 20] = std::array::from_fn(|n| n as u8 + 1);
    (b, dh::shared_secret(out[..KEY_LENGTH].try_into().unwrap(), &ours))
}

/// The rest of a handshake with these peculiarities.
fn request(secret: &[u8; KEY_LENGTH], name: InfoHash, zeros: u8, offer: u32, pad: u16) -> Vec<u8> {
    let mut encrypted = [&[zeros; 8][..], &offer.to_be_bytes(), &pad.to_be_bytes()].concat();
    encrypted.extend(vec![0; usize::from(pad) + 2]);
    ciphers(secret, name).0.apply(&mut encrypted);
    let masked = mask(secret, &hash(b"req2", &[&name.0]));
    [&hash(b"req1", &[secret])[..], &masked, &encrypted].concat()
}

#[test]
fn what_is_odd_is_a_fault_and_what_is_allowed_is_none() {
    let outcome = |methods, pad: usize, name, zeros, offer, inner_pad| {
        let (mut b, secret) = answered(methods);
        let said = [vec![7; pad], request(&secret, name, zeros, offer, inner_pad)].concat();
        let progress = b.on_bytes(&said, &names(), &mut Vec::new());
        progress.map(|p| agreement(p).method)
    };
    use Methods::{Any, Rc4};
    assert_eq!(outcome(Any, 512, NAME, 0, 3, 512), Ok(Method::Plain));
    assert_eq!(outcome(Any, 0, InfoHash([2; 20]), 0, !1, 0), Ok(Method::Rc4));
    assert_eq!(outcome(Any, 513, NAME, 0, 3, 0), Err(MseFault::NoSync));
    assert_eq!(outcome(Any, 9, InfoHash([3; 20]), 0, 3, 0), Err(MseFault::UnknownTorrent));
    assert_eq!(outcome(Any, 9, NAME, 1, 3, 0), Err(MseFault::NotVerified));
    assert_eq!(outcome(Any, 9, NAME, 0, 3, 513), Err(MseFault::PadTooLong));
    assert_eq!(outcome(Any, 9, NAME, 0, 0, 0), Err(MseFault::NoMethod));
    assert_eq!(outcome(Rc4, 9, NAME, 0, 1, 0), Err(MseFault::NoMethod));
    assert_eq!(outcome(Rc4, 9, NAME, 0, 3, 0), Ok(Method::Rc4));
}

#[test]
fn the_choice_of_the_other_side_must_be_one_that_we_offered() {
    let outcome = |methods, pad: usize, chosen: u32, inner_pad: u16| {
        let mut a_says = Vec::new();
        let mut random = chosen_key();
        let mut a = Initiator::new(NAME, methods, b"", &mut random, &mut a_says);
        let mut answer = [&[0; 8][..], &chosen.to_be_bytes(), &inner_pad.to_be_bytes()].concat();
        answer.extend(vec![0; usize::from(inner_pad)]);
        ciphers(&key(SECRET), NAME).1.apply(&mut answer);
        let said = [bytes(PUBLIC_B), vec![7; pad], answer].concat();
        a.on_bytes(&said, &mut a_says).map(|p| agreement(p).method)
    };
    assert_eq!(outcome(Methods::Any, 512, 1, 512), Ok(Method::Plain));
    assert_eq!(outcome(Methods::Any, 0, 2, 0), Ok(Method::Rc4));
    assert_eq!(outcome(Methods::Any, 513, 2, 0), Err(MseFault::NoSync));
    assert_eq!(outcome(Methods::Any, 0, 2, 513), Err(MseFault::PadTooLong));
    for (methods, chosen) in [(Methods::Any, 0), (Methods::Any, 3), (Methods::Rc4, 1)] {
        assert_eq!(outcome(methods, 5, chosen, 0), Err(MseFault::NoMethod), "{chosen}");
    }
}

fn chosen_key() -> impl FnMut() -> u64 {
    chosen(1, [(0, 0), (0, 0)])
}

#[test]
fn a_plain_answer_ends_what_was_begun_encrypted_at_its_first_words() {
    for cut in [1, 7, 20] {
        let mut a = Initiator::new(NAME, Methods::Any, b"", &mut any(1), &mut Vec::new());
        let mut out = Vec::new();
        let mut said = PROTOCOL.chunks(cut).map(|part| a.on_bytes(part, &mut out).err());
        assert_eq!(said.by_ref().last(), Some(Some(MseFault::Plain)));
    }
}

#[test]
fn endless_noise_ends_the_handshake_and_is_not_kept() {
    let (mut b, _) = answered(Methods::Any);
    let mut a = Initiator::new(NAME, Methods::Any, b"", &mut any(1), &mut Vec::new());
    let mut out = Vec::new();
    let said = |ended: &mut dyn FnMut() -> bool| (0..2000).take_while(|_| !ended()).count();
    let to_b = said(&mut || b.on_bytes(&[7], &names(), &mut out).is_err());
    let to_a = said(&mut || a.on_bytes(&[7], &mut out).is_err());
    assert_eq!((to_b, to_a), (MAX_PAD + 19, KEY_LENGTH + MAX_PAD + 7));
    assert!(b.input.bytes.len() <= MAX_PAD + 20 && a.input.bytes.len() <= MAX_PAD + 8);
}

#[test]
fn damaged_bytes_never_panic() {
    let mut random = any(11);
    for round in 0..100 {
        let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
        let methods = if round % 2 == 0 { Methods::Any } else { Methods::Rc4 };
        let mut a = Initiator::new(NAME, methods, &[5; 68], &mut random, &mut to_b);
        let mut b = Responder::new(methods);
        let damage = |bytes: &mut Vec<u8>, random: Random| {
            for _ in 0..random() % 3 {
                let at = random() as usize % bytes.len().max(1);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (random() % 8));
            }
            bytes.truncate(bytes.len() - (random() % 4) as usize * bytes.len() / 9);
        };
        for _ in 0..3 {
            damage(&mut to_b, &mut random);
            let heard = respond(&mut b, &std::mem::take(&mut to_b), &mut random, &mut to_a);
            damage(&mut to_a, &mut random);
            let answered = a.on_bytes(&std::mem::take(&mut to_a), &mut to_b);
            if !matches!((heard, answered), (Ok(Progress::More), Ok(Progress::More))) {
                break;
            }
        }
    }
}
