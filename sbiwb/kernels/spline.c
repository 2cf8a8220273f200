/* Monotone rational-quadratic splines, forward, backward and inverse, as few passes over memory as there are arguments.
 *
 * The formulas and their source are in _spline.py, which has the same functions in torch operations. Arrays are float32 with the
 * batch as last axis: x, y (D, B), phi (D, ROWS, B), so that LANES members of the batch make one vector, whatever the machine's width.
 * With AFFINE the first two rows of phi are shift and log-scale of an affine map ahead of the spline.
 * B must be at least LANES: the last vector overlaps the one before it, which is harmless, as no output is an input.
 */
#include "vector.h"

#define BOUND 5.0f
#define LOG_SLOPE (-6.9077552789821f)
#define ROWS (3 * BINS - 1 + 2 * AFFINE)

static inline V pick(I where, V a, V b) { return (V)((where & (I)a) | (~where & (I)b)); }
static inline V magnitude(V a) { return (V)((I)a & 0x7fffffff); }
static inline V clamp01(V t) { t = pick(t < 0, splat(0), t); return pick(t > 1, splat(1), t); }

/* exp and log by the polynomials of Cephes (Moshier 1992), 2 ulp; exp's argument is squashed to [-7, 7] beforehand. */
static inline V vexp(V x) {
  const float magic = 12582912.0f; /* adding it rounds to an integer, held in the low bits */
  V n = x * 1.44269504088896341f + magic;
  I exponent = (I)n << 23;
  n -= magic;
  V r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return (V)((I)(p * r * r + r + 1.0f) + exponent);
}

static inline V vlog(V x) {
  const int32_t root = 0x3f3504f3; /* sqrt(1/2) */
  I bits = (I)x - root;
  V n = __builtin_convertvector(bits >> 23, V);
  V m = (V)((bits & 0x7fffff) + root) - 1.0f;
  V p = splat(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  V square = m * m;
  return m + (m * square * p - 2.12194440e-4f * n - 0.5f * square) + 0.693359375f * n;
}

/* u / (1 + |scale u|), and the inner factor alone. */
static inline V shrink(V u, float scale) { return 1.0f / (1.0f + magnitude(u * scale)); }
static inline V squash(V u, float scale) { return u * shrink(u, scale); }

/* The bin that holds a value, its numbers in units of the sums of the weights: norm_x and norm_y bring them to [-5, 5]. */
typedef struct {
  V width, height, left, bottom, slope0, slope1, norm_x, norm_y, target;
  I k;
} Bin;

static inline Bin locate(V value, int by_height, const float *phi, int64_t B, V *widths, V *heights) {
  V right[BINS], top[BINS], x = splat(0), y = splat(0);
  for (int k = 0; k < BINS; k++) {
    widths[k] = vexp(squash(load(phi + k * B), 2 / LOG_SLOPE));
    heights[k] = vexp(squash(load(phi + (BINS + k) * B), 2 / LOG_SLOPE));
    right[k] = x += widths[k];
    top[k] = y += heights[k];
  }
  const float *slopes = phi + 2 * BINS * B;
  const V *edges = by_height ? top : right;
  Bin bin = {widths[0], heights[0], splat(0), splat(0), splat(0), load(slopes), 2 * BOUND / x, 2 * BOUND / y, splat(0), (I){0}};
  bin.target = (value + BOUND) / (by_height ? bin.norm_y : bin.norm_x);
  for (int k = 1; k < BINS; k++) {
    I beyond = bin.target > edges[k - 1];
    bin.k -= beyond;
    bin.width = pick(beyond, widths[k], bin.width);
    bin.height = pick(beyond, heights[k], bin.height);
    bin.left = pick(beyond, right[k - 1], bin.left);
    bin.bottom = pick(beyond, top[k - 1], bin.bottom);
    bin.slope0 = pick(beyond, load(slopes + (k - 1) * B), bin.slope0);
    bin.slope1 = pick(beyond, k < BINS - 1 ? load(slopes + k * B) : splat(0), bin.slope1);
  }
  return bin;
}

static inline I within(V value) { return (value > -BOUND) & (value <= BOUND); }

static inline void forward_lanes(const float *x, const float *phi, float *y, V *log_slope, int64_t B) {
  V widths[BINS], heights[BINS], u = load(x), l = splat(0);
  if (AFFINE) {
    l = squash(load(phi + B), 1 / LOG_SLOPE);
    u = u * vexp(l) + load(phi);
  }
  Bin bin = locate(u, 0, phi + 2 * AFFINE * B, B, widths, heights);
  V d0 = vexp(squash(bin.slope0, 1 / LOG_SLOPE)), d1 = vexp(squash(bin.slope1, 1 / LOG_SLOPE));
  V t = clamp01((bin.target - bin.left) / bin.width), h = bin.height * bin.norm_y, s = h / (bin.width * bin.norm_x);
  V q = t * (1 - t), denominator = s + (d0 + d1 - 2 * s) * q;
  V inner = bin.bottom * bin.norm_y - BOUND + h * (s * t * t + d0 * q) / denominator;
  V slope = s * s * (d1 * t * t + 2 * s * q + d0 * (1 - t) * (1 - t)) / (denominator * denominator);
  I inside = within(u);
  store(y, pick(inside, inner, u));
  *log_slope = l + pick(inside, vlog(slope), splat(0));
}

static inline void backward_lanes(const float *x, const float *phi, const float *g_y, const float *g_l, float *g_x, float *g_phi,
                                  int64_t B) {
  V widths[BINS], heights[BINS], value = load(x), u = value, outer_y = load(g_y), outer_l = load(g_l), scale = splat(1), a = splat(0);
  if (AFFINE) {
    a = shrink(load(phi + B), 1 / LOG_SLOPE);
    scale = vexp(load(phi + B) * a);
    u = value * scale + load(phi);
  }
  Bin bin = locate(u, 0, phi + 2 * AFFINE * B, B, widths, heights);
  I inside = within(u);
  V gy = pick(inside, outer_y, splat(0)), gl = pick(inside, outer_l, splat(0));
  V a0 = shrink(bin.slope0, 1 / LOG_SLOPE), a1 = shrink(bin.slope1, 1 / LOG_SLOPE), d0 = vexp(bin.slope0 * a0), d1 = vexp(bin.slope1 * a1);
  V w = bin.width * bin.norm_x, h = bin.height * bin.norm_y, left = bin.left * bin.norm_x, bottom = bin.bottom * bin.norm_y;
  V t = clamp01((bin.target - bin.left) / bin.width), s = h / w, q = t * (1 - t), c = d0 + d1 - 2 * s;
  V denominator = s + c * q, ratio = (s * t * t + d0 * q) / denominator, slope = d1 * t * t + 2 * s * q + d0 * (1 - t) * (1 - t);
  V g_n = gy * h / denominator, g_m = gl / slope, g_d = 2 * gl / denominator, bend = 1 - 2 * q;
  V slope_t = 2 * (d1 * t - d0 * (1 - t) + s * (1 - 2 * t));
  V g_t = gy * s * s * w * slope / (denominator * denominator) + g_m * slope_t - g_d * c * (1 - 2 * t);
  V g_s = g_n * (t * t - ratio * bend) + 2 * gl / s + 2 * g_m * q - g_d * bend;
  V g_0 = (g_n * (1 - ratio) * q + g_m * (1 - t) * (1 - t) - g_d * q) * d0 * a0 * a0;
  V g_1 = (-g_n * ratio * q + g_m * t * t - g_d * q) * d1 * a1 * a1;
  V g_w = -(t * g_t + s * g_s) / w, g_h = gy * ratio + g_s / w, g_left = -g_t / w, g_u = pick(inside, g_t / w, outer_y);
  store(g_x, g_u * scale);
  if (AFFINE) {
    store(g_phi, g_u);
    store(g_phi + B, (g_u * value * scale + outer_l) * a * a);
    phi += 2 * B;
    g_phi += 2 * B;
  }
  V mean_w = (g_left * left + g_w * w) / (2 * BOUND), mean_h = (gy * bottom + g_h * h) / (2 * BOUND);
  for (int k = 0; k < BINS; k++) {
    I before = bin.k > k, here = bin.k == k;
    V shrunk = shrink(load(phi + k * B), 2 / LOG_SLOPE);
    store(g_phi + k * B, (pick(before, g_left, pick(here, g_w, splat(0))) - mean_w) * widths[k] * bin.norm_x * shrunk * shrunk);
    shrunk = shrink(load(phi + (BINS + k) * B), 2 / LOG_SLOPE);
    store(g_phi + (BINS + k) * B, (pick(before, gy, pick(here, g_h, splat(0))) - mean_h) * heights[k] * bin.norm_y * shrunk * shrunk);
  }
  for (int k = 0; k < BINS - 1; k++)
    store(g_phi + (2 * BINS + k) * B, pick(bin.k == k, g_1, pick(bin.k == k + 1, g_0, splat(0))));
}

static inline void inverse_lanes(const float *y, const float *phi, float *x, int64_t B) {
  V widths[BINS], heights[BINS], value = load(y);
  Bin bin = locate(value, 1, phi + 2 * AFFINE * B, B, widths, heights);
  V d0 = vexp(squash(bin.slope0, 1 / LOG_SLOPE)), d1 = vexp(squash(bin.slope1, 1 / LOG_SLOPE));
  V h = bin.height * bin.norm_y, s = h / (bin.width * bin.norm_x), rise = (bin.target - bin.bottom) * bin.norm_y;
  rise = pick(rise < 0, splat(0), rise);
  V bend = rise * (d0 + d1 - 2 * s), a = h * (s - d0) + bend, b = h * d0 - bend, c = -s * rise, root = b * b - 4 * a * c;
  for (int i = 0; i < LANES; i++) root[i] = __builtin_sqrtf(root[i] > 1e-30f ? root[i] : 1e-30f);
  V u = (bin.left + clamp01(2 * c / (-b - root)) * bin.width) * bin.norm_x - BOUND;
  u = pick(within(value), u, value);
  store(x, AFFINE ? (u - load(phi)) * vexp(-squash(load(phi + B), 1 / LOG_SLOPE)) : u);
}

#define EACH_VECTOR(i) for (int64_t b = 0, i = 0; b < B; b += LANES, i = b + LANES <= B ? b : B - LANES)

/* y (D, B) and the sum over D of log |dy/dx|, (B). */
void forward(const float *x, const float *phi, float *y, float *log_det, int64_t D, int64_t B) {
  EACH_VECTOR(i) {
    V total = splat(0), one;
    for (int64_t d = 0; d < D; d++) {
      forward_lanes(x + d * B + i, phi + d * ROWS * B + i, y + d * B + i, &one, B);
      total += one;
    }
    store(log_det + i, total);
  }
}

/* Gradients of x (D, B) and phi (D, ROWS, B) from those of y (D, B) and the log-determinant (B). */
void backward(const float *x, const float *phi, const float *g_y, const float *g_l, float *g_x, float *g_phi, int64_t D, int64_t B) {
  for (int64_t d = 0; d < D; d++)
    EACH_VECTOR(i)
      backward_lanes(x + d * B + i, phi + d * ROWS * B + i, g_y + d * B + i, g_l + i, g_x + d * B + i, g_phi + d * ROWS * B + i, B);
}

/* x (D, B) of y (D, B). */
void inverse(const float *y, const float *phi, float *x, int64_t D, int64_t B) {
  for (int64_t d = 0; d < D; d++)
    EACH_VECTOR(i) inverse_lanes(y + d * B + i, phi + d * ROWS * B + i, x + d * B + i, B);
}
