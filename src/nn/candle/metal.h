// What kernels.h needs of the Metal Shading Language.
#include <metal_stdlib>
using namespace metal;
#define KERNEL(name) kernel void name
#define BUFFER(type, name, slot) device type *name [[buffer(slot)]]
#define CONSTANTS(type, name, slot) constant type &name [[buffer(slot)]]
#define THREAD , uint thread_index [[thread_position_in_grid]]
#define INDEX thread_index
#define GLOBAL device
#define FUNCTION inline
#define EXP(x) exp(x)
#define BITS(x) as_type<uint>(x)
#define FROM_BITS(x) as_type<float>(x)
#define LANES 32u
// Apple's GPUs have 32 lanes; a wider SIMD group works, too.
#define FROM_LANE(x, step) simd_shuffle_xor(x, (ushort)(step))
