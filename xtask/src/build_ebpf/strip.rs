//! Drops DWARF from a BPF object and keeps what the kernel and aya read: programs, maps, BTF and `.BTF.ext`.
//!
//! BTF is made from debug information, so the linker has to emit both; no option of bpf-linker leaves only one, and
//! `llvm-strip` is not installed everywhere.

use anyhow::{Context, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf,
};

/// `linked` without `.debug_*` sections, their relocations and the symbols that pointed into them.
pub(super) fn debug_sections(linked: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(linked).context("not an ELF object")?;
    for section in &mut builder.sections {
        section.delete = is_debug(&section.name);
    }
    builder.delete_orphans();
    // LLVM keeps section and symbol names in one table; the writer wants one for each.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = b".shstrtab".as_slice().into();
        names.sh_type = elf::SHT_STRTAB;
        names.data = SectionData::SectionString;
    }
    let mut out = Vec::new();
    builder.write(&mut out).context("failed to write the stripped object")?;
    Ok(out)
}

fn is_debug(section: &[u8]) -> bool {
    section.starts_with(b".debug_") || section.starts_with(b".rel.debug_")
}

#[cfg(test)]
mod tests {
    use super::is_debug;

    #[test]
    fn dwarf_goes_and_btf_stays() {
        for name in [".debug_info", ".debug_line", ".rel.debug_info"] {
            assert!(is_debug(name.as_bytes()), "{name}");
        }
        for name in
            [".BTF", ".BTF.ext", ".rel.BTF.ext", "xdp.frags", ".relxdp", ".maps", "license", ".symtab"]
        {
            assert!(!is_debug(name.as_bytes()), "{name}");
        }
    }
}
