// Sums of products of rows with matrices of weights, in tiles of AMX.
//
// A packed matrix consists of strips of 16 outputs; a strip is a row of tiles of 1 KiB, of 32 inputs
// each. In a tile the inputs of one output lie in pairs, as TDPBF16PS takes them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../../assistant/amx.h"
#include "numbers.h"

constexpr int DEPTH = LINE / sizeof(Bf16);  // inputs of a tile
constexpr int MANY = 16;                    // strips, enough to be shared by threads
constexpr int64_t TALL = 512, SHORT = 64;   // rows at a time: many strips read them from a near cache

// weights[n][k] at n * across + k * along -> packed
void pack(const Bf16* weights, int64_t outputs, int64_t inputs, int64_t across, int64_t along,
          Bf16* packed) {
#pragma omp parallel for
  for (int64_t n = 0; n < outputs; n += OUTPUTS)
    for (int64_t k = 0; k < inputs; k += 2) {
      Bf16* to = packed + n * inputs + k * OUTPUTS;
      for (int64_t i = 0; i < OUTPUTS; i++)
        for (int64_t j = 0; j < 2; j++) to[2 * i + j] = weights[(n + i) * across + (k + j) * along];
    }
}

#ifdef __AMX_BF16__

struct Factor {
  const Bf16* x;  // (rows, inputs)
  int64_t inputs;
  const char* packed;  // (outputs, inputs)

  int64_t tiles() const { return inputs / DEPTH; }
};

// Of one or two products, and of `onto` if there is one: rounded to `out`, or added to `sums`.
struct Sum {
  Factor factors[2];
  int count;
  int64_t rows, outputs;
  const Bf16* onto;
  Bf16* out;
  float* sums;
};

template <int STRIPS>
void put(const Sum& s, const float (*kept)[ROWS * OUTPUTS], int64_t m, int rows, int64_t n) {
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < STRIPS; i++) {
      const int64_t place = (m + r) * s.outputs + (n + i) * OUTPUTS;
      __m512 found = _mm512_load_ps(kept[i] + r * OUTPUTS);
      if (s.onto) {
        __m256i there = _mm256_loadu_si256((const __m256i*)(s.onto + place));
        __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(there), 16);
        found = _mm512_add_ps(found, _mm512_castsi512_ps(wide));
      }
      _mm256_storeu_si256((__m256i*)(s.out + place), (__m256i)_mm512_cvtneps_pbh(found));
    }
}

// One or two strips, n and n + 1, of up to 16 rows from m on; the first to read weights fetches ahead.
template <int STRIPS>
void block(const Sum& s, int64_t m, int rows, int64_t n, bool first) {
  alignas(64) float kept[STRIPS][ROWS * OUTPUTS];
  const int64_t row = s.outputs * sizeof(float);
  float* sums = s.sums ? s.sums + m * s.outputs + n * OUTPUTS : nullptr;
  _tile_zero(0);
  _tile_zero(1);
  if (sums) _tile_loadd(0, sums, row);
  if (sums && STRIPS == 2) _tile_loadd(1, sums + OUTPUTS, row);
  for (int f = 0; f < s.count; f++) {
    const Factor& factor = s.factors[f];
    const int64_t tiles = factor.tiles();
    const char *left = factor.packed + n * tiles * TILE, *right = left + tiles * TILE;
    const Bf16* x = factor.x + m * factor.inputs;
    for (int64_t k = 0; k < tiles; k++) {
      if (first) fetch(left + (k + AHEAD) * TILE);
      if (first && STRIPS == 2) fetch(right + (k + AHEAD) * TILE);
      _tile_loadd(4, x + k * DEPTH, factor.inputs * sizeof(Bf16));
      _tile_loadd(6, left + k * TILE, LINE);
      _tile_dpbf16ps(0, 4, 6);
      if (STRIPS == 2) {
        _tile_loadd(6, right + k * TILE, LINE);
        _tile_dpbf16ps(1, 4, 6);
      }
    }
  }
  if (sums) {
    _tile_stored(0, sums, row);
    if (STRIPS == 2) _tile_stored(1, sums + OUTPUTS, row);
    return;
  }
  _tile_stored(0, kept[0], LINE);
  if (STRIPS == 2) _tile_stored(1, kept[1], LINE);
  put<STRIPS>(s, kept, m, rows, n);
}

template <int STRIPS>
void strips(const Sum& s, int64_t from, int64_t to, int64_t n) {
  const int64_t whole = from + (to - from) / ROWS * ROWS;
  configure(ROWS);
  for (int64_t m = from; m < whole; m += ROWS) block<STRIPS>(s, m, ROWS, n, m == from);
  if (whole == to) return;
  configure(to - whole);
  block<STRIPS>(s, whole, to - whole, n, false);
}

void multiply(const Sum& s) {
  const int64_t all = s.outputs / OUTPUTS, step = all < MANY ? SHORT : TALL;
#pragma omp parallel
  {
#pragma omp for collapse(2) schedule(dynamic)
    for (int64_t from = 0; from < s.rows; from += step)
      for (int64_t n = 0; n < all; n += 2) {
        const int64_t to = std::min(s.rows, from + step);
        n + 1 < all ? strips<2>(s, from, to, n) : strips<1>(s, from, to, n);
      }
    _tile_release();
  }
}

// Σ over tokens of a[token][i] · b[token][j], in `out` (width, outputs): what adapters learn. Widths of
// `a` and `b` are multiples of 32 and 16.
void outer(const Bf16* a, const Bf16* b, int64_t tokens, int64_t width, int64_t outputs, float* out) {
  const int64_t tiles = (tokens + DEPTH - 1) / DEPTH, across = tiles * DEPTH;
  std::vector<Bf16> turned(width * across, 0);
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t i = 0; i < width; i++) turned[i * across + t] = a[t * width + i];
#pragma omp parallel
  {
    configure(ROWS);
    std::vector<__m512i> pairs(tiles * DEPTH / 2);  // a strip of b: two tokens beside each other
#pragma omp for schedule(dynamic, 4)
    for (int64_t n = 0; n < outputs; n += OUTPUTS) {
      auto half = [&](int64_t t) {
        if (t >= tokens) return _mm512_setzero_si512();
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(b + t * outputs + n)));
      };
      for (int64_t t = 0; t < across; t += 2)
        pairs[t / 2] = _mm512_or_si512(half(t), _mm512_slli_epi32(half(t + 1), 16));
      for (int64_t i = 0; i < width; i += 2 * ROWS) {
        _tile_zero(0);
        _tile_zero(1);
        for (int64_t k = 0; k < tiles; k++) {
          const Bf16* rows = turned.data() + i * across + k * DEPTH;
          _tile_loadd(6, pairs.data() + k * DEPTH / 2, LINE);
          _tile_loadd(4, rows, across * sizeof(Bf16));
          _tile_dpbf16ps(0, 4, 6);
          _tile_loadd(4, rows + ROWS * across, across * sizeof(Bf16));
          _tile_dpbf16ps(1, 4, 6);
        }
        _tile_stored(0, out + i * outputs + n, outputs * sizeof(float));
        _tile_stored(1, out + (i + ROWS) * outputs + n, outputs * sizeof(float));
      }
    }
    _tile_release();
  }
}

#endif
