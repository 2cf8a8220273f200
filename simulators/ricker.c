/* Ricker map (Ricker 1954), a population that grows by r and crowds itself, seen through counts. One step a generation, no units.

       N(t+1) = r N(t) exp(-N(t) + sigma e(t)),  e ~ N(0, 1),  y(t) ~ Poisson(phi N(t)),  N(0) = 1

   The example of Wood (2010), Nature 466:1102: for log r near 3.8 the map is all but chaotic, so that the likelihood of phi N is
   jagged, and summaries are the way.

       ricker --theta THETA.csv --out OUT.csv --seed INTEGER --steps T

   THETA.csv has the columns log_r, log_sigma, log_phi and a line for each population, OUT.csv the columns y[0] to y[T-1] and as many
   lines. The first BURN steps are not counted. Exit codes: 2 arguments, 3 a file, 4 a parameter beyond what is meant.
   Compile: make simulators */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BURN = 50, LARGEST_MEAN = 100000 };
static uint64_t state;

/* splitmix64 (Steele, Lea & Flood 2014) */
static uint64_t next(void) {
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* in (0, 1] */
static double uniform(void) { return ((next() >> 11) + 1) * 0x1p-53; }

/* Box & Muller (1958) */
static double normal(void) { return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()); }

/* arrivals of a Poisson process of rate 1 in a time of `mean` */
static long poisson(double mean) {
    long count = -1;
    for (double time = 0; time <= mean; count++) time -= log(uniform());
    return count;
}

static int stop(int code, const char *what, const char *value) {
    fprintf(stderr, "%s %s\n", what, value);
    return code;
}

int main(int count, char **word) {
    const char *theta = NULL, *out = NULL;
    long steps = 0;
    for (int i = 1; i + 1 < count; i += 2) {
        if (!strcmp(word[i], "--theta")) theta = word[i + 1];
        else if (!strcmp(word[i], "--out")) out = word[i + 1];
        else if (!strcmp(word[i], "--seed")) state = strtoull(word[i + 1], NULL, 10);
        else if (!strcmp(word[i], "--steps")) steps = strtol(word[i + 1], NULL, 10);
        else return stop(2, "unknown option", word[i]);
    }
    if (!theta || !out || steps < 1) return stop(2, "usage:", "ricker --theta THETA.csv --out OUT.csv --seed INTEGER --steps T");
    FILE *in = fopen(theta, "r"), *to = fopen(out, "w");
    if (!in) return stop(3, "cannot read", theta);
    if (!to) return stop(3, "cannot write", out);
    char line[4096];
    if (!fgets(line, sizeof line, in) || strncmp(line, "log_r,log_sigma,log_phi", 23))
        return stop(3, "expected columns log_r,log_sigma,log_phi, not", line);
    for (long t = 0; t < steps; t++) fprintf(to, "y[%ld]%c", t, t + 1 < steps ? ',' : '\n');
    while (fgets(line, sizeof line, in)) {
        double log_r, log_sigma, log_phi;
        if (sscanf(line, "%lf,%lf,%lf", &log_r, &log_sigma, &log_phi) != 3) return stop(3, "not three numbers:", line);
        double r = exp(log_r), sigma = exp(log_sigma), phi = exp(log_phi), n = 1;
        for (long t = -BURN; t < steps; t++) {
            n = r * n * exp(-n + sigma * normal());
            if (t < 0) continue;
            if (!(phi * n < LARGEST_MEAN)) return stop(4, "too many to count at", line);
            fprintf(to, "%ld%c", poisson(phi * n), t + 1 < steps ? ',' : '\n');
        }
    }
    return fclose(to) ? stop(3, "cannot write", out) : 0;
}
