//! Encryption of what is stored and nobody else is to read: XChaCha20-Poly1305 with `SESSION_KEY`, or plain text without a key. With a key, plain
//! text is refused: otherwise anybody who can write to the database could put any session there without the key.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};

/// The prefix of an encrypted text.
const ENCRYPTED: &str = "sealed:";
const PLAIN: &str = "plain:";
/// The length of a nonce, in bytes.
const NONCE_LENGTH: usize = 24;

/// The cipher, if there is a key.
pub struct Cipher(Option<XChaCha20Poly1305>);

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Cipher(…)" } else { "Cipher(none)" })
    }
}

impl Cipher {
    /// `key` is 32 bytes in base64, as the configuration has checked.
    pub fn new(key: Option<&str>) -> Self {
        Self(key.and_then(|key| XChaCha20Poly1305::new_from_slice(&BASE64.decode(key).ok()?).ok()))
    }

    /// Whether a stored text is encrypted, by its prefix.
    pub fn is_encrypted(stored: &str) -> bool {
        stored.starts_with(ENCRYPTED)
    }

    /// Whether there is a key: what is stored is encrypted.
    pub fn has_key(&self) -> bool {
        self.0.is_some()
    }

    /// Encrypts `text` for the row of `origin`. `random` must be new each time. Returns `None` if it cannot be encrypted.
    pub fn encrypt(&self, text: &str, origin: &str, random: [[u8; 16]; 2]) -> Option<String> {
        let Some(cipher) = &self.0 else { return Some(format!("{PLAIN}{text}")) };
        let nonce: Vec<u8> = random.concat().into_iter().take(NONCE_LENGTH).collect();
        let encrypted = cipher
            .encrypt(
                &XNonce::try_from(nonce.as_slice()).ok()?,
                Payload { msg: text.as_bytes(), aad: origin.as_bytes() },
            )
            .ok()?;
        Some(format!("{ENCRYPTED}{}", BASE64.encode([nonce, encrypted].concat())))
    }

    /// Decrypts what [`Cipher::encrypt`] made for the same row.
    ///
    /// # Errors
    /// Why it cannot be read, for a person.
    pub fn decrypt(&self, stored: &str, origin: &str) -> Result<String, &'static str> {
        if let Some(plain) = stored.strip_prefix(PLAIN) {
            return match self.0 {
                None => Ok(plain.to_owned()),
                Some(_) => Err(
                    "it is not encrypted, although SESSION_KEY is set: give it again, by import-curl or PUT /admin/session",
                ),
            };
        }
        let encrypted = stored.strip_prefix(ENCRYPTED).ok_or("it is in an unknown form")?;
        let cipher = self.0.as_ref().ok_or("it is encrypted, and SESSION_KEY is not set")?;
        let damaged = "SESSION_KEY is not the key that it was encrypted with";
        let bytes = BASE64.decode(encrypted).map_err(|_| damaged)?;
        let (nonce, encrypted) = bytes.split_at_checked(NONCE_LENGTH).ok_or(damaged)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| damaged)?;
        let text = cipher.decrypt(&nonce, Payload { msg: encrypted, aad: origin.as_bytes() }).map_err(|_| damaged)?;
        String::from_utf8(text).map_err(|_| damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_decrypts_and_only_for_the_same_row() {
        let key = |byte: u8| BASE64.encode([byte; 32]);
        let cipher = Cipher::new(Some(&key(7)));
        let encrypted = cipher.encrypt("token=t", "here", [[1; 16], [2; 16]]).unwrap();
        assert!(!encrypted.contains("token") && encrypted.starts_with(ENCRYPTED));
        assert_eq!(cipher.decrypt(&encrypted, "here").as_deref(), Ok("token=t"));
        assert!(
            cipher.decrypt(&encrypted, "there").is_err()
                && Cipher::new(Some(&key(8))).decrypt(&encrypted, "here").is_err()
        );
        assert!(Cipher::new(None).decrypt(&encrypted, "here").unwrap_err().contains("SESSION_KEY"));
        let mut bytes = encrypted.clone().into_bytes();
        *bytes.last_mut().unwrap() = b'!';
        assert!(cipher.decrypt(&String::from_utf8(bytes).unwrap(), "here").is_err());
        for unreadable in ["", "sealed:", "sealed:AAAA", "other"] {
            assert!(cipher.decrypt(unreadable, "here").is_err(), "{unreadable}");
        }
        let plain = Cipher::new(None).encrypt("token=t", "here", [[0; 16]; 2]).unwrap();
        assert_eq!(Cipher::new(None).decrypt(&plain, "here").as_deref(), Ok("token=t"));
        assert!(
            cipher.decrypt(&plain, "here").unwrap_err().contains("import-curl"),
            "with a key, plain text is refused"
        );
        assert!(Cipher::is_encrypted(&encrypted) && !Cipher::is_encrypted(&plain) && !Cipher::is_encrypted(""));
    }
}
