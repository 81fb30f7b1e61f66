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

namespace resize {

// Along one direction: of each of `count` pixels the places that it is made of, and their weights, [taps][count].
struct Taps {
  const int32_t* places;
  const float* weights;
  int count;
};

// sum_t weight_t from[place_t] for rows: `from` holds rows of `wide` numbers at a distance of `stride`.
template <class Number>
void combine_rows(const Number* from, int64_t stride, const Taps& taps, int number, int y, int64_t wide, float* to) {
  for (int t = 0; t < number; t++) {
    const Number* row = from + stride * taps.places[t * taps.count + y];
    const float weight = taps.weights[t * taps.count + y];
    if (t == 0)
      for (int64_t n = 0; n < wide; n++) to[n] = weight * (float)row[n];
    else
      for (int64_t n = 0; n < wide; n++) to[n] += weight * (float)row[n];
  }
}

// The same along a row of pixels of `channels` numbers.
template <int kChannels, class Number>
void combine_columns(const Number* row, const Taps& taps, int number, float* to) {
  for (int x = 0; x < taps.count; x++, to += kChannels) {
    for (int c = 0; c < kChannels; c++) to[c] = taps.weights[x] * (float)row[taps.places[x] * kChannels + c];
    for (int t = 1; t < number; t++) {
      const int at = t * taps.count + x;
      for (int c = 0; c < kChannels; c++) to[c] += taps.weights[at] * (float)row[taps.places[at] * kChannels + c];
    }
  }
}

inline void write_levels(const float* from, int64_t count, uint8_t* to) {
  for (int64_t n = 0; n < count; n++) {
    const float value = from[n] + 0.5f;
    to[n] = (uint8_t)(int)(value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value);
  }
}

// Levels whose rows lie `stride` bytes apart, `tall` x `wide` pixels of them, to rows.count x columns.count.
template <int kChannels>
void levels(const uint8_t* from, int64_t stride, int tall, int wide, const Taps& rows, const Taps& columns, int number, bool by_rows, uint8_t* to) {
  const int64_t across = (int64_t)columns.count * kChannels;
  std::vector<float> one(by_rows ? (int64_t)wide * kChannels : 0), line(across);
  if (by_rows) {
    for (int y = 0; y < rows.count; y++, to += across) {
      combine_rows(from, stride, rows, number, y, (int64_t)wide * kChannels, one.data());
      combine_columns<kChannels>(one.data(), columns, number, line.data());
      write_levels(line.data(), across, to);
    }
    return;
  }
  std::vector<float> all((size_t)tall * across);
  for (int y = 0; y < tall; y++) combine_columns<kChannels>(from + stride * y, columns, number, all.data() + y * across);
  for (int y = 0; y < rows.count; y++, to += across) {
    combine_rows(all.data(), across, rows, number, y, across, line.data());
    write_levels(line.data(), across, to);
  }
}

}  // namespace resize

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
