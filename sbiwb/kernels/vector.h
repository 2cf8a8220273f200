/* Vectors of floats as wide as this machine's, for gcc and clang: what every kernel begins with. */
#pragma once

#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16 /* floats in a vector of this machine */
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define INLINE static inline __attribute__((always_inline))

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (I){__VA_ARGS__})
#endif

typedef float V __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t I __attribute__((vector_size(4 * LANES), aligned(4)));

static inline V splat(float a) { return a - (V){0}; }
static inline V load(const float *p) { return *(const V *)p; }
static inline void store(float *p, V v) { *(V *)p = v; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
