//! Which system texts count as equal: those that differ only in digits, dates and times. Many clients write the time into
//! theirs, and that must not start a new chat each minute.

/// Stands for a number, a date or a time, however many words it has.
const TIME: char = '\u{1}';

/// Full names of weekdays always mean a day.
#[rustfmt::skip]
const DAYS: &[&str] = &[
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", // English
    "montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag", "sonntag", // German
    "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche", // French
    "lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo", // Spanish, Portuguese
    "lunedì", "martedì", "mercoledì", "giovedì", "venerdì", "sabato", "domenica", // Italian
    "понедельник", "вторник", "среда", "четверг", "пятница", "суббота", "воскресенье", // Russian
];

/// These words are short or have other meanings too: they count only next to a number or another word of a date.
#[rustfmt::skip]
const BESIDE_NUMBERS: &[&str] = &[
    // English
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
    "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
    "mon", "tue", "tues", "wed", "thu", "thur", "thurs", "fri", "sat", "sun",
    "am", "pm", "a", "p", "m", "st", "nd", "rd", "th", "t", "z",
    // German
    "januar", "februar", "märz", "mai", "juni", "juli", "oktober", "dezember",
    // French
    "janvier", "février", "mars", "avril", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre",
    // Spanish
    "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre",
    // Portuguese
    "janeiro", "fevereiro", "março", "maio", "junho", "julho", "setembro", "outubro", "novembro", "dezembro",
    "segunda", "terça", "quarta", "quinta", "sexta", "feira",
    // Italian
    "gennaio", "febbraio", "aprile", "maggio", "giugno", "luglio", "settembre", "ottobre", "dicembre",
    // Russian
    "января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября", "октября", "ноября", "декабря",
    // Chinese, Japanese, Korean
    "年", "月", "日", "時", "时", "分", "秒", "년", "월", "일", "시", "분", "초",
];
/// These join the parts of a date.
const WITHIN_DATES: &[&str] = &["of", "de", "der"];

/// Parts of a day, in scripts without blanks between words.
const PARTS_OF_A_DAY: &[&str] =
    &["上午", "下午", "凌晨", "早上", "早晨", "中午", "傍晚", "晚上", "午前", "午後", "오전", "오후"];
/// Prefixes of weekdays in such scripts, each with the characters that may follow.
const BEFORE_A_DAY: &[(&str, &str)] = &[
    ("星期", "一二三四五六日天"),
    ("礼拜", "一二三四五六日天"),
    ("禮拜", "一二三四五六日天"),
    ("周", "一二三四五六日"),
    ("週", "一二三四五六日"),
];
const BEHIND_A_DAY: &[(&str, &str)] = &[("曜日", "月火水木金土日"), ("요일", "월화수목금토일")];

/// The longest word of a date, in bytes.
const LONGEST_WORD: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A number, or a word that always belongs to a date.
    Time,
    /// A word of a date if it is next to another one.
    Maybe,
    Other,
    /// A separator within a date: it joins its neighbours.
    Between,
}

/// Replaces each number, date and time by the same mark. Allocates nothing but the result.
pub(in crate::chat) fn without_times(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Whether the last significant token was a time; and the tokens since then that may still become part of one: separators,
    // and words that a number may follow. `first_maybe` is where the first such word begins.
    let (mut in_time, mut pending, mut first_maybe) = (false, text, None);
    let mut pending_length = 0_usize;
    while let Some(first) = rest.chars().next() {
        let length = token_length(rest, first);
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        let held = pending.get(..pending_length).unwrap_or_default();
        let kind = match kind(token) {
            // A word of a date makes its neighbour one.
            Kind::Maybe if in_time => Kind::Time,
            kind => kind,
        };
        match kind {
            Kind::Between => pending_length = pending_length.saturating_add(length),
            Kind::Maybe => {
                first_maybe.get_or_insert(pending_length);
                pending_length = pending_length.saturating_add(length);
            }
            Kind::Time => {
                if !in_time {
                    out.push_str(held.get(..first_maybe.unwrap_or(held.len())).unwrap_or_default());
                    out.push(TIME);
                }
                (in_time, pending, pending_length, first_maybe) = (true, after, 0, None);
            }
            Kind::Other => {
                out.push_str(held);
                out.push_str(token);
                (in_time, pending, pending_length, first_maybe) = (false, after, 0, None);
            }
        }
        rest = after;
    }
    out.push_str(pending.get(..pending_length).unwrap_or_default());
    out
}

/// Returns the length of the first token: a number, a word, a word of a date in a script without blanks, or a character.
fn token_length(rest: &str, first: char) -> usize {
    if let Some(length) = day(rest) {
        length
    } else if first.is_numeric() {
        rest.find(|character: char| !character.is_numeric()).unwrap_or(rest.len())
    } else if first.is_alphabetic() {
        let is_end =
            |(at, character): &(usize, char)| !character.is_alphabetic() || rest.get(*at..).and_then(day).is_some();
        rest.char_indices().skip(1).find(is_end).map_or(rest.len(), |(at, _)| at)
    } else {
        first.len_utf8()
    }
}

/// Returns the length of a day, or a part of one, at the beginning of text without blanks.
fn day(text: &str) -> Option<usize> {
    // All these words begin with a character outside ASCII.
    if text.chars().next()?.is_ascii() {
        return None;
    }
    let one_of = |rest: &str, days: &str| rest.chars().next().filter(|day| days.contains(*day)).map(char::len_utf8);
    let part = PARTS_OF_A_DAY.iter().find(|part| text.starts_with(**part)).map(|part| part.len());
    part.or_else(|| {
        BEFORE_A_DAY.iter().find_map(|(before, days)| {
            one_of(text.strip_prefix(before)?, days).map(|length| length.saturating_add(before.len()))
        })
    })
    .or_else(|| {
        BEHIND_A_DAY.iter().find_map(|(behind, days)| {
            let length = one_of(text, days)?;
            text.get(length..)?.starts_with(behind).then(|| length.saturating_add(behind.len()))
        })
    })
}

fn kind(token: &str) -> Kind {
    let Some(first) = token.chars().next() else { return Kind::Between };
    if first.is_numeric() || day(token) == Some(token.len()) {
        return Kind::Time;
    }
    if !first.is_alphabetic() {
        let joins = first == ' ' || first == '\t' || ",.:;-–/()+".contains(first);
        return if joins { Kind::Between } else { Kind::Other };
    }
    // Longer than any word of a date.
    if token.len() > LONGEST_WORD {
        return Kind::Other;
    }
    let lower = token.to_lowercase();
    if DAYS.contains(&lower.as_str()) {
        Kind::Time
    } else if BESIDE_NUMBERS.contains(&lower.as_str()) {
        Kind::Maybe
    } else if WITHIN_DATES.contains(&lower.as_str()) {
        Kind::Between
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_time_only_are_the_same() {
        for (one, other) in [
            ("Time: 10:00", "Time: 10:01"),
            ("Time: 9:59 AM", "Time: 10:00 PM"),
            ("It is 9:59 a.m.", "It is 12:01 p.m."),
            ("Today is Thursday, November 26, 2026.", "Today is Friday, December 4, 2026."),
            ("Today is Thursday", "Today is Friday"),
            ("Thu Nov 26 2026 10:00:00 GMT+0800", "Fri Nov 27 2026 9:03:09 GMT+0800"),
            ("Now: 2026-11-26T10:00:00.123Z", "Now: 2027-01-01T00:00:00Z"),
            ("on the 1st of May", "on the 22nd of June"),
            ("今天是2026年11月26日星期四，现在是上午10:05", "今天是2026年12月4日星期五，现在是下午3:15"),
            ("今天是周四", "今天是周日"),
            ("2026年11月26日木曜日", "2026年11月27日金曜日"),
            ("2026년 11월 26일 목요일 오전 10시", "2026년 11월 27일 금요일 오후 3시"),
            ("Heute ist Donnerstag, der 26. November 2026", "Heute ist Freitag, der 4. Dezember 2026"),
            ("jeudi 26 novembre 2026", "vendredi 4 décembre 2026"),
            ("You have 5 messages left.", "You have 12 messages left."),
        ] {
            assert_eq!(without_times(one), without_times(other));
        }
    }

    #[test]
    fn other_words_make_another_text() {
        for (one, other) in [
            ("You may answer.", "You answer."),
            ("I am kind", "I kind"),
            ("March on!", "Walk on!"),
            ("Be brief.", "Be kind."),
            ("Time: 10:00. Be brief.", "Time: 10:01. Be kind."),
            ("You make titles.", "You make tags."),
            ("周围", "周一"),
            ("a", "b"),
        ] {
            assert_ne!(without_times(one), without_times(other));
        }
    }

    #[test]
    fn the_longest_word_is_known() {
        let longest = DAYS.iter().chain(BESIDE_NUMBERS).chain(WITHIN_DATES).map(|word| word.len()).max();
        assert!(longest <= Some(LONGEST_WORD));
    }

    #[test]
    fn what_has_no_time_in_it_stays() {
        for text in ["", "Be brief.", "  two  blanks, (and) signs\n", "你好，世界", "sunny march"] {
            assert_eq!(without_times(text), text);
        }
    }
}
