// Products with AMX, or with AVX-512's bf16 (AMD since Zen 4, and others).
//
// In a tile the inputs of one output lie in groups of 4 bytes, as AMX's TDPBF16PS and TDPBSSD, and
// AVX-512's VDPBF16PS, take them.

#pragma once

#include <algorithm>
#include <cmath>

#include "product.h"

#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
#define IN_8_BITS
#endif

namespace {

using Rounded = int8_t;

// `bytes` of inputs of each of 16 outputs -> a strip
template <int>
void pack_strip(const char* from, int64_t bytes, char* to) {
  for (int64_t n = 0; n < OUTPUTS; n++)
    for (int64_t k = 0; k < bytes; k += GROUP)
      std::memcpy(to + k / LINE * TILE + k % LINE / GROUP * LINE + n * GROUP, from + n * bytes + k,
                  GROUP);
}

void put(const Product& p, __m512 sums, int64_t m, int64_t n) {
  if (p.bias) sums = _mm512_add_ps(sums, _mm512_loadu_ps(p.bias + n * OUTPUTS));
  _mm256_storeu_si256((__m256i*)p.place(m, n), (__m256i)_mm512_cvtneps_pbh(sums));
}

#ifdef __AMX_BF16__

template <bool INT8>
void put_tile(const Product& p, const void* sums, int rows, int64_t m, int64_t n) {
  for (int r = 0; r < rows; r++) {
    const char* line = static_cast<const char*>(sums) + r * LINE;
    if constexpr (INT8) {
      __m512 scale = _mm512_mul_ps(_mm512_set1_ps(p.row_scales[m + r]),
                                   _mm512_loadu_ps(p.output_scales + n * OUTPUTS));
      put(p, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(line)), scale), m + r, n);
    } else {
      put(p, _mm512_load_ps(line), m + r, n);
    }
  }
}

#define DOT(sums, inputs, weights)                   \
  if constexpr (INT8)                                \
    _tile_dpbssd(sums, inputs, weights);             \
  else                                               \
    _tile_dpbf16ps(sums, inputs, weights)

// One or two strips, n and n + 1, of up to 16 rows from m on; the first to read weights fetches ahead.
template <bool INT8, bool TWO>
void block(const Product& p, int64_t m, int rows, int64_t n, bool first) {
  alignas(64) char sums[ROWS * LINE];
  const char *left = p.strip(n), *right = p.strip(n + 1), *inputs = p.row(m);
  _tile_zero(0);
  if (TWO) _tile_zero(1);
  for (int64_t k = 0; k < p.tiles; k++) {
    if (first) fetch(left + (k + AHEAD) * TILE);
    if (first && TWO) fetch(right + (k + AHEAD) * TILE);
    _tile_loadd(4, inputs + k * LINE, p.x_stride);
    _tile_loadd(6, left + k * TILE, LINE);
    DOT(0, 4, 6);
    if (TWO) {
      _tile_loadd(6, right + k * TILE, LINE);
      DOT(1, 4, 6);
    }
  }
  _tile_stored(0, sums, LINE);
  put_tile<INT8>(p, sums, rows, m, n);
  if (TWO) {
    _tile_stored(1, sums, LINE);
    put_tile<INT8>(p, sums, rows, m, n + 1);
  }
}

template <bool INT8>
void blocks(const Product& p, int64_t m, int rows, int64_t n, int64_t to) {
  if (n + 1 < to)
    block<INT8, true>(p, m, rows, n, m == 0);
  else
    block<INT8, false>(p, m, rows, n, m == 0);
}

// Strip by strip, so that weights are read from memory once, whatever the number of rows.
template <bool INT8>
void strips(const Product& p, int64_t from, int64_t to) {
  const int64_t whole = p.rows / ROWS * ROWS;
  const int rest = p.rows - whole;
  if (!whole || !rest) configure(whole ? ROWS : rest);
  for (int64_t n = from; n < to; n += 2) {
    if (whole && rest) configure(ROWS);
    for (int64_t m = 0; m < whole; m += ROWS) blocks<INT8>(p, m, ROWS, n, to);
    if (whole && rest) configure(rest);
    if (rest) blocks<INT8>(p, whole, rest, n, to);
  }
  _tile_release();
}

// Row by row to -127 … 127, by its largest number; returns what one of that is worth.
float quantize(const Bf16* x, int64_t count, Rounded* out) {
  auto number = [&](int64_t k) { return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(x + k))), 16)); };
  __m512 largest = _mm512_setzero_ps();
  __mmask16 broken = 0;
  for (int64_t k = 0; k < count; k += 16) {
    largest = _mm512_max_ps(largest, _mm512_abs_ps(number(k)));
    broken |= _mm512_cmp_ps_mask(number(k), number(k), _CMP_UNORD_Q);
  }
  float most = _mm512_reduce_max_ps(largest);
  if (broken || std::isinf(most)) return NAN;  // and so is all that comes of this row
  float scale = std::max(most, 1e-10f) / 127;
  __m512 inverse = _mm512_set1_ps(1 / scale);
  for (int64_t k = 0; k < count; k += 16) {
    __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(number(k), inverse));
    _mm_storeu_si128((__m128i*)(out + k), _mm512_cvtsepi32_epi8(whole));
  }
  return scale;
}

#else

template <int R, int S>
void block(const Product& p, int64_t m, int64_t n) {
  const int64_t steps = p.tiles * OUTPUTS, x_stride = p.x_stride, strip = p.tiles * TILE;
  const char *inputs = p.row(m), *lines = p.strip(n);
  __m512 sums[R][S] = {};
  for (int64_t k = 0; k < steps; k++, inputs += GROUP, lines += LINE)
#pragma GCC unroll 8
    for (int s = 0; s < S; s++) {
      _mm_prefetch(lines + s * strip + AHEAD / 2 * TILE, _MM_HINT_T0);
      __m512bh weights = (__m512bh)_mm512_load_si512(lines + s * strip);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        int32_t pair;
        std::memcpy(&pair, inputs + r * x_stride, GROUP);
        sums[r][s] = _mm512_dpbf16_ps(sums[r][s], weights, (__m512bh)_mm512_set1_epi32(pair));
      }
    }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int s = 0; s < S; s++) put(p, sums[r][s], m + r, n + s);
}

template <int S>
void rows(const Product& p, int64_t n) {
  int64_t m = 0;
  for (; m + 6 <= p.rows; m += 6) block<6, S>(p, m, n);
  switch (p.rows - m) {
    case 1: return block<1, S>(p, m, n);
    case 2: return block<2, S>(p, m, n);
    case 3: return block<3, S>(p, m, n);
    case 4: return block<4, S>(p, m, n);
    case 5: return block<5, S>(p, m, n);
  }
}

template <bool>
void strips(const Product& p, int64_t from, int64_t to) {
  int64_t n = from;
  for (; n + 4 <= to; n += 4) rows<4>(p, n);
  for (; n < to; n++) rows<1>(p, n);
}

#endif

}  // namespace
