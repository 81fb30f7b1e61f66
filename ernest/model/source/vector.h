// Vectors of the machine, written with the compiler's vector extensions so that one source serves every instruction set, and
// numbers of 16 bits (bfloat16) in memory, which become floats where they are loaded.
#pragma once

#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

namespace ernest {

#if defined(__AVX512F__)
constexpr int LANES = 16, WIDEST = 4;  // WIDEST: registers of a row of a product's tile
#elif defined(__AVX__)
constexpr int LANES = 8, WIDEST = 2;
#elif defined(__ARM_NEON)
constexpr int LANES = 4, WIDEST = 4;
#else
constexpr int LANES = 4, WIDEST = 2;
#endif
constexpr int BLOCK = 16;  // rows of buffers are padded to a multiple of it

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float Unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(LANES * 4)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));
typedef uint16_t UnalignedHalves __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));

struct bf16 {
  uint16_t bits;
};

constexpr int64_t up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

INLINE Vector splat(float x) { return x - Vector{}; }
INLINE Vector load(const float* from) { return *(const Unaligned*)from; }
INLINE void store(float* to, Vector value) { *(Unaligned*)to = value; }
INLINE Vector load(const bf16* from) {
  const Halves halves = *(const UnalignedHalves*)from;
  return (Vector)(__builtin_convertvector(halves, Words) << 16);
}
// Rounds to nearest, ties to even, as torch does.
INLINE Words rounded(Vector value) {
  const Words bits = (Words)value;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
INLINE void store(bf16* to, Vector value) { *(UnalignedHalves*)to = __builtin_convertvector(rounded(value), Halves); }

INLINE float load_one(const float* from) { return *from; }
INLINE float load_one(const bf16* from) {
  const uint32_t bits = uint32_t(from->bits) << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
INLINE void store_one(float* to, float value) { *to = value; }
INLINE void store_one(bf16* to, float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  to->bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

INLINE float sum(Vector value) {
  float total = 0;
  UNROLL for (int lane = 0; lane < LANES; ++lane) total += value[lane];
  return total;
}
INLINE float greatest(Vector value) {
  float found = value[0];
  UNROLL for (int lane = 1; lane < LANES; ++lane) found = value[lane] > found ? value[lane] : found;
  return found;
}
INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// e^x for x <= 88, to 2 units in the last place: 2^n times a polynomial of the rest, |rest| <= ln 2 / 2 (Cephes' coefficients).
INLINE Vector exponential(Vector x) {
  x = larger(x, splat(-87.f));
  const Vector shift = splat(12582912.f);  // 1.5 * 2^23: what is added to it is rounded to an integer
  const Vector moved = x * splat(1.44269504f) + shift, n = moved - shift;
  const Vector rest = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
  Vector y = splat(1.9875691500e-4f);
  y = y * rest + splat(1.3981999507e-3f);
  y = y * rest + splat(8.3334519073e-3f);
  y = y * rest + splat(4.1665795894e-2f);
  y = y * rest + splat(1.6666665459e-1f);
  y = y * rest + splat(5.0000001201e-1f);
  y = y * (rest * rest) + rest + splat(1.f);
  const Integers power = (((Integers)moved - (Integers)shift) + 127) << 23;
  return y * (Vector)power;
}

INLINE Vector sigmoid(Vector x) { return splat(1.f) / (splat(1.f) + exponential(larger(splat(-87.f), -x > splat(87.f) ? splat(87.f) : -x))); }

}  // namespace ernest
