#include "cli/bench.h"
const struct bench bench_agent = {.name = "agent"};
