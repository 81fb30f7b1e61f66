// Resizes and normalises pictures with the numbers of `resize.py` and `preprocess.py`, operation by operation in the same order.
#pragma once

#include <cstdint>
#include <vector>

// Products and sums are rounded one by one, as numpy rounds them, also where the compiler could join them.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

// Compiled twice, for processors with vectors of 256 bits and for others; the numbers are the same.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(__AVX2__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

namespace resize {

// Along one direction: of each of `count` pixels the places that it is made of, and their weights, [taps][count].
struct Taps {
  const int32_t* places;
  const float* weights;
  int count;
};

INLINE void put(float sum, float* to) { *to = sum; }
// What is cut off is rounded: nothing is negative but what becomes 0.
INLINE void put(float sum, uint8_t* to) {
  const float value = sum + 0.5f;
  *to = (uint8_t)(int)(value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value);
}

// sum_t weight_t from[place_t] for rows, of kTaps each: `from` holds rows of `wide` numbers at a distance of `stride`.
template <int kTaps, class Number, class To>
INLINE void combine_rows(const Number* from, int64_t stride, const Taps& taps, int y, int64_t wide, To* to) {
  const Number* rows[kTaps];
  float weights[kTaps];
  for (int t = 0; t < kTaps; t++) rows[t] = from + stride * taps.places[t * taps.count + y], weights[t] = taps.weights[t * taps.count + y];
  for (int64_t n = 0; n < wide; n++) {
    float sum = weights[0] * (float)rows[0][n];
    for (int t = 1; t < kTaps; t++) sum += weights[t] * (float)rows[t][n];
    put(sum, to + n);
  }
}

// The same along a row of pixels of kChannels numbers.
template <int kChannels, int kTaps, class Number, class To>
INLINE void combine_columns(const Number* row, const Taps& taps, To* to) {
  for (int x = 0; x < taps.count; x++, to += kChannels) {
    for (int c = 0; c < kChannels; c++) {
      float sum = taps.weights[x] * (float)row[taps.places[x] * kChannels + c];
      for (int t = 1; t < kTaps; t++) sum += taps.weights[t * taps.count + x] * (float)row[taps.places[t * taps.count + x] * kChannels + c];
      put(sum, to + c);
    }
  }
}

// Levels whose rows lie `stride` bytes apart, `tall` x `wide` pixels of them, to rows.count x columns.count.
template <int kChannels, int kTaps>
INLINE void levels_of(const uint8_t* from, int64_t stride, int tall, int wide, const Taps& rows, const Taps& columns, bool by_rows, uint8_t* to) {
  const int64_t across = (int64_t)columns.count * kChannels, line = (int64_t)wide * kChannels;
  std::vector<float> between(by_rows ? line : tall * across);
  if (by_rows) {
    for (int y = 0; y < rows.count; y++, to += across) {
      combine_rows<kTaps>(from, stride, rows, y, line, between.data());
      combine_columns<kChannels, kTaps>(between.data(), columns, to);
    }
    return;
  }
  for (int y = 0; y < tall; y++) combine_columns<kChannels, kTaps>(from + stride * y, columns, between.data() + y * across);
  for (int y = 0; y < rows.count; y++, to += across) combine_rows<kTaps>(between.data(), across, rows, y, across, to);
}

// Of two or four taps, and one or three channels.
CLONES inline void levels(const uint8_t* from, int64_t stride, int tall, int wide, int channels, int taps, const Taps& rows, const Taps& columns, bool by_rows, uint8_t* to) {
  if (channels == 3 && taps == 2) levels_of<3, 2>(from, stride, tall, wide, rows, columns, by_rows, to);
  else if (channels == 3) levels_of<3, 4>(from, stride, tall, wide, rows, columns, by_rows, to);
  else if (taps == 2) levels_of<1, 2>(from, stride, tall, wide, rows, columns, by_rows, to);
  else levels_of<1, 4>(from, stride, tall, wide, rows, columns, by_rows, to);
}

}  // namespace resize

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
