// Tiles of AMX, as our kernels use them (Intel 64 and IA-32 Architectures Software Developer's
// Manual, volume 2).
//
// Registers 0 and 1 hold sums, 4 holds inputs, 6 weights. More registers would need fewer loads, but
// the fewer are in use, the more loads and products run beside each other: two rows of tiles times two
// columns, the usual way, took twice as long where it was measured.

#pragma once

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

constexpr int OUTPUTS = 16;  // of a strip
constexpr int ROWS = 16;     // that one tile register holds
constexpr int GROUP = 4;     // bytes
constexpr int LINE = 64;     // bytes
constexpr int TILE = OUTPUTS * LINE;
constexpr int AHEAD = 4;  // tiles

#ifdef __AMX_BF16__

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {};
  uint8_t rows[16] = {};
};

inline void configure(int rows) {
  TileConfig config;
  for (int i : {0, 1, 4, 6}) config.bytes_per_row[i] = LINE;
  for (int i : {0, 1, 4}) config.rows[i] = rows;
  config.rows[6] = OUTPUTS;
  asm volatile("" : : "r"(&config) : "memory");  // GCC thinks that only its first bytes are read
  _tile_loadconfig(&config);
}

inline void fetch(const char* tile) {
  for (int i = 0; i < TILE; i += LINE) _mm_prefetch(tile + i, _MM_HINT_T0);
}

inline bool ready() {  // Linux wants to be asked for the registers (arch_prctl, ARCH_REQ_XCOMP_PERM)
  static const bool granted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return granted;
}

#else

inline bool ready() { return true; }

#endif
