//! SHA-1: the CPU's instructions where it has them (feature `accel`), `sha1_smol` elsewhere.
