//! Signed policy on a running gateway: what is not signed, or was altered, never replaces what enforces, whichever way it
//! comes, and the agent is the one who says so.

use bulkhead_agent::{
    policy::SourceFile,
    signing::{Digest, Manifest},
};
use bulkhead_tests::{
    lab::{Agent, Lab, modbus::Plc, topology::MODBUS},
    minisign::Signer,
    skip::Tier,
};
use serde_json::{Value, json};

mod command;
mod gateway;

/// The texts of a set that somebody signed, by name.
fn set(work: &std::path::Path, signer: &Signer, number: u64, policy: &str) -> Vec<SourceFile> {
    let manifest = Manifest::new(number, [("lab.toml", Digest::of(policy.as_bytes()))]).expect("a name");
    let list = command::file(work, "MANIFEST", manifest.to_string());
    signer.sign(&list).expect("it signs");
    let read = |name: &str| std::fs::read_to_string(work.join(name)).expect("it was written");
    let file = |path: &str, text: String| SourceFile { path: path.into(), text };
    vec![
        file("lab.toml", policy.to_owned()),
        file("MANIFEST", read("MANIFEST")),
        file("MANIFEST.minisig", read("MANIFEST.minisig")),
    ]
}

fn install(lab: &Lab, folder: &str, files: &[SourceFile]) {
    for file in files {
        lab.gateway.room.write(&format!("{folder}/{}", file.path), &file.text).expect("there is room");
    }
}

fn revision(agent: &Agent<'_>) -> Value {
    gateway::status(agent)["revision"].clone()
}

/// Runs `apply` with more words, and says how it ended and what it told.
fn apply(agent: &Agent<'_>, more: &[&str]) -> (Option<i32>, String) {
    let output = agent.cli(&[&["apply"], more].concat()).expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn only_a_signed_set_replaces_the_policy_whichever_way_it_comes() {
    let test = "only_a_signed_set_replaces_the_policy_whichever_way_it_comes";
    let Some(lab) = gateway::require_lab(test) else { return };
    let work = command::folder(test);
    let Some(ours) = Signer::new(Tier::Netns, test, &work, "ours") else { return };
    let Some(next) = Signer::new(Tier::Netns, test, &work, "next") else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let policy = gateway::policy(&lab);
    let other = format!("{policy}\n[[device.plc.allow]]\nfrom = [\"hmi\"]\nservice = [\"s7\"]\n");

    let mut agent = Agent::new(&lab, &policy).expect("files");
    lab.gateway.room.write("plant.pub", ours.key()).expect("there is room");
    let key_file = lab.gateway.room.inside("plant.pub");
    agent.write_config(&format!("\n[signing]\nkeys = [{key_file:?}]\n")).expect("written");
    install(&lab, "policy.d", &set(&work, &ours, 1, &policy));
    agent.start().expect("a signed set enforces");
    assert!(gateway::enforces(&lab));
    let first = revision(&agent);

    // Altered on disk.
    let open = policy.replace("\"enforce\"", "\"monitor\"");
    agent.write_policy(&open).expect("written");
    let (code, said) = apply(&agent, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("goes on enforcing\n") && said.contains("`lab.toml` was altered"), "{said}");
    assert_eq!(revision(&agent), first);
    assert!(gateway::enforces(&lab));

    // Pushed without a signature, and with that of another policy: by the command, and past it.
    lab.gateway.room.write("pushed/lab.toml", &open).expect("there is room");
    let pushed = lab.gateway.room.inside("pushed");
    let pushed = pushed.to_string_lossy();
    let (code, said) = apply(&agent, &[&pushed]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the policy set is not signed"), "{said}");
    let mut files = set(&work, &ours, 2, &policy);
    files[0].text = open.clone();
    install(&lab, "pushed", &files);
    let (code, said) = apply(&agent, &[&pushed]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`lab.toml` was altered"), "{said}");
    for files in [
        json!([{ "path": "lab.toml", "text": open }]),
        json!([
            { "path": "MANIFEST", "text": files[1].text },
            { "path": "MANIFEST.minisig", "text": files[2].text },
            { "path": "a/lab.toml", "text": open },
            { "path": "b/lab.toml", "text": policy },
        ]),
    ] {
        let answer = agent.ask(&json!({ "verb": "apply", "files": files })).expect("an answer");
        assert_eq!(answer["error"]["found"], json!(true), "{answer}");
    }
    assert_eq!(revision(&agent), first);
    assert!(gateway::enforces(&lab));

    // Pushed and signed.
    install(&lab, "pushed", &set(&work, &ours, 2, &other));
    let (code, said) = apply(&agent, &[&pushed]);
    assert_eq!(code, Some(0), "{said}");
    assert_ne!(revision(&agent), first);
    assert!(gateway::enforces(&lab));

    // The next key comes into its own without a restart, and the last one leaves.
    install(&lab, "policy.d", &set(&work, &next, 3, &policy));
    let (code, said) = apply(&agent, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`MANIFEST` is signed with key "), "{said}");
    lab.gateway.room.write("plant.pub", next.key()).expect("there is room");
    let (code, said) = apply(&agent, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(revision(&agent), first);

    // Altered while the agent is away: the last good policy enforces.
    agent.stop().expect("it ends");
    agent.write_policy(&open).expect("written");
    agent.start().expect("the last good policy is there");
    assert_eq!(revision(&agent), first);
    assert!(gateway::enforces(&lab));
    let warnings = gateway::status(&agent)["warnings"].to_string();
    assert!(warnings.contains("the policy files cannot be used"), "{warnings}");
    // `check` knows nothing of it elsewhere: the reason is said here.
    assert!(
        warnings.contains("`lab.toml` was altered") && !warnings.contains("see `bulkhead check`"),
        "{warnings}"
    );
    agent.stop().expect("it ends");
}
