//! Receipts as consumers see them: 32 characters. Their numbers are those that the tenant sees, so that they tell nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookweir_journal::Receipt;

const NUMBER: usize = 8;
const TOKEN: usize = 16;

pub(crate) fn receipt_text(receipt: &Receipt) -> String {
    let mut bytes = [0; NUMBER + TOKEN];
    bytes[..NUMBER].copy_from_slice(&receipt.number.to_be_bytes());
    bytes[NUMBER..].copy_from_slice(&receipt.token);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `None` for what is no receipt of ours.
pub(crate) fn receipt_from_text(text: &str) -> Option<Receipt> {
    let bytes: [u8; NUMBER + TOKEN] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (number, token) = bytes.split_first_chunk::<NUMBER>()?;
    Some(Receipt { number: u64::from_be_bytes(*number), token: token.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for receipt in [
            Receipt { number: 1, token: [0; 16] },
            Receipt { number: u64::MAX, token: [0xff; 16] },
            Receipt { number: 0x0102_0304, token: *b"0123456789abcdef" },
        ] {
            let text = receipt_text(&receipt);
            assert_eq!(text.len(), 32);
            assert_eq!(receipt_from_text(&text), Some(receipt));
        }
        for bad in
            ["", "a", &"A".repeat(31), &"A".repeat(33), &"A".repeat(4096), "!".repeat(32).as_str(), "é"]
        {
            assert_eq!(receipt_from_text(bad), None, "{bad}");
        }
    }
}
