# Share the points of one notebook out over processes or over the nodes of a cluster.
#
#   make sweep NOTEBOOK=02_feature_metamers SHARDS=8 JOBS=2        on this machine; installs Snakemake
#   snakemake -j 2 --config notebook=02_feature_metamers shards=8  the same by hand
#   snakemake -j 40 --executor slurm --default-resources slurm_account=... slurm_partition=... \
#     --config notebook=02_feature_metamers shards=40              on a cluster, from a folder that all nodes share
#
# The last needs `pip install snakemake-executor-plugin-slurm`. `args="-p seeds 0,1"` passes parameters on; a sweep
# keeps everything in a folder of its own below _build/runs. `args=published` computes what results/ lacks instead.
#
# A shard computes the points whose key is i mod n, each into a file of its own, and merges nothing. Points decide
# what is still to do, so a run that was killed goes on where it was: Snakemake only orders and distributes.
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))
from book.tools import project, sweeping

NOTEBOOK = config.get("notebook", "")
SHARDS = int(config.get("shards", 2))
ARGS = str(config.get("args", ""))
BUILD = f"{sys.executable} -m book.tools"

try:
    project.find_notebook(NOTEBOOK)
    MARKS = project.relative(sweeping.where(NOTEBOOK, shlex.split(ARGS))[1])
except project.BuildError as error:
    raise WorkflowError(str(error).replace("NOTEBOOK=", "--config notebook=")) from None
RENDER = f"full {NOTEBOOK}" if ARGS == sweeping.PUBLISHED else f"run {NOTEBOOK} -p profile full {ARGS}"


# First, so that it is what is made. It has no output, and takes the marks of the shards away: what is left to do
# is for the points to say.
rule notebook:
    input:
        expand("{marks}/{i}-of-{n}.done", marks=MARKS, i=range(SHARDS), n=SHARDS),
    params:
        render=RENDER,
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    shell:
        "{BUILD} {params.render} && rm {input}"


rule shard:
    input:
        f"notebooks/{NOTEBOOK}.ipynb",
        sorted(str(path) for path in Path("metamerlib").rglob("*.py")),
    output:
        touch(MARKS + "/{i}-of-{n}.done"),
    params:
        args=ARGS,
    log:
        MARKS + "/{i}-of-{n}.ipynb",
    threads: 1
    resources:
        mem_mb=8000,
        runtime=24 * 60,
    shell:
        "{BUILD} shard {NOTEBOOK} {wildcards.i}/{wildcards.n} {params.args}"
