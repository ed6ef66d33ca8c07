//! The key exchange of Diffie and Hellman over the 768-bit prime of the protocol, generator 2.
//!
//! Numbers are twelve limbs, the lowest first, of one size always; products are Montgomery's. It
//! keeps no secret from one who measures time: all of this hides from a look, not from an attack.

/// The bytes of a public key and of the shared secret.
pub const KEY_LENGTH: usize = 96;

/// The bytes of a private key.
pub const PRIVATE_LENGTH: usize = 20;

const LIMBS: usize = KEY_LENGTH / 8;

type Number = [u64; LIMBS];

/// The prime.
const P: Number = [
    0x0000_0000_0009_0563,
    0xf44c_42e9_a63a_3621,
    0xe485_b576_625e_7ec6,
    0x4fe1_356d_6d51_c245,
    0x302b_0a6d_f25f_1437,
    0xef95_19b3_cd3a_431b,
    0x514a_0879_8e34_04dd,
    0x020b_bea6_3b13_9b22,
    0x2902_4e08_8a67_cc74,
    0xc4c6_628b_80dc_1cd1,
    0xc90f_daa2_2168_c234,
    0xffff_ffff_ffff_ffff,
];

/// -1/P modulo 2^64.
const INVERSE: u64 = {
    // Newton: each round doubles the bits that are right, and 1 is right for an odd number's last.
    let (mut inverse, mut round) = (1u64, 0);
    while round < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(P[0].wrapping_mul(inverse)));
        round += 1;
    }
    inverse.wrapping_neg()
};

/// 2^768 modulo P, which is 1 in Montgomery's form.
const ONE: Number = subtract([0; LIMBS], P).0;

/// 2^1536 modulo P, which brings numbers into that form.
const SQUARE: Number = {
    let (mut number, mut round) = (ONE, 0);
    while round < 64 * LIMBS {
        number = double(number);
        round += 1;
    }
    number
};

/// The public key that belongs to a private one.
pub fn public_key(private: &[u8; PRIVATE_LENGTH]) -> [u8; KEY_LENGTH] {
    let mut power = ONE;
    for byte in private {
        for bit in (0..8).rev() {
            power = multiply(&power, &power);
            if byte >> bit & 1 == 1 {
                power = double(power);
            }
        }
    }
    to_bytes(&multiply(&power, &UNIT))
}

/// What both sides know in the end: the other's public key to the power of our private one. Every
/// 96 bytes are taken for a public key.
pub fn shared_secret(
    public: &[u8; KEY_LENGTH],
    private: &[u8; PRIVATE_LENGTH],
) -> [u8; KEY_LENGTH] {
    let base = multiply(&from_bytes(public), &SQUARE);
    let mut powers = [ONE; 16];
    for n in 1..powers.len() {
        powers[n] = multiply(&powers[n - 1], &base);
    }
    let mut power = ONE;
    for nibble in private.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        for _ in 0..4 {
            power = multiply(&power, &power);
        }
        power = multiply(&power, &powers[usize::from(nibble)]);
    }
    to_bytes(&multiply(&power, &UNIT))
}

/// A plain 1: to multiply by it leads out of Montgomery's form.
const UNIT: Number = {
    let mut unit = [0; LIMBS];
    unit[0] = 1;
    unit
};

/// a·b / 2^768 modulo P, for a below 2^768 and b below P.
fn multiply(a: &Number, b: &Number) -> Number {
    let mut sum = [0u64; LIMBS];
    let mut top = 0;
    for limb in a {
        let carry = add_product(&mut sum, *limb, b);
        let (high, over) = add(top, carry, 0);
        let factor = sum[0].wrapping_mul(INVERSE);
        let carry = add_product(&mut sum, factor, &P);
        // The lowest limb is 0 now, and goes.
        sum.copy_within(1.., 0);
        (sum[LIMBS - 1], top) = add(high, carry, 0);
        top += over;
    }
    reduce(sum, top)
}

/// sum += factor · number; the carry is the answer.
#[inline(always)]
fn add_product(sum: &mut Number, factor: u64, number: &Number) -> u64 {
    let mut carry = 0;
    for (limb, n) in sum.iter_mut().zip(number) {
        // (2^64 - 1)^2 + 2 (2^64 - 1) is 2^128 - 1: it fits.
        let product = u128::from(factor) * u128::from(*n) + u128::from(*limb) + u128::from(carry);
        (*limb, carry) = (product as u64, (product >> 64) as u64);
    }
    carry
}

/// A number below 2P, whose bit 768 stands in `top`, modulo P.
const fn reduce(number: Number, top: u64) -> Number {
    match subtract(number, P) {
        (_, true) if top == 0 => number,
        (rest, _) => rest,
    }
}

const fn double(number: Number) -> Number {
    let (mut doubled, mut carry, mut n) = ([0; LIMBS], 0, 0);
    while n < LIMBS {
        doubled[n] = number[n] << 1 | carry;
        carry = number[n] >> 63;
        n += 1;
    }
    reduce(doubled, carry)
}

/// a - b modulo 2^768, and whether b was more.
const fn subtract(a: Number, b: Number) -> (Number, bool) {
    let (mut rest, mut borrow, mut n) = ([0; LIMBS], false, 0);
    while n < LIMBS {
        let (first, under) = a[n].overflowing_sub(b[n]);
        let (second, again) = first.overflowing_sub(borrow as u64);
        (rest[n], borrow) = (second, under || again);
        n += 1;
    }
    (rest, borrow)
}

fn add(a: u64, b: u64, carry: u64) -> (u64, u64) {
    let sum = u128::from(a) + u128::from(b) + u128::from(carry);
    (sum as u64, (sum >> 64) as u64)
}

fn from_bytes(bytes: &[u8; KEY_LENGTH]) -> Number {
    let mut number = [0; LIMBS];
    for (limb, bytes) in number.iter_mut().rev().zip(bytes.chunks_exact(8)) {
        *limb = u64::from_be_bytes(bytes.try_into().expect("chunks are of eight bytes"));
    }
    number
}

fn to_bytes(number: &Number) -> [u8; KEY_LENGTH] {
    let mut bytes = [0; KEY_LENGTH];
    for (bytes, limb) in bytes.chunks_exact_mut(8).zip(number.iter().rev()) {
        bytes.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}
