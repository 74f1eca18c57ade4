#include "cli/bench.h"
const struct bench bench_rls = {.name = "rls"};
