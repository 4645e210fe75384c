// Runs a kernel of src/nn/candle/kernels.h on the CPU, thread by thread: what CUDA and Metal compile, as C++.
//
// Reads from standard input the kernel's number, its parameters and five buffers, each after its length in
// bytes; writes the first buffer, as the kernel leaves it, to standard output.
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

typedef unsigned int uint;
typedef unsigned short ushort;
#define KERNEL(name) static void name
#define BUFFER(type, name, slot) type *name
#define CONSTANTS(type, name, slot) const type &name
#define THREAD , uint thread_index
#define INDEX thread_index
#define GLOBAL
#define FUNCTION static inline
#define EXP(x) std::exp(x)
#define BITS(x) bits_of(x)
#define FROM_BITS(x) from_bits(x)
// One thread does what 32 share on a GPU.
#define LANES 1u
#define FROM_LANE(x, step) (x)

[[maybe_unused]] static uint bits_of(float x) {
    uint bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

[[maybe_unused]] static float from_bits(uint bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

#include "kernels.h"

static void read_exactly(void *to, size_t size) {
    if (std::fread(to, 1, size, stdin) != size) {
        std::exit(1);
    }
}

static uint read_number() {
    uint number;
    read_exactly(&number, sizeof number);
    return number;
}

int main() {
    std::array kernels = {epilogue, squeeze, depthwise, unfold, weigh, pool};
    auto kernel = kernels.at(read_number());
    Params params;
    read_exactly(&params, sizeof params);
    void *buffers[5];
    uint sizes[5];
    for (int i = 0; i < 5; i++) {
        sizes[i] = read_number();
        // Of exactly this size, so that a sanitizer notices what lies outside.
        buffers[i] = std::malloc(sizes[i]);
        read_exactly(buffers[i], sizes[i]);
    }
    // The last block of a launch has threads without a value.
    for (uint thread = 0; thread < params.count + 7; thread++) {
        kernel((value *)buffers[0], (const value *)buffers[1], (const value *)buffers[2],
               (const float *)buffers[3], (const float *)buffers[4], params, thread);
    }
    std::fwrite(buffers[0], 1, sizes[0], stdout);
    for (void *buffer : buffers) {
        std::free(buffer);
    }
}
