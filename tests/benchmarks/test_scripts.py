"""Every benchmark can be started as its page says; what it measures is not tested here."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (PROJECT / "benchmarks").glob("*.py"))

# As `python benchmarks/x.py` does it, each in a process of its own: the script's folder comes first
# on the path. What all of them take long to import is there before they part.
RUN = """
import os, runpy, sys
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
import av, cv2, openai, pandas, prefect, pyarrow, scipy.ndimage, scipy.spatial, torch
import prefect.testing.utilities
from transformers.models.t5 import modeling_t5
import annotators.stages.shards, evaluation.metrics.texts, evaluation.evaluators.train_matching
import flows.settings, training.inference.long_motion, training.language_model.train

sys.path[0] = "benchmarks"
for script in sys.argv[1:]:
    run_name, expected, name, *options = script.split()
    sys.argv = [name, *options]
    child = os.fork()
    if not child:
        try:
            runpy.run_path(os.path.abspath(f"benchmarks/{name}"), run_name=run_name)
        except SystemExit as ended:
            # An ordinary end of the interpreter takes 3 s with all that is imported.
            sys.stderr.flush()
            os._exit(ended.code)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != int(expected):
        sys.exit(f"{name} did not exit with {expected}")
"""
NEED_CORPUS = (
    *("annotate.py --full", "grounding.py", "motion_features.py", "motion_language.py"),
    *("evaluators.py", "motion_lm.py", "poses.py", "reconstruction.py", "shots.py", "splits.py"),
    *("tokenizer.py", "train_lm.py", "train_vqvae.py", "video_truth.py"),
)


def test_each_loads_and_those_that_need_the_corpus_say_what_to_do(tmp_path: Path) -> None:
    need_corpus = {script.split()[0] for script in NEED_CORPUS}
    assert need_corpus < set(SCRIPTS)
    loaded = [f"loaded 0 {name}" for name in SCRIPTS if name not in need_corpus]
    started = [f"__main__ 2 {script}" for script in NEED_CORPUS]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *loaded, *started],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "AVATARGPT_CORPUS": str(tmp_path / "none")},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if "Remedy: set AVATARGPT_CORPUS" in line]
    assert len(told) == len(NEED_CORPUS)
