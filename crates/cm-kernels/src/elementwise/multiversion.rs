//! One loop, compiled once per instruction set.
//!
//! The body is plain Rust that the compiler vectorises; the macro wraps it in one function per
//! [`Isa`](crate::dispatch::Isa) with the matching `#[target_feature]` and a front that picks among them. No body
//! uses fused multiply-add, so every variant gives the same bits.

/// Turns `fn name(args) { body }` into `fn name(isa: Isa, args)`.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name(isa: $crate::dispatch::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            match isa {
                $crate::dispatch::Isa::Portable => body($($arg),*),
                // SAFETY: inside this crate an `Isa` comes from `dispatch::isa` or `Isa::available`, which name
                // only sets that this machine has.
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(not(target_arch = "x86_64"))]
                $crate::dispatch::Isa::Avx2 | $crate::dispatch::Isa::Avx512 => body($($arg),*),
            }
        }
    };
}

pub(crate) use multiversion;
