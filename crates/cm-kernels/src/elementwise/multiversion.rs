//! One loop, compiled once per instruction set.
//!
//! The body is plain Rust that the compiler vectorises; the macro wraps it in one function per
//! [`Isa`](crate::dispatch::Isa) with the matching `#[target_feature]` and a front that picks among them. A body that
//! does not call [`madd`] gives the same bits in every variant.

/// `a * b + c`, with one rounding where the machine does that in one instruction.
#[inline(always)]
pub(crate) fn madd<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Turns `fn name(args) { body }` into `fn name(isa: Isa, args)`. In the body, the constant `FUSED` says whether there
/// is a fused multiply-add.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name(isa: $crate::dispatch::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<const FUSED: bool>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            fn neon($($arg: $ty),*) $(-> $ret)? {
                body::<true>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body::<true>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body::<true>($($arg),*)
            }

            match isa {
                $crate::dispatch::Isa::Portable => body::<false>($($arg),*),
                // SAFETY: inside this crate an `Isa` comes from `dispatch::isa` or `Isa::available`, which name
                // only sets that this machine has.
                #[cfg(target_arch = "aarch64")]
                $crate::dispatch::Isa::Neon => unsafe { neon($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Isa::Avx512 => unsafe { avx512($($arg),*) },
            }
        }
    };
}

pub(crate) use multiversion;
