//! The description of the languages against the languages: what the parser accepts the JSON Schema accepts, by the
//! judgement of somebody else's validator, and the slips it is for it refuses.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bulkhead_agent::{
    config::language as config,
    language::{Kind, Table, as_json, schema},
    policy::{SourceFile, language as policy, resolve_texts},
};
use jsonschema::Validator;
use serde_json::Value;

fn validator(root: &'static Table) -> Validator {
    let schema = schema(root, "a test");
    jsonschema::draft202012::meta::validate(&schema).expect("it is a schema of draft 2020-12");
    jsonschema::draft202012::new(&schema).expect("its references and patterns are usable")
}

fn json(toml: &str) -> Value {
    let table: toml::Table = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}\n{toml}"));
    as_json(&toml::Value::Table(table))
}

/// What is wrong with a document; empty when it is fine.
fn complaints(validator: &Validator, toml: &str) -> String {
    let document = json(toml);
    validator.iter_errors(&document).map(|error| format!("{}: {error}\n", error.instance_path())).collect()
}

/// Every `.toml` file below a folder of this package.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut pending = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).expect("part of the checkout") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "toml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_good_policy_fits_the_schema() {
    let validator = validator(&policy::ROOT);
    let folders = ["../policies", "policy/well-formed", "policy/doubtful"];
    let paths: Vec<PathBuf> = folders.into_iter().flat_map(files).collect();
    assert!(paths.len() >= 10, "{paths:?}");
    for path in paths {
        let text = fs::read_to_string(&path).expect("UTF-8");
        assert_eq!(complaints(&validator, &text), "", "{}", path.display());
    }
    for library in ["services", "groups"] {
        let text =
            fs::read_to_string(format!("../agent/src/policy/{library}.toml")).expect("part of the checkout");
        assert_eq!(complaints(&validator, &text), "", "{library}");
    }
}

#[test]
fn every_good_configuration_fits_the_schema() {
    let validator = validator(&config::ROOT);
    for text in [
        "[interface.eth0]\n",
        "name = \"line-3\"\nsocket_group = \"ot\"\n[interface.eth1]\nrole = \"pair\"\npeer = \"eth2\"\nside = \"device\"\nmirror_link = false\n[interface.eth2]\nrole = \"pair\"\npeer = \"eth1\"\n",
        "[interface.eth1]\ndhcp_servers = [\"10.0.0.1\", \"fe80::1\"]\nrouters = \"00:1d:9c:c7:b0:70\"\n[interface.eth1.infrastructure]\nlldp = false\n[segment.line-3]\ninterface = \"eth1\"\nvlan = 10\n[management]\nfrom = \"10.0.0.0/8\"\ntcp = [22, \"8000-8010\"]\n",
        "[interface.eth1]\n[flows]\nadopt_for = \"1h30m\"\n[violations]\nsummary = \"5s\"\n[sink.out]\nto = \"stdout\"\n[sink.siem]\nto = \"syslog+tls://siem.example:6514\"\nformat = \"ocsf\"\nfacility = \"local3\"\n",
    ] {
        assert_eq!(complaints(&validator, text), "", "{text}");
    }
}

/// A policy with one slip in it, and what the complaint must name.
const SLIPS: [(&str, &str); 31] = [
    ("[device.plc]\nmac = \"00:1d:9c:c7:b0:70\"", "version"),
    ("version = 2", "/version"),
    ("version = \"1\"", "/version"),
    ("version = 1\n[devise.plc]\nip = \"10.0.0.1\"", "devise"),
    ("version = 1\n[device.plc]\nip = \"10.0.0.1\"\nclas = \"plc\"", "clas"),
    ("version = 1\n[device.plc]\nmac = \"00:1d:9c:c7:b0\"", "/device/plc/mac"),
    ("version = 1\n[device.plc]\nmac = \"00:1d-9c:c7:b0:70\"", "/device/plc/mac"),
    ("version = 1\n[device.plc]\nip = \"10.0.0.0/24\"", "/device/plc/ip"),
    ("version = 1\n[device.plc]\nip = [\"10.0.0.1\", \"10.0.0\"]", "/device/plc/ip"),
    ("version = 1\n[device.plc]\nzone = \"cell\"", "/device/plc"),
    ("version = 1\n[device.plc]\nip = \"10.0.0.1\"\nvlan = 4095", "/device/plc/vlan"),
    ("version = 1\n[device.plc]\nip = \"10.0.0.1\"\nmode = \"enforced\"", "/device/plc/mode"),
    ("version = 1\n[device.plc]\nip = \"10.0.0.1\"\ncriticality = \"critical\"", "/device/plc/criticality"),
    ("version = 1\n[device.PLC]\nip = \"10.0.0.1\"", "/device"),
    ("version = 1\n[class.c]\n[[class.c.allow]]\nservice = \"ntp\"", "/class/c/allow/0"),
    (
        "version = 1\n[class.c]\n[[class.c.allow]]\nfrom = \"a\"\nto = \"b\"\nservice = \"ntp\"",
        "/class/c/allow/0",
    ),
    ("version = 1\n[class.c]\n[[class.c.allow]]\nfrom = \"a\"", "service"),
    (
        "version = 1\n[class.c]\n[[class.c.allow]]\nfrom = \"sone:a\"\nservice = \"ntp\"",
        "/class/c/allow/0/from",
    ),
    ("version = 1\n[network.n]\ncidr = \"10.0.0.1\"", "/network/n/cidr"),
    ("version = 1\n[network.n]\ncidr = \"10.0.0.0/33\"", "/network/n/cidr"),
    ("version = 1\n[network.n]\ncomment = \"none\"", "/network/n"),
    ("version = 1\n[service.s]\ntcp = 65536", "/service/s/tcp"),
    ("version = 1\n[service.s]\nudp = \"http\"", "/service/s/udp"),
    ("version = 1\n[network.n]\ndns = \"https://update.vendor.example\"", "/network/n/dns"),
    ("version = 1\n[service.s]\nethertype = \"profinett\"", "/service/s/ethertype"),
    ("version = 1\n[service.s]\nicmp = \"packet-too-big\"", "/service/s/icmp"),
    ("version = 1\n[group.g]\ncomment = \"none\"", "members"),
    ("version = 1\n[[conduit]]\nfrom = \"zone:a\"\nservice = \"ntp\"", "to"),
    (
        "version = 1\n[class.c]\n[[class.c.allow]]\nfrom = \"any\"\nservice = \"ntp\"\nwindows = [{ days = \"monday\", from = \"6\", to = \"18:00\", zone = \"UTC\" }]",
        "/class/c/allow/0/windows/0/days",
    ),
    (
        "version = 1\n[class.c]\n[[class.c.allow]]\nfrom = \"any\"\nservice = \"ntp\"\nexpires = true",
        "/class/c/allow/0/expires",
    ),
    ("version = 1\n[multicast.m]\nip = \"10.0.0.1\"", "/multicast/m/ip"),
];

#[test]
fn slips_do_not_fit_the_schema_and_the_parser_refuses_them_too() {
    let validator = validator(&policy::ROOT);
    for (text, named) in SLIPS {
        let found = complaints(&validator, text);
        assert!(found.contains(named), "{text}\n{found}");
        let file = SourceFile { path: "p.toml".into(), text: text.into() };
        assert!(resolve_texts(&[file]).policy.is_none(), "{text}");
    }
}

#[test]
fn every_example_in_the_description_fits_the_schema() {
    for root in [&policy::ROOT, &config::ROOT] {
        let all = root.all();
        // Alone, an example lacks what other tables say.
        let start = if root.knows("version") { "version = 1\n" } else { "" };
        for table in all {
            let example = format!("{start}{}", table.example);
            if !table.example.is_empty() {
                assert_eq!(complaints(&without_required(root), &example), "", "{}", table.header);
            }
            for key in table.keys() {
                assert!(
                    !key.doc.trim().is_empty() && key.doc.trim().ends_with('.'),
                    "{}: {}",
                    table.header,
                    key.name
                );
                let nested = matches!(key.kind, Kind::Table(_) | Kind::Named(..) | Kind::Entries(_));
                assert!(
                    nested || !key.example.is_empty() || key.default.is_some(),
                    "{}: {}",
                    table.header,
                    key.name
                );
                for value in key.default.into_iter().chain((!key.example.is_empty()).then_some(key.example)) {
                    let document = json(&format!("{} = {value}", key.name));
                    let property = property(root, table, key.name);
                    let fits = jsonschema::draft202012::new(&property).expect("a schema");
                    let found = fits.validate(&document[key.name]);
                    assert!(found.is_ok(), "{}: {} = {value}: {found:?}", table.header, key.name);
                }
            }
        }
    }
}

fn document(root: &'static Table) -> Value {
    schema(root, "a test")
}

/// The schema of one key.
fn property(root: &'static Table, table: &'static Table, key: &str) -> Value {
    let document = document(root);
    let own = if table.name == root.name { &document } else { &document["$defs"][table.name.to_lowercase()] };
    own["properties"][key].clone()
}

/// The schema without what the root must have.
fn without_required(root: &'static Table) -> Validator {
    let mut document = document(root);
    document.as_object_mut().expect("an object").remove("required");
    jsonschema::draft202012::new(&document).expect("still a schema")
}

#[test]
fn needs_name_keys_of_their_table_and_names_are_used_once() {
    for root in [&policy::ROOT, &config::ROOT] {
        let mut seen = std::collections::BTreeSet::new();
        for table in root.all() {
            assert!(seen.insert(table.name), "two tables are called {}", table.name);
            for needs in table.needs {
                let (bulkhead_agent::language::Needs::One(names)
                | bulkhead_agent::language::Needs::Any(names)) = needs;
                assert!(names.iter().all(|name| table.knows(name)), "{}: {names:?}", table.header);
            }
            let mut keys = table.known();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), table.known().len(), "{} has a key twice", table.header);
            assert!(table.later.iter().all(|later| !table.knows(later)), "{}", table.header);
        }
    }
}
