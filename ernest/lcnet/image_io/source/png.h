// Decodes a PNG of eight bits without transparency: grey, coloured or of a palette. All else is left to another decoder.
#pragma once

#include <array>
#include <cstdlib>
#include <vector>

#include "inflate.h"

namespace png {

struct Header {
  int height = 0, width = 0, kind = -1, palette = 0;  // kind of colours: 0 grey, 2 red, green and blue, 3 palette
  const uint8_t* colours = nullptr;
  std::vector<uint8_t> packed;
  int channels() const { return kind == 2 ? 3 : 1; }
};

inline uint32_t big(const uint8_t* at) { return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]; }

// The check of a chunk: the remainder by the polynomial of PNG, four bytes at a time; made[k] is of a byte with k zeros behind it.
inline uint32_t check(const uint8_t* at, int64_t count) {
  static const auto tables = [] {
    std::vector<std::array<uint32_t, 256>> made(4);
    for (uint32_t n = 0; n < 256; n++) {
      made[0][n] = n;
      for (int bit = 0; bit < 8; bit++) made[0][n] = made[0][n] & 1 ? made[0][n] >> 1 ^ 0xEDB88320 : made[0][n] >> 1;
    }
    for (int k = 1; k < 4; k++)
      for (uint32_t n = 0; n < 256; n++) made[k][n] = made[0][made[k - 1][n] & 255] ^ made[k - 1][n] >> 8;
    return made;
  }();
  const auto* of = tables.data();
  uint32_t rest = ~0u;
  for (; count >= 4; count -= 4, at += 4) {
    rest ^= (uint32_t)at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
    rest = of[3][rest & 255] ^ of[2][rest >> 8 & 255] ^ of[1][rest >> 16 & 255] ^ of[0][rest >> 24];
  }
  while (count-- > 0) rest = of[0][(rest ^ *at++) & 255] ^ rest >> 8;
  return ~rest;
}

// Chunks that say nothing of the levels: colour spaces, sizes in metres, a background, the date; and texts but for notes of a camera.
inline bool is_idle(const uint8_t* name, const uint8_t* data, int64_t length) {
  for (const char* one : {"gAMA", "cHRM", "sRGB", "pHYs", "bKGD", "tIME", "sBIT"})
    if (!std::memcmp(name, one, 4)) return true;
  return !std::memcmp(name, "tEXt", 4) && length > 12 && std::memcmp(data, "Raw profile ", 12) && std::memcmp(data, "XML:com.adob", 12);
}

// Reads all chunks. False for what is not understood.
inline bool read_header(const uint8_t* at, const uint8_t* end, Header& header) {
  if (end - at < 8 || std::memcmp(at, "\x89PNG\r\n\x1a\n", 8)) return false;
  bool over = false;  // the pixels: their chunks lie one behind the other
  for (at += 8; end - at >= 12;) {
    const int64_t length = big(at);
    if (length > end - at - 12 || check(at + 4, length + 4) != big(at + 8 + length)) return false;
    const uint8_t *name = at + 4, *data = at + 8;
    const bool first = header.kind < 0;
    at += 12 + length;
    if (first != !std::memcmp(name, "IHDR", 4)) return false;
    if (first) {
      if (length != 13 || !big(data) || big(data) > 65535 || !big(data + 4) || big(data + 4) > 65535) return false;
      header.width = (int)big(data), header.height = (int)big(data + 4), header.kind = data[9];
      if (data[8] != 8 || (header.kind != 0 && header.kind != 2 && header.kind != 3) || data[10] || data[11] || data[12]) return false;
    } else if (!std::memcmp(name, "PLTE", 4)) {
      if (header.kind != 3 || header.colours || length % 3 || length > 768) return false;
      header.colours = data, header.palette = (int)(length / 3);
    } else if (!std::memcmp(name, "IDAT", 4)) {
      if (over || (header.kind == 3 && !header.colours)) return false;
      header.packed.insert(header.packed.end(), data, data + length);
    } else if (!std::memcmp(name, "IEND", 4)) {
      return at == end && !header.packed.empty();
    } else if (!is_idle(name, data, length)) {
      return false;
    }
    over = !header.packed.empty() && std::memcmp(name, "IDAT", 4);
  }
  return false;
}

// Of the bytes to the left, above and at the left above the one that is nearest to left + above - both (PNG, 9.4).
inline int nearest(int left, int above, int both) {
  const int a = std::abs(above - both), b = std::abs(left - both), c = std::abs(left + above - 2 * both);
  const int other = b <= c ? above : both;
  return (a <= b) & (a <= c) ? left : other;
}

// Undoes what a row was told to subtract; `above` is the row before, kStep the bytes of a pixel.
template <int kStep> bool add_back(int kind, uint8_t* row, const uint8_t* above, int count) {
  int left[kStep] = {}, both[kStep] = {};
  switch (kind) {
    case 0:
      return true;
    case 1:
      for (int n = kStep; n < count; n++) row[n] = (uint8_t)(row[n] + row[n - kStep]);
      return true;
    case 2:
      for (int n = 0; n < count; n++) row[n] = (uint8_t)(row[n] + above[n]);
      return true;
    case 3:
      for (int n = 0; n < count; n += kStep)
        for (int c = 0; c < kStep; c++) row[n + c] = left[c] = (uint8_t)(row[n + c] + (left[c] + above[n + c]) / 2);
      return true;
    case 4:
      for (int n = 0; n < count; n += kStep)
        for (int c = 0; c < kStep; c++) {
          row[n + c] = left[c] = (uint8_t)(row[n + c] + nearest(left[c], above[n + c], both[c]));
          both[c] = above[n + c];
        }
      return true;
    default:
      return false;
  }
}

// Levels [H, W, 3] or, of a grey picture, [H, W].
inline bool decode(const Header& header, uint8_t* to) {
  const int wide = header.width * header.channels();
  std::vector<uint8_t> rows((size_t)(wide + 1) * (header.height + 1));
  uint8_t* row = rows.data() + wide + 1;  // the one above the first is zero
  if (header.height > (1 << 28) / (wide + 1)) return false;
  std::vector<uint8_t> packed(header.packed);
  packed.resize(packed.size() + kBehind);
  thread_local Inflate inflate;
  if (!inflate.unpack(packed.data(), (int64_t)header.packed.size(), row, (int64_t)(wide + 1) * header.height)) return false;
  for (int y = 0; y < header.height; y++, row += wide + 1) {
    if (!(header.channels() == 3 ? add_back<3> : add_back<1>)(row[0], row + 1, row - wide, wide)) return false;
    if (header.kind != 3) {
      std::memcpy(to, row + 1, wide);
      to += wide;
      continue;
    }
    for (int x = 0; x < wide; x++, to += 3) {
      if (row[1 + x] >= header.palette) return false;
      std::memcpy(to, header.colours + 3 * row[1 + x], 3);
    }
  }
  return true;
}

}  // namespace png
