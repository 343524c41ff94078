"""One thread per test process, as every command of the Makefile has it, and no window for a figure."""

import os

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0", MPLBACKEND="Agg")
