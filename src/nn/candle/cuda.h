// What kernels.h needs of CUDA.
typedef unsigned int uint;
typedef unsigned short ushort;
#define KERNEL(name) extern "C" __global__ void name
#define BUFFER(type, name, slot) type *name
#define CONSTANTS(type, name, slot) const type name
#define THREAD
#define INDEX (blockIdx.x * blockDim.x + threadIdx.x)
#define GLOBAL
#define FUNCTION __device__ inline
#define EXP(x) expf(x)
#define BITS(x) __float_as_uint(x)
#define FROM_BITS(x) __uint_as_float(x)
#define LANES 32u
#define FROM_LANE(x, step) __shfl_xor_sync(0xffffffffu, x, step)
