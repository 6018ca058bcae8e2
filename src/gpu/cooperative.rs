//! What an adapter has of cooperative matrices: small square ones that the lanes of a subgroup hold and multiply together.

use wgpu::CooperativeScalarType::{self as Scalar, F16, F32};

/// The matrices of an adapter, as far as kernels have forms for them: sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// Rows and columns of those whose factors are f16, where there are any.
    pub half: Option<u32>,
    /// Rows and columns of those whose factors are f32, where there are any.
    pub single: Option<u32>,
    /// The number of a subgroup's lanes; two where the driver may choose.
    pub lanes: [u32; 2],
    /// Whether they can be loaded from arrays of single elements alone.
    pub scalars: bool,
}

/// Bytes of workgroup memory that the largest form declares, rounded up.
const MEMORY: u32 = 20 << 10;

impl Cooperative {
    /// What kernels have forms for: as NVIDIA's GPUs have them, AMD's from RDNA3 on, Apple's, and lavapipe.
    pub const ALL: [Self; 4] = [
        Self { half: Some(16), single: None, lanes: [32; 2], scalars: false },
        Self { half: Some(16), single: None, lanes: [32, 64], scalars: false },
        Self { half: Some(8), single: Some(8), lanes: [32; 2], scalars: true },
        Self { half: Some(8), single: None, lanes: [8; 2], scalars: false },
    ];

    /// What an adapter has that kernels have forms for.
    pub fn of(adapter: &wgpu::Adapter) -> Option<Self> {
        let limits = adapter.limits();
        if !adapter.features().contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
            || limits.max_compute_workgroup_storage_size < MEMORY
        {
            return None;
        }
        let listed = adapter.cooperative_matrix_properties();
        let size = |factors: Scalar| {
            let mut sizes = [16, 8].into_iter();
            sizes.find(|size| {
                listed.iter().any(|one| {
                    [one.m_size, one.n_size, one.k_size] == [*size; 3] && (one.ab_type, one.cr_type) == (factors, F32)
                })
            })
        };
        let info = adapter.get_info();
        let metal = info.backend == wgpu::Backend::Metal;
        let has = Self {
            half: size(F16).filter(|_| adapter.features().contains(wgpu::Features::SHADER_F16)),
            single: size(F32),
            // wgpu says 4 to 64 for Metal; whatever multiplies matrices there has 32.
            lanes: if metal { [32; 2] } else { [info.subgroup_min_size, info.subgroup_max_size] },
            scalars: metal,
        };
        // One that has more than a known one may be used as that.
        let known = |one: &Self| {
            let within = |wanted: Option<u32>, listed: Option<u32>| wanted.is_none() || wanted == listed;
            (one.lanes, one.scalars) == (has.lanes, has.scalars)
                && within(one.half, has.half)
                && within(one.single, has.single)
        };
        Self::ALL.into_iter().find(known)
    }

    /// Everything that an adapter lists, in words such as `16x16x16 f16 to f32`.
    pub(super) fn listed(adapter: &wgpu::Adapter) -> Vec<String> {
        let name = |scalar: Scalar| format!("{scalar:?}").to_lowercase();
        let all = adapter.cooperative_matrix_properties().into_iter();
        all.map(|one| {
            let [m, n, k] = [one.m_size, one.n_size, one.k_size];
            format!("{m}x{n}x{k} {} to {}", name(one.ab_type), name(one.cr_type))
        })
        .collect()
    }
}
