// Arithmetic in IEEE halves, 32 at a time: two neighbouring pixels of a block of sixteen channels are one register.
//
// Halves have eleven bits of mantissa where bf16 has eight, so they are the better number between two products of bf16,
// and processors with AMX add them twice as fast as floats. Values beyond 65504 are kept at 65504.
#pragma once

#include "memory.h"

#if defined(__AVX512FP16__)
namespace lcnet {

typedef __m512h Halves;

INLINE Halves splat_half(float x) { return _mm512_set1_ph((_Float16)x); }
// Sixteen channels of two pixels.
INLINE Halves load_pair(const Half* from) { return (Halves)_mm512_loadu_si512(from); }
INLINE void store_low(void* to, __m512i pair) { _mm256_storeu_si256((__m256i*)to, _mm512_castsi512_si256(pair)); }
INLINE void store_high(void* to, __m512i pair) { _mm256_storeu_si256((__m256i*)to, _mm512_extracti64x4_epi64(pair, 1)); }
INLINE Halves join(__m256h low, __m256h high) {
  return (Halves)_mm512_inserti64x4(_mm512_castsi256_si512((__m256i)low), (__m256i)high, 1);
}
INLINE Halves load_pair(const float* from) {
  return join(_mm512_cvtxps_ph((__m512)load(from)), _mm512_cvtxps_ph((__m512)load(from + BLOCK)));
}

template <Activation A> INLINE Halves activated(Halves x) {
  const Halves zero = _mm512_setzero_ph();
  if constexpr (A == Activation::relu) x = _mm512_max_ph(x, zero);
  if constexpr (A == Activation::hard_swish) {
    Halves gate = _mm512_fmadd_ph(x, splat_half(1.f / 6), splat_half(.5f));
    x = _mm512_mul_ph(x, _mm512_min_ph(_mm512_max_ph(gate, zero), splat_half(1.f)));
  }
  return _mm512_min_ph(splat_half(65504.f), x);
}

// A bf16 number times 2^-112. A half becomes one by a shift: the exponent's five bits are moved into the eight of bf16,
// whose bias is larger by 112. The weights that it meets in a product carry the factor 2^112. (Converting by instructions
// takes five times as long. Halves below 2^-14 count as zero.)
struct Scaled { uint16_t bits; };
constexpr float UNSCALE = 0x1p112f;

INLINE __m512i scaled(Halves x) {
  // One number in eight is a tie. Rounded up everywhere, ties would shift all channels the same way, which adds up; so they
  // are rounded up in even channels and down in odd ones.
  __m512i rounded = _mm512_srai_epi16(_mm512_add_epi16((__m512i)x, _mm512_set1_epi32(0x00030004)), 3);
  return _mm512_and_si512(rounded, _mm512_set1_epi16((short)0x8fff));
}

INLINE __m512i encoded(Halves x, const Half*) { return (__m512i)x; }
INLINE __m512i encoded(Halves x, const Scaled*) { return scaled(x); }

}  // namespace lcnet
#endif
