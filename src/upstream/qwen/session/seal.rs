//! The stored session at rest: sealed with `SESSION_KEY` (XChaCha20-Poly1305), or plain where there is no key. With a key
//! nothing plain is taken: whoever can write to the database, but has not got the key, could put any session there.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};

const SEALED: &str = "sealed:";
const PLAIN: &str = "plain:";
const NONCE: usize = 24;

/// The key of the stored session, or none.
pub(super) struct Seal(Option<XChaCha20Poly1305>);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Seal(…)" } else { "Seal(none)" })
    }
}

impl Seal {
    /// `key` is 32 bytes in base64, as the configuration has checked.
    pub(super) fn new(key: Option<&str>) -> Self {
        Self(key.and_then(|key| XChaCha20Poly1305::new_from_slice(&BASE64.decode(key).ok()?).ok()))
    }

    /// Whether what is stored is encrypted, as it says itself.
    pub(super) fn is_sealed(stored: &str) -> bool {
        stored.starts_with(SEALED)
    }

    /// Whether what will be stored is encrypted.
    pub(super) fn is_keyed(&self) -> bool {
        self.0.is_some()
    }

    /// Seals `text` for the row of `origin`; `random` must be new each time. `None` = it cannot be sealed.
    pub(super) fn encrypt(&self, text: &str, origin: &str, random: [[u8; 16]; 2]) -> Option<String> {
        let Some(cipher) = &self.0 else { return Some(format!("{PLAIN}{text}")) };
        let nonce: Vec<u8> = random.concat().into_iter().take(NONCE).collect();
        let sealed = cipher
            .encrypt(
                &XNonce::try_from(nonce.as_slice()).ok()?,
                Payload { msg: text.as_bytes(), aad: origin.as_bytes() },
            )
            .ok()?;
        Some(format!("{SEALED}{}", BASE64.encode([nonce, sealed].concat())))
    }

    /// Opens what [`Seal::encrypt`] made for the same row.
    ///
    /// # Errors
    /// Why it cannot be read, for a person.
    pub(super) fn decrypt(&self, stored: &str, origin: &str) -> Result<String, &'static str> {
        if let Some(plain) = stored.strip_prefix(PLAIN) {
            return match self.0 {
                None => Ok(plain.to_owned()),
                Some(_) => Err(
                    "it is not encrypted, although SESSION_KEY is set: give it again, by import-curl or PUT /admin/session",
                ),
            };
        }
        let sealed = stored.strip_prefix(SEALED).ok_or("it is in an unknown form")?;
        let cipher = self.0.as_ref().ok_or("it is encrypted, and SESSION_KEY is not set")?;
        let damaged = "SESSION_KEY is not the key that it was encrypted with";
        let bytes = BASE64.decode(sealed).map_err(|_| damaged)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE).ok_or(damaged)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| damaged)?;
        let text = cipher.decrypt(&nonce, Payload { msg: sealed, aad: origin.as_bytes() }).map_err(|_| damaged)?;
        String::from_utf8(text).map_err(|_| damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_it_in_the_same_place() {
        let key = |byte: u8| BASE64.encode([byte; 32]);
        let seal = Seal::new(Some(&key(7)));
        let sealed = seal.encrypt("token=t", "here", [[1; 16], [2; 16]]).unwrap();
        assert!(!sealed.contains("token") && sealed.starts_with(SEALED));
        assert_eq!(seal.decrypt(&sealed, "here").as_deref(), Ok("token=t"));
        assert!(seal.decrypt(&sealed, "there").is_err() && Seal::new(Some(&key(8))).decrypt(&sealed, "here").is_err());
        assert!(Seal::new(None).decrypt(&sealed, "here").unwrap_err().contains("SESSION_KEY"));
        let mut bytes = sealed.clone().into_bytes();
        *bytes.last_mut().unwrap() = b'!';
        assert!(seal.decrypt(&String::from_utf8(bytes).unwrap(), "here").is_err());
        for odd in ["", "sealed:", "sealed:AAAA", "other"] {
            assert!(seal.decrypt(odd, "here").is_err(), "{odd}");
        }
        let plain = Seal::new(None).encrypt("token=t", "here", [[0; 16]; 2]).unwrap();
        assert_eq!(Seal::new(None).decrypt(&plain, "here").as_deref(), Ok("token=t"));
        assert!(seal.decrypt(&plain, "here").unwrap_err().contains("import-curl"), "with a key nothing plain is taken");
        assert!(Seal::is_sealed(&sealed) && !Seal::is_sealed(&plain) && !Seal::is_sealed(""));
    }
}
