//! Sets signed by the `minisign` tool, whole and broken, and manifests of every kind. The secret keys are gone.

use proptest::{collection::btree_map, prelude::*};

use super::*;

const A: &str = "RWSc6TgAxnfTevjeUv/YcEhJE53BWVsgkHUFS7/z2gVZC3XCoWbidfwV";
const B: &str = "RWRfRlldxh+sBWjap008TTZSxuYkhDj7MP53jUmngLvDJIOnW68gwjhp";
const LISTED: &str = "\
bulkhead-manifest 1
number 42
ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a.toml
3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d  b.toml
";
const BY_A: &str = "\
untrusted comment: signature from minisign secret key
RUSc6TgAxnfTeoQrVHqXGN/mGjZvxoewe5AbRM5c51DICDgvt5FK2zw6KW7QWEt7cc5u01fivOVyYxACWK5DaC+dg4Qq6QPjMgY=
trusted comment: cell 1, by ot-team
tU3lmzU5uUitAYjaHNf3Bhn+AnL4Z/CVwAr0HXFzhLLphnwy3HnpCgViUw9+aaTm8I923arjwGhjjV6a+Lc/Bw==
";
const BY_B: &str = "\
untrusted comment: signature from minisign secret key
RURfRlldxh+sBfcyhjvstQt9eQjjcbYjPAD3SEQQyzbiFTvbjmi3vKC6EHzUXeb+q7xxDjB9pxX1hVNFN4Y2xUgDzCryW+8Pwgg=
trusted comment: other
3+mqAd8lA3/eDGaCIJPXXuuoYmjgERWxkcbL3Ls+bHDozwg/5AklZOTNn8VYS0omeva3XdtBpXNUF7fExwgWDA==
";
const LEGACY: &str = "\
untrusted comment: signature from minisign secret key
RWSc6TgAxnfTeuJ8zhvmzoUqUMUGntAZ7xsFsMKfuSbEp5RZx8rBjPk8fXmYlUy8W2+GE64itoAqaHevVvTyz5zZibmXZPn8GgY=
trusted comment: legacy
51JdtH7Vwhq2Ld4sF1Paxs7S4RcH9PjhTRH13NYRl57e3oOlrz9eCx+XhGe5ARd1SO+naKNtogkB2QNmE0WqCg==
";

fn trust() -> Trust {
    Trust { keys: vec![Key::parse(A).expect("a key")], required: true, ..Trust::default() }
}

fn files() -> Vec<(&'static str, Digest)> {
    vec![("a.toml", Digest::of(b"a")), ("b.toml", Digest::of(b"b"))]
}

fn judged(manifest: &str, signature: &str, trust: &Trust) -> Result<Standing, Refusal> {
    let (manifest, signature) = (Some(manifest.as_bytes()), Some(signature.as_bytes()));
    judge(&Set { files: &files(), manifest, signature }, trust)
}

fn accepted(number: u64, digest: Digest) -> Trust {
    Trust { at_least: Some(Accepted { number, digest }), ..trust() }
}

#[test]
fn a_signed_set_is_known_by_its_number_key_and_comment() {
    let Ok(Standing::Signed(signed)) = judged(LISTED, BY_A, &trust()) else { panic!("it is signed") };
    assert_eq!(
        (signed.number, signed.key.to_string(), signed.comment.as_str()),
        (42, "7AD377C60038E99C".to_owned(), "cell 1, by ot-team")
    );
    // minisign prints no zero in front.
    let both = Trust { keys: vec![Key::parse(A).expect("a key"), Key::parse(B).expect("a key")], ..trust() };
    let Ok(Standing::Signed(signed)) = judged(LISTED, BY_B, &both) else { panic!("it is signed") };
    assert_eq!(signed.key.to_string(), "5AC1FC65D59465F");
}

#[test]
fn every_byte_of_the_manifest_and_of_what_is_signed_counts() {
    for at in 0..LISTED.len() {
        let mut altered = LISTED.as_bytes().to_vec();
        altered[at] ^= 1;
        let set = Set { files: &files(), manifest: Some(&altered), signature: Some(BY_A.as_bytes()) };
        assert_eq!(judge(&set, &trust()), Err(Refusal::Forged { windows: altered.contains(&b'\r') }), "{at}");
    }
    let from = BY_A.find('\n').expect("a line") + 1;
    for at in from..BY_A.len() {
        let mut altered = BY_A.as_bytes().to_vec();
        altered[at] ^= 2;
        let set = Set { files: &files(), manifest: Some(LISTED.as_bytes()), signature: Some(&altered) };
        assert!(judge(&set, &trust()).is_err(), "byte {at} of the signature");
    }
}

#[test]
fn signatures_that_are_none_say_why() {
    let told = |signature: &str| judged(LISTED, signature, &trust()).expect_err("it is refused");
    let lines: Vec<&str> = BY_A.lines().collect();
    assert_eq!(told(""), SignatureError::Empty.into());
    assert_eq!(told(&"x".repeat(MAX_SIGNATURE_BYTES + 1)), SignatureError::TooLarge.into());
    assert_eq!(told(&BY_A.replace('\n', "\r\n")), SignatureError::NotText(1).into());
    assert_eq!(told(&lines[..3].join("\n")), SignatureError::CutOff(3).into());
    assert_eq!(told(&BY_A[..BY_A.len() - 10]), SignatureError::Line(4).into());
    assert_eq!(told(&format!("{BY_A}{BY_A}")), SignatureError::Trailing.into());
    assert_eq!(told(&format!("{BY_A}\n")), SignatureError::Trailing.into());
    assert_eq!(told(&BY_A.replacen("untrusted", "trusted", 1)), SignatureError::Line(1).into());
    assert_eq!(told(&BY_A.replacen("RUSc", "RUS", 1)), SignatureError::Line(2).into());
    assert_eq!(told(&BY_A.replacen("RUSc", "RVSc", 1)), SignatureError::Line(2).into());
    assert_eq!(told(&BY_A.replacen("\ntrusted", "\nTrusted", 1)), SignatureError::Line(3).into());
    assert_eq!(told(LEGACY), Refusal::Legacy);
    let [a, b] = [A, B].map(|key| Key::parse(key).expect("a key").id());
    assert_eq!(told(BY_B), Refusal::UnknownKey { id: b, keys: vec![a] });
    // A signature of the key over something else, under the number of the key that is trusted.
    assert_eq!(told(&BY_A.replace("cell 1", "cell 2")), Refusal::Forged { windows: false });
    // Copied without its last line end: nothing is missing.
    assert!(judged(LISTED, BY_A.trim_end(), &trust()).is_ok());
}

#[test]
fn the_pair_comes_together_or_not_at_all() {
    let files = files();
    let with = |manifest, signature, trust: &Trust| judge(&Set { files: &files, manifest, signature }, trust);
    let (list, sign) = (Some(LISTED.as_bytes()), Some(BY_A.as_bytes()));
    let optional = Trust { required: false, ..trust() };
    for trust in [&trust(), &optional] {
        assert_eq!(with(list, None, trust), Err(Refusal::NoSignature));
        assert_eq!(with(None, sign, trust), Err(Refusal::NoManifest));
        assert!(matches!(with(list, sign, trust), Ok(Standing::Signed(_))));
    }
    assert_eq!(with(None, None, &trust()), Err(Refusal::Unsigned));
    assert_eq!(with(None, None, &optional), Ok(Standing::Unsigned));
    let nobody = Trust::default();
    assert_eq!(with(None, None, &nobody), Ok(Standing::Plain));
    assert_eq!(with(list, sign, &nobody), Ok(Standing::Unchecked));
    assert_eq!(with(list, None, &nobody), Ok(Standing::Unchecked));
    assert_eq!(with(list, sign, &Trust { required: true, ..nobody }), Err(Refusal::NoKey));
}

#[test]
fn numbers_do_not_go_back_unless_told() {
    let digest = Manifest::parse(LISTED.as_bytes()).expect("a manifest").digest();
    assert_eq!(digest, Digest::of_set(files()));
    let other = Digest::of(b"other");
    for (number, digest) in [(41, other), (42, digest)] {
        assert!(judged(LISTED, BY_A, &accepted(number, digest)).is_ok(), "{number}");
    }
    assert_eq!(judged(LISTED, BY_A, &accepted(42, other)), Err(Refusal::SameNumber { number: 42 }));
    let older = Refusal::Older { number: 42, accepted: 43 };
    assert_eq!(judged(LISTED, BY_A, &accepted(43, other)), Err(older.clone()));
    let in_force = Trust { in_force: Some(digest), ..accepted(43, other) };
    assert!(judged(LISTED, BY_A, &in_force).is_ok(), "after a rollback");
    let another = Trust { in_force: Some(other), ..accepted(43, other) };
    assert_eq!(judged(LISTED, BY_A, &another), Err(older));
    let told = Trust { allow_older: true, ..accepted(43, other) };
    assert!(judged(LISTED, BY_A, &told).is_ok());
    // Being told excuses an older set, and not two contents of one number.
    let told = Trust { allow_older: true, ..accepted(42, other) };
    assert_eq!(judged(LISTED, BY_A, &told), Err(Refusal::SameNumber { number: 42 }));
}

#[test]
fn all_differences_are_named_at_once() {
    let [a, b, c] = ["a", "b", "c"].map(|text| Digest::of(text.as_bytes()));
    let told = |files: &[(&str, Digest)]| {
        let set = Set { files, manifest: Some(LISTED.as_bytes()), signature: Some(BY_A.as_bytes()) };
        let refused = judge(&set, &trust()).expect_err("it differs").to_string();
        let (said, _) = refused.split_once("\nhint:").expect("a hint");
        said.trim_start_matches("the policy files are not those that were signed: ").to_owned()
    };
    assert_eq!(told(&[("a.toml", a)]), "`b.toml` is missing");
    assert_eq!(told(&[("a.toml", a), ("b.toml", c)]), "`b.toml` was altered");
    assert_eq!(told(&[("a.toml", b), ("b.toml", a)]), "`a.toml` was altered, `b.toml` was altered");
    assert_eq!(told(&[("b.toml", b), ("c.toml", a)]), "`a.toml` is now called `c.toml`");
    assert_eq!(
        told(&[("0\u{1b}.toml", c), ("b.toml", c)]),
        "`0\\u{1b}.toml` was added, `a.toml` is missing, `b.toml` was altered"
    );
    assert_eq!(told(&[("a.toml", c), ("a.toml", a), ("b.toml", b)]), "`a.toml` was added");
    let many: Vec<String> = (10..30).map(|n| format!("{n}.toml")).collect();
    let mut files = files();
    files.extend(many.iter().map(|name| (name.as_str(), c)));
    assert!(told(&files).ends_with("`17.toml` was added, and 12 more"));
}

#[test]
fn keys_are_read_as_minisign_writes_them() {
    let key = Key::parse(A).expect("a key");
    let file = format!("untrusted comment: minisign public key {}\n{A}\n", key.id());
    assert_eq!(Key::parse(&file), Ok(key.clone()));
    assert_eq!(Key::parse(&file.replace('\n', "\r\n")), Ok(key));
    for wrong in ["", "RW", &A[1..], &format!("{A}\n{A}"), &format!("{A}=="), &file.repeat(2), &BY_A[54..]] {
        assert_eq!(Key::parse(wrong), Err(KeyError::Form), "{wrong}");
    }
    let secret = "untrusted comment: minisign encrypted secret key\nRWQAAEIy\n";
    assert_eq!(Key::parse(secret), Err(KeyError::Secret));
}

#[test]
fn lines_that_belong_in_no_manifest_are_named() {
    let digest = Digest::of(b"");
    let head = "bulkhead-manifest 1\nnumber 1\n";
    let one = format!("{digest}  a.toml\n");
    for (text, says) in [
        (String::new(), "line 1 is missing: the manifest is empty"),
        ("version = 1\n".into(), "line 1 is not `bulkhead-manifest 1`"),
        (format!("bulkhead-manifest 2\nnumber 1\n{one}"), "line 1 says version `2`"),
        ("bulkhead-manifest 1\n".into(), "line 2 is not `number N`"),
        (format!("bulkhead-manifest 1\nnumber 0\n{one}"), "line 2 is not `number N`"),
        (format!("bulkhead-manifest 1\nnumber 01\n{one}"), "line 2 is not `number N`"),
        (format!("bulkhead-manifest 1\nnumber +1\n{one}"), "line 2 is not `number N`"),
        (format!("bulkhead-manifest 1\nnumber 18446744073709551616\n{one}"), "line 2 is not `number N`"),
        (head.into(), "line 3 is missing: no file is listed"),
        (format!("{head}{one}\n"), "line 4 is not a SHA-256"),
        (format!("{head}{one}# listed by hand\n"), "line 4 is not a SHA-256"),
        (format!("{head}{digest} a.toml\n"), "line 3 is not a SHA-256"),
        (format!("{head}{}  a.toml\n", digest.to_string().to_uppercase()), "line 3 is not a SHA-256"),
        (format!("{head}{one}{one}"), "line 4 names `a.toml` a second time"),
        (format!("{head}{digest}  b.toml\n{one}"), "line 4 names `a.toml` behind a name"),
        (format!("{head}{digest}  ../a.toml\n"), "line 3 names `../a.toml`, and a policy file"),
        (format!("{head}{digest}  .a.toml\n"), "line 3 names `.a.toml`, and a policy file"),
        (format!("{head}{digest}  a.txt\n"), "line 3 names `a.txt`, and a policy file"),
        (format!("{head}{digest}   a.toml\n{digest}  \u{1b}.toml\n"), "line 4 names `\\u{1b}.toml`"),
        (format!("{head}{digest}  {}.toml\n", "x".repeat(251)), "line 3 names `xxx"),
        (format!("{head}{one}").replace('\n', "\r\n"), "line 1 ends like a line of Windows"),
        (format!("{head}{}", one.trim_end()), "line 3 has no line end: the manifest is cut off"),
        ("#".repeat(MAX_MANIFEST_BYTES + 1), "line 1 is beyond the"),
    ] {
        let error = Manifest::parse(text.as_bytes()).expect_err(says).to_string();
        assert!(error.starts_with(says), "{text}: {error}");
    }
    assert_eq!(
        Manifest::parse(b"bulkhead-manifest 1\n\xff").expect_err("no text"),
        ManifestError { line: 2, problem: Problem::NotText }
    );
    let many: Vec<String> = (0..=crate::policy::MAX_FILES).map(|n| format!("{n:04}.toml")).collect();
    let listed = Manifest::new(1, many.iter().map(|name| (name.as_str(), digest)));
    assert_eq!(listed.expect_err("too many").problem, Problem::TooMany);
}

/// Names a policy file can have.
fn names() -> impl Strategy<Value = std::collections::BTreeMap<String, [u8; 32]>> {
    btree_map("[a-z0-9 äß_-]{1,20}\\.toml", any::<[u8; 32]>(), 1..20)
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_and_has_one_spelling(number in 1..=u64::MAX, files in names()) {
        let listed = files.iter().map(|(name, digest)| (name.as_str(), Digest(*digest)));
        let manifest = Manifest::new(number, listed.clone().collect::<Vec<_>>().into_iter().rev()).expect("names");
        let text = manifest.to_string();
        prop_assert!(text.len() <= MAX_MANIFEST_BYTES);
        prop_assert_eq!(Manifest::parse(text.as_bytes()), Ok(manifest));
    }

    #[test]
    fn mutated_manifests_are_refused_or_have_one_spelling(
        files in names(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<Option<u8>>()), 1..8),
    ) {
        let listed = files.iter().map(|(name, digest)| (name.as_str(), Digest(*digest)));
        let mut bytes = Manifest::new(7, listed).expect("names").to_string().into_bytes();
        for (at, edit) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match edit {
                Some(byte) => bytes[at] = byte,
                None => {
                    bytes.remove(at);
                }
            }
        }
        if let Ok(manifest) = Manifest::parse(&bytes) {
            prop_assert_eq!(manifest.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_a_panic(manifest in prop::collection::vec(any::<u8>(), 0..300), signature in "\\PC*") {
        let _ = Manifest::parse(&manifest);
        let _ = Key::parse(&signature);
        let set = Set { files: &[], manifest: Some(&manifest), signature: Some(signature.as_bytes()) };
        prop_assert!(judge(&set, &trust()).is_err());
    }
}
