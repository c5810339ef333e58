"""A plan as a script that one can start and leave: for bash one command after the other, for SLURM an array a stage.

Both go on where they were stopped, since each command skips what is done; one that fails does not stop the others.

    print(shell_script(plan, "probe plan --sh"))
    print(slurm_script(plan, "probe plan --slurm --gpus 8", devices=8, gpu=True))      # bash plan.slurm.sh submits it
"""

import shlex

from probe.planning.duration import UNKNOWN
from probe.planning.plan import Plan, Stage, Step


def shell_script(plan: Plan, made_by: str) -> str:
    """For bash; the failed commands are told again at the end, and the exit code is 1."""
    lines = [
        *_head(made_by),
        "trap 'exit 130' INT  # Ctrl-C stops the script too, not its command alone",
        "failed=()",
        'run() { echo "+ $*" >&2; "$@" || failed+=("$*"); }',
    ]
    for step in plan.steps:
        lines += [f"# {told(step)}", f"run {step.command}"]
    lines += ['[ ${#failed[@]} -eq 0 ] || { printf "failed: %s\\n" "${failed[@]}" >&2; exit 1; }']
    return "\n".join(lines) + "\n"


def slurm_script(plan: Plan, made_by: str, devices: int, gpu: bool) -> str:
    """For bash; it submits an array of jobs for each stage, `devices` at once, which waits for the stage before. What
    writes the same stores or runs is one job.

    `gpu`: whether a job asks for one.
    """
    lines, waits = _head(made_by), ""
    for stage in Stage:
        tasks = plan.tasks(stage)
        if not tasks:
            continue
        resources = " --gres=gpu:1" if gpu and stage != Stage.draw else ""
        array = f"--job-name=probe-{stage} --array=0-{len(tasks) - 1}%{devices}{resources}"
        lines += [f"{stage}=$(sbatch --parsable {array}{waits} <<'JOB'", "#!/usr/bin/env bash", "commands=("]
        for task in tasks:
            commands = shlex.quote("; ".join(step.command for step in task))
            lines += [f"  {commands}  # {'; then '.join(map(told, task))}"]
        lines += [")", 'eval "${commands[$SLURM_ARRAY_TASK_ID]}"', "JOB", ")"]
        waits = f" --dependency=afterany:${stage}"
    return "\n".join(lines) + "\n"


def told(step: Step) -> str:
    """`about 3 h, at the speed of 2 CPU cores; 1.1 GB; for 4 tables`."""
    facts = [] if step.stage == Stage.draw else [str(step.time or UNKNOWN)]
    facts += [f"{step.bytes / 1e9:,.1f} GB"] if step.bytes else []
    served = f"for {len(step.tables)} tables" if len(step.tables) > 1 else f"for {next(iter(step.tables))}"
    return "; ".join([*facts, f"completes {', '.join(step.completes)}" if step.completes else served])


def _head(made_by: str) -> list[str]:
    return [
        "#!/usr/bin/env bash",
        f"# {made_by}",
        "# Start it again after a stop: what is done is skipped. Times are estimates.",
        "set -u",
    ]
