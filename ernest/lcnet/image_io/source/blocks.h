// Reads the coefficients of a block out of a JPEG, and turns luma and chroma into colours: what all sizes of decoding share.
#pragma once

#include "markers.h"

namespace jpeg {

constexpr int kMost = 2047;  // of a coefficient: those of pictures stay below, and sums of such ones within 32 bits

constexpr uint8_t kNatural[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
                                  41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
                                  30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

INLINE uint8_t level(int value) { return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value); }
INLINE int rounded(int value, int bits) { return (value + (1 << (bits - 1))) >> bits; }

// Reads by how much the first coefficient differs from that of the block before. False where there is no such code.
INLINE bool read_difference(Bits& bits, const Table& codes, int& difference) {
  bits.refill();
  const Code code = codes.next(bits);
  if (code == 0 || size_of(code) > 11 || zeros_of(code)) return false;
  difference = number_of(bits, code);
  bits.drop(code);
  return true;
}

// Reads the other coefficients of a block that is zero so far. False where they are damaged, or beyond those of pictures.
INLINE bool read_block(Bits& bits, const Table& codes, const uint16_t* quantisation, int16_t block[64]) {
  for (int place = 1; place < 64; place++) {
    bits.refill();
    const Code code = codes.next(bits);
    if (code == 0) return false;
    const int size = size_of(code), number = number_of(bits, code);
    bits.drop(code);
    if (size == 0 && zeros_of(code) < 15) return true;
    place += zeros_of(code);
    if (place > 63) return false;
    const int coefficient = number * quantisation[place];
    if (coefficient < -kMost || coefficient > kMost) return false;
    block[kNatural[place]] = (int16_t)coefficient;
  }
  return true;
}

// Red, green and blue (jdcolor.c of libjpeg, in fixed point).
INLINE void write_colour(int light, int cb, int cr, uint8_t* to) {
  cb -= 128, cr -= 128;
  to[0] = level(light + ((91881 * cr + 32768) >> 16));
  to[1] = level(light + ((-22554 * cb - 46802 * cr + 32768) >> 16));
  to[2] = level(light + ((116130 * cb + 32768) >> 16));
}

}  // namespace jpeg
