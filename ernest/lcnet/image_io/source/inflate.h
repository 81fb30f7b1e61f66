// Unpacks what PNG packs its pixels into (RFC 1950, RFC 1951), where the size of the result is known.
#pragma once

#include <cstdint>
#include <cstring>

namespace png {

constexpr int kLook = 10;    // bits of one look into a table
constexpr int kBehind = 32;  // bytes behind the packed ones that are read, and must be there

// The bits from `at` on, the next one lowest.
struct Bits {
  const uint8_t *at, *end;
  uint64_t window = 0;
  int left = 0;

  void refill() {  // to 56 bits or more
    uint64_t next = 0;
    std::memcpy(&next, at, 8);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    next = __builtin_bswap64(next);
#endif
    window |= next << left;
    at += (63 - left) >> 3;
    left |= 56;
  }
  uint32_t take(int count) {
    uint32_t bits = (uint32_t)(window & ((1ull << count) - 1));
    window >>= count, left -= count;
    return bits;
  }
  bool beyond() const { return at - left / 8 > end; }
};

// A Huffman code: short ones by one look, longer ones bit by bit.
class Codes {
 public:
  // From the length of the code of each of `count` symbols. False where some bits would mean nothing, unless `sparse` codes, of one
  // symbol or none, may be.
  bool make(const uint8_t* lengths, int count, bool sparse) {
    std::memset(number_, 0, sizeof number_);
    for (int n = 0; n < count; n++) number_[lengths[n]]++;
    number_[0] = 0;
    int room = 1, used = 0, code = 0, first[16], begin[16];
    for (int length = 1; length < 16; length++) {
      room = 2 * room - number_[length];
      if (room < 0) return false;
      code <<= 1, first[length] = code, begin[length] = used;
      code += number_[length], used += number_[length];
    }
    if (room > 0 && !(sparse && used < 2 && number_[1] == used)) return false;
    std::memset(look_, 0, sizeof look_);
    int next[16];
    std::memcpy(next, begin, sizeof next);
    for (int n = 0; n < count; n++) {
      const int length = lengths[n];
      if (!length) continue;
      const int code_of_it = first[length] + next[length] - begin[length];
      symbols_[next[length]++] = (uint16_t)n;
      if (length > kLook) continue;
      uint32_t turned = 0;
      for (int bit = 0; bit < length; bit++) turned |= (code_of_it >> bit & 1) << (length - 1 - bit);
      for (uint32_t at = turned; at < 1u << kLook; at += 1u << length) look_[at] = (uint16_t)(n << 4 | length);
    }
    return true;
  }

  // The next symbol, or -1 where there is no such code.
  int next(Bits& bits) const {
    const uint16_t found = look_[bits.window & ((1 << kLook) - 1)];
    if (__builtin_expect(found != 0, 1)) {
      bits.take(found & 15);
      return found >> 4;
    }
    int code = 0, first = 0, index = 0;
    for (int length = 1; length < 16; length++) {
      code = 2 * code + (int)bits.take(1), first *= 2;
      if (code - first < number_[length]) return symbols_[index + code - first];
      first += number_[length], index += number_[length];
    }
    return -1;
  }

 private:
  uint16_t look_[1 << kLook], symbols_[288];  // symbol << 4 | length, 0 where it is longer
  int number_[16];                            // of codes of each length
};

class Inflate {
 public:
  // `size` bytes behind the packed ones of a zlib stream, which has to end with them. False where it is damaged.
  bool unpack(const uint8_t* data, int64_t packed, uint8_t* to, int64_t size) {
    if (packed < 6 || (data[0] & 15) != 8 || data[0] >> 4 > 7 || (data[0] << 8 | data[1]) % 31 || data[1] & 32) return false;
    bits_ = {data + 2, data + packed};
    at_ = begin_ = to, end_ = to + size;
    for (bool last = false; !last;) {
      bits_.refill();
      last = bits_.take(1);
      const int kind = (int)bits_.take(2);
      if (kind == 3 || bits_.beyond()) return false;
      if (!(kind == 0 ? stored() : (kind == 1 ? fixed_codes() : read_codes()) && compressed())) return false;
    }
    const uint8_t* rest = bits_.at - bits_.left / 8;
    if (at_ != end_ || rest + 4 > data + packed) return false;
    return adler() == ((uint32_t)rest[0] << 24 | rest[1] << 16 | rest[2] << 8 | rest[3]);
  }

 private:
  Bits bits_;
  uint8_t *at_, *begin_, *end_;
  Codes symbols_, distances_;

  bool stored() {
    const uint8_t* from = bits_.at - bits_.left / 8;
    if (from + 4 > bits_.end) return false;
    const int count = from[0] | from[1] << 8, check = from[2] | from[3] << 8;
    from += 4;
    if (count + check != 0xFFFF || count > bits_.end - from || count > end_ - at_) return false;
    std::memcpy(at_, from, count);
    at_ += count;
    bits_ = {from + count, bits_.end};
    return true;
  }

  bool fixed_codes() {
    uint8_t lengths[288];
    for (int n = 0; n < 288; n++) lengths[n] = n < 144 ? 8 : n < 256 ? 9 : n < 280 ? 7 : 8;
    if (!symbols_.make(lengths, 288, false)) return false;
    std::memset(lengths, 5, 32);
    return distances_.make(lengths, 32, false);
  }

  bool read_codes() {
    static constexpr uint8_t kOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    const int count = 257 + (int)bits_.take(5), far = 1 + (int)bits_.take(5), kinds = 4 + (int)bits_.take(4);
    uint8_t lengths[320] = {};
    if (count > 286 || far > 30) return false;
    for (int n = 0; n < kinds; n++) {
      bits_.refill();
      lengths[kOrder[n]] = (uint8_t)bits_.take(3);
    }
    if (!symbols_.make(lengths, 19, false)) return false;
    std::memset(lengths, 0, 19);
    for (int n = 0; n < count + far;) {
      bits_.refill();
      const int symbol = symbols_.next(bits_);
      if (symbol < 0 || bits_.beyond()) return false;
      if (symbol < 16) {
        lengths[n++] = (uint8_t)symbol;
        continue;
      }
      const int again = symbol == 16 ? 3 + (int)bits_.take(2) : symbol == 17 ? 3 + (int)bits_.take(3) : 11 + (int)bits_.take(7);
      if ((symbol == 16 && n == 0) || n + again > count + far) return false;
      std::memset(lengths + n, symbol == 16 ? lengths[n - 1] : 0, again);
      n += again;
    }
    return lengths[256] && symbols_.make(lengths, count, true) && distances_.make(lengths + count, far, true);
  }

  bool compressed() {
    static constexpr uint16_t kLength[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                             31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static constexpr uint8_t kMore[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    for (;;) {
      bits_.refill();
      int symbol = symbols_.next(bits_);
      if (symbol < 0 || bits_.beyond()) return false;
      if (symbol < 256) {
        if (at_ == end_) return false;
        *at_++ = (uint8_t)symbol;
        continue;
      }
      if (symbol == 256) return true;
      if ((symbol -= 257) > 28) return false;
      const int length = kLength[symbol] + (int)bits_.take(kMore[symbol]);
      const int far = distances_.next(bits_);  // 15 + 5 + 15 + 13 bits are there
      if (far < 0 || far > 29) return false;
      const int more = far < 2 ? 0 : far / 2 - 1, distance = 1 + (far < 2 ? far : ((2 + far % 2) << more)) + (int)bits_.take(more);
      if (distance > at_ - begin_ || length > end_ - at_) return false;
      for (const uint8_t* from = at_ - distance, *stop = from + length; from < stop;) *at_++ = *from++;
    }
  }

  uint32_t adler() const {
    uint32_t low = 1, high = 0;
    for (const uint8_t* at = begin_; at < end_;) {
      const uint8_t* stop = end_ - at > 5552 ? at + 5552 : end_;
      for (; at < stop; at++) low += *at, high += low;
      low %= 65521, high %= 65521;
    }
    return high << 16 | low;
  }
};

}  // namespace png
