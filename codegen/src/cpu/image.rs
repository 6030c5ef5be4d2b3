//! One position-independent image of all kernels: sections placed, relocations applied, nothing left for a loader.

use super::CompiledKernel;
use crate::CodegenError;
use object::{
    Architecture, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionIndex, SectionKind,
    elf,
};
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
    // What is never reached stops the program: `int3`, and on ARM the undefined instruction 0.
    let filler = match file.architecture() {
        Architecture::X86_64 => 0xcc,
        Architecture::Aarch64 => 0,
        other => return Err(format!("code of architecture {other:?}, which no image holds")),
    };
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
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                return Err(format!("a relocation against {:?}", relocation.target()));
            };
            let (at, to) = (base + offset, address_of(symbol)? as i64 + relocation.addend());
            let word = code.get_mut(at as usize..at as usize + 4).and_then(|bytes| bytes.try_into().ok());
            let word: &mut [u8; 4] = word.ok_or("a relocation past its section")?;
            let relocated = match file.architecture() {
                Architecture::Aarch64 => aarch64(r_type, u32::from_le_bytes(*word), at as i64, to),
                _ => x86_64(r_type, at as i64, to),
            };
            let relocated = relocated.map_err(|e| format!("{}: {e}", section.name().unwrap_or("?")))?;
            *word = relocated.to_le_bytes();
        }
    }
    let entry = file
        .symbols()
        .find(|s| s.is_global() && s.is_definition() && s.name() == Ok(&kernel.symbol))
        .ok_or("the object lacks its function")?;
    address_of(entry.index())
}

fn unresolved(r_type: elf::RelocationType) -> String {
    format!("relocation type {r_type:?} cannot be resolved without a loader")
}

/// The four bytes at byte `at` of the image, by a relocation to byte `to` (the ABI's S + A; `at` is its P): System V ABI, AMD64 supplement,
/// section 4.4.1.
fn x86_64(r_type: elf::RelocationType, at: i64, to: i64) -> Result<u32, String> {
    match r_type {
        elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => signed(to - at, 32),
        other => Err(unresolved(other)),
    }
}

/// The instruction or word at byte `at`, by a relocation to byte `to`: ELF for the Arm 64-bit architecture, section 5.7. An image is mapped at
/// a page of 4 KiB or more, so that the low twelve bits of an address are those of the place in the image.
fn aarch64(r_type: elf::RelocationType, word: u32, at: i64, to: i64) -> Result<u32, String> {
    /// Bits of an address within its page.
    const PAGE: u32 = 12;
    // `bits` of a distance in units of four bytes, put at bit `shift`.
    let branch = |bits: u32, shift: u32| {
        if (to - at) % 4 != 0 {
            return Err(format!("a branch over {} bytes, which are no whole instructions", to - at));
        }
        Ok(put(word, signed((to - at) >> 2, bits)?, bits, shift))
    };
    // The two low bits of the 21 of ADR and ADRP lie apart from the others.
    let address = |distance: i64| {
        let value = signed(distance, 21)?;
        Ok(put(put(word, value & 3, 2, 29), value >> 2 & 0x7ffff, 19, 5))
    };
    let low = |log2: u32| {
        let value = to as u32 & 0xfff;
        if value.trailing_zeros().min(PAGE) < log2 {
            return Err(format!("an access of {} bytes at offset {value} of a page", 1 << log2));
        }
        Ok(put(word, value >> log2, PAGE, 10))
    };
    match r_type {
        elf::R_AARCH64_PREL32 => signed(to - at, 32),
        elf::R_AARCH64_CALL26 | elf::R_AARCH64_JUMP26 => branch(26, 0),
        elf::R_AARCH64_CONDBR19 | elf::R_AARCH64_LD_PREL_LO19 => branch(19, 5),
        elf::R_AARCH64_TSTBR14 => branch(14, 5),
        elf::R_AARCH64_ADR_PREL_LO21 => address(to - at),
        elf::R_AARCH64_ADR_PREL_PG_HI21 => address((to >> PAGE) - (at >> PAGE)),
        elf::R_AARCH64_ADD_ABS_LO12_NC | elf::R_AARCH64_LDST8_ABS_LO12_NC => low(0),
        elf::R_AARCH64_LDST16_ABS_LO12_NC => low(1),
        elf::R_AARCH64_LDST32_ABS_LO12_NC => low(2),
        elf::R_AARCH64_LDST64_ABS_LO12_NC => low(3),
        elf::R_AARCH64_LDST128_ABS_LO12_NC => low(4),
        other => Err(unresolved(other)),
    }
}

/// A number as so many bits of two's complement.
fn signed(value: i64, bits: u32) -> Result<u32, String> {
    let limit = 1i64 << (bits - 1);
    if !(-limit..limit).contains(&value) {
        return Err(format!("a relocation over {value} does not fit {bits} bits"));
    }
    Ok((value as u64 & ((1u64 << bits) - 1)) as u32)
}

/// A word with `bits` of it, from bit `shift` on, replaced.
fn put(word: u32, value: u32, bits: u32, shift: u32) -> u32 {
    let mask = (((1u64 << bits) - 1) as u32) << shift;
    word & !mask | value << shift & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arm_instructions_take_the_bits_that_the_architecture_gives_them() {
        // As `llvm-mc --triple=aarch64 --show-encoding` gives them, with what the assembler leaves at zero.
        let cases = [
            // adrp x0, two pages on; at 0x1ffc a page boundary is near.
            (elf::R_AARCH64_ADR_PREL_PG_HI21, 0x9000_0000, 0x1ffc, 0x3010, 0xd000_0000),
            // adrp x0, one page back.
            (elf::R_AARCH64_ADR_PREL_PG_HI21, 0x9000_0000, 0x2000, 0x1fff, 0xf0ff_ffe0),
            // add x0, x0, #0x7b3
            (elf::R_AARCH64_ADD_ABS_LO12_NC, 0x9100_0000, 0, 0x17b3, 0x911e_cc00),
            // ldr q0, [x0, #0x40]
            (elf::R_AARCH64_LDST128_ABS_LO12_NC, 0x3dc0_0000, 0, 0x1040, 0x3dc0_1000),
            // ldr d0, [x0, #8]
            (elf::R_AARCH64_LDST64_ABS_LO12_NC, 0xfd40_0000, 0, 0x8, 0xfd40_0400),
            // bl, back by 8 bytes.
            (elf::R_AARCH64_CALL26, 0x9400_0000, 0x108, 0x100, 0x97ff_fffe),
            // adr x1, #5
            (elf::R_AARCH64_ADR_PREL_LO21, 0x1000_0001, 0x100, 0x105, 0x3000_0021),
            (elf::R_AARCH64_PREL32, 0, 0x100, 0xf0, 0xffff_fff0),
        ];
        for (r_type, word, at, to, expected) in cases {
            let found = aarch64(r_type, word, at, to).unwrap();
            assert_eq!(found, expected, "type {r_type:?}: {found:08x} instead of {expected:08x}");
        }
        for (r_type, at, to, words) in [
            (elf::R_AARCH64_LDST128_ABS_LO12_NC, 0, 0x1044, "16 bytes at offset 68"),
            (elf::R_AARCH64_CALL26, 0, 1 << 28, "does not fit 26 bits"),
            (elf::R_AARCH64_CALL26, 0, 2, "no whole instructions"),
            (elf::R_AARCH64_ABS64, 0, 0, "without a loader"),
        ] {
            assert!(aarch64(r_type, 0, at, to).unwrap_err().contains(words), "type {r_type:?}");
        }
        assert!(x86_64(elf::R_X86_64_PC32, 0, 1 << 31).unwrap_err().contains("32 bits"));
    }
}
