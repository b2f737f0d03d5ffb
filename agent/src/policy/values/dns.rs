//! A name of the DNS. In: one leaf of a network. Out: the name as answers are compared with it, or what such a name
//! looks like.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Leaf, Reader};
use crate::diagnostic::quote;

/// RFC 1035 2.3.4: 255 bytes on the wire, which leaves 253 characters without the final dot.
const MAX_DNS_NAME: usize = 253;
/// RFC 1035 2.3.4.
const MAX_LABEL: usize = 63;

impl Reader<'_, '_> {
    /// `update.vendor.example`, or `*.cdn.vendor.example` for every name below; in lower case, without the final dot.
    pub(in crate::policy) fn dns_name(&mut self, leaf: &Leaf<String>) -> Option<Leaf<String>> {
        let written = leaf.value.as_str();
        if written.parse::<IpAddr>().is_ok() || written.parse::<IpNet>().is_ok() {
            let message = format!("{} is an address, not a name", quote(written));
            return self.refuse("BH0224", leaf, message, "write addresses in `cidr`");
        }
        if let Some((before, _)) = written.split_once("://") {
            let message = format!("{} is not a DNS name", quote(written));
            let help = format!("leave `{before}://` and the path out: a network is known by its host's name");
            return self.refuse("BH0224", leaf, message, &help);
        }
        if !written.is_ascii() {
            let message = format!("{} is not written as the DNS carries it", quote(written));
            let help = "write the A-label of each such part, which starts with `xn--` (RFC 5890 2.3.2.1)";
            return self.refuse("BH0224", leaf, message, help);
        }
        let lowered = written.to_ascii_lowercase();
        let name = lowered.strip_suffix('.').unwrap_or(&lowered);
        if name == "*" {
            let message = "`*` is every name there is".to_owned();
            return self.refuse(
                "BH0225",
                leaf,
                message,
                "name the domain, as in `*.vendor.example`, or allow `any`",
            );
        }
        let rest = name.strip_prefix("*.").unwrap_or(name);
        if rest.contains('*') {
            let message = format!("{} has a `*` that is not its first label", quote(written));
            let help = "a `*` stands for every name below a domain: write it first and alone, as in `*.vendor.example`";
            return self.refuse("BH0225", leaf, message, help);
        }
        if name.len() > MAX_DNS_NAME {
            let message = format!("{} has {} bytes", quote(written), name.len());
            return self.refuse(
                "BH0224",
                leaf,
                message,
                &format!("a DNS name has at most {MAX_DNS_NAME} (RFC 1035 2.3.4)"),
            );
        }
        match rest.split('.').find_map(wrong_label) {
            Some(help) => self.refuse("BH0224", leaf, format!("{} is not a DNS name", quote(written)), &help),
            None => Some(Leaf { value: name.to_owned(), at: leaf.at }),
        }
    }
}

/// What a host's label looks like (RFC 1123 2.1), and an underscore as services have it (RFC 8552).
fn wrong_label(label: &str) -> Option<String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if label.is_empty() {
        return Some("it has an empty part: write one dot between two labels".to_owned());
    }
    if label.len() > MAX_LABEL {
        return Some(format!(
            "a label has at most {MAX_LABEL} bytes, and one has {} (RFC 1035 2.3.4)",
            label.len()
        ));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Some(format!("the label {} starts or ends with `-` (RFC 1123 2.1)", quote(label)));
    }
    (!label.chars().all(inner))
        .then(|| format!("the label {} has other characters than letters, digits, `-` and `_`", quote(label)))
}
