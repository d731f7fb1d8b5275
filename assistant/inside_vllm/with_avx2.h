// Products with AVX2, of inputs in float32: for processors that multiply no 16 bits.
//
// Weights are read from memory as bf16 or int8, a half or a quarter of float32, and made wider in
// registers. A group of 4 bytes holds outputs n and n + 8, so that a shift parts eight groups at once:
// one number of each in bf16, two in int8.

#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "product.h"

#define IN_8_BITS

namespace {

using Rounded = int16_t;  // -127 … 127, as VPMADDWD takes them

constexpr int HALF = OUTPUTS / 2;
constexpr int GROUPS = HALF * GROUP;  // bytes of a strip that are read at once

// `bytes` of inputs of each of 16 outputs -> a strip
template <int size>
void pack_strip(const char* from, int64_t bytes, char* to) {
  for (int64_t n = 0; n < OUTPUTS; n++)
    for (int64_t k = 0; k < bytes; k += size) {
      int64_t group = k / 2 * GROUPS + n % HALF * GROUP;
      std::memcpy(to + group + k % 2 * 2 + n / HALF * size, from + n * bytes + k, size);
    }
}

void put(const Product& p, __m256 sums, int64_t m, int64_t n, int half) {
  if (p.bias) sums = _mm256_add_ps(sums, _mm256_loadu_ps(p.bias + n * OUTPUTS + half));
  _mm256_storeu_ps(p.place(m, n) + half, sums);
}

// What a group of weights is in registers, and how it is multiplied.
struct InFloats {
  using Wide = __m256;
  using Sums = __m256;

  static Wide lower(__m256i both) { return _mm256_castsi256_ps(_mm256_slli_epi32(both, 16)); }
  static Wide higher(__m256i both) {
    return _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(0xffff0000)));
  }
  static Sums add(Sums sums, Wide weights, __m256 input) {
    return _mm256_fmadd_ps(weights, input, sums);
  }
  static __m256 worth(const Product&, Sums sums, int64_t, int64_t, int) { return sums; }
};

struct In8Bits {
  using Wide = __m256i;
  using Sums = __m256i;

  static Wide lower(__m256i both) { return _mm256_srai_epi16(_mm256_slli_epi16(both, 8), 8); }
  static Wide higher(__m256i both) { return _mm256_srai_epi16(both, 8); }
  static Sums add(Sums sums, Wide weights, __m256 inputs) {
    __m256i products = _mm256_madd_epi16(weights, _mm256_castps_si256(inputs));
    // GCC 12, left to itself, writes sums to another register and copies them back.
    asm("vpaddd %1, %0, %0" : "+x"(sums) : "x"(products));
    return sums;
  }
  static __m256 worth(const Product& p, Sums sums, int64_t m, int64_t n, int half) {
    __m256 scales = _mm256_loadu_ps(p.output_scales + n * OUTPUTS + half);
    scales = _mm256_mul_ps(scales, _mm256_set1_ps(p.row_scales[m]));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales);
  }
};

// R rows from m on with S strips from n on: sums of their lower and of their higher outputs.
template <bool INT8, int R, int S>
void block(const Product& p, int64_t m, int64_t n) {
  using Kind = std::conditional_t<INT8, In8Bits, InFloats>;
  const int64_t steps = p.tiles * (LINE / 2), x_stride = p.x_stride, strip = p.tiles * TILE;
  const char *inputs = p.row(m), *weights = p.strip(n);
  typename Kind::Sums low[R][S] = {}, high[R][S] = {};
  for (int64_t k = 0; k < steps; k++, inputs += GROUP, weights += GROUPS)
#pragma GCC unroll 8
    for (int s = 0; s < S; s++) {
      _mm_prefetch(weights + s * strip + AHEAD * TILE, _MM_HINT_T0);
      __m256i both = _mm256_load_si256((const __m256i*)(weights + s * strip));
      auto lower = Kind::lower(both), higher = Kind::higher(both);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        __m256 input = _mm256_broadcast_ss((const float*)(inputs + r * x_stride));
        low[r][s] = Kind::add(low[r][s], lower, input);
        high[r][s] = Kind::add(high[r][s], higher, input);
      }
    }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int s = 0; s < S; s++) {
      put(p, Kind::worth(p, low[r][s], m + r, n + s, 0), m + r, n + s, 0);
      put(p, Kind::worth(p, high[r][s], m + r, n + s, HALF), m + r, n + s, HALF);
    }
}

// As many strips at a time as there are registers for sums.
template <bool INT8, int R, int S>
void few(const Product& p, int64_t n, int64_t to) {
  for (; n + S <= to; n += S) block<INT8, R, S>(p, 0, n);
  if constexpr (S > 1) few<INT8, R, S / 2>(p, n, to);
}

// One strip, which stays in the cache, with all rows.
template <bool INT8>
void many(const Product& p, int64_t n) {
  int64_t m = 0;
  for (; m + 6 <= p.rows; m += 6) block<INT8, 6, 1>(p, m, n);
  switch (p.rows - m) {
    case 1: return block<INT8, 1, 1>(p, m, n);
    case 2: return block<INT8, 2, 1>(p, m, n);
    case 3: return block<INT8, 3, 1>(p, m, n);
    case 4: return block<INT8, 4, 1>(p, m, n);
    case 5: return block<INT8, 5, 1>(p, m, n);
  }
}

template <bool INT8>
void strips(const Product& p, int64_t from, int64_t to) {
  switch (p.rows) {
    case 1: return few<INT8, 1, 4>(p, from, to);
    case 2: return few<INT8, 2, 3>(p, from, to);
    case 3: return few<INT8, 3, 2>(p, from, to);
  }
  for (int64_t n = from; n < to; n++) many<INT8>(p, n);
}

// Row by row to -127 … 127, by its largest number; returns what one of that is worth.
float quantize(const float* x, int64_t count, Rounded* out) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 largest = _mm256_setzero_ps(), broken = _mm256_setzero_ps();
  for (int64_t k = 0; k < count; k += 8) {
    __m256 numbers = _mm256_loadu_ps(x + k);
    largest = _mm256_max_ps(largest, _mm256_andnot_ps(sign, numbers));
    broken = _mm256_or_ps(broken, _mm256_cmp_ps(numbers, numbers, _CMP_UNORD_Q));
  }
  alignas(32) float each[8];
  _mm256_store_ps(each, largest);
  float most = *std::max_element(each, each + 8);
  if (_mm256_movemask_ps(broken) || std::isinf(most)) return NAN;  // as all that comes of this row
  float scale = std::max(most, 1e-10f) / 127;
  __m256 inverse = _mm256_set1_ps(1 / scale);
  for (int64_t k = 0; k < count; k += 16) {
    auto whole = [&](int64_t k) { return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + k), inverse)); };
    __m256i packed = _mm256_packs_epi32(whole(k), whole(k + 8));
    _mm256_storeu_si256((__m256i*)(out + k), _mm256_permute4x64_epi64(packed, 0b11011000));
  }
  return scale;
}

}  // namespace
