//! MD5 (RFC 1321), for `md5()`: a checksum that old SQL relies on, of no use against an adversary.

/// The digest of `data`.
pub(super) fn digest(data: &[u8]) -> [u8; 16] {
    let mut message = data.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    let bits = (data.len() as u64).wrapping_mul(8);
    message.extend_from_slice(&bits.to_le_bytes());
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in message.chunks_exact(64) {
        state = round(state, block);
    }
    let mut out = [0; 16];
    for (target, word) in out.chunks_exact_mut(4).zip(state) {
        target.copy_from_slice(&word.to_le_bytes());
    }
    out
}

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

fn round(state: [u32; 4], block: &[u8]) -> [u32; 4] {
    let word = |index: usize| {
        let bytes = block.get(index * 4..index * 4 + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    };
    let [mut a, mut b, mut c, mut d] = state;
    for step in 0..64_usize {
        let (mixed, index) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
            2 => (b ^ c ^ d, (3 * step + 5) % 16),
            _ => (c ^ (b | !d), (7 * step) % 16),
        };
        // The constants are the fractional parts of sines, as the RFC defines them.
        let constant = (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
        let shift = SHIFTS.get(step / 16).and_then(|shifts| shifts.get(step % 4)).copied().unwrap_or(0);
        let sum = a.wrapping_add(mixed).wrapping_add(constant).wrapping_add(word(index));
        (a, d, c) = (d, c, b);
        b = b.wrapping_add(sum.rotate_left(shift));
    }
    let [first, second, third, fourth] = state;
    [first.wrapping_add(a), second.wrapping_add(b), third.wrapping_add(c), fourth.wrapping_add(d)]
}

#[cfg(test)]
mod tests {
    use super::digest;
    use crate::query::functions::text::hex;

    #[test]
    fn rfc_1321_suite() {
        assert_eq!(hex(&digest(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(&digest(b"message digest")), "f96b697d7cb7938d525a2f31aaf161d0");
        let long = b"12345678901234567890123456789012345678901234567890123456789012345678901234567890";
        assert_eq!(hex(&digest(long)), "57edf4a22be3c955ac49da2e2107b67a");
    }
}
