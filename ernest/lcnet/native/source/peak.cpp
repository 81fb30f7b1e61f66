// What one core can do: multiply-adds of four kinds from registers, and reading from wherever so many bytes fit.
// Every function works through `loops` rounds and returns how many operations (or bytes) those were; the caller has the
// clock. A kind of arithmetic that these flags do not compile returns 0.
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__AMX_TILE__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64, kChains = 16;
#elif defined(__AVX__)
constexpr int kBytes = 32, kChains = 12;  // 16 registers, two of them for the factors
#elif defined(__aarch64__)
constexpr int kBytes = 16, kChains = 16;
#else
constexpr int kBytes = 16, kChains = 12;
#endif
typedef float Vector __attribute__((vector_size(kBytes)));
constexpr int kLanes = kBytes / 4;

volatile float sink;  // results go here, or the compiler would leave the work out

#if defined(__AMX_TILE__)
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

// Linux lends the tile registers to those who ask. All eight hold 16 rows of 64 bytes.
bool borrow_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return false;
#endif
  TileShapes shapes;
  for (int tile = 0; tile < 8; tile++) shapes.bytes[tile] = 64, shapes.rows[tile] = 16;
  __asm__ volatile("" : : "r"(&shapes) : "memory");  // GCC thinks that the next line reads eight bytes only
  _tile_loadconfig(&shapes);
  return true;
}
constexpr int64_t kTileRounds = 6, kTileProducts = 16 * 16;  // six accumulators hide the latency of a product
#endif

}  // namespace

extern "C" {

// Chains c = c a + b, enough of them to hide the latency; the values stay near b / (1 - a).
int64_t peak_fp32(int64_t loops) {
  Vector chain[kChains], a = Vector{} + 0.5f, b = Vector{} + 1.0f;
  for (int i = 0; i < kChains; i++) chain[i] = Vector{} + float(i);
  for (int64_t n = 0; n < loops; n++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) chain[i] = chain[i] * a + b;
  }
  Vector sum = chain[0];
  for (int i = 1; i < kChains; i++) sum += chain[i];
  sink = sum[0];
  return loops * kChains * kLanes * 2;
}

int64_t peak_fp16(int64_t loops) {
#if defined(__AVX512FP16__)
  __m512h chain[kChains], a = _mm512_set1_ph(0.5f), b = _mm512_set1_ph(1.0f);
  for (int i = 0; i < kChains; i++) chain[i] = _mm512_set1_ph((_Float16)i);
  for (int64_t n = 0; n < loops; n++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) chain[i] = _mm512_fmadd_ph(chain[i], a, b);
  }
  __m512h sum = chain[0];
  for (int i = 1; i < kChains; i++) sum = _mm512_add_ph(sum, chain[i]);
  sink = (float)_mm512_cvtsh_h(sum);
  return loops * kChains * 32 * 2;
#else
  (void)loops;
  return 0;
#endif
}

int64_t peak_bf16(int64_t loops) {
#if defined(__AMX_BF16__)
  if (!borrow_tiles()) return 0;
  for (int64_t n = 0; n < loops; n++) {
    _tile_dpbf16ps(0, 6, 7);
    _tile_dpbf16ps(1, 6, 7);
    _tile_dpbf16ps(2, 6, 7);
    _tile_dpbf16ps(3, 6, 7);
    _tile_dpbf16ps(4, 6, 7);
    _tile_dpbf16ps(5, 6, 7);
  }
  _tile_release();
  return loops * kTileRounds * kTileProducts * 32 * 2;
#elif defined(__AVX512BF16__)
  __m512 chain[kChains];
  __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f00), b = (__m512bh)_mm512_set1_epi16(0x3f80);  // 0.5 and 1
  for (int i = 0; i < kChains; i++) chain[i] = _mm512_set1_ps(float(i));
  for (int64_t n = 0; n < loops; n++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) chain[i] = _mm512_dpbf16_ps(chain[i], a, b);
  }
  __m512 sum = chain[0];
  for (int i = 1; i < kChains; i++) sum = _mm512_add_ps(sum, chain[i]);
  sink = _mm512_cvtss_f32(sum);
  return loops * kChains * 32 * 2;
#else
  (void)loops;
  return 0;
#endif
}

int64_t peak_int8(int64_t loops) {
#if defined(__AMX_INT8__)
  if (!borrow_tiles()) return 0;
  for (int64_t n = 0; n < loops; n++) {
    _tile_dpbusd(0, 6, 7);
    _tile_dpbusd(1, 6, 7);
    _tile_dpbusd(2, 6, 7);
    _tile_dpbusd(3, 6, 7);
    _tile_dpbusd(4, 6, 7);
    _tile_dpbusd(5, 6, 7);
  }
  _tile_release();
  return loops * kTileRounds * kTileProducts * 64 * 2;
#elif defined(__AVX512VNNI__)
  // By hand: GCC 12 would move accumulators of integer types, and arrays of any, between memory and registers.
#define SIXTEEN(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define BEGIN(i) Vector chain##i{};
#define STEP(i) __asm__("vpdpbusd %2, %1, %0" : "+v"(chain##i) : "v"(a), "v"(b));
#define END(i) bits ^= (__m512i)chain##i;
  Vector a = (Vector)_mm512_set1_epi8(3), b = (Vector)_mm512_set1_epi8(2);
  SIXTEEN(BEGIN)
  for (int64_t n = 0; n < loops; n++) { SIXTEEN(STEP) }
  __m512i bits{};
  SIXTEEN(END)
  sink = float(bits[0]);
  return loops * kChains * 64 * 2;
#elif defined(__AVXVNNI__)
  __m256i chain[kChains] = {}, a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(2), bits{};
  for (int64_t n = 0; n < loops; n++) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; i++) chain[i] = _mm256_dpbusd_avx_epi32(chain[i], a, b);
  }
  for (int i = 0; i < kChains; i++) bits = _mm256_xor_si256(bits, chain[i]);
  sink = float(_mm256_extract_epi32(bits, 0));
  return loops * kChains * 32 * 2;
#else
  (void)loops;
  return 0;
#endif
}

// `bytes` from `block` on, aligned to 64 and a multiple of 8 vectors, read `loops` times.
int64_t read_block(const float* block, int64_t bytes, int64_t loops) {
  const Vector* data = reinterpret_cast<const Vector*>(block);
  const int64_t count = bytes / kBytes;
  Vector sum[8] = {};
  for (int64_t n = 0; n < loops; n++) {
    for (int64_t k = 0; k + 8 <= count; k += 8) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) sum[i] += data[k + i];
    }
  }
  for (int i = 1; i < 8; i++) sum[0] += sum[i];
  sink = sum[0][0];
  return loops * count * kBytes;
}
}
