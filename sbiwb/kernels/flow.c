/* A flow: masked networks with ReLU and their splines, block by block of the batch, so that all activations of a block stay in cache.
 *
 * The idea. A block is up to BLOCK members, lanes of vectors; an array of a block has rows of BLOCK floats. One register tile, HIGH rows by
 * WIDE vectors, does every product: of a layer (weight times inputs), of the gradient of its inputs (weight transposed times gradient)
 * and of its weights (gradient times inputs transposed). Weights are read where they lie, (out, 1 + in), the bias first.
 *
 * The masks. Hidden units, columns of x and splines are sorted by the pass of the inverse that first can compute them, so that row r of a
 * layer meets just the inputs before count[r], and input i just the rows from first[i] on: a staircase, whose other half is never touched.
 * The caller's columns are in their natural order; only the first layer's weights and the last's are copied into ours.
 *
 * Whole arrays are feature-first, the batch of B members last: x, y (D, B), features (H, B); those that come from outside have two steps.
 * `sizes` holds D, H, number of layers, width of each hidden layer; a `plan` the order of the columns (D), the number of passes P, the
 * columns known after each (P), units of each hidden layer known in each (P a layer), and for each layer count (out) and first (in).
 */
#include "spline.c"

#include <string.h>

#define BLOCK 64
#define HIGH 4
#if defined(__AVX512F__) || defined(__aarch64__)
#define WIDE 4 /* of 32 registers */
#else
#define WIDE 3
#endif
#define MOST_LAYERS 33

static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }

/* ---- Products ---- */

/* out[r] = start + sum of weight[r, k] in[k], k from `from` and, if there are, from[r], up to `to` and to[r]; rows of vectors. */
typedef struct {
  float *out;
  int64_t out_step;
  const float *weight;
  int64_t across, along; /* steps of r and k */
  const float *in;
  const float *bias, *start, *gate; /* start is bias[r across], or start[r], or zero; the result is zero where the gate is not positive */
  int64_t from, to;
  const int64_t *from_each, *to_each;
  int relu;
} Product;

INLINE void add_terms(V sum[HIGH][WIDE], int high, int wide, const float *weight, Product p, int64_t vector, int64_t from, int64_t to) {
  for (int64_t k = from; k < to; k++)
    for (int r = 0; r < high; r++) {
      V each = splat(weight[r * p.across + k * p.along]);
      for (int v = 0; v < wide; v++) sum[r][v] += each * load(p.in + k * BLOCK + (vector + v) * LANES);
    }
}

INLINE V ended(Product p, V sum, int64_t gate) {
  if (p.relu) sum = pick(sum < 0, splat(0), sum);
  return p.gate ? pick(load(p.gate + gate) > 0, sum, splat(0)) : sum;
}

INLINE void tile(Product p, int64_t row, int high, int64_t vector, int wide) {
  V sum[HIGH][WIDE];
  const float *weight = p.weight + row * p.across;
  int64_t from = p.from, to = p.to, at = row * p.out_step + vector * LANES;
  for (int r = 0; r < high; r++) {
    if (p.from_each) from = most(from, p.from_each[row + r]);
    if (p.to_each) to = least(to, p.to_each[row + r]);
    for (int v = 0; v < wide; v++)
      sum[r][v] = p.bias ? splat(p.bias[(row + r) * p.across]) : p.start ? load(p.start + at + r * p.out_step + v * LANES) : splat(0);
  }
  add_terms(sum, high, wide, weight, p, vector, from, to);
  _Pragma("GCC unroll 4") /* else sum[r] would not stay in registers */
  for (int r = 0; r < high; r++) { /* what not all rows of the tile share */
    if (p.from_each) add_terms(sum + r, 1, wide, weight + r * p.across, p, vector, most(p.from, p.from_each[row + r]), from);
    if (p.to_each) add_terms(sum + r, 1, wide, weight + r * p.across, p, vector, to, least(p.to, p.to_each[row + r]));
  }
  for (int r = 0; r < high; r++)
    for (int v = 0; v < wide; v++) {
      int64_t here = at + r * p.out_step + v * LANES;
      store(p.out + here, ended(p, sum[r][v], here));
    }
}

INLINE void strip(Product p, int64_t row, int high, int64_t vectors) {
  int64_t v = 0;
  for (; v + WIDE <= vectors; v += WIDE) tile(p, row, high, v, WIDE);
  if (WIDE > 3 && vectors - v == 3) tile(p, row, high, v, 3);
  else if (WIDE > 2 && vectors - v == 2) tile(p, row, high, v, 2);
  else if (vectors - v == 1) tile(p, row, high, v, 1);
}

#define EACH_STRIP(row, high, begin, end) for (int64_t row = begin, high; high = row + HIGH <= end ? HIGH : 1, row < end; row += high)

INLINE void product(Product p, int64_t begin, int64_t end, int64_t vectors) {
  EACH_STRIP(row, high, begin, end) {
    if (high == HIGH) strip(p, row, HIGH, vectors);
    else strip(p, row, 1, vectors);
  }
}

/* ---- A transform ---- */

typedef struct {
  int64_t in, out, step; /* step = 1 + in */
  const float *weight;
  const int64_t *count, *first;
} Layer;

typedef struct {
  int64_t columns, features, depth, passes;
  Layer layer[MOST_LAYERS];
  const int64_t *order, *known_columns, *known_units;
} Net;

static int64_t weights_of_ends(const int64_t *sizes) {
  return sizes[3] * (1 + sizes[0] + sizes[1]) + sizes[0] * ROWS * (1 + sizes[1 + sizes[2]]);
}

/* Copies a weight, to our order of rows and columns or back from it. */
static float *sort_first(float *to, const float *from, const Net *net) {
  int64_t known = 1 + net->features, step = known + net->columns;
  for (int64_t r = 0; r < net->layer[0].out; r++, to += step, from += step) {
    memcpy(to, from, known * sizeof *to);
    for (int64_t p = 0; p < net->columns; p++) to[known + p] = from[known + net->order[p]];
  }
  return to;
}

static float *sort_last(float *to, const float *from, const Net *net) {
  int64_t each = ROWS * net->layer[net->depth - 1].step;
  for (int64_t p = 0; p < net->columns; p++, to += each) memcpy(to, from + net->order[p] * each, each * sizeof *to);
  return to;
}

static Net read_net(const int64_t *sizes, const int64_t *plan, const float *const *weights, float *sorted) {
  Net net = {.columns = sizes[0], .features = sizes[1], .depth = sizes[2], .order = plan};
  plan += net.columns;
  net.passes = *plan++;
  net.known_columns = plan;
  net.known_units = plan += net.passes;
  plan += (net.depth - 1) * net.passes;
  for (int64_t l = 0, in = net.columns + net.features, out; l < net.depth; l++, in = out) {
    out = l < net.depth - 1 ? sizes[3 + l] : net.columns * ROWS;
    net.layer[l] = (Layer){in, out, 1 + in, weights[l], plan, plan + out};
    plan += out + in;
  }
  Layer *last = &net.layer[net.depth - 1];
  net.layer[0].weight = sorted;
  sorted = sort_first(sorted, weights[0], &net);
  last->weight = sorted;
  sort_last(sorted, weights[net.depth - 1], &net);
  return net;
}

/* out[begin:end] of a layer, from the terms [from, to) of its inputs; on top of `start` or else of the bias. */
static __attribute__((noinline)) void apply(const Layer *layer, const float *in, const float *start, float *out, int64_t begin, int64_t end,
                                            int64_t from, int64_t to, int relu, int64_t vectors) {
  Product p = {.out = out, .out_step = BLOCK, .weight = layer->weight + 1, .across = layer->step, .along = 1, .in = in};
  p.from = from;
  p.to = to;
  p.bias = start ? 0 : layer->weight;
  p.start = start;
  p.to_each = layer->count;
  p.relu = relu;
  product(p, begin, end, vectors);
}

/* Gradients of inputs [begin, in) of a layer from those of its outputs, zero where the gate, if there is one, is closed. */
static __attribute__((noinline)) void pull_back(const Layer *layer, const float *g, const float *gate, float *out, int64_t begin,
                                                int64_t vectors) {
  Product p = {.out = out, .out_step = BLOCK, .weight = layer->weight + 1, .across = 1, .along = layer->step, .in = g};
  p.to = layer->out;
  p.from_each = layer->first;
  p.gate = gate;
  product(p, begin, layer->in, vectors);
}

/* Interleaves two vectors: their first halves, or their second. */
static inline V zip_low(V a, V b) {
#if LANES == 16
  return SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif LANES == 8
  return SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return SHUFFLE(a, b, 0, 4, 1, 5);
#endif
}

static inline V zip_high(V a, V b) {
#if LANES == 16
  return SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif LANES == 8
  return SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}

/* LANES rows of LANES become columns: as many perfect shuffles of the whole as LANES has bits. */
static inline void transpose_square(const float *from, float *to) {
  V rows[LANES], next[LANES];
  for (int r = 0; r < LANES; r++) rows[r] = load(from + r * BLOCK);
  for (int stage = 1; stage < LANES; stage *= 2) {
    for (int r = 0; r < LANES / 2; r++) {
      next[2 * r] = zip_low(rows[r], rows[r + LANES / 2]);
      next[2 * r + 1] = zip_high(rows[r], rows[r + LANES / 2]);
    }
    for (int r = 0; r < LANES; r++) rows[r] = next[r];
  }
  for (int r = 0; r < LANES; r++) store(to + r * BLOCK, rows[r]);
}

/* The sums of a weight's gradient: of the weights (out, padded(in)) and, in lanes, of the bias (out, LANES). */
static inline int64_t padded(int64_t in) { return LANES * pieces(in, LANES); }

static float *gradient_end(const Layer *layer, float *sums) { return sums + layer->out * (padded(layer->in) + LANES); }

/* Adds a block's share to them. Inputs are transposed by BLOCK at a time; rows that meet none of those are skipped. */
static __attribute__((noinline)) void collect(const Layer *layer, const float *g, const float *in, float *sums, float *turned,
                                              int64_t vectors) {
  int64_t width = padded(layer->in);
  Product p = {.out_step = width, .weight = g, .across = BLOCK, .along = 1, .in = turned, .to = vectors * LANES};
  for (int64_t chunk = 0; chunk < layer->in; chunk += BLOCK) {
    for (int64_t i = 0; i < BLOCK && chunk + i < width; i += LANES)
      for (int64_t v = 0; v < vectors; v++) transpose_square(in + (chunk + i) * BLOCK + v * LANES, turned + v * LANES * BLOCK + i);
    p.start = p.out = sums + chunk;
    EACH_STRIP(row, high, layer->first[chunk], layer->out) {
      int64_t met = pieces(least(layer->count[row + high - 1] - chunk, BLOCK), LANES);
      if (high == HIGH) strip(p, row, HIGH, met);
      else strip(p, row, 1, met);
    }
  }
  for (int64_t r = 0; r < layer->out; r++) {
    float *bias = sums + layer->out * width + r * LANES;
    V sum = load(bias);
    for (int64_t v = 0; v < vectors; v++) sum += load(g + r * BLOCK + v * LANES);
    store(bias, sum);
  }
}

/* The sums as the gradient of layer l's weight, in the caller's order, zero where masked. */
static void write_gradient(const Net *net, int64_t l, const float *sums, float *gradient) {
  const Layer *layer = &net->layer[l];
  int64_t width = padded(layer->in);
  for (int64_t r = 0; r < layer->out; r++) {
    const float *from = sums + r * width, *lanes = sums + layer->out * width + r * LANES;
    float *to = gradient + (l < net->depth - 1 ? r : net->order[r / ROWS] * ROWS + r % ROWS) * layer->step, bias = 0;
    for (int lane = 0; lane < LANES; lane++) bias += lanes[lane];
    *to++ = bias;
    int64_t plain = l ? layer->count[r] : net->features;
    memcpy(to, from, plain * sizeof *to);
    if (l) memset(to + plain, 0, (layer->in - plain) * sizeof *to);
    else
      for (int64_t p = 0; p < net->columns; p++) to[plain + net->order[p]] = plain + p < layer->count[r] ? from[plain + p] : 0;
  }
}

/* ---- Blocks ---- */

typedef struct {
  int64_t start, members, vectors;
} Span;

static int64_t blocks(int64_t B) { return pieces(B, BLOCK); }

/* Block b of B members: whole vectors, shared out evenly. */
static Span span(int64_t b, int64_t B) {
  int64_t vectors = pieces(B, LANES), begin = b * vectors / blocks(B), end = (b + 1) * vectors / blocks(B);
  return (Span){begin * LANES, least(B, end * LANES) - begin * LANES, end - begin};
}

/* A whole array, rows by members. */
typedef struct {
  const float *at;
  int64_t row, member; /* steps */
} View;

/* A row of a block from a whole array, zeros beyond its members; and back. */
static void take(float *to, View from, int64_t row, Span s) {
  const float *at = from.at + row * from.row + s.start * from.member;
  if (from.member == 1) memcpy(to, at, s.members * sizeof *to);
  else
    for (int64_t m = 0; m < s.members; m++) to[m] = at[m * from.member];
  memset(to + s.members, 0, (s.vectors * LANES - s.members) * sizeof *to);
}

static void give(const float *from, float *row, Span s) { memcpy(row + s.start, from, s.members * sizeof *row); }

static void take_features(const Net *net, float *in, View features, Span s) {
  for (int64_t r = 0; r < net->features; r++) take(in + r * BLOCK, features, r, s);
}

/* Activations of a block: inputs (features, then sorted columns), hidden layers, phi; LANES rows more for transposing the last of them. */
static int64_t rows_of(const int64_t *sizes) {
  int64_t rows = sizes[0] * (1 + ROWS) + sizes[1] + LANES;
  for (int64_t l = 0; l < sizes[2] - 1; l++) rows += sizes[3 + l];
  return rows;
}

/* y and the log-determinant of a block, added to what is there unless it is the first transform. */
static void forward_block(const Net *net, float *acts, View features, View x, float *y, float *log_det, int first, int64_t B, Span s) {
  float *in = acts, row[BLOCK], total[BLOCK] = {0};
  take_features(net, in, features, s);
  for (int64_t p = 0; p < net->columns; p++) take(in + (net->features + p) * BLOCK, x, net->order[p], s);
  for (int64_t l = 0; l < net->depth; l++) {
    const Layer *layer = &net->layer[l];
    float *out = in + layer->in * BLOCK;
    apply(layer, in, 0, out, 0, layer->out, 0, layer->in, l < net->depth - 1, s.vectors);
    in = out;
  }
  if (!first) take(total, (View){log_det, 0, 1}, 0, s);
  for (int64_t p = 0; p < net->columns; p++) {
    for (int64_t v = 0; v < s.vectors * LANES; v += LANES) {
      V one;
      forward_lanes(acts + (net->features + p) * BLOCK + v, in + p * ROWS * BLOCK + v, row + v, &one, BLOCK);
      store(total + v, load(total + v) + one);
    }
    give(row, y + net->order[p] * B, s);
  }
  give(total, log_det, s);
}

/* Gradients of phi and, through the splines alone, of the sorted columns of x, from those of y and the log-determinant. */
static void backward_splines(const Net *net, const float *acts, const float *phi, const float *g_y, const float *g_l, float *g_phi,
                             float *g_x, int64_t B, Span s) {
  float log_det[BLOCK];
  take(log_det, (View){g_l, 0, 1}, 0, s);
  for (int64_t p = 0; p < net->columns; p++, phi += ROWS * BLOCK, g_phi += ROWS * BLOCK, g_x += BLOCK) {
    const float *x = acts + (net->features + p) * BLOCK;
    take(g_x, (View){g_y, B, 1}, net->order[p], s);
    for (int64_t v = 0; v < s.vectors * LANES; v += LANES) backward_lanes(x + v, phi + v, g_x + v, log_det + v, g_x + v, g_phi + v, BLOCK);
  }
}

static inline void give_sum(const float *a, const float *b, float *row, Span s) {
  for (int64_t m = 0; m < s.members; m++) row[s.start + m] = a[m] + b[m];
}

/* g_z is the gradient of y and becomes that of x; that of the features is added to, if wanted. */
static void backward_block(const Net *net, const float *acts, float *g_z, const float *g_l, float *g_features, float *sums, float *scratch,
                           int64_t widest, int64_t B, Span s) {
  float *turned = scratch, *g_x = turned + BLOCK * BLOCK, *g = g_x + net->columns * BLOCK, *g_in = g + widest * BLOCK;
  const float *in[MOST_LAYERS + 1] = {acts};
  float *sum[MOST_LAYERS + 1] = {sums};
  for (int64_t l = 0; l < net->depth; l++) {
    in[l + 1] = in[l] + net->layer[l].in * BLOCK;
    sum[l + 1] = gradient_end(&net->layer[l], sum[l]);
  }
  backward_splines(net, acts, in[net->depth], g_z, g_l, g, g_x, B, s);
  for (int64_t l = net->depth - 1; l >= 0; l--) {
    collect(&net->layer[l], g, in[l], sum[l], turned, s.vectors);
    pull_back(&net->layer[l], g, l ? in[l] : 0, g_in, l || g_features ? 0 : net->features, s.vectors);
    float *done = g;
    g = g_in;
    g_in = done;
  }
  for (int64_t r = 0; g_features && r < net->features; r++) give_sum(g_features + r * B + s.start, g + r * BLOCK, g_features + r * B, s);
  for (int64_t p = 0; p < net->columns; p++) give_sum(g_x + p * BLOCK, g + (net->features + p) * BLOCK, g_z + net->order[p] * B, s);
}

/* ---- The flow: T transforms ---- */

static int64_t widest_of(const int64_t *sizes) {
  int64_t widest = most(sizes[0] * ROWS, sizes[0] + sizes[1]);
  for (int64_t l = 0; l < sizes[2] - 1; l++) widest = most(widest, sizes[3 + l]);
  return widest;
}

static int64_t sums_of(const int64_t *sizes) {
  int64_t in = sizes[0] + sizes[1], total = 0;
  for (int64_t l = 0; l < sizes[2]; l++) {
    int64_t out = l < sizes[2] - 1 ? sizes[3 + l] : sizes[0] * ROWS;
    total += out * (padded(in) + LANES);
    in = out;
  }
  return total;
}

/* Floats that the caller keeps from forward to backward, and that each call works in. */
int64_t flow_kept(const int64_t *sizes, int64_t T, int64_t B) { return T * blocks(B) * rows_of(sizes) * BLOCK; }

int64_t flow_scratch(const int64_t *sizes) {
  int64_t backward = sums_of(sizes) + (BLOCK + sizes[0] + 2 * widest_of(sizes)) * BLOCK, inverse = 2 * (rows_of(sizes) + sizes[3]) * BLOCK;
  return weights_of_ends(sizes) + most(backward, inverse);
}

/* y (D, B) and the log-determinant (B) of x (D, B). Activations go to `kept`, of flow_kept floats, or if null, of one block to scratch. */
void flow_forward(const int64_t *sizes, const int64_t *const *plans, const float *const *weights, const float *features, const float *x,
                  float *y, float *log_det, float *kept, float *scratch, int64_t f_row, int64_t f_member, int64_t x_row, int64_t x_member,
                  int64_t T, int64_t B) {
  float *acts = kept ? kept : scratch + weights_of_ends(sizes);
  for (int64_t t = 0; t < T; t++) {
    Net net = read_net(sizes, plans[t], weights + t * sizes[2], scratch);
    View known = {features, f_row, f_member}, from = t ? (View){y, B, 1} : (View){x, x_row, x_member};
    for (int64_t b = 0; b < blocks(B); b++) {
      forward_block(&net, acts, known, from, y, log_det, t == 0, B, span(b, B));
      if (kept) acts += rows_of(sizes) * BLOCK;
    }
  }
}

/* g_z (D, B), the gradient of y, becomes that of x; those of the weights are written; that of the features, unless null, is added to. */
void flow_backward(const int64_t *sizes, const int64_t *const *plans, const float *const *weights, const float *kept, const float *g_l,
                   float *g_z, float *g_features, float *const *g_weights, float *scratch, int64_t T, int64_t B) {
  float *sums = scratch + weights_of_ends(sizes), *rest = sums + sums_of(sizes);
  int64_t depth = sizes[2], step = rows_of(sizes) * BLOCK, widest = widest_of(sizes);
  for (int64_t t = T - 1; t >= 0; t--) {
    Net net = read_net(sizes, plans[t], weights + t * depth, scratch);
    const float *acts = kept + t * blocks(B) * step;
    memset(sums, 0, sums_of(sizes) * sizeof *sums);
    for (int64_t b = 0; b < blocks(B); b++)
      backward_block(&net, acts + b * step, g_z, g_l, g_features, sums, rest, widest, B, span(b, B));
    float *from = sums;
    for (int64_t l = 0; l < depth; from = gradient_end(&net.layer[l], from), l++) write_gradient(&net, l, from, g_weights[t * depth + l]);
  }
}

/* ---- The inverse ---- */

/* How many rows of layer l are known after pass p. */
static int64_t known_after(const Net *net, int64_t p, int64_t l) {
  return l < net->depth - 1 ? net->known_units[l * net->passes + p] : net->known_columns[p] * ROWS;
}

/* What of a block depends on the features alone: `raw`, the first layer's sums over them, the units of the first pass and its phi. */
static void begin_inverse(const Net *net, float *raw, float *acts, View features, Span s) {
  float *in = acts, *out = acts + net->layer[0].in * BLOCK;
  take_features(net, in, features, s);
  apply(net->layer, in, 0, raw, 0, net->layer[0].out, 0, net->features, 0, s.vectors);
  for (int64_t i = 0; i < known_after(net, 0, 0) * BLOCK; i++) out[i] = raw[i] < 0 ? 0 : raw[i];
  for (int64_t l = 1; l < net->depth; l++) {
    in = out;
    out += net->layer[l].in * BLOCK;
    apply(&net->layer[l], in, 0, out, 0, known_after(net, 0, l), 0, net->layer[l].in, l < net->depth - 1, s.vectors);
  }
}

/* The units and phi that pass p is the first to know. */
static void next_units(const Net *net, const float *raw, float *acts, int64_t p, int64_t vectors) {
  for (int64_t l = 0; l < net->depth; l++) {
    const Layer *layer = &net->layer[l];
    float *out = acts + layer->in * BLOCK;
    int64_t begin = known_after(net, p - 1, l), end = known_after(net, p, l);
    apply(layer, acts, l ? 0 : raw, out, begin, end, l ? 0 : net->features, layer->in, l < net->depth - 1, vectors);
    acts = out;
  }
}

static void finish_inverse(const Net *net, const float *raw, float *acts, View y, float *x, int64_t B, Span s) {
  float *phi = acts, row[BLOCK];
  for (int64_t l = 0; l < net->depth; l++) phi += net->layer[l].in * BLOCK;
  for (int64_t p = 0, column = 0; p < net->passes; p++) {
    if (p) next_units(net, raw, acts, p, s.vectors);
    for (; column < net->known_columns[p]; column++) {
      float *to = acts + (net->features + column) * BLOCK;
      take(row, y, net->order[column], s);
      for (int64_t v = 0; v < s.vectors * LANES; v += LANES)
        inverse_lanes(row + v, phi + column * ROWS * BLOCK + v, to + v, BLOCK);
      give(to, x + net->order[column] * B, s);
    }
  }
}

/* Rows of observations to rows of draws: member m of a block, from `start` on, is a draw of observation (start + m) / S. */
static void spread_rows(float *to, const float *from, int64_t n, int64_t S, int64_t start, Span s) {
  for (int64_t r = 0; r < n; r++, to += BLOCK, from += BLOCK)
    for (int64_t m = 0, which = start / S, left = S - start % S; m < s.vectors * LANES; which++, left = S)
      for (int64_t end = least(m + left, s.vectors * LANES); m < end; m++) to[m] = from[least(which, BLOCK - 1)];
}

static void spread(const Net *net, float *raw, float *acts, const float *few_raw, const float *few, int64_t S, int64_t start, Span s) {
  spread_rows(raw, few_raw, net->layer[0].out, S, start, s);
  for (int64_t l = 0, at = 0; l < net->depth; l++) {
    at += net->layer[l].in * BLOCK;
    spread_rows(acts + at, few + at, known_after(net, 0, l), S, start, s);
  }
}

/* x (D, N S) of y (D, N S), S draws for each of N observations with features (H, N). */
void flow_inverse(const int64_t *sizes, const int64_t *const *plans, const float *const *weights, const float *features, const float *y,
                  float *x, float *scratch, int64_t f_row, int64_t f_member, int64_t y_row, int64_t y_member, int64_t T, int64_t N,
                  int64_t S) {
  float *raw = scratch + weights_of_ends(sizes), *acts = raw + sizes[3] * BLOCK;
  float *more_raw = acts + rows_of(sizes) * BLOCK, *more = more_raw + sizes[3] * BLOCK;
  for (int64_t t = T - 1; t >= 0; t--) {
    Net net = read_net(sizes, plans[t], weights + t * sizes[2], scratch);
    View known = {features, f_row, f_member}, from = t == T - 1 ? (View){y, y_row, y_member} : (View){x, N * S, 1};
    for (int64_t b = 0; b < blocks(N); b++) {
      Span few = span(b, N);
      begin_inverse(&net, raw, acts, known, few);
      if (S == 1) finish_inverse(&net, raw, acts, from, x, N, few);
      for (int64_t d = 0; S > 1 && d < blocks(few.members * S); d++) {
        Span many = span(d, few.members * S);
        spread(&net, more_raw, more, raw, acts, S, many.start, many);
        many.start += few.start * S;
        finish_inverse(&net, more_raw, more, from, x, N * S, many);
      }
    }
  }
}
