// Vectors of the machine, written with the compiler's vector extensions so that one source serves every instruction set.
//
// Channels are kept in blocks of sixteen. A block is one AVX-512 register, two AVX2 registers, four NEON or SSE registers:
// `Vector` is one register of LANES floats, and PARTS of them make a block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#define ROLLED _Pragma("GCC unroll 1")
#endif

namespace lcnet {

constexpr int BLOCK = 16;
#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr int PARTS = BLOCK / LANES;

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float Unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

constexpr int up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }
constexpr int blocks(int channels) { return up(channels, BLOCK) / BLOCK; }

// The first eight channels of a block: of layers that have no more the rest is not computed.
#if defined(__AVX512F__)
typedef float Eight __attribute__((vector_size(BLOCK / 2 * 4)));
typedef float UnalignedEight __attribute__((vector_size(BLOCK / 2 * 4), aligned(4), may_alias));
#else
typedef Vector Eight;
typedef Unaligned UnalignedEight;
#endif
constexpr bool fits_eight(int channels) { return channels <= BLOCK / 2; }

INLINE Vector load(const float* from) { return *(const Unaligned*)from; }
INLINE void store(float* to, Vector value) { *(Unaligned*)to = value; }
template <class V> INLINE V load_as(const float* from) {
  if constexpr (std::is_same_v<V, Vector>) return load(from);
  else return *(const UnalignedEight*)from;
}
#if defined(__AVX512F__)
INLINE void store(float* to, Eight value) { *(UnalignedEight*)to = value; }
#endif

// Every lane written out: zero + x would keep an addition, since it is not x for x = -0.
INLINE Vector splat(float x) {
#if defined(__AVX512F__)
  return Vector{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#elif defined(__AVX__)
  return Vector{x, x, x, x, x, x, x, x};
#else
  return Vector{x, x, x, x};
#endif
}
template <class V> INLINE V splat_as(float x) {
  if constexpr (std::is_same_v<V, Vector>) return splat(x);
  else return V{x, x, x, x, x, x, x, x};
}

// The instructions themselves: as a comparison and a choice, compilers make two instructions of each.
#if defined(__AVX512F__)
INLINE Vector larger(Vector a, Vector b) { return (Vector)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE Vector smaller(Vector a, Vector b) { return (Vector)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX__)
INLINE Vector larger(Vector a, Vector b) { return (Vector)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE Vector smaller(Vector a, Vector b) { return (Vector)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(__x86_64__)
INLINE Vector larger(Vector a, Vector b) { return (Vector)_mm_max_ps((__m128)a, (__m128)b); }
INLINE Vector smaller(Vector a, Vector b) { return (Vector)_mm_min_ps((__m128)a, (__m128)b); }
#else
INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }
INLINE Vector smaller(Vector a, Vector b) { return a < b ? a : b; }
#endif

// ------------------------------------------------------------------------------------------------ activations

enum class Activation : int32_t { none = 0, relu = 1, hard_swish = 2 };

INLINE Vector hard_sigmoid(Vector x) { return smaller(larger(x * splat(1.f / 6) + splat(.5f), Vector{}), splat(1.f)); }

template <Activation A> INLINE Vector activated(Vector x) {
  if constexpr (A == Activation::relu) return larger(x, Vector{});
  if constexpr (A == Activation::hard_swish) {
#if defined(__AVX512DQ__)
    // One instruction keeps x between -3 and 3: the smaller size of the two, with the sign of x. The gate is exactly 1 from 3 on
    // and 1.5e-8 short of 0 up to -3.
    const Vector inside = (Vector)_mm512_range_ps((__m512)x, _mm512_set1_ps(3), 2);
    return x * (inside * splat(1.f / 6) + splat(.5f));
#else
    return x * hard_sigmoid(x);
#endif
  }
  return x;
}

#if defined(__AVX512F__)
template <Activation A> INLINE Eight activated(Eight x) {
  return (Eight)_mm512_castps512_ps256((__m512)activated<A>((Vector)_mm512_castps256_ps512((__m256)x)));
}
#endif

// Calls `finish` with the activation as a type: one well-predicted branch for a whole tile instead of one per value.
// Convolutions have always one of the two; `choose_any` is for fully connected layers.
template <Activation A> using Choice = std::integral_constant<Activation, A>;
template <class Finish> INLINE void choose(Activation activation, Finish&& finish) {
  if (activation == Activation::hard_swish) return finish(Choice<Activation::hard_swish>{});
  return finish(Choice<Activation::relu>{});
}
template <class Finish> INLINE void choose_any(Activation activation, Finish&& finish) {
  if (activation == Activation::none) return finish(Choice<Activation::none>{});
  return choose(activation, finish);
}

// ------------------------------------------------------------------------------------------------ numbers of 16 bits

// An IEEE half. Maps between the blocks of a bf16 network are kept as halves: with eleven bits they are eight times finer
// than bf16 at the same size, and one instruction reads them. Values beyond 65504 are kept at 65504.
struct Half { uint16_t bits; };
// The upper half of a float: what bf16 products multiply.
struct Brain { uint16_t bits; };

INLINE Brain brain(float x) {  // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return Brain{(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

#if defined(__AVX512F__)
INLINE Vector load(const Half* from) { return (Vector)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from)); }
INLINE void store(Half* to, Vector value) {
  value = smaller(value, splat(65504.f));
  _mm256_storeu_si256((__m256i*)to, _mm512_cvtps_ph((__m512)value, _MM_FROUND_TO_NEAREST_INT));
}
template <class V> INLINE V load_as(const Half* from) {
  if constexpr (std::is_same_v<V, Vector>) return load(from);
  else return (V)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
}
INLINE void store(Half* to, Eight value) {
  const __m256 most = _mm256_set1_ps(65504.f);
  _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph(_mm256_min_ps((__m256)value, most), _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__F16C__)
INLINE Vector load(const Half* from) { return (Vector)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from)); }
template <class V> INLINE V load_as(const Half* from) { return load(from); }
INLINE void store(Half* to, Vector value) {
  value = smaller(value, splat(65504.f));
  _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
}
#endif
#if defined(__AVX512BF16__)
INLINE void store(Brain* to, Vector value) { _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh((__m512)value)); }
#endif

INLINE void prefetch(const void* address) { __builtin_prefetch(address, 0, 2); }

}  // namespace lcnet
