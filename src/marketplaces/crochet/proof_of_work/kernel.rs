//! SHA-256 of ten candidates at a time with the processor's SHA instructions.
//!
//! The ten candidates differ in their last digit. They are hashed two at a time: the instructions
//! of one fill the waiting times of the other, which makes it about twice as fast as one after the
//! other. The processor is asked first; the tests compare every answer with the plain function's.
#![expect(unsafe_code, reason = "calls functions compiled for SHA instructions, once detected")]

/// The first digit.
pub(super) const ZERO: u8 = b'0';

/// The processor has the instructions: only [`Kernel::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel(());

#[cfg(target_arch = "x86_64")]
impl Kernel {
    /// `Some` where the processor has the instructions.
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3");
        found.then_some(Self(()))
    }

    /// Which of the ten candidates have a digest whose first word is at most `ceiling`: bit `n` for
    /// the digit `n` at the byte `last` of the blocks.
    #[expect(clippy::unused_self, reason = "it is the proof that the processor was asked")]
    pub(super) fn scan(
        self,
        state: &[u32; 8],
        blocks: &[[u8; 64]],
        last: usize,
        ceiling: u32,
    ) -> u16 {
        // SAFETY: a `Kernel` exists only where the processor has sha, sse4.1 and ssse3.
        unsafe { x86::scan(state, blocks, last, ceiling) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Kernel {
    /// `None`: there is no kernel for this processor.
    pub(super) fn detect() -> Option<Self> {
        None
    }

    /// Never called.
    pub(super) fn scan(self, _: &[u32; 8], _: &[[u8; 64]], _: usize, _: u32) -> u16 {
        0
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi32,
    };

    use super::ZERO;

    /// The round constants, four a line: FIPS 180-4 §4.2.2.
    #[rustfmt::skip]
    const ROUNDS: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    /// A hash's state in the order of the instructions: a, b, e, f and c, d, g, h.
    #[derive(Clone, Copy)]
    struct Lane {
        abef: __m128i,
        cdgh: __m128i,
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) fn scan(state: &[u32; 8], blocks: &[[u8; 64]], last: usize, ceiling: u32) -> u16 {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = *state;
        let before = Lane { abef: vector([s5, s4, s1, s0]), cdgh: vector([s7, s6, s3, s2]) };
        let mut found = 0;
        for pair in 0..5_u8 {
            let (first, second) = (2 * pair, 2 * pair + 1);
            let (mut one, mut two) = (before, before);
            let mut at = last;
            for block in blocks {
                let words = (words_with(block, at, first), words_with(block, at, second));
                (one, two) = compress_two(one, two, words);
                // Wraps past the block that holds the digit, and so beyond every block.
                at = at.wrapping_sub(64);
            }
            found |= u16::from(first_word(one) <= ceiling) << first;
            found |= u16::from(first_word(two) <= ceiling) << second;
        }
        found
    }

    /// A block's words with a digit at byte `at`, where that is within the block.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn words_with(block: &[u8; 64], at: usize, digit: u8) -> [__m128i; 4] {
        let mut block = *block;
        if let Some(byte) = block.get_mut(at) {
            *byte = ZERO + digit;
        }
        let (quads, _) = block.as_chunks::<16>();
        match quads {
            [q0, q1, q2, q3] => [load(q0), load(q1), load(q2), load(q3)],
            _ => [vector([0; 4]); 4],
        }
    }

    /// Takes a block of each into its state. Written out, so that all stays in registers.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn compress_two(one: Lane, two: Lane, (x, y): ([__m128i; 4], [__m128i; 4])) -> (Lane, Lane) {
        let ([mut x0, mut x1, mut x2, mut x3], [mut y0, mut y1, mut y2, mut y3]) = (x, y);
        let [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15] = ROUNDS;
        let (mut p, mut q) = (one, two);
        macro_rules! given {
            ($k:ident, $x:ident, $y:ident) => {
                (p, q) = (four_rounds(p, $x, $k), four_rounds(q, $y, $k));
            };
        }
        macro_rules! sixteen {
            ($ka:ident, $kb:ident, $kc:ident, $kd:ident) => {
                (x0, y0) = (next_words(x0, x1, x2, x3), next_words(y0, y1, y2, y3));
                given!($ka, x0, y0);
                (x1, y1) = (next_words(x1, x2, x3, x0), next_words(y1, y2, y3, y0));
                given!($kb, x1, y1);
                (x2, y2) = (next_words(x2, x3, x0, x1), next_words(y2, y3, y0, y1));
                given!($kc, x2, y2);
                (x3, y3) = (next_words(x3, x0, x1, x2), next_words(y3, y0, y1, y2));
                given!($kd, x3, y3);
            };
        }
        given!(k0, x0, y0);
        given!(k1, x1, y1);
        given!(k2, x2, y2);
        given!(k3, x3, y3);
        sixteen!(k4, k5, k6, k7);
        sixteen!(k8, k9, k10, k11);
        sixteen!(k12, k13, k14, k15);
        (sum(one, p), sum(two, q))
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn sum(before: Lane, after: Lane) -> Lane {
        Lane {
            abef: _mm_add_epi32(before.abef, after.abef),
            cdgh: _mm_add_epi32(before.cdgh, after.cdgh),
        }
    }

    /// The first word of the digest.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn first_word(lane: Lane) -> u32 {
        _mm_extract_epi32(lane.abef, 3).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn four_rounds(lane: Lane, words: __m128i, constants: [u32; 4]) -> Lane {
        let sum = _mm_add_epi32(words, vector(constants));
        let cdgh = _mm_sha256rnds2_epu32(lane.cdgh, lane.abef, sum);
        let abef = _mm_sha256rnds2_epu32(lane.abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
        // After two rounds the halves change places, after four they are back.
        Lane { abef, cdgh }
    }

    /// The next four words of the message schedule.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn next_words(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
        _mm_sha256msg2_epu32(sum, w3)
    }

    /// Four words, the first in the lowest lane. Plain values here and below: iterators would not
    /// be inlined into functions that are compiled for other instructions.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn vector([w0, w1, w2, w3]: [u32; 4]) -> __m128i {
        _mm_set_epi32(w3.cast_signed(), w2.cast_signed(), w1.cast_signed(), w0.cast_signed())
    }

    /// Four big-endian words.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn load(quad: &[u8; 16]) -> __m128i {
        let (halves, _) = quad.as_chunks::<8>();
        let [low, high] = halves else { return vector([0; 4]) };
        // Each half is two words, of which the first belongs in the lower lane.
        let low = u64::from_be_bytes(*low).rotate_left(32);
        let high = u64::from_be_bytes(*high).rotate_left(32);
        _mm_set_epi64x(high.cast_signed(), low.cast_signed())
    }
}
