// Numbers as weights have them, float or bf16, and as sums are taken, float.

#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

using Bf16 = uint16_t;

inline float up(float x) { return x; }
inline float up(Bf16 x) { return std::bit_cast<float>(uint32_t(x) << 16); }

template <typename T>
T down(float x);
template <>
inline float down<float>(float x) { return x; }
template <>
inline Bf16 down<Bf16>(float x) {
  auto bits = std::bit_cast<uint32_t>(x);
  uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded;
}

// e^x for x ≤ 0 (Cephes' polynomial), to 2 units in the last place; below -87.3 as there
inline float exp_of(float x) {
  x = std::max(x, -87.3f);
  float n = std::nearbyint(x * 1.44269504f);
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1;
  return p * std::bit_cast<float>(int32_t(n + 127) << 23);
}

inline float sigmoid(float x) {
  float e = exp_of(-std::abs(x));
  return (x < 0 ? e : 1) / (1 + e);
}
