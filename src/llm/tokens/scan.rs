//! Takes text apart as Qwen's tokenizer does before it looks anything up: words with the character in front of them, single
//! digits, runs of punctuation and of white space. Each piece is reported as one or more features, whose weights are what
//! such a piece costs on average.

use super::letters::RARE_PAIRS;

/// What is counted of a text: an index of the table of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Feature(pub(super) usize);

/// The longest segment of a word that has a weight of its own; of longer ones each further letter counts.
const LONGEST: usize = 14;

impl Feature {
    /// A digit.
    const DIGIT: Self = Self(0);
    /// Blanks and tabs that no word takes.
    const BLANKS: Self = Self(1);
    /// Line ends, with the white space before them.
    const NEWLINE: Self = Self(2);
    /// Line ends behind punctuation.
    const NEWLINE_JOINED: Self = Self(3);
    /// A run of ASCII punctuation.
    const PUNCTUATION: Self = Self(4);
    /// A further character of it, the same as the one before.
    const PUNCTUATION_AGAIN: Self = Self(5);
    /// A further character of it, another one.
    const PUNCTUATION_MORE: Self = Self(6);
    /// A Chinese full stop, comma, bracket or the like.
    const WIDE_MARK: Self = Self(7);
    /// A quotation mark, dash or ellipsis of printed text.
    const PRINTED_MARK: Self = Self(8);
    /// Another symbol of the basic plane: a rule, an arrow.
    const SYMBOL: Self = Self(9);
    /// The same one again.
    const SYMBOL_AGAIN: Self = Self(10);
    /// A symbol beyond the basic plane: mostly emoji.
    const EMOJI: Self = Self(11);
    /// A letter with an accent.
    const ACCENTED: Self = Self(12);
    /// Two letters in a row that are seldom so.
    const RARE_PAIR: Self = Self(13);
    /// A Chinese character of another block: a rare one.
    const HAN_OTHER: Self = Self(14);
    /// A Japanese syllable.
    const KANA: Self = Self(15);
    /// A Korean syllable.
    const HANGUL: Self = Self(16);
    /// A Cyrillic letter.
    const CYRILLIC: Self = Self(17);
    /// A Greek letter.
    const GREEK: Self = Self(18);
    /// An Arabic or Persian letter.
    const ARABIC: Self = Self(19);
    /// A Hebrew letter.
    const HEBREW: Self = Self(20);
    /// A letter or sign of an Indian script.
    const INDIC: Self = Self(21);
    /// A Thai or Lao letter or sign.
    const THAI: Self = Self(22);
    /// A byte of any other letter.
    const OTHER_BYTE: Self = Self(23);
    /// A mark in front of a word that it belongs to, by its kind.
    const MARK: usize = 24;
    /// A segment that begins a word at a line's beginning, behind digits or behind punctuation, by its shape.
    const BARE: usize = 32;
    /// A segment behind another segment of the same word, by its shape.
    const JOINED: usize = 35;
    /// A segment behind a mark, by its shape.
    const MARKED: usize = 38;
    /// A lower-case or capitalised segment, by its length.
    const LETTERS: usize = 41;
    /// A segment of capitals, by its length.
    const CAPITALS: usize = 56;
    /// A Chinese character, by what is before it: nothing, a character that makes a token with it, a token that may take
    /// it as well, a token that does not, a character that does not.
    const HAN: usize = 71;
    /// How many features there are.
    pub(super) const COUNT: usize = 76;

    const fn at(base: usize, offset: usize) -> Self {
        Self(base.saturating_add(offset))
    }
}

/// How a segment of a word is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Lower,
    Capitalised,
    Capitals,
}

/// What stands in front of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A blank, which belongs to it.
    Blank,
    /// A mark, which belongs to it.
    Mark,
    /// Another segment.
    Segment,
    /// Nothing that belongs to it.
    Nothing,
}

/// Which run a character belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lower,
    Upper,
    Accented,
    Han,
    HanOther,
    Kana,
    Hangul,
    Cyrillic,
    Greek,
    Arabic,
    Hebrew,
    Indic,
    Thai,
    OtherLetter,
    Digit,
    Blank,
    Newline,
    Punctuation,
    WideMark,
    PrintedMark,
    Symbol,
    Emoji,
}

impl Kind {
    const fn is_letter(self) -> bool {
        !matches!(
            self,
            Self::Digit
                | Self::Blank
                | Self::Newline
                | Self::Punctuation
                | Self::WideMark
                | Self::PrintedMark
                | Self::Symbol
                | Self::Emoji
        )
    }
}

fn kind(character: char) -> Kind {
    match character {
        'a'..='z' => Kind::Lower,
        'A'..='Z' => Kind::Upper,
        '0'..='9' => Kind::Digit,
        '\n' | '\r' => Kind::Newline,
        ' ' | '\t' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{3000}' => Kind::Blank,
        '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' => Kind::Blank,
        '\0'..='\u{7f}' => Kind::Punctuation,
        '\u{80}'..='\u{bf}' | '×' | '÷' => Kind::Symbol,
        '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Kind::Accented,
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Kind::Greek,
        '\u{400}'..='\u{52f}' => Kind::Cyrillic,
        '\u{590}'..='\u{5ff}' => Kind::Hebrew,
        '\u{600}'..='\u{77f}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' => Kind::Arabic,
        '\u{900}'..='\u{d7f}' => Kind::Indic,
        '\u{e00}'..='\u{eff}' => Kind::Thai,
        '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' => Kind::PrintedMark,
        '\u{2060}'..='\u{2bff}' => Kind::Symbol,
        '\u{3001}'..='\u{303f}' | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}' => Kind::WideMark,
        '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}' => Kind::WideMark,
        '\u{3040}'..='\u{30ff}' => Kind::Kana,
        '\u{4e00}'..='\u{9fff}' => Kind::Han,
        '\u{3400}'..='\u{4dbf}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => Kind::HanOther,
        '\u{ac00}'..='\u{d7af}' | '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' => Kind::Hangul,
        '\u{fe00}'..='\u{fe0f}' | '\u{1f000}'..='\u{1faff}' => Kind::Emoji,
        _ if character.is_alphabetic() => Kind::OtherLetter,
        _ if character.is_numeric() => Kind::Digit,
        _ => Kind::Symbol,
    }
}

/// Whether two Chinese characters in a row are most likely one token.
fn is_han_pair(first: char, second: char) -> bool {
    let hash = u32::from(first).wrapping_mul(0x9e37_79b1).wrapping_add(u32::from(second).wrapping_mul(0x85eb_ca6b));
    let at = hash >> 16;
    HAN_PAIRS.get((at >> 3) as usize).is_some_and(|byte| byte & 1_u8.wrapping_shl(at & 7) != 0)
}

/// The pairs of Chinese characters that are tokens, as a set of 65,536 bits: the bit of each pair's hash is set. A sixth of
/// them are, so some other pairs count as tokens; the weights know that.
const HAN_PAIRS: &[u8; 8192] = include_bytes!("han_pairs.bin");

/// Whether a pair of letters, counted from 0, is rare in English and in code.
fn is_rare_pair(first: u8, second: u8) -> bool {
    RARE_PAIRS.get(usize::from(first)).is_some_and(|seconds| seconds & 1_u32.wrapping_shl(second.into()) != 0)
}

/// The kinds of marks in front of words.
fn mark(character: char) -> Feature {
    let kind = match character {
        '.' => 0,
        '_' => 1,
        '(' | '[' | '{' => 2,
        '/' | '\\' => 3,
        '"' | '\'' | '`' => 4,
        '-' => 5,
        '\0'..='\u{7f}' => 6,
        _ => 7,
    };
    Feature::at(Feature::MARK, kind)
}

/// Reports the features of a text.
pub(super) fn scan(text: &str, mut sink: impl FnMut(Feature)) {
    let mut scanner = Scanner { state: State::Start, sink: &mut sink };
    for character in text.chars() {
        scanner.take(character);
    }
    scanner.end();
}

#[derive(Clone, Copy)]
enum State {
    Start,
    /// Behind a digit.
    Digit,
    /// Behind one or several blanks, of which the last is a space or not.
    Blanks {
        several: bool,
        space: bool,
    },
    /// Behind line ends.
    Newline,
    /// Behind a run of punctuation: a single mark that a word may take, or more.
    Punctuation {
        single: bool,
        last: char,
    },
    /// Behind line ends that the run of punctuation before them takes.
    PunctuationNewline,
    /// Within a segment of a word.
    Segment {
        before: Before,
        shape: Shape,
        length: usize,
        last: u8,
    },
    /// Within a word, behind a letter of another script, and whether that is part of a token with the one before.
    Letters(Kind, char, bool),
}

struct Scanner<'a, S> {
    state: State,
    sink: &'a mut S,
}

impl<S: FnMut(Feature)> Scanner<'_, S> {
    fn report(&mut self, feature: Feature) {
        (self.sink)(feature);
    }

    fn take(&mut self, character: char) {
        let kind = kind(character);
        self.state = match kind {
            Kind::Lower => self.letter(Shape::Lower, (character as u8).saturating_sub(b'a')),
            Kind::Upper => self.letter(Shape::Capitalised, (character as u8).saturating_sub(b'A')),
            Kind::Accented => {
                let state = self.letter(if character.is_uppercase() { Shape::Capitalised } else { Shape::Lower }, 31);
                self.report(Feature::ACCENTED);
                state
            }
            _ if kind.is_letter() => self.other_letter(kind, character),
            Kind::Digit => {
                self.close();
                self.report(Feature::DIGIT);
                State::Digit
            }
            Kind::Blank => match self.state {
                State::Blanks { .. } => State::Blanks { several: true, space: character == ' ' },
                _ => {
                    self.close();
                    State::Blanks { several: false, space: character == ' ' }
                }
            },
            Kind::Newline => match self.state {
                State::Newline | State::PunctuationNewline => self.state,
                State::Punctuation { .. } => {
                    self.close();
                    self.report(Feature::NEWLINE_JOINED);
                    State::PunctuationNewline
                }
                // Blanks before a line end belong to it.
                State::Blanks { .. } => {
                    self.report(Feature::NEWLINE);
                    State::Newline
                }
                _ => {
                    self.close();
                    self.report(Feature::NEWLINE);
                    State::Newline
                }
            },
            _ => self.punctuation(kind, character),
        };
    }

    /// A Latin letter.
    fn letter(&mut self, shape: Shape, letter: u8) -> State {
        let is_upper = shape != Shape::Lower;
        if let State::Segment { before, shape, length, last } = self.state {
            let length = length.saturating_add(1);
            if letter < 26 && !(is_upper && shape == Shape::Lower) && is_rare_pair(last, letter) {
                self.report(Feature::RARE_PAIR);
            }
            let last = letter;
            match (shape, is_upper) {
                (Shape::Capitalised, true) if length == 2 => {
                    return State::Segment { before, shape: Shape::Capitals, length, last };
                }
                (Shape::Capitals, true) | (Shape::Lower | Shape::Capitalised, false) => {
                    return State::Segment { before, shape, length, last };
                }
                // The last capital begins the next segment.
                (Shape::Capitals, false) => {
                    self.segment(before, shape, length.saturating_sub(2));
                    return State::Segment { before: Before::Segment, shape: Shape::Capitalised, length: 2, last };
                }
                (Shape::Lower | Shape::Capitalised, true) => {}
            }
        }
        let before = self.close_before_word();
        State::Segment { before, shape, length: 1, last: letter }
    }

    /// A letter of another script.
    fn other_letter(&mut self, kind: Kind, character: char) -> State {
        let goes_on = matches!(self.state, State::Letters(last, ..) if last == kind);
        if !goes_on && !matches!(self.state, State::Letters(..)) {
            self.close_before_word();
        }
        let mut merged = false;
        match kind {
            Kind::Han => {
                let (offset, is_merged) = match self.state {
                    State::Letters(Kind::Han, last, was_merged) => match (is_han_pair(last, character), was_merged) {
                        (true, false) => (1, true),
                        (true, true) => (2, true),
                        (false, true) => (3, false),
                        (false, false) => (4, false),
                    },
                    _ => (0, false),
                };
                merged = is_merged;
                let feature = Feature::at(Feature::HAN, offset);
                self.report(feature);
            }
            Kind::HanOther => self.report(Feature::HAN_OTHER),
            Kind::Kana => self.report(Feature::KANA),
            Kind::Hangul => self.report(Feature::HANGUL),
            Kind::Cyrillic => self.report(Feature::CYRILLIC),
            Kind::Greek => self.report(Feature::GREEK),
            Kind::Arabic => self.report(Feature::ARABIC),
            Kind::Hebrew => self.report(Feature::HEBREW),
            Kind::Indic => self.report(Feature::INDIC),
            Kind::Thai => self.report(Feature::THAI),
            _ => (0..character.len_utf8()).for_each(|_| self.report(Feature::OTHER_BYTE)),
        }
        State::Letters(kind, character, merged)
    }

    fn punctuation(&mut self, kind: Kind, character: char) -> State {
        let before = match self.state {
            State::Punctuation { last, .. } => Some(last),
            _ => None,
        };
        let spaced = matches!(self.state, State::Blanks { space: true, .. });
        if before.is_none() {
            match self.state {
                // The last blank belongs to the run.
                State::Blanks { several, space: true } => {
                    if several {
                        self.report(Feature::BLANKS);
                    }
                }
                _ => self.close(),
            }
        } else if matches!(self.state, State::Punctuation { single: true, .. }) {
            self.report(Feature::PUNCTUATION);
        }
        if kind == Kind::Punctuation {
            match before {
                // Reported when it is known that no word takes it.
                None if !spaced => {}
                None => self.report(Feature::PUNCTUATION),
                Some(last) if last == character => self.report(Feature::PUNCTUATION_AGAIN),
                Some(_) => self.report(Feature::PUNCTUATION_MORE),
            }
            return State::Punctuation { single: before.is_none() && !spaced, last: character };
        }
        let feature = match kind {
            Kind::WideMark => Feature::WIDE_MARK,
            Kind::PrintedMark => Feature::PRINTED_MARK,
            Kind::Emoji => Feature::EMOJI,
            _ if before == Some(character) => Feature::SYMBOL_AGAIN,
            _ => Feature::SYMBOL,
        };
        self.report(feature);
        State::Punctuation { single: false, last: character }
    }

    /// Ends what is open before a word; returns what belongs to the word.
    fn close_before_word(&mut self) -> Before {
        match self.state {
            State::Blanks { several, .. } => {
                if several {
                    self.report(Feature::BLANKS);
                }
                Before::Blank
            }
            State::Punctuation { single: true, last } => {
                self.report(mark(last));
                Before::Mark
            }
            State::Segment { before, shape, length, .. } => {
                self.segment(before, shape, length);
                Before::Segment
            }
            State::Letters(..) => Before::Segment,
            _ => Before::Nothing,
        }
    }

    /// Ends what is open before anything else.
    fn close(&mut self) {
        match self.state {
            // Before a digit the last blank stands alone.
            State::Blanks { several, .. } => {
                self.report(Feature::BLANKS);
                if several {
                    self.report(Feature::BLANKS);
                }
            }
            State::Punctuation { single: true, .. } => self.report(Feature::PUNCTUATION),
            State::Segment { before, shape, length, .. } => self.segment(before, shape, length),
            _ => {}
        }
    }

    fn end(&mut self) {
        match self.state {
            State::Blanks { .. } => self.report(Feature::BLANKS),
            _ => self.close(),
        }
    }

    fn segment(&mut self, before: Before, shape: Shape, length: usize) {
        let base = match before {
            Before::Blank => None,
            Before::Mark => Some(Feature::MARKED),
            Before::Segment => Some(Feature::JOINED),
            Before::Nothing => Some(Feature::BARE),
        };
        if let Some(base) = base {
            let offset = match shape {
                Shape::Lower => 0,
                Shape::Capitalised => 1,
                Shape::Capitals => 2,
            };
            self.report(Feature::at(base, offset));
        }
        let base = if shape == Shape::Capitals { Feature::CAPITALS } else { Feature::LETTERS };
        self.report(Feature::at(base, length.clamp(1, LONGEST).saturating_sub(1)));
        for _ in LONGEST..length {
            self.report(Feature::at(base, LONGEST));
        }
    }
}
