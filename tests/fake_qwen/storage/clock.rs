//! The formats of times in requests.

use time::{Date, Month, OffsetDateTime};

use super::super::accounts::now;

/// The maximum clock skew of a signed request.
pub(super) const MAX_SKEW_SECONDS: i64 = 15 * 60;

/// The current time as `YYYYMMDDTHHMMSSZ`.
pub(super) fn stamp() -> String {
    let at = OffsetDateTime::from_unix_timestamp(now()).expect("a valid time");
    let (hour, minute, second) = at.to_hms();
    format!("{}{:02}{:02}T{hour:02}{minute:02}{second:02}Z", at.year(), u8::from(at.month()), at.day())
}

/// Parses `YYYYMMDDTHHMMSSZ` into Unix seconds.
pub(super) fn of_stamp(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    seconds(
        date.get(..4)?.parse().ok()?,
        Month::try_from(date.get(4..6)?.parse::<u8>().ok()?).ok()?,
        date.get(6..)?.parse().ok()?,
        [time.get(..2)?, time.get(2..4)?, time.get(4..)?],
    )
}

/// Parses `Sun, 22 Nov 2026 10:30:00 GMT` into Unix seconds.
pub(super) fn of_http_date(text: &str) -> Option<i64> {
    const MONTHS: [Month; 12] = [
        Month::January,
        Month::February,
        Month::March,
        Month::April,
        Month::May,
        Month::June,
        Month::July,
        Month::August,
        Month::September,
        Month::October,
        Month::November,
        Month::December,
    ];
    let mut words = text.strip_suffix(" GMT")?.split_once(", ")?.1.split(' ');
    let day = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.into_iter().find(|known| known.to_string().starts_with(month))?;
    let year = words.next()?.parse().ok()?;
    let time: Vec<&str> = words.next()?.split(':').collect();
    seconds(year, month, day, time.try_into().ok()?)
}

/// Parses `2026-11-22T10:30:00.000Z`, the format of policies, into Unix seconds.
pub(super) fn of_policy(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let time: Vec<&str> = time.split('.').next()?.split(':').collect();
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    seconds(year.parse().ok()?, month, day.parse().ok()?, time.try_into().ok()?)
}

fn seconds(year: i32, month: Month, day: u8, time: [&str; 3]) -> Option<i64> {
    let date = Date::from_calendar_date(year, month, day).ok()?;
    let [hour, minute, second] = time.map(|part| part.parse().ok());
    Some(date.with_hms(hour?, minute?, second?).ok()?.assume_utc().unix_timestamp())
}
