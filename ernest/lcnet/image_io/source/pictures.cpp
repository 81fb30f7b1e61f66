// What Python calls: photographs at an eighth of their size, many small files at once, pictures resized and normalised.
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#define HAS_FILES 1
#endif

#include "eighth.h"
#include "png.h"
#include "resize.h"
#include "whole.h"

namespace {

enum Kind { kUnknown, kPng, kJpeg };

// Of a picture in a file: 0 where it is left to another decoder.
struct Found {
  int32_t kind, height, width;
};

// All bytes of a regular file of at most `most`, and some behind them. False for anything else; a pipe is not waited for.
bool read_file(const char* name, int64_t most, std::vector<uint8_t>& into, int64_t& size) {
#ifdef HAS_FILES
  const int file = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return false;
  struct stat status;
  bool good = fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 && status.st_size <= most;
  if (good) {
    size = status.st_size;
    into.resize((size_t)size);
    good = read(file, into.data(), (size_t)size) == size;
  }
  close(file);
  return good;
#else
  return (void)name, (void)most, (void)into, (void)size, false;
#endif
}

// One colour to three, from the end on, in place.
void repeat(uint8_t* levels, int64_t pixels) {
  for (int64_t n = pixels; n-- > 0;) levels[3 * n] = levels[3 * n + 1] = levels[3 * n + 2] = levels[n];
}

// Three colours to one, as Pillow weighs them (ITU-R 601-2, times 2^16).
void blend(uint8_t* levels, int64_t pixels) {
  for (int64_t n = 0; n < pixels; n++)
    levels[n] = (uint8_t)((19595 * levels[3 * n] + 38470 * levels[3 * n + 1] + 7471 * levels[3 * n + 2] + 32768) >> 16);
}

bool decode_png(const uint8_t* at, const uint8_t* end, int64_t pixels, uint8_t* to, Found& found, bool& one_colour) {
  png::Header header;
  if (!png::read_header(at, end, header) || (int64_t)header.height * header.width > pixels) return false;
  found = {kPng, header.height, header.width};
  one_colour = header.kind == 0;
  return png::decode(header, to);
}

bool decode_jpeg(const uint8_t* at, const uint8_t* end, int64_t pixels, uint8_t* to, Found& found, bool& one_colour) {
  thread_local jpeg::Header header;
  header.clear();
  header.strides = false;
  if (!jpeg::read_header(at, end, header) || !header.sequential || !header.plain) return false;
  one_colour = header.components.size() == 1;
  if ((int64_t)header.height * header.width > pixels || (!one_colour && !header.luma_and_chroma())) return false;
  found = {kJpeg, header.height, header.width};
  jpeg::Whole picture(header);
  jpeg::Entropy entropy;
  if (!picture.usual() || !jpeg::read_entropy(at, end, entropy) || !picture.decode(entropy)) return false;
  picture.write(to);
  return true;
}

// One file to `to`, which has room for `pixels` of three colours. Answers with those that it has taken.
int64_t decode_file(const char* name, int64_t most, int64_t pixels, bool grey, uint8_t* to, Found& found) {
  thread_local std::vector<uint8_t> bytes;
  int64_t size = 0;
  bool one_colour = false;
  if (!read_file(name, most, bytes, size)) return 0;
  const uint8_t *at = bytes.data(), *end = at + size;
  auto* decode = at[0] == 0xFF ? decode_jpeg : decode_png;
  if (!decode(at, end, pixels, to, found, one_colour)) return found = {}, 0;
  const int64_t taken = (int64_t)found.height * found.width;
  if (one_colour && !grey) repeat(to, taken);
  if (!one_colour && grey) blend(to, taken);
  return taken;
}

// The number of each level in a table, of one channel of kChannels: four at a time: the compiler may put no look-up before a store.
template <int kChannels> void look_up(const uint8_t* level, int64_t pixels, const float* table, float* to) {
  for (; pixels >= 4; pixels -= 4, level += 4 * kChannels, to += 4) {
    const float four[4] = {table[level[0]], table[level[kChannels]], table[level[2 * kChannels]], table[level[3 * kChannels]]};
    std::memcpy(to, four, sizeof four);
  }
  for (; pixels > 0; pixels--, level += kChannels) *to++ = table[*level];
}

}  // namespace

// `data` of a picture of height x width pixels to `to`: uint8 [ceil(height / 8), ceil(width / 8)], `grey`, or with three colours.
// Returns 0, or 1 for what is not understood.
extern "C" int jpeg_eighth(const uint8_t* data, int64_t size, int height, int width, int grey, uint8_t* to) {
  using namespace jpeg;
  try {
    const uint8_t *at = data, *end = data + size;
    Header header;
    if (!read_header(at, end, header) || !header.sequential || header.height != height || header.width != width) return 1;
    if (header.components.size() == 1 ? !grey : !header.luma_and_chroma()) return 1;
    Eighth picture(header, grey);
    Entropy entropy;
    if (!picture.usual() || !read_entropy(at, end, entropy) || !picture.decode(entropy)) return 1;
    picture.write((height + 7) / 8, (width + 7) / 8, to);
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

// `count` files of at most `most` bytes, by their names, each ended by a zero. Their pictures lie one behind the other in `to`, which
// has room for `pixels` of them: uint8 [height, width], `grey`, or with three colours. `found` gets kind, height and width of each.
extern "C" void small_files(const char* names, int count, int64_t most, int64_t pixels, int grey, uint8_t* to, int32_t* found) {
  for (int n = 0; n < count; n++, names += std::strlen(names) + 1) {
    Found one = {};
    int64_t taken = 0;
    try {
      taken = decode_file(names, most, pixels, grey, to, one);
    } catch (const std::bad_alloc&) {
      one = {};
    }
    to += taken * (grey ? 1 : 3), pixels -= taken;
    found[3 * n] = one.kind, found[3 * n + 1] = one.height, found[3 * n + 2] = one.width;
  }
}

// A picture [tall, wide, channels], whose rows lie `stride` bytes apart, to uint8 [height, width, channels]: each row and column of it
// from `taps` others, of which `rows` [taps, height] and `columns` [taps, width] hold the places, with their weights; first rows
// `by_rows`. Returns 0, or 1 where there is no memory.
extern "C" int resize_levels(const uint8_t* from, int64_t stride, int tall, int wide, int channels, int taps, const int32_t* rows, const float* row_weights,
                             int height, const int32_t* columns, const float* column_weights, int width, int by_rows, uint8_t* to) {
  try {
    const resize::Taps down{rows, row_weights, height}, across{columns, column_weights, width};
    resize::levels(from, stride, tall, wide, channels, taps, down, across, by_rows, to);
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

// `count` pictures of `pixels` pixels, each [pixels, channels], to planes [channels, pixels], by a table of 256 numbers for each plane,
// made of the channel that `order` names.
extern "C" void normalise_levels(const uint8_t* const* from, int64_t count, int64_t pixels, int channels, const int32_t* order, const float* tables, float* to) {
  for (int64_t n = 0; n < count; n++) {
    for (int c = 0; c < channels; c++, to += pixels) (channels == 3 ? look_up<3> : look_up<1>)(from[n] + order[c], pixels, tables + 256 * c, to);
  }
}
