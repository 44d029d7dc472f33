//! Random bytes. The operating system is asked for several portions at once, because each question is a system call, and on the
//! Worker a call of JavaScript.

use std::cell::RefCell;

use super::NoRandomness;

/// What one caller gets.
type Portion = [u8; 16];

/// How many portions the operating system is asked for.
const PORTIONS: usize = 32;

thread_local! {
    /// Portions that nobody has got yet.
    static LEFT: RefCell<Vec<Portion>> = const { RefCell::new(Vec::new()) };
}

/// Returns 16 random bytes that nobody else gets.
///
/// # Errors
/// The operating system has no randomness.
pub(super) fn random() -> Result<Portion, NoRandomness> {
    LEFT.with_borrow_mut(|left| {
        if left.is_empty() {
            let mut fresh = [Portion::default(); PORTIONS];
            getrandom::fill(fresh.as_flattened_mut()).map_err(|error| NoRandomness(error.to_string()))?;
            left.extend(fresh);
        }
        left.pop().ok_or_else(|| NoRandomness("there are no random bytes".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_portion_comes_twice() {
        let all = || (0..PORTIONS * 3 + 1).map(|_| random().unwrap()).collect::<Vec<_>>();
        let elsewhere: Vec<_> = (0..3).map(|_| std::thread::spawn(all)).collect();
        let mut seen = HashSet::from([Portion::default()]);
        let portions = all().into_iter().chain(elsewhere.into_iter().flat_map(|thread| thread.join().unwrap()));
        for portion in portions {
            assert!(seen.insert(portion), "{portion:?}");
        }
    }
}
