// The tile registers of AMX.
#pragma once

#include "bfloat16.h"
#include "depthwise16.h"

#if defined(__AMX_BF16__) && defined(__AVX512FP16__)
#include <sys/syscall.h>
#include <unistd.h>

namespace lcnet {

// Tiles 0-3 are sums, 4-5 pixels, 6-7 weights; 16 rows each, 64 bytes a row.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};
  explicit TileShapes(int pixels = 16) {
    for (int t = 0; t < 8; t++) rows[t] = (uint8_t)(t < 6 ? pixels : 16);
  }
};
#if defined(LCNET_TILES)
#include LCNET_TILES  // the functions below, for processors without such registers: tests have them
#else
// Tiles hold 8 KiB that the system saves at every change of threads: a process asks for them once.
inline bool permit_tiles() {
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

INLINE void shape_tiles(const TileShapes& shapes) { __asm__ volatile("ldtilecfg %0" : : "m"(shapes)); }
INLINE void release_tiles() { __asm__ volatile("tilerelease"); }
template <int T> INLINE void load_tile(const void* from, long stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T> INLINE void store_tile(void* to) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(64L), "i"(T) : "memory");
}
template <int SUM, int PIXELS, int WEIGHTS> INLINE void multiply_tiles() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(PIXELS), "i"(WEIGHTS));
}
template <int SUM, int PIXELS, int WEIGHTS> INLINE void multiply_codes() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(PIXELS), "i"(WEIGHTS));
}
template <int T> INLINE void clear_tile() { __asm__ volatile("tilezero %%tmm%c0" : : "i"(T)); }
#endif

}  // namespace lcnet
#endif
