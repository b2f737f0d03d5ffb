//! Developer tasks, run as `cargo xtask <task>`: bench, build the BPF object, demo, docs, mutants, stacks, test, tidy.
//!
//! One file or folder per task; this one only dispatches and turns results into exit codes:
//! 0 all well, 1 the task found something wrong, 2 it could not run or was called wrongly.

mod bench;
mod build_ebpf;
mod demo;
mod docs;
mod mutants;
mod repo;
mod stacks;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
#[command(after_help = "Exit codes: 0 all well, 1 the task found something wrong, 2 it could not run.")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(bench::BenchArgs),
    BuildEbpf(build_ebpf::BuildArgs),
    Demo(demo::DemoArgs),
    Docs(docs::DocsArgs),
    Mutants(mutants::MutantsArgs),
    Stacks(stacks::StacksArgs),
    Test(test::TestArgs),
    Tidy(tidy::TidyArgs),
}

/// What a task that could run has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing to complain about.
    Fine,
    /// The task found what it looks for: a failed test, a stale object, a broken rule.
    Found,
}

fn main() -> ExitCode {
    if let Some(code) = build_ebpf::shim::intercept() {
        return code;
    }
    let outcome = match Cli::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::BuildEbpf(args) => build_ebpf::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Docs(args) => docs::run(&args),
        Task::Mutants(args) => mutants::run(&args),
        Task::Stacks(args) => stacks::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Tidy(args) => tidy::run(&args),
    };
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
