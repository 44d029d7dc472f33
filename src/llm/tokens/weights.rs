//! What the pieces of a text cost on average. Written by `scripts/calibrate-tokens`.

use super::scan::Feature;

/// The weight of one token.
pub(super) const UNITS: i64 = 1024;

/// The weight of each feature, in `UNITS`. Those of a segment's length and of what is before it add up, so some are
/// below zero.
pub(super) const WEIGHTS: [i32; Feature::COUNT] = [
    995,   // DIGIT
    845,   // BLANKS
    1077,  // NEWLINE
    -65,   // NEWLINE_JOINED
    1105,  // PUNCTUATION
    35,    // PUNCTUATION_AGAIN
    86,    // PUNCTUATION_MORE
    954,   // WIDE_MARK
    1598,  // PRINTED_MARK
    1636,  // SYMBOL
    243,   // SYMBOL_AGAIN
    819,   // EMOJI
    134,   // ACCENTED
    487,   // RARE_PAIR
    2560,  // HAN_OTHER
    365,   // KANA
    820,   // HANGUL
    397,   // CYRILLIC
    990,   // GREEK
    472,   // ARABIC
    470,   // HEBREW
    1162,  // INDIC
    648,   // THAI
    819,   // OTHER_BYTE
    880,   // MARK
    1319,  // MARK + 1
    821,   // MARK + 2
    1352,  // MARK + 3
    987,   // MARK + 4
    1311,  // MARK + 5
    463,   // MARK + 6
    819,   // MARK + 7
    -238,  // BARE
    92,    // BARE + 1
    21,    // BARE + 2
    0,     // JOINED
    -332,  // JOINED + 1
    138,   // JOINED + 2
    -823,  // MARKED
    -704,  // MARKED + 1
    -147,  // MARKED + 2
    1163,  // LETTERS
    876,   // LETTERS + 1
    873,   // LETTERS + 2
    919,   // LETTERS + 3
    984,   // LETTERS + 4
    1214,  // LETTERS + 5
    874,   // LETTERS + 6
    1161,  // LETTERS + 7
    2137,  // LETTERS + 8
    1770,  // LETTERS + 9
    1729,  // LETTERS + 10
    1662,  // LETTERS + 11
    928,   // LETTERS + 12
    4004,  // LETTERS + 13
    -1965, // LETTERS + 14
    1658,  // CAPITALS
    371,   // CAPITALS + 1
    1512,  // CAPITALS + 2
    1637,  // CAPITALS + 3
    145,   // CAPITALS + 4
    725,   // CAPITALS + 5
    1902,  // CAPITALS + 6
    1342,  // CAPITALS + 7
    2256,  // CAPITALS + 8
    3246,  // CAPITALS + 9
    3501,  // CAPITALS + 10
    4731,  // CAPITALS + 11
    4710,  // CAPITALS + 12
    5018,  // CAPITALS + 13
    410,   // CAPITALS + 14
    1200,  // HAN
    -28,   // HAN + 1
    621,   // HAN + 2
    892,   // HAN + 3
    1130,  // HAN + 4
];
