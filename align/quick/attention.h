// Attention of rows of tokens that lie one after the other, without padding, forward and back, for one
// head of keys and values at a time; all of it fits into a processor's cache.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "numbers.h"

#ifdef __AVX512F__
constexpr int LANES = 16;
constexpr int COLUMNS = 4;  // vectors of a tile of a product
#else  // half of the registers, of half the size
constexpr int LANES = 8;
constexpr int COLUMNS = 2;
#endif
constexpr int HEIGHT = 6;    // rows of it
constexpr int QUERIES = 24;  // answered at once

using Lanes = float __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

// A tile of C = A · B, or of C + A · B: `rows` and `inner` are the distances in A.
template <int R, int C>
void tile(const float* a, int64_t rows, int64_t inner, const float* b, int64_t b_rows, float* c,
          int64_t c_rows, int64_t count, bool add) {
  Lanes sums[R][C] = {};
  if (add)
    for (int r = 0; r < R; r++)
      for (int i = 0; i < C; i++) sums[r][i] = *(const Lanes*)(c + r * c_rows + i * LANES);
  for (int64_t k = 0; k < count; k++)
    for (int r = 0; r < R; r++)
      for (int i = 0; i < C; i++)
        sums[r][i] += a[r * rows + k * inner] * *(const Lanes*)(b + k * b_rows + i * LANES);
  for (int r = 0; r < R; r++)
    for (int i = 0; i < C; i++) *(Lanes*)(c + r * c_rows + i * LANES) = sums[r][i];
}

template <int C>
void band(int64_t m, const float* a, int64_t rows, int64_t inner, const float* b, int64_t b_rows,
          float* c, int64_t c_rows, int64_t count, bool add) {
  int64_t r = 0;
  for (; r + HEIGHT <= m; r += HEIGHT)
    tile<HEIGHT, C>(a + r * rows, rows, inner, b, b_rows, c + r * c_rows, c_rows, count, add);
  for (; r < m; r++)
    tile<1, C>(a + r * rows, rows, inner, b, b_rows, c + r * c_rows, c_rows, count, add);
}

// C (m, n) = A (m, count) · B (count, n), or added to it; n is a multiple of LANES.
void product(int64_t m, int64_t n, int64_t count, const float* a, int64_t rows, int64_t inner,
             const float* b, int64_t b_rows, float* c, int64_t c_rows, bool add) {
  int64_t i = 0;
  for (; i + COLUMNS * LANES <= n; i += COLUMNS * LANES)
    band<COLUMNS>(m, a, rows, inner, b + i, b_rows, c + i, c_rows, count, add);
  for (; i < n; i += LANES) band<1>(m, a, rows, inner, b + i, b_rows, c + i, c_rows, count, add);
}

int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

// Tokens `first` … `first + length`, which see the first `prefix` ones of their group and each other.
struct Segment {
  int32_t group, prefix, first, length;
};

template <typename T>
struct Heads {
  const T* qkv;  // (tokens, queries + 2 · keys heads)
  int64_t queries, keys, width;

  int64_t row() const { return (queries + 2 * keys) * width; }
  int64_t shared() const { return queries / keys; }
  const T* query(int64_t token, int64_t head) const { return qkv + token * row() + head * width; }
  const T* key(int64_t token, int64_t head) const { return query(token, queries + head); }
  const T* value(int64_t token, int64_t head) const { return query(token, queries + keys + head); }
};

using Buffer = std::vector<float>;

template <typename T>
void read(const T* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i++) to[i] = up(from[i]);
}

// What a segment sees of one head of keys and values: rows, and keys (and values) as columns.
template <typename T>
struct Seen {
  int64_t count, across;
  Buffer keys, values, keys_down, values_down;

  int64_t token(const Segment& s, int64_t i) const {
    return i < s.prefix ? s.group + i : s.first + i - s.prefix;
  }

  void read_from(const Heads<T>& heads, const Segment& s, int64_t head, bool back) {
    count = s.prefix + s.length, across = padded(count);
    const int64_t width = heads.width;
    keys.assign(across * width, 0), values.assign(across * width, 0);
    for (int64_t i = 0; i < count; i++) {
      read(heads.key(token(s, i), head), width, keys.data() + i * width);
      read(heads.value(token(s, i), head), width, values.data() + i * width);
    }
    turn(keys, keys_down, width);
    if (back) turn(values, values_down, width);
  }

  void turn(const Buffer& from, Buffer& to, int64_t width) {
    to.resize(width * across);
    for (int64_t i = 0; i < across; i++)
      for (int64_t d = 0; d < width; d++) to[d * across + i] = from[i * width + d];
  }
};

template <typename T>
void attend(const Heads<T>& heads, const Segment& s, int64_t head, T* out, float* norms) {
  static thread_local Seen<T> seen;
  static thread_local Buffer queries, scores, answers;
  const int64_t width = heads.width, out_row = heads.queries * width;
  const float scale = 1 / std::sqrt(float(width));
  seen.read_from(heads, s, head, false);
  queries.resize(QUERIES * width), answers.resize(QUERIES * width);
  scores.resize(QUERIES * seen.across);
  for (int64_t h = head * heads.shared(); h < (head + 1) * heads.shared(); h++)
    for (int64_t from = 0; from < s.length; from += QUERIES) {
      const int64_t m = std::min<int64_t>(QUERIES, s.length - from), sees = s.prefix + from + m;
      for (int64_t r = 0; r < m; r++)
        read(heads.query(s.first + from + r, h), width, queries.data() + r * width);
      product(m, padded(sees), width, queries.data(), width, 1, seen.keys_down.data(), seen.across,
              scores.data(), seen.across, false);
      for (int64_t r = 0; r < m; r++) {
        float* row = scores.data() + r * seen.across;
        const int64_t mine = s.prefix + from + r + 1;
        float most = -INFINITY, sum = 0;
        for (int64_t i = 0; i < mine; i++) most = std::max(most, row[i] * scale);
        for (int64_t i = 0; i < mine; i++) sum += row[i] = exp_of(row[i] * scale - most);
        std::fill(row + mine, row + padded(sees), 0.0f);
        const float share = 1 / sum;
        for (int64_t i = 0; i < mine; i++) row[i] *= share;
        norms[(s.first + from + r) * heads.queries + h] = most + std::log(sum);
      }
      product(m, width, sees, scores.data(), seen.across, 1, seen.values.data(), width,
              answers.data(), width, false);
      for (int64_t r = 0; r < m; r++) {
        T* to = out + (s.first + from + r) * out_row + h * width;
        for (int64_t d = 0; d < width; d++) to[d] = down<T>(answers[r * width + d]);
      }
    }
}

// Gradients of a segment's queries, and, added up, of what it saw.
template <typename T>
void attend_back(const Heads<T>& heads, const Segment& s, int64_t head, const T* out,
                 const float* norms, const T* pull, T* of_qkv, float* of_keys, float* of_values) {
  static thread_local Seen<T> seen;
  static thread_local Buffer queries, pulls, shares, errors, of_queries, seen_keys, seen_values;
  const int64_t width = heads.width, out_row = heads.queries * width;
  const float scale = 1 / std::sqrt(float(width));
  seen.read_from(heads, s, head, true);
  queries.resize(QUERIES * width), pulls.resize(QUERIES * width), of_queries.resize(QUERIES * width);
  shares.resize(QUERIES * seen.across), errors.resize(QUERIES * seen.across);
  seen_keys.assign(seen.across * width, 0), seen_values.assign(seen.across * width, 0);
  for (int64_t h = head * heads.shared(); h < (head + 1) * heads.shared(); h++)
    for (int64_t from = 0; from < s.length; from += QUERIES) {
      const int64_t m = std::min<int64_t>(QUERIES, s.length - from), sees = s.prefix + from + m;
      float given[QUERIES];
      for (int64_t r = 0; r < m; r++) {
        const int64_t token = s.first + from + r;
        read(heads.query(token, h), width, queries.data() + r * width);
        read(pull + token * out_row + h * width, width, pulls.data() + r * width);
        const T* said = out + token * out_row + h * width;
        given[r] = 0;
        for (int64_t d = 0; d < width; d++) given[r] += pulls[r * width + d] * up(said[d]);
      }
      product(m, padded(sees), width, queries.data(), width, 1, seen.keys_down.data(), seen.across,
              shares.data(), seen.across, false);
      product(m, padded(sees), width, pulls.data(), width, 1, seen.values_down.data(), seen.across,
              errors.data(), seen.across, false);
      for (int64_t r = 0; r < m; r++) {
        float *share = shares.data() + r * seen.across, *error = errors.data() + r * seen.across;
        const int64_t mine = s.prefix + from + r + 1;
        const float norm = norms[(s.first + from + r) * heads.queries + h];
        for (int64_t i = 0; i < mine; i++) {
          share[i] = exp_of(std::min(share[i] * scale - norm, 0.0f));
          error[i] = share[i] * (error[i] - given[r]) * scale;
        }
        std::fill(share + mine, share + padded(sees), 0.0f);
        std::fill(error + mine, error + padded(sees), 0.0f);
      }
      product(m, width, sees, errors.data(), seen.across, 1, seen.keys.data(), width,
              of_queries.data(), width, false);
      product(sees, width, m, errors.data(), 1, seen.across, queries.data(), width,
              seen_keys.data(), width, true);
      product(sees, width, m, shares.data(), 1, seen.across, pulls.data(), width,
              seen_values.data(), width, true);
      for (int64_t r = 0; r < m; r++) {
        T* to = of_qkv + (s.first + from + r) * heads.row() + h * width;
        for (int64_t d = 0; d < width; d++) to[d] = down<T>(of_queries[r * width + d]);
      }
    }
  for (int64_t i = 0; i < seen.count; i++) {
    const int64_t place = (seen.token(s, i) - s.group) * width;
    for (int64_t d = 0; d < width; d++) {
      of_keys[place + d] += seen_keys[i * width + d];
      of_values[place + d] += seen_values[i * width + d];
    }
  }
}

// Segments of the same group, which lie together: where each group begins, and the end.
std::vector<int64_t> groups_of(const Segment* segments, int64_t count) {
  std::vector<int64_t> begins;
  for (int64_t i = 0; i < count; i++)
    if (!i || segments[i].group != segments[i - 1].group) begins.push_back(i);
  begins.push_back(count);
  return begins;
}

template <typename T>
void attend_all(const Heads<T>& heads, const Segment* segments, int64_t count, T* out,
                float* norms) {
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int64_t i = 0; i < count; i++)
    for (int64_t head = 0; head < heads.keys; head++) attend(heads, segments[i], head, out, norms);
}

template <typename T>
void attend_back_all(const Heads<T>& heads, const Segment* segments, int64_t count, const T* out,
                     const float* norms, const T* pull, T* of_qkv) {
  const auto begins = groups_of(segments, count);
  const int64_t groups = begins.size() - 1, width = heads.width;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int64_t g = 0; g < groups; g++)
    for (int64_t head = 0; head < heads.keys; head++) {
      static thread_local Buffer keys, values;
      const Segment &first = segments[begins[g]], &last = segments[begins[g + 1] - 1];
      const int64_t tokens = last.first + last.length - first.group;
      keys.assign(tokens * width, 0), values.assign(tokens * width, 0);
      for (int64_t i = begins[g]; i < begins[g + 1]; i++)
        attend_back(heads, segments[i], head, out, norms, pull, of_qkv, keys.data(), values.data());
      for (int64_t t = 0; t < tokens; t++) {
        T* row = of_qkv + (first.group + t) * heads.row() + (heads.queries + head) * width;
        for (int64_t d = 0; d < width; d++) {
          row[d] = down<T>(keys[t * width + d]);
          row[heads.keys * width + d] = down<T>(values[t * width + d]);
        }
      }
    }
}
