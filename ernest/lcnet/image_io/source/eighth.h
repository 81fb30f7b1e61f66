// Decodes a JPEG at an eighth of its size, to the level as libjpeg-turbo does, in a fraction of its time.
//
// At an eighth a block of 8x8 pixels is its mean, so of luma only the first coefficient of each block is needed, and all other codes
// are read over several at a time. Chroma at half the resolution becomes 2x2 pixels a block, by the product that libjpeg uses.
// Anything unusual or damaged is refused: the caller has another decoder, which knows what to make of it.
#pragma once

#include "blocks.h"

namespace jpeg {

// Of a component: its blocks become pixels, one each or 2x2, in rows of `stride`.
struct Plane {
  bool needed, fine;  // fine: 2x2 pixels a block
  int stride;
  std::unique_ptr<uint8_t[]> pixels;
  int32_t last = 0;
};

// What the odd frequencies of a row or column give to two pixels, whose even ones but the first cancel.
INLINE int odd(int first, int third, int fifth, int seventh) {
  return 29692 * first - 10426 * third + 6967 * fifth - 5906 * seventh;  // 3.624, 1.273, 0.850 and 0.720, times 2^13
}

// A block as 2x2 pixels: columns, then rows, in the fixed point of libjpeg (jidctred.c).
INLINE void four_pixels(const int16_t block[64], uint8_t* to, int stride) {
  int upper[8], lower[8];
  for (int column : {0, 1, 3, 5, 7}) {
    const int16_t* from = block + column;
    const int even = from[0] * (1 << 15), sum = odd(from[8], from[24], from[40], from[56]);
    upper[column] = rounded(even + sum, 13), lower[column] = rounded(even - sum, 13);
  }
  for (const int* row : {upper, lower}) {
    const int even = row[0] * (1 << 15), sum = odd(row[1], row[3], row[5], row[7]);
    to[0] = level(128 + rounded(even + sum, 20)), to[1] = level(128 + rounded(even - sum, 20));
    to += stride;
  }
}

// One picture while it is decoded.
class Eighth {
 public:
  Eighth(const Header& header, bool grey) : header_(header) {
    for (const Component& each : header.components) {
      if (each.across > across_) across_ = each.across;
      if (each.down > down_) down_ = each.down;
    }
    if (header.components.size() == 1) across_ = down_ = 1;  // a scan of one colour has a block after the other
    columns_ = (header.width + 8 * across_ - 1) / (8 * across_), rows_ = (header.height + 8 * down_ - 1) / (8 * down_);
    for (const Component& each : header.components) {
      bool one = header.components.size() == 1, fine = !one && across_ == 2 * each.across && down_ == 2 * each.down;
      int wide = (one ? 1 : each.across) * (fine ? 2 : 1) * columns_, tall = (one ? 1 : each.down) * (fine ? 2 : 1) * rows_;
      bool needed = planes_.empty() || !grey;
      planes_.push_back({needed, fine, wide, std::unique_ptr<uint8_t[]>(needed ? new uint8_t[(size_t)wide * tall] : nullptr)});
    }
  }

  // Whether luma is full and chroma full or halved in each direction, in at most the ten blocks together that the standard allows.
  bool usual() const {
    if (planes_.size() == 1) return true;
    int blocks = 0;
    for (const Component& each : header_.components) {
      if ((across_ != each.across && across_ != 2 * each.across) || (down_ != each.down && down_ != 2 * each.down)) return false;
      blocks += each.across * each.down;
    }
    return blocks <= 10 && header_.components[0].across == across_ && header_.components[0].down == down_;
  }

  bool decode(const Entropy& entropy) {
    int64_t units = (int64_t)columns_ * rows_, interval = header_.interval ? header_.interval : units, done = 0;
    if ((int64_t)entropy.intervals.size() != (units + interval - 1) / interval) return false;
    for (auto [begin, end] : entropy.intervals) {
      Bits bits{entropy.bytes.get() + begin};
      const uint8_t* last = entropy.bytes.get() + end;
      for (Plane& plane : planes_) plane.last = 0;
      for (int64_t stop = done + interval < units ? done + interval : units; done < stop; done++)
        if (!decode_unit(bits, (int)(done / columns_), (int)(done % columns_)) || bits.at - bits.left / 8 > last) return false;
    }
    return true;
  }

  // Grey levels, or red, green and blue.
  void write(int height, int width, uint8_t* to) const {
    for (int y = 0; y < height; y++) {
      const uint8_t* luma = planes_[0].pixels.get() + (size_t)y * planes_[0].stride;
      if (planes_.size() == 1 || !planes_[1].needed) {
        std::memcpy(to, luma, width);
        to += width;
        continue;
      }
      const uint8_t *blue = row(1, y), *red = row(2, y);
      int half = step(1) - 1, other = step(2) - 1;
      for (int x = 0; x < width; x++, to += 3) write_colour(luma[x], blue[x >> half], red[x >> other], to);
    }
  }

 private:
  const Header& header_;
  int across_ = 1, down_ = 1, columns_, rows_;
  std::vector<Plane> planes_;

  // Pixels of the picture to one of a component, across and down.
  int step(int number) const { return planes_[number].fine ? 1 : across_ / header_.components[number].across; }
  const uint8_t* row(int number, int y) const {
    int down = planes_[number].fine ? 1 : down_ / header_.components[number].down;
    return planes_[number].pixels.get() + (size_t)(y / down) * planes_[number].stride;
  }

  // The blocks of all components that belong together.
  INLINE bool decode_unit(Bits& bits, int unit_row, int unit_column) {
    for (size_t number = 0; number < planes_.size(); number++) {
      const Component& component = header_.components[number];
      Plane& plane = planes_[number];
      int across = planes_.size() == 1 ? 1 : component.across, down = planes_.size() == 1 ? 1 : component.down;
      int side = plane.fine ? 2 : 1;
      for (int y = 0; y < down; y++) {
        for (int x = 0; x < across; x++) {
          size_t at = ((size_t)(unit_row * down + y) * plane.stride + unit_column * across + x) * side;
          if (!decode_block(bits, component, plane, plane.needed ? plane.pixels.get() + at : nullptr)) return false;
        }
      }
    }
    return true;
  }

  INLINE bool decode_block(Bits& bits, const Component& component, Plane& plane, uint8_t* to) {
    const Table &dc = header_.tables[component.dc], &ac = header_.tables[4 + component.ac];
    const uint16_t* quantisation = header_.quantisation[component.quantisation];
    int difference;
    if (!read_difference(bits, dc, difference)) return false;
    if (!plane.needed) return skip_block(bits, ac);
    plane.last += difference;
    if (plane.last < -kMost || plane.last > kMost) return false;
    int first = plane.last * quantisation[0];
    if (first < -kMost || first > kMost) return false;
    if (!plane.fine) {
      to[0] = level(128 + rounded(first, 3));
      return skip_block(bits, ac);
    }
    int16_t block[64];
    std::memset(block, 0, sizeof block);
    block[0] = (int16_t)first;
    if (!read_block(bits, ac, quantisation, block)) return false;
    four_pixels(block, to, plane.stride);
    return true;
  }
};

}  // namespace jpeg
