// Reads Huffman codes out of the entropy-coded part of a JPEG: one at a time, or several in one look where only their lengths count.
//
// Most of the bits of a photograph are coefficients that a picture of an eighth of the size does not need, yet each code has to be
// read to know where the next one begins. A table over the next twelve bits says how far all codes in them go together.
#pragma once

#include <cstdint>
#include <cstring>

namespace jpeg {

#define INLINE inline __attribute__((always_inline))

constexpr int kPeek = 12;       // bits of one look
constexpr int kMargin = 4096;   // bytes behind the last one that may be read: ten blocks of 64 codes, of at most 31 bits each

// The bits behind `at`, the next one uppermost; at least `left` of them are there.
struct Bits {
  const uint8_t* at;
  uint64_t window = 0;
  int left = 0;

  INLINE void refill() {  // to 56 bits or more
    uint64_t next;
    std::memcpy(&next, at, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    next = __builtin_bswap64(next);
#endif
    window |= next >> left;
    at += (63 - left) >> 3;
    left |= 56;
  }
  INLINE uint32_t peek(int count) const { return (uint32_t)(window >> (64 - count)); }
  INLINE void drop(uint32_t count) { window <<= count & 63, left -= (int)(count & 63); }
};

// A code and the number behind it: in bytes from the lowest on, the bits of both, those of the code, those of the number, and, of
// AC, the zeros before the coefficient. 0 where there is no such code.
using Code = uint32_t;
INLINE Code code_of(int length, int value) { return (Code)(length + (value & 15)) | (Code)length << 8 | (Code)(value & 15) << 16 | (Code)(value >> 4) << 24; }
INLINE int size_of(Code code) { return code >> 16 & 255; }
INLINE int zeros_of(Code code) { return (int)(code >> 24); }
// Coefficients that are over after it: a size of 0 stands for sixteen zeros, or for the end of the block.
INLINE int over_after(Code code) { return size_of(code) ? zeros_of(code) + 1 : zeros_of(code) == 15 ? 16 : 64; }

// Codes of AC that lie in one look with their numbers: in bytes from the lowest on all of their bits, and how many coefficients are
// over before the last of them, and after it. 0 where not even one does.
using Stride = uint32_t;

struct Table {
  bool there = false;
  Code one[1 << kPeek];
  Stride many[1 << kPeek];

  // From the numbers of codes of 1 to 16 bits, and their `total` values in order. False where there are more codes than fit.
  // Most small pictures have the tables of the one before.
  bool make(const uint8_t counts[16], const uint8_t* values, int total, bool with_strides) {
    if (made_ && strides_ == with_strides && !std::memcmp(counts_, counts, 16) && !std::memcmp(values_, values, total)) return there = true;
    made_ = false;
    std::memcpy(counts_, counts, 16);
    std::memset(one, 0, sizeof one);
    int32_t code = 0, index = 0;
    for (int length = 1; length <= 16; length++, code <<= 1) {
      first_[length] = index - code;
      for (int n = 0; n < counts[length - 1]; n++, code++, index++) {
        values_[index] = values[index];
        if (code >= 1 << length) return false;
        if (length > kPeek) continue;
        for (int32_t rest = 0; rest < 1 << (kPeek - length); rest++)
          one[(code << (kPeek - length)) + rest] = code_of(length, values[index]);
      }
      end_[length] = code;
    }
    if (with_strides)
      for (int look = 0; look < 1 << kPeek; look++) many[look] = stride(look);
    strides_ = with_strides;
    return there = made_ = true;
  }

  INLINE Code next(const Bits& bits) const {
    Code code = one[bits.peek(kPeek)];
    return __builtin_expect(code != 0, 1) ? code : longer(bits.peek(16));
  }

 private:
  int32_t first_[17], end_[17];  // of each length: what makes an index of a code, and the code behind its last
  uint8_t counts_[16], values_[256];  // what it was made from
  bool made_ = false, strides_ = false;

  Code longer(uint32_t look) const {
    for (int length = kPeek + 1; length <= 16; length++) {
      int32_t code = (int32_t)(look >> (16 - length));
      if (code < end_[length]) return code_of(length, values_[first_[length] + code]);
    }
    return 0;
  }

  Stride stride(int look) const {
    int bits = 0, before = 0, after = 0;
    while (after < 64) {
      Code code = one[(look << bits) & ((1 << kPeek) - 1)];
      if (code == 0 || bits + (int)(code & 255) > kPeek) break;
      bits += code & 255, before = after, after += over_after(code);
    }
    return (Stride)bits | (Stride)before << 8 | (Stride)after << 16;
  }
};

// The number of a code that is next; those that begin with 0 are negative (T.81, F.2.2.1, EXTEND).
INLINE int number_of(const Bits& bits, Code code) {
  const int size = size_of(code), value = (int)(bits.window << (code >> 8 & 63) >> 1 >> (63 - size));
  return value - (value < (1 << size >> 1) ? (1 << size) - 1 : 0);
}

// Reads over the AC codes of a block. False where there is no such code.
INLINE bool skip_block(Bits& bits, const Table& codes) {
  for (int place = 1;;) {
    bits.refill();
    for (int look = 0; look < 4; look++) {
      const Stride stride = codes.many[bits.peek(kPeek)];
      if (__builtin_expect(stride != 0 && place + (int)(stride >> 8 & 255) < 64, 1)) {
        bits.drop(stride);
        place += (int)(stride >> 16);
      } else {
        bits.refill();
        const Code code = codes.next(bits);
        if (code == 0) return false;
        bits.drop(code);
        place += over_after(code);
        bits.refill();
      }
      if (place >= 64) return true;
    }
  }
}

}  // namespace jpeg
