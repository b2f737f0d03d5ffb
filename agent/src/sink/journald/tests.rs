//! Entries as a journal takes them, and what becomes of them when it does not.

use std::{collections::BTreeMap, fs};

use super::{super::format::tests::examples, *};

/// A journal of our own, and the sink that writes to it.
fn journal(folder: &tempfile::TempDir) -> (UnixDatagram, PathBuf) {
    let path = folder.path().join("socket");
    (UnixDatagram::bind(&path).expect("a socket can be made"), path)
}

/// The fields of the next entry.
fn received(socket: &UnixDatagram) -> BTreeMap<String, String> {
    let mut bytes = vec![0; 1 << 16];
    let length = socket.recv(&mut bytes).expect("an entry has come");
    let text = std::str::from_utf8(&bytes[..length]).expect("it is UTF-8");
    assert!(text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once('=').expect("a name and a value");
            // Other names are dropped by the journal (systemd.journal-fields(7)).
            assert!(
                name.len() <= 64
                    && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            );
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

#[test]
fn each_field_of_a_record_is_one_of_the_entry() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (socket, path) = journal(&folder);
    let mut sink = Journal::open(path);
    let [violation, gap, heartbeat, _, _] = examples();
    sink.write(&violation, Format::Native);
    sink.write(&gap, Format::Cef);
    sink.write(&heartbeat, Format::Native);
    let fields = received(&socket);
    let field = |name: &str| fields.get(name).map(String::as_str);
    assert_eq!(field("PRIORITY"), Some("4"));
    assert_eq!(field("BULKHEAD_SOURCE_IP"), Some("10.9.8.66"));
    assert_eq!(field("BULKHEAD_BOOT"), Some("5f0c2b9a41d84c6e"));
    assert_eq!(field("BULKHEAD_SEQ"), Some("42"));
    assert_eq!(field("BULKHEAD_COUNT"), Some("3"));
    assert_eq!(field("BULKHEAD_VLAN"), None);
    assert_eq!(field("BULKHEAD_RECORD"), None);
    assert!(
        field("MESSAGE").is_some_and(|text| text.starts_with("dropped 3 packets of tcp, office (10.9.8.66"))
    );
    let fields = received(&socket);
    assert_eq!(fields["BULKHEAD_KIND"], "gap");
    assert!(fields["BULKHEAD_RECORD"].starts_with("CEF:0|"));
    assert_eq!(received(&socket)["BULKHEAD_MODES_ENFORCE"], "7");
    assert_eq!((sink.status().written, sink.status().refused), (3, 0));
}

#[test]
fn journal_that_is_full_or_away_refuses_and_is_tried_again() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (socket, path) = journal(&folder);
    let mut sink = Journal::open(path.clone());
    let [violation, ..] = examples();
    // Nobody reads: the socket holds `net.unix.max_dgram_qlen` entries.
    let tried = 5000;
    (0..tried).for_each(|_| sink.write(&violation, Format::Native));
    let (written, refused) = (sink.status().written, sink.status().refused);
    assert!(written > 0 && refused > 0 && written + refused == tried);
    let error = sink.status().last_error.clone().expect("it failed");
    assert!(error.ends_with("it is full"), "{error}");

    received(&socket);
    sink.write(&violation, Format::Native);
    assert_eq!((sink.status().written, sink.status().failing), (written + 1, false));

    drop(socket);
    fs::remove_file(&path).expect("it is there");
    sink.write(&violation, Format::Native);
    sink.write(&violation, Format::Native);
    assert_eq!(sink.status().refused, refused + 2);

    let _again = UnixDatagram::bind(&path).expect("a socket can be made");
    sink.write(&violation, Format::Native);
    assert_eq!((sink.status().written, sink.status().failing), (written + 2, false));
}
