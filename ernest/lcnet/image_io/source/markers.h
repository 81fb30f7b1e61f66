// Reads the markers of a JPEG: sizes, tables, and the entropy-coded part without its stuffing, cut at the restart markers.
//
// Understood is what cameras write: one scan of all colours, in Huffman codes, eight bits. All else is left to another decoder.
#pragma once

#include <memory>
#include <vector>

#include "huffman.h"

namespace jpeg {

struct Component {
  int id, across, down, quantisation, dc = 0, ac = 0;  // sampling factors, and numbers of tables
};

struct Header {
  int height = 0, width = 0, interval = 0;
  bool jfif = false, adobe = false, sequential = false, plain = true;  // plain: nothing but what decoding needs, and comments
  int transform = 0;
  std::vector<Component> components;
  bool quantised[4] = {};
  uint16_t quantisation[4][64];  // in zigzag order
  std::unique_ptr<Table[]> tables{new Table[8]};  // four of DC, four of AC
  bool strides = true;                            // whether tables are made for reading over several codes at a time

  // For another picture, which may well have the same tables.
  void clear() {
    interval = transform = 0;
    jfif = adobe = sequential = false, plain = true;
    components.clear();
    for (bool& each : quantised) each = false;
    for (int n = 0; n < 8; n++) tables[n].there = false;
  }

  // Whether the three colours are luma and two of chroma, by what libjpeg goes by.
  bool luma_and_chroma() const {
    if (jfif) return true;
    if (adobe) return transform == 1;
    return components[0].id == 1 && components[1].id == 2 && components[2].id == 3;
  }
};

// Bytes of a segment, from behind its length on.
struct Segment {
  const uint8_t *at, *end;
  bool has(int64_t count) const { return end - at >= count; }
  int byte() { return *at++; }
  int word() { return at += 2, at[-2] << 8 | at[-1]; }
};

inline bool read_quantisation(Segment segment, Header& header) {
  while (segment.has(1)) {
    int kind = segment.byte(), wide = kind >> 4, number = kind & 15;
    if (wide > 1 || number > 3 || !segment.has(wide ? 128 : 64)) return false;
    for (uint16_t& value : header.quantisation[number]) value = (uint16_t)(wide ? segment.word() : segment.byte());
    header.quantised[number] = true;
  }
  return true;
}

inline bool read_codes(Segment segment, Header& header) {
  while (segment.has(17)) {
    int kind = segment.byte(), ac = kind >> 4, number = kind & 15, total = 0;
    const uint8_t* counts = segment.at;
    for (int n = 0; n < 16; n++) total += counts[n];
    segment.at += 16;
    if (ac > 1 || number > 3 || total > 256 || !segment.has(total)) return false;
    for (int n = 0; n < total && !ac; n++)
      if (segment.at[n] > 15) return false;  // libjpeg takes no such table
    if (!header.tables[4 * ac + number].make(counts, segment.at, total, ac && header.strides)) return false;
    segment.at += total;
  }
  return !segment.has(1);
}

inline bool read_frame(Segment segment, Header& header) {
  if (!segment.has(6) || segment.byte() != 8 || !header.components.empty()) return false;
  header.height = segment.word(), header.width = segment.word();
  int count = segment.byte();
  if (!header.height || !header.width || (count != 1 && count != 3) || !segment.has(3 * count)) return false;
  for (int n = 0; n < count; n++) {
    int id = segment.byte(), factors = segment.byte(), table = segment.byte();
    if (factors >> 4 < 1 || factors >> 4 > 4 || (factors & 15) < 1 || (factors & 15) > 4 || table > 3) return false;
    header.components.push_back({id, factors >> 4, factors & 15, table});
  }
  return header.sequential = true;
}

inline bool read_scan(Segment segment, Header& header) {
  auto& components = header.components;
  if (!segment.has(1) || segment.byte() != (int)components.size() || components.empty()) return false;
  if (!segment.has(2 * (int64_t)components.size() + 3)) return false;
  for (Component& each : components) {
    int id = segment.byte(), tables = segment.byte();
    each.dc = tables >> 4, each.ac = tables & 15;
    if (id != each.id || each.dc > 3 || each.ac > 3 || !header.quantised[each.quantisation]) return false;
    if (!header.tables[each.dc].there || !header.tables[4 + each.ac].there) return false;
  }
  return segment.byte() == 0 && segment.byte() == 63 && segment.byte() == 0;
}

// Reads up to the entropy-coded part, and leaves `at` there. False for what is not understood.
inline bool read_header(const uint8_t*& at, const uint8_t* end, Header& header) {
  if (end - at < 4 || at[0] != 0xFF || at[1] != 0xD8) return false;
  at += 2;
  while (end - at >= 4 && at[0] == 0xFF) {
    int marker = at[1], length = at[2] << 8 | at[3];
    if (length < 2 || length > end - at - 2) return false;
    Segment segment{at + 4, at + 2 + length};
    at += 2 + length;
    bool understood = true;
    if (marker == 0xDB) understood = read_quantisation(segment, header);
    else if (marker == 0xC4) understood = read_codes(segment, header);
    else if (marker == 0xC0 || marker == 0xC1) understood = read_frame(segment, header);
    else if (marker == 0xDA) return read_scan(segment, header);
    else if (marker == 0xDD) understood = segment.has(2) && (header.interval = segment.word(), true);
    else if (marker == 0xE0) header.jfif |= segment.has(12) && std::memcmp(segment.at, "JFIF", 5) == 0;
    else if (marker == 0xEE && segment.has(12) && std::memcmp(segment.at, "Adobe", 5) == 0)
      header.adobe = true, header.transform = segment.at[11];
    else understood = marker == 0xFE || (marker >= 0xE1 && marker <= 0xEF && (header.plain = false, true));
    if (!understood) return false;
  }
  return false;
}

// The entropy-coded part, up to the end of the picture: bytes without stuffing, and where each restart interval begins and ends.
struct Entropy {
  std::unique_ptr<uint8_t[]> bytes;
  std::vector<std::pair<int64_t, int64_t>> intervals;
};

inline bool read_entropy(const uint8_t* at, const uint8_t* end, Entropy& found) {
  found.bytes.reset(new uint8_t[end - at + kMargin]);
  uint8_t* to = found.bytes.get();
  int64_t begin = 0;
  while (const uint8_t* stop = (const uint8_t*)std::memchr(at, 0xFF, end - at)) {
    if (end - stop < 2) return false;
    std::memcpy(to, at, stop - at);
    to += stop - at;
    at = stop + 2;
    if (stop[1] == 0) {
      *to++ = 0xFF;
      continue;
    }
    found.intervals.emplace_back(begin, to - found.bytes.get());
    begin = to - found.bytes.get();
    if (stop[1] == 0xD9) {
      std::memset(to, 0, kMargin);
      return true;
    }
    if (stop[1] != 0xD0 + (int)((found.intervals.size() - 1) & 7)) return false;
  }
  return false;
}

}  // namespace jpeg
