//! A strict JSON scanner for text that comes in pieces: it reports where an object or an array ends, or where it stops being
//! JSON.

/// What the scanner found in a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chat) enum Scan {
    /// All of it belongs to the value, which goes on.
    More,
    /// The value is complete after so many bytes of the piece.
    Complete(usize),
    /// The byte at this offset of the piece cannot stand there.
    Invalid(usize),
}

/// The deepest nesting. Deeper values count as invalid.
const MAX_DEPTH: u32 = 64;

/// Scans one object or array.
#[derive(Clone, Debug, Default)]
pub(in crate::chat) struct JsonScanner {
    state: State,
    /// One bit for each open container, the innermost lowest: 1 = object, 0 = array.
    objects: u64,
    depth: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the value itself.
    #[default]
    Start,
    /// A value follows.
    Value,
    /// After `[`: a value or the end.
    ValueOrEnd,
    /// A key follows.
    Key,
    /// After `{`: a key or the end.
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    Text(Role),
    Escape(Role),
    /// So many hex digits are missing.
    Unicode(Role, u8),
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// The value is complete.
    Over,
    /// What came is no JSON.
    Invalid,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chat) enum ScanState {
    /// It goes on.
    Open,
    /// It is complete.
    Complete,
    /// It is no JSON.
    Invalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Key,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl JsonScanner {
    /// Scans the next piece. After anything but [`Scan::More`] the scanner is done, and every further byte is invalid.
    pub(in crate::chat) fn feed(&mut self, piece: &[u8]) -> Scan {
        let mut at = 0_usize;
        while let Some(byte) = piece.get(at) {
            if let State::Text(_) = self.state {
                // Most bytes are inside of texts.
                let rest = piece.get(at..).unwrap_or_default();
                let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F)).unwrap_or(rest.len());
                if plain > 0 {
                    at = at.saturating_add(plain);
                    continue;
                }
            }
            let Some(next) = self.step(*byte) else {
                self.state = State::Invalid;
                return Scan::Invalid(at);
            };
            self.state = next;
            at = at.saturating_add(1);
            if next == State::Over {
                return Scan::Complete(at);
            }
        }
        Scan::More
    }

    /// Where the value stands.
    pub(in crate::chat) fn state(&self) -> ScanState {
        match self.state {
            State::Over => ScanState::Complete,
            State::Invalid => ScanState::Invalid,
            _ => ScanState::Open,
        }
    }

    /// The state after a byte; `None` where it is invalid.
    fn step(&mut self, byte: u8) -> Option<State> {
        let is_blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.state {
            State::Over | State::Invalid => None,
            State::Start
            | State::Value
            | State::ValueOrEnd
            | State::Key
            | State::KeyOrEnd
            | State::Colon
            | State::CommaOrEnd
                if is_blank =>
            {
                Some(self.state)
            }
            State::Start => match byte {
                b'{' | b'[' => self.open(byte),
                _ => None,
            },
            State::ValueOrEnd if byte == b']' => Some(self.close()),
            State::Value | State::ValueOrEnd => match byte {
                b'{' | b'[' => self.open(byte),
                b'"' => Some(State::Text(Role::Value)),
                b'-' => Some(State::Number(Number::Minus)),
                b'0' => Some(State::Number(Number::Zero)),
                b'1'..=b'9' => Some(State::Number(Number::Whole)),
                b't' => Some(State::Word(b"rue")),
                b'f' => Some(State::Word(b"alse")),
                b'n' => Some(State::Word(b"ull")),
                _ => None,
            },
            State::KeyOrEnd if byte == b'}' => Some(self.close()),
            State::Key | State::KeyOrEnd => (byte == b'"').then_some(State::Text(Role::Key)),
            State::Colon => (byte == b':').then_some(State::Value),
            State::CommaOrEnd => self.after_value(byte),
            State::Text(role) => match (byte, role) {
                (b'\\', role) => Some(State::Escape(role)),
                (b'"', Role::Key) => Some(State::Colon),
                (b'"', Role::Value) => Some(State::CommaOrEnd),
                (0..=0x1F, _) => None,
                _ => Some(self.state),
            },
            State::Escape(role) => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(State::Text(role)),
                b'u' => Some(State::Unicode(role, 4)),
                _ => None,
            },
            State::Unicode(role, left) => match (byte.is_ascii_hexdigit(), left) {
                (false, _) => None,
                (true, 1) => Some(State::Text(role)),
                (true, left) => Some(State::Unicode(role, left.saturating_sub(1))),
            },
            State::Word(rest) => match rest.split_first() {
                Some((first, [])) if *first == byte => Some(State::CommaOrEnd),
                Some((first, rest)) if *first == byte => Some(State::Word(rest)),
                _ => None,
            },
            State::Number(number) => self.number(number, byte),
        }
    }

    fn number(&mut self, number: Number, byte: u8) -> Option<State> {
        use Number::{Exponent, Fraction, Minus, Point, Power, Sign, Whole, Zero};
        let is_digit = byte.is_ascii_digit();
        let next = match (number, byte) {
            (Minus, b'0') => Zero,
            (Minus | Whole, _) if is_digit => Whole,
            (Zero | Whole, b'.') => Point,
            (Point | Fraction, _) if is_digit => Fraction,
            (Zero | Whole | Fraction, b'e' | b'E') => Exponent,
            (Exponent, b'+' | b'-') => Sign,
            (Exponent | Sign | Power, _) if is_digit => Power,
            (Zero | Whole | Fraction | Power, b' ' | b'\t' | b'\n' | b'\r') => return Some(State::CommaOrEnd),
            (Zero | Whole | Fraction | Power, _) => return self.after_value(byte),
            _ => return None,
        };
        Some(State::Number(next))
    }

    fn after_value(&mut self, byte: u8) -> Option<State> {
        match (byte, self.is_in_object()) {
            (b',', true) => Some(State::Key),
            (b',', false) => Some(State::Value),
            (b'}', true) | (b']', false) => Some(self.close()),
            _ => None,
        }
    }

    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn open(&mut self, byte: u8) -> Option<State> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth = self.depth.saturating_add(1);
        self.objects = self.objects.wrapping_shl(1) | u64::from(byte == b'{');
        Some(if byte == b'{' { State::KeyOrEnd } else { State::ValueOrEnd })
    }

    fn close(&mut self) -> State {
        self.depth = self.depth.saturating_sub(1);
        self.objects = self.objects.wrapping_shr(1);
        if self.depth == 0 { State::Over } else { State::CommaOrEnd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(text: &str) -> Scan {
        JsonScanner::default().feed(text.as_bytes())
    }

    #[test]
    fn the_end_of_a_value_is_reported() {
        for (text, expected) in [
            ("{}", Scan::Complete(2)),
            (" [ ] ,", Scan::Complete(4)),
            (r#"{"a":[1,-0.5e+3,true,null,"x\"}\u00e9"],"b":{"c":false}} x"#, Scan::Complete(56)),
            (r#"{"a":1"#, Scan::More),
            (r#"{"a":"#, Scan::More),
            (r#"{"a":tru"#, Scan::More),
            ("1", Scan::Invalid(0)),
            ("{a", Scan::Invalid(1)),
            (r#"{"a":1,}"#, Scan::Invalid(7)),
            (r#"{"a":01}"#, Scan::Invalid(6)),
            (r#"{"a":1.}"#, Scan::Invalid(7)),
            (r#"{"a":True}"#, Scan::Invalid(5)),
            ("{\"a\":\"\n\"}", Scan::Invalid(6)),
            (r#"{"a":"\x"}"#, Scan::Invalid(7)),
            (r#"{"a":1]"#, Scan::Invalid(6)),
            ("[1}", Scan::Invalid(2)),
        ] {
            assert_eq!(scan(text), expected, "{text}");
        }
        assert_eq!(scan(&"[".repeat(64)), Scan::More);
        assert_eq!(scan(&"[".repeat(65)), Scan::Invalid(64));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json(value in json(), pretty in any::<bool>(), cut in any::<prop::sample::Index>(), size in 1_usize..9) {
            let value = serde_json::json!([value]);
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(scan(&text), Scan::Complete(text.len()));
            let cut = cut.index(text.len());
            prop_assert_eq!(JsonScanner::default().feed(&text.as_bytes()[..cut]), Scan::More);
            let mut scanner = JsonScanner::default();
            let mut found = Scan::More;
            for piece in text.as_bytes().chunks(size) {
                prop_assert_eq!(found, Scan::More);
                found = scanner.feed(piece);
            }
            prop_assert!(matches!(found, Scan::Complete(_)));
        }

        #[test]
        fn what_is_invalid_to_one_is_invalid_to_the_other(text in "[\\[\\]{}\",:0-9a.e \\\\-]{0,12}") {
            let text = format!("[{text}");
            let complete = (1..=text.len()).find(|end| serde_json::from_str::<serde::de::IgnoredAny>(&text[..*end]).is_ok());
            match scan(&text) {
                Scan::Complete(end) => prop_assert_eq!(Some(end), complete),
                Scan::More | Scan::Invalid(_) => prop_assert_eq!(None, complete),
            }
        }
    }
}
