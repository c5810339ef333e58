"""The greatest product of each query with each group of index rows, by a kernel that is compiled where it runs.

A tile of some queries and a panel of some rows is added up in registers, and of a group only the greatest products are
written: the products themselves never reach memory, unlike those of a matrix product. What it finds are proposals like
those of `torch.mm`: float64 proves them, so that both lead to the same bits (docs/evaluation.md). It is compiled once
for each source, compiler and machine, into the user's cache; without a compiler there is none, and PyTorch does it.

    kernel = load()                                 # None where it cannot be compiled
    packed = kernel.pack(rows)                      # (N, D), whole groups
    kernel.maxima(packed, queries, group=64, threads=1)     # (Q, D) -> (Q, N / 64)
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

SOURCE = r"""
#include <cstdint>
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

static void panels(const float *packed, int64_t first, int64_t last, int64_t in_group, int64_t dim,
                   const float *tiles, int64_t queries, int64_t groups, float *maxima) {
  for (int64_t group = first; group < last; group++)
    for (int64_t query = 0; query < queries; query += QUERIES) {
      Lanes best[QUERIES];
      const float *panel = packed + group * in_group * dim * PANEL;
      for (int64_t p = 0; p < in_group; p++) {
        Lanes sums[QUERIES][VECTORS] = {};
        const float *tile = tiles + query * dim;
        for (int64_t d = 0; d < dim; d++, panel += PANEL, tile += QUERIES) {
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
      for (int i = 0; i < QUERIES && query + i < queries; i++) {
        float most = best[i][0];
        for (int lane = 1; lane < LANES; lane++) most = best[i][lane] > most ? best[i][lane] : most;
        maxima[(query + i) * groups + group] = most;
      }
    }
}

extern "C" {
int panel_rows() { return PANEL; }
int tile_queries() { return QUERIES; }
void pack_rows(const float *rows, int64_t count, int64_t dim, float *out) { interleave<PANEL>(rows, count, dim, out); }

void group_maxima(const float *packed, int64_t groups, int64_t in_group, int64_t dim, const float *queries,
                  int64_t count, float *tiles, int64_t threads, float *maxima) {
  interleave<QUERIES>(queries, count, dim, tiles);
  std::vector<std::thread> others;
  for (int64_t t = 1; t < threads; t++)
    others.emplace_back(panels, packed, groups * t / threads, groups * (t + 1) / threads, in_group, dim, tiles, count,
                        groups, maxima);
  panels(packed, 0, groups / threads, in_group, dim, tiles, count, groups, maxima);
  for (auto &other : others) other.join();
}
}
"""

COMPILERS = ("c++", "g++", "clang++")
FOR_THIS_CPU = ("-march=native", "-mcpu=native")
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=fast", "-funroll-loops", "-fPIC", "-shared", "-pthread")
MOST_SECONDS = 60


@dataclass(frozen=True)
class Packed:
    """Rows in panels, each a dimension after the other."""

    values: torch.Tensor
    """(N * D,) float32."""
    rows: int
    dim: int


class Kernel:
    """The compiled functions. `panel`: rows of a panel; a group has whole ones."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        library.pack_rows.argtypes = [pointer, number, number, pointer]
        library.group_maxima.argtypes = [pointer, number, number, number, pointer, number, pointer, number, pointer]
        self._library = library
        self.panel: int = library.panel_rows()
        self._tile: int = library.tile_queries()

    def pack(self, rows: torch.Tensor) -> Packed:
        """(N, D) float32, N whole panels."""
        count, dim = rows.shape
        values = torch.empty(count * dim)
        self._library.pack_rows(rows.contiguous().data_ptr(), count, dim, values.data_ptr())
        return Packed(values, count, dim)

    def maxima(self, packed: Packed, queries: torch.Tensor, group: int, threads: int, out: torch.Tensor) -> None:
        """(Q, D) float32 -> `out` (Q, N / group): of each group of rows the greatest product."""
        count = len(queries)
        tiles = torch.empty(-(-count // self._tile) * self._tile * packed.dim)
        self._library.group_maxima(
            packed.values.data_ptr(),
            packed.rows // group,
            group // self.panel,
            packed.dim,
            queries.contiguous().data_ptr(),
            count,
            tiles.data_ptr(),
            threads,
            out.data_ptr(),
        )


@cache
def load() -> Kernel | None:
    """Compiled where it is not yet; None where there is no compiler, or what it makes cannot be run."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return None
    text = "\0".join([SOURCE, *FLAGS, os.path.realpath(compiler), platform.machine(), _cpu()])
    try:
        file = _cache() / f"search-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"
        if not file.exists():
            _compile(compiler, file)
        return Kernel(ctypes.CDLL(str(file)))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # RuntimeError: there is no home
        return None


def _compile(compiler: str, file: Path) -> None:
    """The library appears whole. Raises OSError and subprocess.SubprocessError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        source, made = Path(folder) / "search.cpp", Path(folder) / "search.so"
        source.write_text(SOURCE)
        for of_cpu in FOR_THIS_CPU:
            words = [compiler, *FLAGS, of_cpu, str(source), "-o", str(made)]
            if subprocess.run(words, capture_output=True, timeout=MOST_SECONDS).returncode == 0:
                made.replace(file)
                return
        raise OSError(f"{compiler} does not compile it")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "probe"


def _cpu() -> str:
    """What code may be made for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
