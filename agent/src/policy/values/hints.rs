//! What somebody meant who wrote a value in another notation. In: the text of a leaf. Out: what to write instead.

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv4Subnets};

/// More prefixes than these are not spelled out.
const MAX_PREFIXES: usize = 6;
/// Longer texts hold no values that anybody wrote by hand.
const MAX_LENGTH: usize = 512;

/// Several values in one text: `10.20.1.11, 10.20.1.12`.
pub(in crate::policy) fn several(text: &str) -> Option<String> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let parts: Vec<&str> =
        text.split([',', ';', ' ']).map(str::trim).filter(|part| !part.is_empty()).collect();
    let listed = || parts.iter().map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(", ");
    (parts.len() > 1).then(|| format!("several values are a list: `[{}]`", listed()))
}

/// An address with leading zeros: `10.20.01.011`. Some programs read them as octal, so nobody may.
pub(super) fn leading_zeros(text: &str) -> Option<String> {
    let parts: Vec<u8> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [a, b, c, d] = parts[..] else { return None };
    let meant = Ipv4Addr::new(a, b, c, d).to_string();
    (meant != text).then(|| format!("write the numbers without leading zeros: `{meant}`"))
}

/// A network as a netmask, a range or a pattern.
pub(super) fn prefix(text: &str) -> Option<String> {
    if let Some((address, mask)) = text.split_once('/') {
        let net = Ipv4Net::with_netmask(address.trim().parse().ok()?, mask.trim().parse().ok()?).ok()?;
        return Some(format!("write the length of the prefix in place of the mask: `{}`", net.trunc()));
    }
    if let Some((first, last)) = text.split_once('-') {
        let (first, last): (Ipv4Addr, Ipv4Addr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let subnets: Vec<String> =
            Ipv4Subnets::new(first, last, 0).take(MAX_PREFIXES + 1).map(|net| format!("\"{net}\"")).collect();
        return Some(match subnets.len() {
            0 => format!("the range runs backwards: `{last}` is before `{first}`"),
            1..=MAX_PREFIXES => format!("write the prefixes that are the range: `[{}]`", subnets.join(", ")),
            _ => "write the prefixes that are the range, as in `10.9.0.0/24`".to_owned(),
        });
    }
    let stem = text.trim_end_matches(".*").trim_end_matches(".x");
    let known: Vec<u8> = stem.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let net = match known[..] {
        [a] => Ipv4Net::new(Ipv4Addr::new(a, 0, 0, 0), 8),
        [a, b] => Ipv4Net::new(Ipv4Addr::new(a, b, 0, 0), 16),
        [a, b, c] => Ipv4Net::new(Ipv4Addr::new(a, b, c, 0), 24),
        _ => return None,
    };
    net.ok().filter(|_| stem != text).map(|net| format!("write a prefix: `{net}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_notations_are_understood_and_right_ones_left_alone() {
        assert_eq!(
            several("hmi, plc;pc").as_deref(),
            Some("several values are a list: `[\"hmi\", \"plc\", \"pc\"]`")
        );
        assert_eq!(several("hmi"), None);
        assert!(leading_zeros("10.20.01.011").is_some_and(|help| help.ends_with("`10.20.1.11`")));
        assert_eq!(
            [leading_zeros("10.20.1.11"), leading_zeros("10.20.1"), leading_zeros("a")],
            [None, None, None]
        );
        assert!(prefix("10.9.0.7/255.255.255.0").is_some_and(|help| help.ends_with("`10.9.0.0/24`")));
        assert!(
            prefix("10.9.1.10-10.9.1.12")
                .is_some_and(|help| help.ends_with("`[\"10.9.1.10/31\", \"10.9.1.12/32\"]`"))
        );
        assert!(prefix("10.9.1.12-10.9.1.10").is_some_and(|help| help.contains("backwards")));
        assert!(prefix("10.9.2.*").is_some_and(|help| help.ends_with("`10.9.2.0/24`")));
        assert!(prefix("10.*.*.*").is_some_and(|help| help.ends_with("`10.0.0.0/8`")));
        assert_eq!([prefix("10.9.0.5"), prefix("update.vendor.example"), prefix("10.9")], [None, None, None]);
    }
}
