//! One position-independent image of all kernels: sections placed, relocations applied, nothing left for a loader.

use crate::{CodegenError, CompiledKernel};
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionIndex, SectionKind, elf};
use std::collections::HashMap;

/// Machine code that runs wherever it is mapped, read and execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The bytes.
    pub code: Vec<u8>,
    /// Byte offset of each kernel's entry, in the order of the kernels.
    pub entries: Vec<u64>,
}

/// Alignment of each section in the image, which is mapped at a page.
const ALIGN: usize = 64;

/// Links compiled kernels.
///
/// # Errors
/// [`CodegenError::Link`] for an object that needs a symbol from outside, an address known only when loaded, or writable data.
pub fn link_image(kernels: &[CompiledKernel]) -> Result<Image, CodegenError> {
    let mut image = Image { code: vec![], entries: vec![] };
    for kernel in kernels {
        let entry =
            place(&mut image.code, kernel).map_err(|e| CodegenError::Link(format!("kernel {}: {e}", kernel.symbol)))?;
        image.entries.push(entry);
    }
    Ok(image)
}

fn place(code: &mut Vec<u8>, kernel: &CompiledKernel) -> Result<u64, String> {
    let file = object::File::parse(&*kernel.object).map_err(|e| format!("not an object file: {e}"))?;
    let mut placed: HashMap<SectionIndex, u64> = HashMap::new();
    for section in file.sections() {
        let wanted = match section.kind() {
            SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => true,
            SectionKind::ReadOnlyDataWithRel => true,
            SectionKind::Data | SectionKind::UninitializedData | SectionKind::Tls if section.size() > 0 => {
                return Err(format!("writable section {}", section.name().unwrap_or("?")));
            }
            _ => false,
        };
        if !wanted || section.size() == 0 {
            continue;
        }
        let align = ALIGN.max(section.align() as usize);
        let filler = if code.is_empty() { 0 } else { 0xcc };
        code.resize(code.len().next_multiple_of(align), filler);
        placed.insert(section.index(), code.len() as u64);
        code.extend_from_slice(section.data().map_err(|e| e.to_string())?);
    }
    let address_of = |index: object::SymbolIndex| -> Result<u64, String> {
        let symbol = file.symbol_by_index(index).map_err(|e| e.to_string())?;
        let name = symbol.name().unwrap_or("?");
        let section = symbol.section_index().ok_or_else(|| format!("it needs `{name}`, which no image provides"))?;
        let base = placed.get(&section).ok_or_else(|| format!("`{name}` lies in a section that is not placed"))?;
        Ok(base + symbol.address())
    };
    for section in file.sections() {
        let Some(base) = placed.get(&section.index()).copied() else { continue };
        for (offset, relocation) in section.relocations() {
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                return Err("not an ELF object".into());
            };
            if !matches!(r_type, elf::R_X86_64_PC32 | elf::R_X86_64_PLT32)
                || file.architecture() != object::Architecture::X86_64
            {
                return Err(format!(
                    "relocation type {r_type} in {} cannot be resolved without a loader",
                    section.name().unwrap_or("?")
                ));
            }
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                return Err(format!("a relocation against {:?}", relocation.target()));
            };
            let at = base + offset;
            let value = address_of(symbol)? as i64 + relocation.addend() - at as i64;
            let value = i32::try_from(value).map_err(|_| "a relocation reaches over 2 GiB".to_string())?;
            let at = at as usize;
            code.get_mut(at..at + 4).ok_or("a relocation past its section")?.copy_from_slice(&value.to_le_bytes());
        }
    }
    let entry = file
        .symbols()
        .find(|s| s.is_global() && s.is_definition() && s.name() == Ok(&kernel.symbol))
        .ok_or("the object lacks its function")?;
    address_of(entry.index())
}
