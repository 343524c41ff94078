# Share the points of one notebook out over processes or over the nodes of a cluster.
#
#   make sweep NOTEBOOK=02_feature_metamers SHARDS=8 JOBS=2        on this machine; installs Snakemake
#   snakemake -j 2 --config notebook=02_feature_metamers shards=8  the same by hand
#   snakemake -j 40 --executor slurm --default-resources slurm_account=... slurm_partition=... \
#     --config notebook=02_feature_metamers shards=40              on a cluster, from a folder that all nodes share
#
# The last needs `pip install snakemake-executor-plugin-slurm`. `args="-p seeds 0,1"` passes parameters on.
#
# A shard computes the points whose key is i mod n, each into a file of its own, and merges nothing. Points decide
# what is still to do, so a run that was killed goes on where it was: Snakemake only orders and distributes.
import sys
from pathlib import Path

NOTEBOOK = config.get("notebook", "")
SHARDS = int(config.get("shards", 2))
ARGS = str(config.get("args", ""))
BUILD = f"{sys.executable} book/tools/build.py"

if not Path("notebooks", f"{NOTEBOOK}.ipynb").is_file():
    known = " ".join(sorted(path.stem for path in Path("notebooks").glob("*.ipynb")))
    raise WorkflowError(f"no notebook is called {NOTEBOOK!r}; give --config notebook= one of {known}")


# First, so that it is what is made. It has no output, and takes the marks of the shards away: what is left to do
# is for the points to say.
rule notebook:
    input:
        expand("_build/sweep/{notebook}/{i}-of-{n}.done", notebook=NOTEBOOK, i=range(SHARDS), n=SHARDS),
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    shell:
        "{BUILD} run {NOTEBOOK} -p profile full -p store results {ARGS} && rm {input}"


rule shard:
    input:
        "notebooks/{notebook}.ipynb",
        sorted(str(path) for path in Path("metamerlib").rglob("*.py")),
    output:
        touch("_build/sweep/{notebook}/{i}-of-{n}.done"),
    params:
        args=ARGS,
    log:
        "_build/sweep/{notebook}/{i}-of-{n}.ipynb",
    threads: 1
    resources:
        mem_mb=8000,
        runtime=24 * 60,
    shell:
        "{BUILD} shard {wildcards.notebook} {wildcards.i}/{wildcards.n} {params.args}"
