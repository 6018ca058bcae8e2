//! Whether loads or registers hold Mesa's CPU driver, llvmpipe, up: by its version and the CPU. Tiles and advice depend on it.

/// The first Mesa that was found to load what lanes want without a way through memory for each of them.
const GATHERING_MESA: u32 = 26;

/// The last Mesa that was found to load from textures in less time than from buffers.
const TEXTURE_MESA: u32 = 22;

/// What the owner of an adapter can do for its speed, where that was measured: a sentence without its full stop.
pub fn advice(info: &wgpu::AdapterInfo) -> Option<String> {
    // OpenGL's kernels have other forms.
    mesa(info).filter(|_| info.backend == wgpu::Backend::Vulkan).and_then(|mesa| newer_mesa(mesa, has_avx512()))
}

/// Whether sums leave the registers before loads matter: where a CPU has 16 vector registers, and AVX-512 would have brought 32. Loads
/// of an older Mesa matter more.
pub(super) fn few_registers(info: &wgpu::AdapterInfo) -> bool {
    mesa(info).is_some_and(|mesa| mesa > TEXTURE_MESA) && !has_avx512()
}

/// Whether a load from a texture takes less time than one from a buffer, which [`newer_mesa`] says why: it brings what all lanes want
/// without a loop over them. In Mesa 25 it takes more.
pub(super) fn loads_from_textures(info: &wgpu::AdapterInfo) -> bool {
    mesa(info).is_some_and(|mesa| mesa <= TEXTURE_MESA) && !has_avx512()
}

/// Before Mesa 26 each loaded element is put into a vector at a place known at run time. AVX-512 has instructions for that; other x86
/// CPUs store the vector, store the element and load the vector again.
fn newer_mesa(mesa: u32, avx512: bool) -> Option<String> {
    (mesa < GATHERING_MESA && !avx512).then(|| {
        format!(
            "on a CPU without AVX-512, such as this one, Mesa {GATHERING_MESA} has trained 1.2 times as fast as Mesa 22.3 and 25.0; this \
             is Mesa {mesa}"
        )
    })
}

/// The Mesa of an adapter that is llvmpipe: the first number of its version.
fn mesa(info: &wgpu::AdapterInfo) -> Option<u32> {
    if info.name.contains("llvmpipe") { version(&info.driver_info) } else { None }
}

fn version(driver_info: &str) -> Option<u32> {
    let (_, version) = driver_info.split_once("Mesa ")?;
    version.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("avx512f");
    // Others have 32 vector registers, or were not measured.
    #[cfg(not(target_arch = "x86_64"))]
    let has = true;
    has
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_drivers_write_them() {
        for (driver_info, wanted) in [
            ("Mesa 22.3.6 (LLVM 15.0.6)", Some(22)),
            ("Mesa 26.1.6-1~bpo13+1 (LLVM 19.1.7)", Some(26)),
            ("4.5 (Compatibility Profile) Mesa 22.3.6", Some(22)),
            ("Mesa", None),
            ("Mesa of another kind", None),
            ("", None),
        ] {
            assert_eq!(version(driver_info), wanted, "{driver_info}");
        }
    }

    #[test]
    fn a_newer_mesa_is_named_where_it_pays() {
        assert_eq!([22, 25, 26, 27].map(|mesa| newer_mesa(mesa, false).is_some()), [true, true, false, false]);
        assert_eq!(newer_mesa(22, true), None);
    }
}
