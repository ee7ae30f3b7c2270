//! The house is in order: what compilers and lints do not see, and what rots first when nobody looks. Each rule is a
//! function from all files of the project to what it found; each message says where, and why it matters.
//!
//! Looked at is what git tracks or would track, so a rule holds before the commit too.

mod house;
mod rust_code;

mod documents;
mod markdown;

mod manifests;
mod modules;

mod habits;
mod names;
mod sizes;

use house::{Finding, House};

/// Fails with everything that `rule` finds in this checkout.
fn hold(rule: impl Fn(&House) -> Vec<Finding>) {
    let mut findings = rule(House::here());
    findings.sort();
    let list: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "\n{}\n{} findings\n", list.join("\n"), list.len());
}

#[test]
fn paths_named_in_documents_exist() {
    hold(documents::paths_exist);
}

#[test]
fn links_in_documents_lead_somewhere() {
    hold(documents::links_lead_somewhere);
}

#[test]
fn documents_have_one_title() {
    hold(documents::have_one_title);
}

#[test]
fn first_pages_are_short() {
    hold(documents::first_pages_are_short);
}

#[test]
fn nothing_names_a_machine() {
    hold(names::no_machine);
}

#[test]
fn nothing_names_a_registry() {
    hold(names::no_registry);
}

#[test]
fn file_names_say_what_is_inside() {
    hold(names::no_empty_words);
}

#[test]
fn every_source_file_is_compiled() {
    hold(modules::no_orphan_source);
}

#[test]
fn every_migration_is_applied() {
    hold(modules::no_orphan_migration);
}

#[test]
fn files_are_short() {
    hold(sizes::files_are_short);
}

#[test]
fn functions_fit_on_a_screen() {
    hold(sizes::functions_are_short);
}

#[test]
fn every_package_is_a_member() {
    hold(manifests::packages_are_members);
}

#[test]
fn every_package_inherits_the_lints() {
    hold(manifests::lints_are_inherited);
}

#[test]
fn versions_are_written_once() {
    hold(manifests::versions_are_inherited);
}

#[test]
fn dependencies_follow_the_flow() {
    hold(manifests::dependencies_follow_the_flow);
}

#[test]
fn unsafe_code_lives_in_one_file() {
    hold(habits::unsafe_in_one_file);
}

#[test]
fn nothing_is_left_unfinished() {
    hold(habits::nothing_unfinished);
}

#[test]
fn silenced_lints_say_why() {
    hold(habits::silenced_lints_say_why);
}
