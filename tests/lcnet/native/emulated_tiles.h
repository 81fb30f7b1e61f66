// The tile registers of AMX, and arithmetic in halves, for processors that have neither: the kernels for AMX run on any AVX-512.
//
// Included twice: before everything else, for the halves, and by `amx_registers.h`, for the tiles. An operation of halves is one in fp32,
// rounded; a product and sum in one may then be rounded twice, which the instructions do once.
#if !defined(EMULATED_HALVES)
#define EMULATED_HALVES

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace emulated {

typedef short Halves __attribute__((vector_size(64), may_alias));
typedef short FewHalves __attribute__((vector_size(32), may_alias));

inline FewHalves rounded(__m512 x) { return (FewHalves)_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline __m512 floats(FewHalves x) { return _mm512_cvtph_ps((__m256i)x); }
inline FewHalves low(Halves x) { return (FewHalves)_mm512_castsi512_si256((__m512i)x); }
inline FewHalves high(Halves x) { return (FewHalves)_mm512_extracti64x4_epi64((__m512i)x, 1); }
inline Halves join(__m256i low, __m256i high) { return (Halves)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }

template <class Function, class... More> inline Halves each(Function&& function, More... of) {
  return join((__m256i)rounded(function(floats(low(of))...)), (__m256i)rounded(function(floats(high(of))...)));
}
inline Halves max(Halves a, Halves b) { return each([](__m512 x, __m512 y) { return _mm512_max_ps(x, y); }, a, b); }
inline Halves min(Halves a, Halves b) { return each([](__m512 x, __m512 y) { return _mm512_min_ps(x, y); }, a, b); }
inline Halves mul(Halves a, Halves b) { return each([](__m512 x, __m512 y) { return _mm512_mul_ps(x, y); }, a, b); }
inline Halves fmadd(Halves a, Halves b, Halves c) {
  return each([](__m512 x, __m512 y, __m512 z) { return _mm512_fmadd_ps(x, y, z); }, a, b, c);
}
inline FewHalves fmadd_few(FewHalves a, FewHalves b, FewHalves c) { return rounded(_mm512_fmadd_ps(floats(a), floats(b), floats(c))); }
inline Halves splat(float x) { return (Halves)_mm512_set1_epi16(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)); }
inline __m512i integers(Halves x) {
  auto of = [](FewHalves half) { return _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(floats(half))); };
  return (__m512i)join(of(low(x)), of(high(x)));
}

}  // namespace emulated

#define __m512h emulated::Halves
#define __m256h emulated::FewHalves
#define _mm512_max_ph emulated::max
#define _mm512_min_ph emulated::min
#define _mm512_mul_ph emulated::mul
#define _mm512_fmadd_ph emulated::fmadd
#define _mm256_fmadd_ph emulated::fmadd_few
#define _mm512_set1_ph(x) emulated::splat((float)(x))
#define _mm512_setzero_ph() emulated::Halves{}
#define _mm512_cvtxps_ph emulated::rounded
#define _mm512_cvtxph_ps emulated::floats
#define _mm512_cvtph_epi16 emulated::integers
#define _mm512_castph512_ph256 emulated::low
#define _mm256_loadu_ph(from) ((emulated::FewHalves)_mm256_loadu_si256((const __m256i*)(from)))

#define __AVX512FP16__ 1
#define __AMX_TILE__ 1
#define __AMX_BF16__ 1
#define __AMX_INT8__ 1

#else

struct Tile {
  int rows, bytes;
  uint8_t at[16][64];
};
inline thread_local Tile tiles[8];

inline bool permit_tiles() { return true; }
inline void shape_tiles(const TileShapes& shapes) {
  for (int t = 0; t < 8; t++) tiles[t] = {shapes.rows[t], shapes.bytes[t], {}};
}
inline void release_tiles() {
  for (Tile& tile : tiles) tile = {};
}
template <int T> void load_tile(const void* from, long stride) {
  for (int row = 0; row < tiles[T].rows; row++) std::memcpy(tiles[T].at[row], (const char*)from + row * stride, tiles[T].bytes);
}
template <int T> void store_tile(void* to) {
  for (int row = 0; row < tiles[T].rows; row++) std::memcpy((char*)to + row * 64L, tiles[T].at[row], tiles[T].bytes);
}
template <int T> void clear_tile() { std::memset(tiles[T].at, 0, sizeof tiles[T].at); }

// sums[row][output] += four bytes of a row of pixels . four bytes of an output, over all of the row.
template <class Sum, class Product> void multiply(Tile& sums, const Tile& pixels, const Tile& weights, Product&& product) {
  for (int row = 0; row < sums.rows; row++)
    for (int four = 0; four < pixels.bytes / 4; four++)
      for (int output = 0; output < sums.bytes / 4; output++) {
        Sum sum;
        std::memcpy(&sum, sums.at[row] + 4 * output, 4);
        sum = product(sum, pixels.at[row] + 4 * four, weights.at[four] + 4 * output);
        std::memcpy(sums.at[row] + 4 * output, &sum, 4);
      }
}
template <int SUM, int PIXELS, int WEIGHTS> void multiply_tiles() {
  auto wide = [](const uint8_t* at) {
    const uint32_t bits = (uint32_t)(at[0] | at[1] << 8) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  };
  multiply<float>(tiles[SUM], tiles[PIXELS], tiles[WEIGHTS], [&](float sum, const uint8_t* x, const uint8_t* w) {
    return sum + wide(x) * wide(w) + wide(x + 2) * wide(w + 2);
  });
}
template <int SUM, int PIXELS, int WEIGHTS> void multiply_codes() {
  multiply<int32_t>(tiles[SUM], tiles[PIXELS], tiles[WEIGHTS], [](int32_t sum, const uint8_t* codes, const uint8_t* weights) {
    for (int n = 0; n < 4; n++) sum += codes[n] * (int8_t)weights[n];
    return sum;
  });
}

#endif
