"""The greatest product of each query with each group of index rows, by a kernel that is compiled where it runs.

Products are added up in registers, and of a group only the greatest are written: the products themselves never reach
memory, unlike those of a matrix product. Of a few queries, a row is multiplied as it lies; for more, a group is laid
out anew in the cache, a dimension after the other, and tiles of queries go by. What is found are proposals like those
of `torch.mm`: float64 proves them, so that both lead to the same bits (docs/evaluation.md). It is compiled once for
each source, compiler and machine, into the user's cache; without a compiler there is none, and PyTorch does it.

    kernel = load()                                 # None where it cannot be compiled
    kernel.maxima(rows, queries, group=64, threads=1, out=maxima)     # (N, D), (Q, D) -> (Q, N / 64)
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

SOURCE = r"""
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int LANES = 16, VECTORS = 2, QUERIES = 12;  // of 32 registers
#elif defined(__AVX__)
constexpr int LANES = 8, VECTORS = 2, QUERIES = 6;  // of 16
#else
constexpr int LANES = 4, VECTORS = 4, QUERIES = 5;  // of 32, as NEON has
#endif
constexpr int PANEL = LANES * VECTORS;
#if defined(__x86_64__)
#define IN_REGISTER(lanes) asm("" : "+v"(lanes))  // or it is read again for each product, and reading is the limit
#else
#define IN_REGISTER(lanes)
#endif
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4)));

static inline Lanes greater(Lanes a, Lanes b) { return a > b ? a : b; }

template <int WIDTH>
static void interleave(const float *rows, int64_t count, int64_t dim, float *out) {
  for (int64_t first = 0; first < count; first += WIDTH, out += WIDTH * dim)
    for (int64_t d = 0; d < dim; d++)
      for (int i = 0; i < WIDTH; i++)
        out[d * WIDTH + i] = first + i < count ? rows[(first + i) * dim + d] : 0;
}

static inline float sum(Lanes lanes) {
  float total = 0;
  for (int lane = 0; lane < LANES; lane++) total += lanes[lane];
  return total;
}

struct Search {
  const float *rows;
  int64_t groups, in_group, dim;  // panels in a group
  const float *queries;
  int64_t count;
  const float *tiles;  // of the queries; none for a few
  float *maxima;
};

constexpr int ROWS_AT_ONCE = 4, QUERIES_AT_ONCE = 3;  // whose sums are in registers together

template <int COUNT>
static void products(const Search &s, int64_t group, int64_t query) {
  float best[COUNT];
  const float *row = s.rows + group * s.in_group * PANEL * s.dim, *asked = s.queries + query * s.dim;
  for (int64_t r = 0; r < s.in_group * PANEL; r += ROWS_AT_ONCE, row += ROWS_AT_ONCE * s.dim) {
    Lanes sums[ROWS_AT_ONCE][COUNT] = {};
    int64_t d = 0;
    for (; d + LANES <= s.dim; d += LANES) {
      Lanes rows[ROWS_AT_ONCE];
      for (int j = 0; j < ROWS_AT_ONCE; j++) rows[j] = *(const Lanes *)(row + j * s.dim + d);
      for (int i = 0; i < COUNT; i++) {
        Lanes of_query = *(const Lanes *)(asked + i * s.dim + d);
        for (int j = 0; j < ROWS_AT_ONCE; j++) sums[j][i] += rows[j] * of_query;
      }
    }
    for (int i = 0; i < COUNT; i++)
      for (int j = 0; j < ROWS_AT_ONCE; j++) {
        float product = sum(sums[j][i]);
        for (int64_t rest = d; rest < s.dim; rest++) product += row[j * s.dim + rest] * asked[i * s.dim + rest];
        best[i] = (r == 0 && j == 0) || product > best[i] ? product : best[i];
      }
  }
  for (int i = 0; i < COUNT; i++) s.maxima[(query + i) * s.groups + group] = best[i];
}

static void few_queries(const Search &s, int64_t first, int64_t last) {
  for (int64_t group = first; group < last; group++) {
    int64_t query = 0;
    for (; query + QUERIES_AT_ONCE <= s.count; query += QUERIES_AT_ONCE) products<QUERIES_AT_ONCE>(s, group, query);
    for (; query < s.count; query++) products<1>(s, group, query);
  }
}

static void many_queries(const Search &s, int64_t first, int64_t last) {
  std::vector<float> packed(s.in_group * PANEL * s.dim);
  for (int64_t group = first; group < last; group++) {
    interleave<PANEL>(s.rows + group * packed.size(), s.in_group * PANEL, s.dim, packed.data());
    for (int64_t query = 0; query < s.count; query += QUERIES) {
      Lanes best[QUERIES];
      const float *panel = packed.data();
      for (int64_t p = 0; p < s.in_group; p++) {
        Lanes sums[QUERIES][VECTORS] = {};
        const float *tile = s.tiles + query * s.dim;
        for (int64_t d = 0; d < s.dim; d++, panel += PANEL, tile += QUERIES) {
          Lanes row[VECTORS];
          for (int v = 0; v < VECTORS; v++) {
            row[v] = *(const Lanes *)(panel + v * LANES);
            IN_REGISTER(row[v]);
          }
          for (int i = 0; i < QUERIES; i++)
            for (int v = 0; v < VECTORS; v++) sums[i][v] += row[v] * tile[i];
        }
        for (int i = 0; i < QUERIES; i++) {
          Lanes here = sums[i][0];
          for (int v = 1; v < VECTORS; v++) here = greater(here, sums[i][v]);
          best[i] = p ? greater(best[i], here) : here;
        }
      }
      for (int i = 0; i < QUERIES && query + i < s.count; i++) {
        float most = best[i][0];
        for (int lane = 1; lane < LANES; lane++) most = best[i][lane] > most ? best[i][lane] : most;
        s.maxima[(query + i) * s.groups + group] = most;
      }
    }
  }
}

extern "C" {
int panel_rows() { return PANEL; }

void group_maxima(const float *rows, int64_t groups, int64_t in_group, int64_t dim, const float *queries, int64_t count,
                  int64_t few, int64_t threads, float *maxima) {
  bool tiled = count > few;
  std::vector<float> tiles(tiled ? (count + QUERIES - 1) / QUERIES * QUERIES * dim : 0);
  if (tiled) interleave<QUERIES>(queries, count, dim, tiles.data());
  Search search = {rows, groups, in_group, dim, queries, count, tiles.data(), maxima};
  auto part = tiled ? many_queries : few_queries;
  std::vector<std::thread> others;
  for (int64_t t = 1; t < threads; t++)
    others.emplace_back(part, std::cref(search), groups * t / threads, groups * (t + 1) / threads);
  part(search, 0, groups / threads);
  for (auto &other : others) other.join();
}
}
"""

COMPILERS = ("c++", "g++", "clang++")
FOR_THIS_CPU = ("-march=native", "-mcpu=native")
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=fast", "-funroll-loops", "-fPIC", "-shared", "-pthread")
MOST_SECONDS = 60
FEW = 16  # queries: with more, it is worth while to lay a group out anew


class Kernel:
    """The compiled functions. `panel`: a group has a multiple of so many rows."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        library.group_maxima.argtypes = [pointer, *[number] * 3, pointer, *[number] * 3, pointer]
        self._library = library
        self.panel: int = library.panel_rows()

    def maxima(
        self, rows: torch.Tensor, queries: torch.Tensor, group: int, threads: int, out: torch.Tensor, few: int = FEW
    ) -> None:
        """(N, D) float32, N whole groups, and (Q, D) -> `out` (Q, N / group): of each group of rows the greatest
        product. few: so many queries are multiplied with the rows as they lie."""
        count, dim = rows.shape
        rows, queries = rows.contiguous(), queries.contiguous()
        self._library.group_maxima(
            rows.data_ptr(),
            count // group,
            group // self.panel,
            dim,
            queries.data_ptr(),
            len(queries),
            few,
            threads,
            out.data_ptr(),
        )


def load(compiling: bool = True) -> Kernel | None:
    """None where there is no compiler, where what it makes cannot be run, and where it is not compiled yet unless
    `compiling`, which takes a second or two."""
    file = _library()
    if file is None or not (file.exists() or (compiling and _compiled(file))):
        return None
    return _opened(file)


@cache
def _library() -> Path | None:
    """Where it is, or will be; None without a compiler, or a home."""
    compiler = _compiler()
    if compiler is None:
        return None
    text = "\0".join([SOURCE, *FLAGS, os.path.realpath(compiler), platform.machine(), _cpu()])
    try:
        return _cache() / f"search-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"
    except RuntimeError:  # there is no home
        return None


@cache
def _opened(file: Path) -> Kernel | None:
    try:
        return Kernel(ctypes.CDLL(str(file)))
    except OSError:
        return None


@cache
def _compiled(file: Path) -> bool:
    """The library appears whole, or not at all."""
    compiler = _compiler()
    assert compiler, "what a library is named after"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            source, made = Path(folder) / "search.cpp", Path(folder) / "search.so"
            source.write_text(SOURCE)
            for of_cpu in FOR_THIS_CPU:
                words = [compiler, *FLAGS, of_cpu, str(source), "-o", str(made)]
                if subprocess.run(words, capture_output=True, timeout=MOST_SECONDS).returncode == 0:
                    made.replace(file)
                    return True
    except (OSError, subprocess.SubprocessError):
        pass
    return False


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "probe"


def _cpu() -> str:
    """What code may be made for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
