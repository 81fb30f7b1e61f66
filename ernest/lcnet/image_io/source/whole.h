// Decodes a JPEG whole, to the level as libjpeg-turbo does: small pictures, of which Pillow's own work in Python takes the most time.
//
// Anything unusual or damaged is refused, as in `eighth.h`.
#pragma once

#include "blocks.h"

namespace jpeg {

constexpr int kBetween = 16383;  // of a number between the two passes: libjpeg-turbo's vectors keep the sum of two in 16 bits

// Eight pixels of a row or column of coefficients, times 2^13 (jidctint.c, its products multiplied out). 1.387, 1.176, 0.786 and
// 0.276 of odd frequencies, 1.307 and 0.541 of even ones, each with libjpeg's last digit.
INLINE void eight_pixels(const int in[8], int out[8]) {
  const int sum = (in[0] + in[4]) * 8192, difference = (in[0] - in[4]) * 8192;
  const int outer = 10703 * in[2] + 4433 * in[6], inner = 4433 * in[2] - 10704 * in[6];
  const int even[4] = {sum + outer, difference + inner, difference - inner, sum - outer};
  const int odd[4] = {11363 * in[1] + 9633 * in[3] + 6437 * in[5] + 2260 * in[7], 9633 * in[1] - 2259 * in[3] - 11362 * in[5] - 6436 * in[7],
                      6437 * in[1] - 11362 * in[3] + 2261 * in[5] + 9633 * in[7], 2260 * in[1] - 6436 * in[3] + 9633 * in[5] - 11363 * in[7]};
  for (int n = 0; n < 4; n++) out[n] = even[n] + odd[n], out[7 - n] = even[n] - odd[n];
}

// A block as 8x8 pixels: columns, then rows. False where libjpeg-turbo's numbers of 16 bits would run over.
inline bool write_block(const int16_t block[64], uint8_t* to, int stride) {
  int between[64], in[8], out[8], most = 0;
  for (int x = 0; x < 8; x++) {
    for (int y = 0; y < 8; y++) in[y] = block[8 * y + x];
    eight_pixels(in, out);
    for (int y = 0; y < 8; y++) {
      between[8 * y + x] = rounded(out[y], 11);
      most |= between[8 * y + x] < 0 ? -between[8 * y + x] : between[8 * y + x];
    }
  }
  if (most > kBetween) return false;
  for (int y = 0; y < 8; y++, to += stride) {
    eight_pixels(between + 8 * y, out);
    for (int x = 0; x < 8; x++) to[x] = level(128 + rounded(out[x], 18));
  }
  return true;
}

// One picture of luma, and of chroma at full or half the resolution across, or at half in both directions.
class Whole {
 public:
  explicit Whole(const Header& header) : header_(header), count_((int)header.components.size()) {
    if (count_ == 3) across_ = header.components[0].across, down_ = header.components[0].down;
    columns_ = (header.width + 8 * across_ - 1) / (8 * across_), rows_ = (header.height + 8 * down_ - 1) / (8 * down_);
    wide_ = (header.width + across_ - 1) / across_, tall_ = (header.height + down_ - 1) / down_;
    for (int n = 0; n < count_; n++) {
      strides_[n] = 8 * columns_ * (n ? 1 : across_);
      planes_[n].resize((size_t)strides_[n] * 8 * rows_ * (n ? 1 : down_));
    }
  }

  bool usual() const {
    if (count_ == 1) return true;
    const auto& each = header_.components;
    if (each[1].across != 1 || each[1].down != 1 || each[2].across != 1 || each[2].down != 1) return false;
    // Chroma of two columns or fewer libjpeg enlarges otherwise.
    return (across_ == 1 && down_ == 1) || (across_ == 2 && down_ <= 2 && wide_ > 2);
  }

  bool decode(const Entropy& entropy) {
    const int units = columns_ * rows_, interval = header_.interval ? header_.interval : units;
    if ((int)entropy.intervals.size() != (units + interval - 1) / interval) return false;
    int done = 0;
    for (auto [begin, end] : entropy.intervals) {
      Bits bits{entropy.bytes.get() + begin};
      const uint8_t* last = entropy.bytes.get() + end;
      int before[3] = {};
      for (int stop = done + interval < units ? done + interval : units; done < stop; done++)
        if (!decode_unit(bits, before, done / columns_, done % columns_) || bits.at - bits.left / 8 > last) return false;
    }
    return true;
  }

  // Red, green and blue, or the one colour that there is, [H, W, 3] or [H, W].
  void write(uint8_t* to) {
    const int height = header_.height, width = header_.width;
    std::vector<uint8_t> chroma(2 * (size_t)(wide_ + 1) * across_);
    uint8_t *blue = chroma.data(), *red = blue + (size_t)(wide_ + 1) * across_;
    for (int y = 0; y < height; y++) {
      const uint8_t* luma = planes_[0].data() + (size_t)y * strides_[0];
      if (count_ == 1) {
        std::memcpy(to, luma, width);
        to += width;
        continue;
      }
      enlarge(1, y, blue), enlarge(2, y, red);
      for (int x = 0; x < width; x++, to += 3) write_colour(luma[x], blue[x], red[x], to);
    }
  }

 private:
  const Header& header_;
  int count_, across_ = 1, down_ = 1, columns_, rows_, wide_, tall_;  // wide, tall: of chroma
  int strides_[3];
  std::vector<uint8_t> planes_[3];

  bool decode_unit(Bits& bits, int before[3], int unit_row, int unit_column) {
    for (int number = 0; number < count_; number++) {
      const Component& component = header_.components[number];
      const int across = number ? 1 : across_, down = number ? 1 : down_;
      for (int y = 0; y < down; y++) {
        for (int x = 0; x < across; x++) {
          const size_t at = (size_t)(unit_row * down + y) * 8 * strides_[number] + (size_t)(unit_column * across + x) * 8;
          if (!decode_block(bits, component, before[number], planes_[number].data() + at, strides_[number])) return false;
        }
      }
    }
    return true;
  }

  bool decode_block(Bits& bits, const Component& component, int& before, uint8_t* to, int stride) {
    const uint16_t* quantisation = header_.quantisation[component.quantisation];
    int difference;
    if (!read_difference(bits, header_.tables[component.dc], difference)) return false;
    before += difference;
    if (before < -kMost || before > kMost) return false;
    const int first = before * quantisation[0];
    if (first < -kMost || first > kMost) return false;
    alignas(16) int16_t block[64];
    std::memset(block, 0, sizeof block);
    block[0] = (int16_t)first;
    return read_block(bits, header_.tables[4 + component.ac], quantisation, block) && write_block(block, to, stride);
  }

  // A row of chroma at the width of luma (jdsample.c): of each pixel three parts of the nearest and one of the next.
  void enlarge(int number, int y, uint8_t* to) const {
    const uint8_t* plane = planes_[number].data();
    const int stride = strides_[number], row = y / down_;
    const uint8_t* near = plane + (size_t)row * stride;
    if (across_ == 1) return (void)std::memcpy(to, near, wide_);
    int next = y % 2 ? row + 1 : row - 1;
    next = next < 0 ? 0 : next >= tall_ ? tall_ - 1 : next;
    const uint8_t* far = plane + (size_t)next * stride;
    const bool both = down_ == 2;
    const int bits = both ? 4 : 2, up = both ? 8 : 1, down = both ? 7 : 2;
    auto sum = [&](int x) { return both ? 3 * near[x] + far[x] : near[x]; };
    int left = sum(0), here = left;
    for (int x = 0; x < wide_; x++) {
      const int right = x + 1 < wide_ ? sum(x + 1) : here;
      to[2 * x] = (uint8_t)((3 * here + left + up) >> bits), to[2 * x + 1] = (uint8_t)((3 * here + right + down) >> bits);
      left = here, here = right;
    }
  }
};

}  // namespace jpeg
