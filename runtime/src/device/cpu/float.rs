//! The floating-point environment: how sums are rounded, and whether tiny numbers count as zero.
//!
//! It belongs to a thread, and a program may have changed it. Kernels run in the usual one (to nearest, tiny numbers as they are, no
//! traps), or results would depend on which thread computes which chunk.

/// The usual environment, until this is dropped; then the thread's own again.
pub struct Usual {
    #[cfg(target_arch = "x86_64")]
    own: Option<u32>,
    #[cfg(target_arch = "aarch64")]
    own: Option<u64>,
}

#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    /// What MXCSR holds in a new process: all exceptions masked, to nearest.
    pub const USUAL: u32 = 0x1f80;
    /// The bits that say how to compute; the others note what happened.
    pub const MODES: u32 = 0xffc0;

    pub fn get() -> u32 {
        let mut word = 0u32;
        // SAFETY: writes the register to `word`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack, preserves_flags)) };
        word
    }

    /// # Safety
    /// `word` is what [`get`] gave, or [`USUAL`].
    pub unsafe fn set(word: u32) {
        // SAFETY: reads `word` into the register, whose reserved bits it leaves zero.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &word, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    /// What FPCR holds in a new process.
    pub const USUAL: u64 = 0;
    /// All of it says how to compute.
    pub const MODES: u64 = u64::MAX;

    pub fn get() -> u64 {
        let word: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        word
    }

    /// # Safety
    /// `word` is what [`get`] gave, or [`USUAL`].
    pub unsafe fn set(word: u64) {
        // SAFETY: writes a register with a value that it has held.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

impl Usual {
    /// Sets it for this thread. Where it is set already, which is nearly always, that costs a look.
    pub fn set() -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        {
            let own = control::get();
            let differs = own & control::MODES != control::USUAL & control::MODES;
            if differs {
                // SAFETY: the usual one.
                unsafe { control::set(control::USUAL) };
            }
            Usual { own: differs.then_some(own) }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        Usual {}
    }
}

impl Drop for Usual {
    fn drop(&mut self) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if let Some(own) = self.own {
            // SAFETY: what this thread had.
            unsafe { control::set(own) };
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_usual_environment_is_set_and_the_own_one_comes_back() {
        let own = control::get();
        // Up, down, to zero, tiny numbers are zero, a trap on division by zero.
        for modes in [0x5f80, 0x3f80, 0x7f80, 0x9fc0, 0x1d80] {
            // SAFETY: modes that the processor has; nothing is divided before they are set back.
            unsafe { control::set(modes) };
            {
                let _usual = Usual::set();
                assert_eq!(control::get() & control::MODES, control::USUAL);
                let _again = Usual::set();
            }
            let after = control::get();
            // SAFETY: what the thread had.
            unsafe { control::set(own) };
            assert_eq!(after & control::MODES, modes & control::MODES);
        }
    }
}
