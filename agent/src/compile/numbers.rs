//! Numbers made of names: the same name has the same number in every policy, unless another was there first.

use std::{collections::BTreeMap, ops::Range};

/// A number in `range` for each thing, made of its text (32-bit FNV-1a). Of two that fall on one number, the later by text
/// takes the next free one; there must be room for all.
pub(super) fn numbered<T: Ord>(
    all: impl Iterator<Item = (String, T)>,
    range: Range<u32>,
) -> BTreeMap<T, u32> {
    let mut texts: Vec<(String, T)> = all.collect();
    texts.sort();
    let mut taken = std::collections::BTreeSet::new();
    let mut numbers = BTreeMap::new();
    for (text, one) in texts {
        let mut number = range.start + fnv(&text) % (range.end - range.start);
        while !taken.insert(number) {
            number = if number + 1 == range.end { range.start } else { number + 1 };
        }
        numbers.insert(one, number);
    }
    numbers
}

fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_no_two_share_one() {
        let of = |names: &[&'static str], range| numbered(names.iter().map(|n| ((*n).to_owned(), *n)), range);
        let (few, many) = (of(&["b", "d"], 16..1 << 29), of(&["a", "b", "c", "d"], 16..1 << 29));
        assert_eq!((few["b"], few["d"]), (many["b"], many["d"]));
        let crowded = of(&["a", "b", "c", "d", "e"], 3..8);
        let mut numbers: Vec<u32> = crowded.into_values().collect();
        numbers.sort();
        assert_eq!(numbers, [3, 4, 5, 6, 7]);
    }
}
