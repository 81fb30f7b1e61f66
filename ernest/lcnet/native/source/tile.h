// A tile of sums in vector registers: pixels times one or two vectors of outputs, four bytes of every pixel at a time.
//
// The sums are members of nested structures, not elements of an array: compilers put members into registers before they unroll
// loops, while GCC 12 carries an array that meets an instruction written out to memory and back at every step, which costs
// two thirds of the speed.
#pragma once

#include "vector.h"

#if defined(__AVX2__)
namespace lcnet {

typedef int32_t Integers __attribute__((vector_size(LANES * 4)));
INLINE Integers load_integers(const void* from) {
  typedef int32_t Unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
  return *(const Unaligned*)from;
}
INLINE Integers splat_four_bytes(const void* from) {
  int32_t four;
  std::memcpy(&four, from, 4);
#if defined(__AVX512F__)
  return (Integers)_mm512_set1_epi32(four);
#else
  return (Integers)_mm256_set1_epi32(four);
#endif
}

// Dot says how sums are kept, and adds a product of four bytes of a pixel with four of every output.
template <class Dot, int PIXELS, int N> struct Sums {
  using Value = typename Dot::Value;
  Sums<Dot, PIXELS - 1, N> before;
  Value one, two;

  INLINE_MEMBER Sums(Value first, Value second) : before(first, second), one(first), two(second) {}
  // `at` is the first pixel's, the next lies `step` bytes further.
  INLINE_MEMBER void add(const char* at, size_t step, Integers first, Integers second) {
    before.add(at, step, first, second);
    const Integers x = splat_four_bytes(at + (PIXELS - 1) * step);
    one = Dot::add(one, x, first);
    if constexpr (N > 1) two = Dot::add(two, x, second);
  }
  // take(pixel, sums of the first vector of outputs), or of the second.
  template <class Take> INLINE_MEMBER void first(Take&& take) const { before.first(take), take(PIXELS - 1, one); }
  template <class Take> INLINE_MEMBER void second(Take&& take) const { before.second(take), take(PIXELS - 1, two); }
};
template <class Dot, int N> struct Sums<Dot, 0, N> {
  using Value = typename Dot::Value;
  INLINE_MEMBER Sums(Value, Value) {}
  INLINE_MEMBER void add(const char*, size_t, Integers, Integers) {}
  template <class Take> INLINE_MEMBER void first(Take&&) const {}
  template <class Take> INLINE_MEMBER void second(Take&&) const {}
};

}  // namespace lcnet
#endif
