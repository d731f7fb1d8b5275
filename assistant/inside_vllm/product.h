// What a kernel multiplies: rows of inputs with a packed matrix of weights.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "../amx.h"

using Bf16 = uint16_t;

#ifdef __AVX512BF16__
using Number = Bf16;  // of inputs and outputs
#else
using Number = float;
#endif

struct Product {
  const char* x;
  int64_t x_stride;  // bytes from row to row
  int64_t rows;
  const char* weights;
  int64_t tiles;  // of a strip
  Number* out;
  int64_t outputs;
  const float* bias;           // of outputs, or null
  const float* row_scales;     // in int8
  const float* output_scales;  // in int8

  const char* strip(int64_t n) const { return weights + n * tiles * TILE; }
  const char* row(int64_t m) const { return x + m * x_stride; }
  Number* place(int64_t m, int64_t n) const { return out + m * outputs + n * OUTPUTS; }
};
