//! What the tests with a real rsyslog share: the program, and certificates that a plant's own authority vouches for.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use bulkhead_tests::skip::{Tier, skip};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// The name in the receiver's certificate.
pub(crate) const NAME: &str = "siem.example";

fn pem(path: &Path, what: &str, der: &[u8]) {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("it is ASCII")).collect();
    let text = format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"));
    fs::write(path, text).expect("it can be written");
}

/// Makes `ca.pem`, and `server.pem` and `client.pem` with their keys, which it vouches for.
pub(crate) fn certificates(folder: &Path) {
    let key = || KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "a plant's own authority");
    let authority = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
    pem(&folder.join("ca.pem"), "CERTIFICATE", authority.der());
    for (file, name) in [("server", NAME), ("client", "gw-7.example")] {
        let own = key();
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let made = params.signed_by(&own, &authority).expect("a certificate");
        pem(&folder.join(format!("{file}.pem")), "CERTIFICATE", made.der());
        pem(&folder.join(format!("{file}.key")), "PRIVATE KEY", &own.serialize_der());
    }
}

/// rsyslog, if it is here with its TLS driver; otherwise the skip of `test` was recorded.
pub(crate) fn program(test: &str) -> Option<PathBuf> {
    let there =
        ["/usr/sbin/rsyslogd", "/usr/bin/rsyslogd"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let driver =
        ["/usr/lib/x86_64-linux-gnu/rsyslog", "/usr/lib/aarch64-linux-gnu/rsyslog", "/usr/lib64/rsyslog"]
            .iter()
            .any(|folder| Path::new(folder).join("lmnsd_gtls.so").exists());
    let program = there.filter(|_| driver);
    if program.is_none() {
        skip(
            Tier::Sinks,
            test,
            "there is no rsyslogd with its TLS driver: `apt-get install --no-install-recommends rsyslog rsyslog-gnutls`",
        );
    }
    program
}
