// Convolutions of 3 x 3 over small images with channels innermost, forward and backward, as products in AMX's tiles: the places that
// a position sees are laid side by side, tap after tap, a few images at a time.
//
// y = W f(x) + b (+ residual), f the identity or silu; products of bfloat16, all else float. P places of an image, I inputs and
// O outputs of a place; weights lie [O, 3, 3, I].
#pragma once

#include "experts_tiles.h"

#if defined(ERNEST_TILES)
namespace ernest {

constexpr int64_t TAPS = 9;

struct Images {
  int64_t count, height, width, inputs, outputs, silu;
  int64_t places() const { return height * width; }
  int64_t all() const { return count * places(); }
  int64_t wide() const { return up(inputs, TILE); }
  int64_t together() const { return places() < 256 ? 256 / places() : 1; }  // images of a task
  int64_t tasks() const { return (count + together() - 1) / together(); }
};

// Which place of an image each place sees through each tap, [TAPS, P]; -1 is the border of zeros.
static std::vector<int32_t> seen_places(const Images& s) {
  std::vector<int32_t> seen(TAPS * s.places());
  for (int64_t tap = 0; tap < TAPS; ++tap)
    for (int64_t place = 0; place < s.places(); ++place) {
      const int64_t y = place / s.width + tap / 3 - 1, x = place % s.width + tap % 3 - 1;
      const bool inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
      seen[tap * s.places() + place] = inside ? int32_t(y * s.width + x) : -1;
    }
  return seen;
}

// What `rows` places from the first image of `map` [.., P, channels] on see, as tiles of A of TAPS * channels terms; with `mirrored`
// through the tap opposite to each.
static void see(const Images& s, const int32_t* seen, const bf16* map, int64_t channels, int64_t rows, bool mirrored, Tile* to) {
  const int64_t terms = TAPS * channels, filled = up(rows, TILE);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t image = r / s.places(), at = r % s.places();
    for (int64_t tap = 0; tap < TAPS; ++tap) {
      const int32_t place_seen = seen[(mirrored ? TAPS - 1 - tap : tap) * s.places() + at];
      const bf16* from = map + (image * s.places() + place_seen) * channels;
      for (int64_t i = 0; i < channels; i += TILE)
        _mm512_store_si512(place(to, r, tap * channels + i, terms),
                           place_seen < 0 ? _mm512_setzero_si512() : _mm512_loadu_si512(from + i));
    }
  }
  clear_rows(rows, filled, terms, to);
}

// Weights with the inputs filled up by zeros to whole tiles; themselves where nothing is missing.
static const float* filled_inputs(const Images& s, const float* weight, float* to) {
  if (s.wide() == s.inputs) return weight;
  for (int64_t row = 0; row < s.outputs * TAPS; ++row) {
    memcpy(to + row * s.wide(), weight + row * s.inputs, s.inputs * 4);
    memset(to + row * s.wide() + s.inputs, 0, (s.wide() - s.inputs) * 4);
  }
  return to;
}

INLINE Vector activated(const float* x, bool silu) {
  const Vector value = load(x);
  return silu ? value * sigmoid(value) : value;
}

// `acted` [count P, wide] keeps f(x) for the way back.
static void convolve(int64_t threads, const Images& s, const float* x, const float* weight, const float* bias, const float* residual,
                     bf16* acted, float* y) {
  const int64_t P = s.places(), O = s.outputs, wide = s.wide(), terms = TAPS * wide;
  const std::vector<int32_t> seen = seen_places(s);
  Tile* weight_tiles = tiles(0, terms * O);
  tiles_of_turned(O, terms, filled_inputs(s, weight, buffers().get(1, O * terms)), weight_tiles);
  team()(threads, s.tasks(), [&](int64_t task) {
    const int64_t first = task * s.together(), images = s.count - first < s.together() ? s.count - first : s.together();
    const int64_t rows = images * P, most = up(s.together() * P, TILE);
    Tile* left = tiles(2, most * terms);
    float* out = buffers().get(3, most * O);
    for (int64_t r = first * P; r < first * P + rows; ++r)
      for (int64_t i = 0; i < wide; i += LANES)
        store(acted + r * wide + i, i < s.inputs ? activated(x + r * s.inputs + i, s.silu) : Vector{});
    see(s, seen.data(), acted + first * P * wide, wide, rows, false, left);
    const TileRegisters registers;
    tile_product(up(rows, TILE), O, terms, left, weight_tiles, out, O);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < O; i += LANES) {
        const int64_t at = (first * P + r) * O + i;
        const Vector sum = load(out + r * O + i) + load(bias + i);
        store(y + at, residual ? sum + load(residual + at) : sum);
      }
  });
}

// Rows [rows, channels] of the places of all images as seen through a tap, as the operand B of sums over them.
static void see_paired(const Images& s, const int32_t* seen, const bf16* map, int64_t channels, Tile* to) {
  static const Tile none{};
  const int64_t rows = s.all(), deep = up(rows, TILE) / TILE;
  for (int64_t j = 0; j < deep; ++j)
    for (int64_t pairs = 0; pairs < 16; ++pairs) {
      const bf16* from[2];
      for (int64_t k = 0; k < 2; ++k) {
        const int64_t r = j * TILE + 2 * pairs + k, at = r < rows ? seen[r % s.places()] : -1;
        from[k] = at < 0 ? nullptr : map + (r / s.places() * s.places() + at) * channels;
      }
      for (int64_t i = 0; i < channels; i += TILE) {
        __m512i low, high;
        pair(from[0] ? (const uint32_t*)(from[0] + i) : none.rows[0], from[1] ? (const uint32_t*)(from[1] + i) : none.rows[0], low, high);
        _mm512_store_si512(to[i / 16 * deep + j].rows[pairs], low);
        _mm512_store_si512(to[(i / 16 + 1) * deep + j].rows[pairs], high);
      }
    }
}

// The gradients of weights and bias from that of y: dW[o, tap, i] = sum over places of dy_o f(x)_i as seen through the tap.
static void convolve_back_weights(int64_t threads, const Images& s, const std::vector<int32_t>& seen, const bf16* acted,
                                  const float* y_grad, const Tile* y_grad_tiles, float* weight_grad, float* bias_grad) {
  const int64_t O = s.outputs, wide = s.wide(), filled = up(s.all(), TILE);
  Tile* turned = tiles(2, filled * O);
  sums_over_rows<true>(filled, O, y_grad_tiles, turned);
  float* whole = s.wide() == s.inputs ? weight_grad : buffers().get(3, O * TAPS * wide);
  team()(threads, TAPS + 1, [&](int64_t tap) {
    if (tap == TAPS) {
      for (int64_t i = 0; i < O; i += LANES) {
        Vector total{};
        for (int64_t r = 0; r < s.all(); ++r) total += load(y_grad + r * O + i);
        store(bias_grad + i, total);
      }
      return;
    }
    Tile* paired = tiles(4, filled * wide);
    see_paired(s, seen.data() + tap * s.places(), acted, wide, paired);
    const TileRegisters registers;
    tile_product(O, wide, filled, turned, paired, whole + tap * wide, TAPS * wide);
  });
  if (whole != weight_grad)
    for (int64_t row = 0; row < O * TAPS; ++row) memcpy(weight_grad + row * s.inputs, whole + row * wide, s.inputs * 4);
}

// `x_grad` may be null; `acted` is that of `convolve`.
static void convolve_back(int64_t threads, const Images& s, const float* x, const bf16* acted, const float* weight,
                          const float* y_grad, float* x_grad, float* weight_grad, float* bias_grad) {
  const int64_t P = s.places(), O = s.outputs, wide = s.wide(), terms = TAPS * O, filled = up(s.all(), TILE);
  const std::vector<int32_t> seen = seen_places(s);
  bf16* y_grad_narrow = (bf16*)buffers().get(5, filled * O / 2);
  narrowed(s.all() * O, y_grad, y_grad_narrow);
  Tile* y_grad_tiles = tiles(6, filled * O);
  for (int64_t r = 0; r < s.all(); ++r)
    for (int64_t i = 0; i < O; i += TILE) _mm512_store_si512(place(y_grad_tiles, r, i, O), _mm512_loadu_si512(y_grad_narrow + r * O + i));
  clear_rows(s.all(), filled, O, y_grad_tiles);
  convolve_back_weights(threads, s, seen, acted, y_grad, y_grad_tiles, weight_grad, bias_grad);
  if (!x_grad) return;
  const float* whole = filled_inputs(s, weight, buffers().get(1, O * TAPS * wide));
  Tile* weight_tiles = tiles(0, terms * wide);
  for (int64_t tap = 0; tap < TAPS; ++tap) tiles_of_part(O, wide, whole + tap * wide, TAPS * wide, tap * O, terms, weight_tiles);
  team()(threads, s.tasks(), [&](int64_t task) {
    const int64_t first = task * s.together(), images = s.count - first < s.together() ? s.count - first : s.together();
    const int64_t rows = images * P, most = up(s.together() * P, TILE);
    Tile* left = tiles(7, most * terms);
    float* out = buffers().get(8, most * wide);
    see(s, seen.data(), y_grad_narrow + first * P * O, O, rows, true, left);
    const TileRegisters registers;
    tile_product(up(rows, TILE), wide, terms, left, weight_tiles, out, wide);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < s.inputs; i += LANES) {
        const int64_t at = (first * P + r) * s.inputs + i;
        Vector grad = load(out + r * wide + i);
        if (s.silu) {
          const Vector value = load(x + at), share = sigmoid(value);
          grad = grad * (share + value * share * (splat(1.f) - share));
        }
        store(x_grad + at, grad);
      }
  });
}

}  // namespace ernest
#endif
