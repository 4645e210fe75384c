// What a network computes between its matrix products: one text for CUDA, Metal and, in tests, C++.
//
// Before it comes the language's prelude (cuda.h, metal.h), which defines
//   KERNEL(name)                    the head of a kernel
//   BUFFER(type, name, slot)        a pointer to memory of the device
//   CONSTANTS(type, name, slot)     a structure handed over by value
//   THREAD                          a last parameter, if INDEX needs one
//   INDEX                           the number of the thread
//   GLOBAL, FUNCTION                qualifiers of pointers to that memory and of functions
//   EXP(x), BITS(x), FROM_BITS(x)   e^x; a float's bits, and back
//   LANES, FROM_LANE(x, step)       threads that run together; x of the lane whose number differs by `step`
// and BF16 where the values of maps are bfloat16.
//
// A map is [channels, batch, height, width]. All numbers of values are below 2^31, as the host checks.

struct Params {
    uint channels;      // of the map that is computed
    uint inner;         // values from one channel to the next
    uint batch;
    uint height;        // of the map that is read
    uint width;
    uint out_height;    // of the map that is computed
    uint out_width;
    uint kernel_height;
    uint kernel_width;
    uint stride;
    uint dilation;
    uint top;           // padding above the map
    uint left;          // padding left of it
    uint multiplier;    // of a depthwise convolution: channels computed for each channel read
    uint is_max;        // of a pool: 1 for the maximum, 0 for the mean
    uint counts_padding; // of a mean: 1 if it is over all pixels of a window, 0 over those on the map
    uint count;         // values to compute
    uint activation;    // 0 for none, otherwise an index into Activation::ALL plus 1
    uint operands;      // bits of the optional operands that there are
};

#define HAS_OTHER 1u
#define HAS_BIAS 2u
#define HAS_FACTORS 4u

// Every kernel has the same operands. `y` is written; a kernel that works in place reads it, too. `x` and
// `other` are maps, `bias` has a value for each channel, and `factors` a gate [batch, channels] or filters.
#define OPERANDS                                                                                         \
    (BUFFER(value, y, 0), BUFFER(const value, x, 1), BUFFER(const value, other, 2),                      \
     BUFFER(const float, bias, 3), BUFFER(const float, factors, 4), CONSTANTS(Params, p, 5) THREAD)

#ifdef BF16
typedef ushort value;

FUNCTION float load(value v) { return FROM_BITS((uint)v << 16); }

// To the nearest, to even in the middle; NaN stays NaN.
FUNCTION value store(float x) {
    uint bits = BITS(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (value)(bits >> 16 | 0x40u);
    }
    return (value)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
#else
typedef float value;

FUNCTION float load(value v) { return v; }
FUNCTION value store(float x) { return x; }
#endif

// NaN stays NaN.
FUNCTION float clamped(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}

FUNCTION float one_plus_exp_of_minus(float x) { return 1.0f + EXP(-x); }

// As in kernels/activation.rs, where the polynomial is explained.
FUNCTION float gelu(float x) {
    float size = clamped(x < 0.0f ? -x : x, 0.0f, 15.0f);
    float u = 1.0f / (1.0f + 0.3f * size);
    float sum = 0.035178427f;
    sum = sum * u - 0.15514112f;
    sum = sum * u + 0.2028143f;
    sum = sum * u - 0.050442368f;
    sum = sum * u + 0.12685777f;
    sum = sum * u + 0.100425646f;
    sum = sum * u + 0.12067273f;
    sum = sum * u + 0.11963454f;
    float below = size * EXP(-0.5f * size * size) * u * sum;
    return (x < 0.0f ? 0.0f : x) - below;
}

FUNCTION float activate(float x, uint activation) {
    switch (activation) {
    case 1: return x < 0.0f ? 0.0f : x;
    case 2: return clamped(x, 0.0f, 6.0f);
    case 3: return x / one_plus_exp_of_minus(x);
    case 4: return x * (clamped(x + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f));
    case 5: return 1.0f / one_plus_exp_of_minus(x);
    case 6: return clamped(x + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f);
    case 7: return gelu(x);
    case 8: return x / one_plus_exp_of_minus(x * (1.595769f + 0.071354814f * x * x));
    default: return x;
    }
}

// activation((y + bias) * factors + other), in place. After a product of matrices, and at a block's end.
KERNEL(epilogue) OPERANDS {
    uint i = INDEX;
    if (i >= p.count) {
        return;
    }
    uint channel = i / p.inner % p.channels;
    float sum = load(y[i]);
    if (p.operands & HAS_BIAS) {
        sum += bias[channel];
    }
    if (p.operands & HAS_FACTORS) {
        uint image = i % p.inner / (p.out_height * p.out_width);
        sum *= factors[image * p.channels + channel];
    }
    if (p.operands & HAS_OTHER) {
        sum += load(other[i]);
    }
    y[i] = store(activate(sum, p.activation));
}

// The squeeze: the mean over the pixels of x, or of x + other, plus the bias. `y` is [batch, channels] in
// float. The threads that run together share the pixels of a plane.
KERNEL(squeeze) OPERANDS {
    uint lane = INDEX % LANES;
    uint plane = INDEX / LANES;
    if (plane >= p.count) {
        return;
    }
    uint pixels = p.height * p.width;
    uint start = plane * pixels;
    float sum = 0.0f;
    for (uint at = lane; at < pixels; at += LANES) {
        sum += load(x[start + at]);
        if (p.operands & HAS_OTHER) {
            sum += load(other[start + at]);
        }
    }
    for (uint step = LANES / 2; step > 0; step /= 2) {
        sum += FROM_LANE(sum, step);
    }
    if (lane == 0) {
        uint channel = plane / p.batch;
        float mean = sum / (float)pixels;
        if (p.operands & HAS_BIAS) {
            mean += bias[channel];
        }
        ((GLOBAL float *)y)[plane % p.batch * p.channels + channel] = mean;
    }
}

// A convolution whose groups have one input channel, with bias and activation. The filters are
// [channels, kernel_height, kernel_width].
KERNEL(depthwise) OPERANDS {
    uint i = INDEX;
    if (i >= p.count) {
        return;
    }
    uint column = i % p.out_width * p.stride;
    uint row = i / p.out_width % p.out_height * p.stride;
    uint plane = i / (p.out_width * p.out_height);
    uint channel = plane / p.batch;
    uint image = plane % p.batch;
    uint map = (channel / p.multiplier * p.batch + image) * p.height * p.width;
    uint filter = channel * p.kernel_height * p.kernel_width;
    float sum = p.operands & HAS_BIAS ? bias[channel] : 0.0f;
    for (uint ky = 0; ky < p.kernel_height; ky++) {
        // Above the map and left of it, the difference wraps around to a large number.
        uint iy = row + ky * p.dilation - p.top;
        if (iy >= p.height) {
            continue;
        }
        for (uint kx = 0; kx < p.kernel_width; kx++) {
            uint ix = column + kx * p.dilation - p.left;
            if (ix < p.width) {
                float factor = factors[filter + ky * p.kernel_width + kx];
                sum += load(x[map + iy * p.width + ix]) * factor;
            }
        }
    }
    y[i] = store(activate(sum, p.activation));
}

// The values under each tap of a convolution: [channels * kernel_height * kernel_width, batch * out_height *
// out_width], of which the channels are those of x. Outside of the map there are zeros.
KERNEL(unfold) OPERANDS {
    uint i = INDEX;
    if (i >= p.count) {
        return;
    }
    uint ox = i % p.out_width;
    uint oy = i / p.out_width % p.out_height;
    uint image = i / (p.out_width * p.out_height) % p.batch;
    uint tap = i / p.inner;
    uint kx = tap % p.kernel_width;
    uint ky = tap / p.kernel_width % p.kernel_height;
    uint channel = tap / (p.kernel_height * p.kernel_width);
    uint iy = oy * p.stride + ky * p.dilation - p.top;
    uint ix = ox * p.stride + kx * p.dilation - p.left;
    bool inside = iy < p.height && ix < p.width;
    y[i] = inside ? x[((channel * p.batch + image) * p.height + iy) * p.width + ix] : store(0.0f);
}

// y * a + other * b in place, with `factors` as [batch, 2, channels]: the a of an image, then its b.
KERNEL(weigh) OPERANDS {
    uint i = INDEX;
    if (i >= p.count) {
        return;
    }
    uint channel = i / p.inner;
    uint image = i % p.inner / (p.out_height * p.out_width);
    uint at = 2 * image * p.channels + channel;
    y[i] = store(load(y[i]) * factors[at] + load(other[i]) * factors[at + p.channels]);
}

// The maximum or the mean of each window.
KERNEL(pool) OPERANDS {
    uint i = INDEX;
    if (i >= p.count) {
        return;
    }
    uint column = i % p.out_width * p.stride;
    uint row = i / p.out_width % p.out_height * p.stride;
    uint map = i / (p.out_width * p.out_height) * p.height * p.width;
    float most = 0.0f;
    float sum = 0.0f;
    uint pixels = 0;
    for (uint ky = 0; ky < p.kernel_height; ky++) {
        for (uint kx = 0; kx < p.kernel_width; kx++) {
            uint iy = row + ky - p.top;
            uint ix = column + kx - p.left;
            if (iy < p.height && ix < p.width) {
                float v = load(x[map + iy * p.width + ix]);
                sum += v;
                // Of NaN and a number the maximum is NaN.
                most = pixels == 0 || v > most || v != v ? v : most;
                pixels++;
            }
        }
    }
    if (p.counts_padding) {
        pixels = p.kernel_height * p.kernel_width;
    }
    y[i] = store(p.is_max ? most : sum / (float)pixels);
}
