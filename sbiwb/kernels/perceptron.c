/* One perceptron with two hidden layers, trained as scikit-learn's MLPClassifier trains it, in the order of its random numbers.
 *
 * The idea. A batch is a row of lanes: activations and their gradients have a row of STEP floats for each unit, so that a layer is sums of
 * a weight times a row. Each layer's inputs end with a row of ones, whose weight is the bias; numbers of rows are rounded up to HIGH, and
 * the weights of what is not there are zero and stay so. A panel of up to WIDE vectors of every row fits the first cache.
 */
#include "vector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__aarch64__)
#define WIDE 5 /* of 32 registers */
#define BROAD 4
#else
#define WIDE 3 /* of 16 */
#define BROAD 2
#endif
#define HIGH 4
#define MOST_BATCH 200
#define STEP 208 /* MOST_BATCH up to whole vectors and whole lines of cache */

INLINE V where_positive(V gate, V v) { return (V)((gate > 0) & (I)v); }
static int64_t rows_of(int64_t units) { return (units + HIGH - 1) / HIGH * HIGH; }

/* ---- Products ---- */

/* out[r] = sum over k of weight[r across + k along] in[k], for `rows` rows of `vectors` vectors; zero where it, or the gate, is not positive. */
typedef struct {
  float *out;
  const float *weight;
  int64_t across, along;
  const float *in, *gate;
  int64_t rows, terms, vectors;
  int relu;
} Product;

INLINE void tile(const Product *p, int64_t row, int64_t at, int wide) {
  V sum[HIGH][WIDE];
  for (int r = 0; r < HIGH; r++)
    for (int v = 0; v < wide; v++) sum[r][v] = splat(0);
  const float *weight = p->weight + row * p->across, *in = p->in + at;
  const int64_t across = p->across, along = p->along, terms = p->terms;
  for (int64_t k = 0; k < terms; k++, weight += along, in += STEP)
    for (int r = 0; r < HIGH; r++) {
      V each = splat(weight[r * across]);
      for (int v = 0; v < wide; v++) sum[r][v] += each * load(in + v * LANES);
    }
  for (int r = 0; r < HIGH; r++)
    for (int v = 0; v < wide; v++) {
      const int64_t place = (row + r) * STEP + at + v * LANES;
      V each = sum[r][v];
      if (p->relu) each = where_positive(each, each);
      if (p->gate) each = where_positive(load(p->gate + place), each);
      store(p->out + place, each);
    }
}

static void product(Product p) {
  for (int64_t v = 0, wide; v < p.vectors; v += wide) {
    const int64_t left = p.vectors - v, panels = (left + WIDE - 1) / WIDE;
    wide = (left + panels - 1) / panels;
    for (int64_t row = 0; row < p.rows; row += HIGH) switch (wide) {
        case 1: tile(&p, row, v * LANES, 1); break;
        case 2: tile(&p, row, v * LANES, 2); break;
        case 3: tile(&p, row, v * LANES, 3); break;
#if WIDE > 3
        case 4: tile(&p, row, v * LANES, 4); break;
        case 5: tile(&p, row, v * LANES, 5); break;
#endif
      }
  }
}

/* The sums of each of HIGH x BROAD vectors. */
#if LANES == 16
INLINE V fold8(V a, V b) {
  return SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
INLINE V fold4(V a, V b) {
  return SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
         SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
INLINE V fold2(V a, V b) {
  return SHUFFLE(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
         SHUFFLE(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
}
INLINE V fold1(V a, V b) {
  return SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
INLINE void sums(V s[HIGH][BROAD], float *to) {
  V four[HIGH];
  for (int r = 0; r < HIGH; r++) four[r] = fold4(fold8(s[r][0], s[r][1]), fold8(s[r][2], s[r][3]));
  store(to, fold1(fold2(four[0], four[1]), fold2(four[2], four[3])));
}
#elif LANES == 8
INLINE V fold4(V a, V b) { return SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15); }
INLINE V fold2(V a, V b) { return SHUFFLE(a, b, 0, 1, 4, 5, 8, 9, 12, 13) + SHUFFLE(a, b, 2, 3, 6, 7, 10, 11, 14, 15); }
INLINE V fold1(V a, V b) { return SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15); }
INLINE void sums(V s[HIGH][BROAD], float *to) {
  V two[HIGH];
  for (int r = 0; r < HIGH; r++) two[r] = fold4(s[r][0], s[r][1]);
  store(to, fold1(fold2(two[0], two[1]), fold2(two[2], two[3])));
}
#else
INLINE void sums(V s[HIGH][BROAD], float *to) {
  for (int k = 0; k < HIGH * BROAD; k++) {
    to[k] = 0;
    for (int l = 0; l < LANES; l++) to[k] += s[k / BROAD][k % BROAD][l];
  }
}
#endif

/* to[r, c] = sum over the batch of delta[r] in[c]; rows and columns are multiples of HIGH. */
static void gradient(float *to, const float *delta, const float *in, int64_t rows, int64_t columns, int64_t vectors) {
  for (int64_t row = 0; row < rows; row += HIGH)
    for (int64_t column = 0; column < columns; column += BROAD) {
      V s[HIGH][BROAD];
      float each[HIGH * BROAD];
      for (int r = 0; r < HIGH; r++)
        for (int c = 0; c < BROAD; c++) s[r][c] = splat(0);
      const float *left = delta + row * STEP, *right = in + column * STEP;
      for (int64_t v = 0; v < vectors; v++, left += LANES, right += LANES)
        for (int r = 0; r < HIGH; r++)
          for (int c = 0; c < BROAD; c++) s[r][c] += load(left + r * STEP) * load(right + c * STEP);
      sums(s, each);
      for (int r = 0; r < HIGH; r++) memcpy(to + (row + r) * columns + column, each + r * BROAD, BROAD * sizeof(float));
    }
}

/* ---- The network ---- */

typedef struct {
  int64_t inputs, hidden, rows, in, across; /* sizes; rows of a layer's outputs, of its inputs: of the first, and of the others */
  int64_t parameters;                       /* with those that are not there */
  float *weight, *slope, *mean, *square, *decay;
  float *x, *first, *second, *delta_first, *delta_second, *delta; /* of a batch */
} Network;

static float *second_of(const Network *net, float *each) { return each + net->rows * net->in; }
static float *last_of(const Network *net, float *each) { return second_of(net, each) + net->rows * net->across; }

/* Between the caller's layers, (out, in + 1) one after the other, and ours. */
static void exchange(const Network *net, float *theirs, int into) {
  const int64_t outs[] = {net->hidden, net->hidden, 1}, ins[] = {net->inputs + 1, net->hidden + 1, net->hidden + 1};
  const int64_t steps[] = {net->in, net->across, net->across};
  float *starts[] = {net->weight, second_of(net, net->weight), last_of(net, net->weight)};
  for (int layer = 0; layer < 3; layer++)
    for (int64_t row = 0; row < outs[layer]; row++, theirs += ins[layer]) {
      float *ours = starts[layer] + row * steps[layer];
      memcpy(into ? ours : theirs, into ? theirs : ours, ins[layer] * sizeof(float));
      for (int64_t k = 0; k < ins[layer] - 1; k++) net->decay[ours - net->weight + k] = 1; /* biases do not decay */
    }
}

/* Fills x with the batch, a row for each input. */
static void gather(const Network *net, const float *x, const int32_t *order, int64_t batch) {
  for (int64_t b = 0; b < batch; b++)
    for (int64_t k = 0; k < net->inputs; k++) net->x[k * STEP + b] = x[order[b] * net->inputs + k];
}

static void ones(float *row) {
  for (int b = 0; b < STEP; b++) row[b] = 1;
}

static void forward(const Network *net, int64_t vectors) {
  const float *weight = net->weight, *second = second_of(net, net->weight), *last = last_of(net, net->weight);
  product((Product){net->first, weight, net->in, 1, net->x, NULL, net->rows, net->inputs + 1, vectors, 1});
  ones(net->first + net->hidden * STEP);
  product((Product){net->second, second, net->across, 1, net->first, NULL, net->rows, net->hidden + 1, vectors, 1});
  ones(net->second + net->hidden * STEP);
  product((Product){net->delta, last, net->across, 1, net->second, NULL, HIGH, net->hidden + 1, vectors, 0});
}

/* Turns logits into their gradients, and returns the loss summed over the batch; a probability is at least epsilon, as there. */
static double judge(const Network *net, const float *y, const int32_t *order, int64_t batch) {
  const float most = 15.942385f; /* -log(2^-23) */
  double loss = 0;
  for (int64_t b = 0; b < batch; b++) {
    const float logit = net->delta[b], label = y[order[b]], small = expf(-fabsf(logit));
    loss += fminf(most, fmaxf(logit, 0) - logit * label + log1pf(small));
    net->delta[b] = (logit < 0 ? small : 1) / (1 + small) - label;
  }
  memset(net->delta + batch, 0, (STEP - batch) * sizeof(float));
  return loss;
}

static void backward(const Network *net, int64_t vectors) {
  const float *second = second_of(net, net->weight), *last = last_of(net, net->weight);
  const int64_t across = net->across;
  product((Product){net->delta_second, last, 1, across, net->delta, net->second, net->rows, 1, vectors, 0});
  memset(net->delta_second + net->hidden * STEP, 0, STEP * sizeof(float));
  product((Product){net->delta_first, second, 1, across, net->delta_second, net->first, net->rows, net->hidden, vectors, 0});
  memset(net->delta_first + net->hidden * STEP, 0, STEP * sizeof(float));
  gradient(net->slope, net->delta_first, net->x, net->rows, net->in, vectors);
  gradient(second_of(net, net->slope), net->delta_second, net->first, net->rows, across, vectors);
  gradient(last_of(net, net->slope), net->delta, net->second, HIGH, across, vectors);
}

/* One step of Adam (Kingma & Ba 2014); returns half the squared weights before it. */
static double step(const Network *net, int64_t batch, double steps) {
  const float rate = 1e-3 * sqrt(1 - pow(0.999, steps)) / (1 - pow(0.9, steps)), alpha = 1e-4f, share = 1.0f / batch;
  V squares = splat(0);
  double half = 0;
  for (int64_t k = 0; k < net->parameters; k += LANES) {
    const V weight = load(net->weight + k), decayed = weight * load(net->decay + k);
    const V slope = (load(net->slope + k) + alpha * decayed) * share;
    const V mean = 0.9f * load(net->mean + k) + 0.1f * slope, square = 0.999f * load(net->square + k) + 0.001f * slope * slope;
    V root;
    for (int l = 0; l < LANES; l++) root[l] = sqrtf(square[l]);
    squares += weight * decayed;
    store(net->mean + k, mean);
    store(net->square + k, square);
    store(net->weight + k, weight - rate * mean / (root + 1e-8f));
  }
  for (int l = 0; l < LANES; l++) half += 0.5 * squares[l];
  return half;
}

/* ---- Training ---- */

typedef uint32_t (*Next)(void *state);

/* NumPy's RandomState.shuffle of 0, 1, ..., n - 1, then applied to the order. */
static void shuffle(int32_t *order, int32_t *fresh, int32_t *spare, int64_t n, Next next, void *state) {
  for (int64_t k = 0; k < n; k++) fresh[k] = k;
  for (uint32_t k = n - 1; k > 0; k--) {
    const uint32_t mask = 0xffffffffu >> __builtin_clz(k);
    uint32_t other = next(state) & mask;
    while (other > k) other = next(state) & mask;
    const int32_t kept = fresh[k];
    fresh[k] = fresh[other];
    fresh[other] = kept;
  }
  for (int64_t k = 0; k < n; k++) spare[k] = order[fresh[k]];
  memcpy(order, spare, n * sizeof *order);
}

static double epoch(const Network *net, const float *x, const float *y, const int32_t *order, int64_t n, double *steps) {
  double loss = 0;
  for (int64_t from = 0; from < n; from += MOST_BATCH) {
    const int64_t batch = least(MOST_BATCH, n - from), vectors = (batch + LANES - 1) / LANES;
    gather(net, x, order + from, batch);
    forward(net, vectors);
    loss += judge(net, y, order + from, batch);
    backward(net, vectors);
    loss += 1e-4 * step(net, batch, ++*steps);
  }
  return loss / n;
}

static float *cut(float **from, int64_t count) {
  float *start = *from;
  *from += (count + 15) / 16 * 16;
  return start;
}

/* Trains on x (n, inputs) with labels y (n) from and into layers; returns the epochs, and the last one's loss, or -1 without memory. */
int64_t train(const float *x, const float *y, float *layers, double *loss, Next next, void *state, int64_t n, int64_t inputs,
              int64_t hidden, int64_t most_epochs) {
  Network net = {.inputs = inputs, .hidden = hidden, .rows = rows_of(hidden), .in = rows_of(inputs + 1), .across = rows_of(hidden + 1)};
  net.parameters = (net.rows * net.in + net.rows * net.across + HIGH * net.across + 15) / 16 * 16;
  const int64_t floats = 5 * net.parameters + STEP * (net.in + 4 * net.across + HIGH);
  float *memory = aligned_alloc(64, floats * sizeof(float)), *from = memory;
  int32_t *order = malloc(3 * n * sizeof *order);
  if (!memory || !order) return free(memory), free(order), -1;
  memset(memory, 0, floats * sizeof(float));
  float **each[] = {&net.weight, &net.slope, &net.mean, &net.square, &net.decay};
  for (int k = 0; k < 5; k++) *each[k] = cut(&from, net.parameters);
  net.x = cut(&from, net.in * STEP);
  float **rows[] = {&net.first, &net.second, &net.delta_first, &net.delta_second};
  for (int k = 0; k < 4; k++) *rows[k] = cut(&from, net.across * STEP);
  net.delta = cut(&from, HIGH * STEP);
  exchange(&net, layers, 1);
  ones(net.x + inputs * STEP);
  for (int64_t k = 0; k < n; k++) order[k] = k;

  double best = INFINITY, steps = 0;
  int64_t epochs = 0, idle = 0;
  while (epochs < most_epochs && idle <= 10) {
    shuffle(order, order + n, order + 2 * n, n, next, state);
    *loss = epoch(&net, x, y, order, n, &steps);
    epochs++;
    idle = *loss > best - 1e-4 ? idle + 1 : 0;
    if (*loss < best) best = *loss;
  }
  exchange(&net, layers, 0);
  return free(memory), free(order), epochs;
}
