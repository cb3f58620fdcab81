//! Names as UUIDs: version 5, RFC 9562 section 5.5. Not for security: SHA-1 only makes a name short.

use sha1::{Digest, Sha1};

/// The namespace of URLs and URNs, RFC 9562 section 6.6.
pub const URL: [u8; 16] = 0x6ba7_b811_9dad_11d1_80b4_00c0_4fd4_30c8_u128.to_be_bytes();

/// The UUID of a name in a namespace, in lower case with hyphens.
pub fn of_name(namespace: [u8; 16], name: &str) -> String {
    let digest = Sha1::new().chain_update(namespace).chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        const DNS: [u8; 16] = 0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8_u128.to_be_bytes();
        // RFC 9562, appendix A.4.
        assert_eq!(of_name(DNS, "www.example.com"), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    }
}
